//! A view again whenever it says something else: Server-Sent Events, each with the whole view as a JSON text.
//!
//! A stream of these is one that watches: it needs the right to, counts as one, and ends with its credential. A view is made where
//! inspection is done, at most once a second, and less often if that takes long.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::RequestError;
use tokio::time::{Instant, sleep_until};

use super::super::problem::Problem;
use super::visit::Visit;
use super::{Made, View};
use crate::access::Watching;
use crate::frontend::api::identity::Identity;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at least so many times what the first one took.
const PAUSE_FACTOR: u32 = 20;
/// What is shown again after this also if nothing but time has changed: clocks of browsers are not ours.
const AGAIN: Duration = Duration::from_secs(5);
/// What is in between keeps a connection on which something comes.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Who looks on.
struct Follower {
    view: fn(Visit) -> Made<View>,
    visit: Visit,
    identity: Identity,
    _counted: Watching,
    at: Instant,
    /// What was said last, and when.
    said: Option<(u64, Instant)>,
    over: bool,
}

pub(super) fn follow(view: fn(Visit) -> Made<View>, visit: Visit) -> Result<Response, Problem> {
    check(&visit)?;
    let api = &visit.door.api;
    let counted = api.access().watch(visit.from.who.last_principal())?;
    let identity = Identity::new(api, visit.from.clone());
    // What was just shown is not shown again at once.
    let begin =
        Follower { view, visit, identity, _counted: counted, at: Instant::now() + INTERVAL, said: None, over: false };
    let events = futures::stream::unfold(begin, Follower::next);
    let comments = KeepAlive::new().interval(COMMENT_EVERY);
    let mut response = Sse::new(events).keep_alive(comments).into_response();
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    Ok(response)
}

/// Who looks on may watch what he looks at.
fn check(visit: &Visit) -> Result<(), RequestError> {
    if visit.field("name").is_empty() {
        visit.door.api.check(&visit.from, Verb::Watch, Place::Everywhere)
    } else {
        visit.door.api.check(&visit.from, Verb::Watch, Place::Resource(&visit.resource()?))
    }
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.over {
            return None;
        }
        loop {
            sleep_until(self.at).await;
            let begun = Instant::now();
            let event = match self.look().await {
                Ok(view) => self.told(&view, begun).then(|| event("view", &view.main.into_string())),
                Err(problem) => {
                    self.over = true;
                    let (_, said) = problem.into_parts();
                    Some(event("over", said.get("detail").and_then(Value::as_str).unwrap_or_default()))
                }
            };
            self.at = begun + INTERVAL.max(begun.elapsed() * PAUSE_FACTOR);
            if let Some(event) = event {
                return Some((Ok(event), self));
            }
        }
    }

    async fn look(&mut self) -> Result<View, Problem> {
        self.identity.principal()?;
        self.visit.from = self.identity.caller().clone();
        check(&self.visit)?;
        let view = (self.view)(self.visit.clone());
        match &self.visit.visiting {
            Some(visiting) => {
                let late = || RequestError::Limit("inspections at once at this broker".into());
                visiting.inspect(view).await.ok_or_else(late)?
            }
            None => view.await,
        }
    }

    /// Whether the browser is to be told.
    fn told(&mut self, view: &View, now: Instant) -> bool {
        let says = view.main.said();
        let known = self.said.is_some_and(|(said, at)| said == says && now.duration_since(at) < AGAIN);
        if !known {
            self.said = Some((says, now));
        }
        !known
    }
}

/// A JSON text has no line ends that would end an event.
fn event(name: &str, text: &str) -> Event {
    Event::default().event(name).data(Value::from(text).to_string())
}
