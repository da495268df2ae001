//! A view again whenever it says something else: Server-Sent Events, each with the whole view as a JSON text.
//!
//! A stream of these is one that watches: it needs the right to, counts as one, and ends with its credential, or when whoever has signed
//! in signs out. A view is made where inspection is done, at most once a second, and less often if that takes long. What cannot be
//! looked at just now is told, and looked at again after a while.

use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use http::StatusCode;
use serde_json::Value;
use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::RequestError;
use tokio::time::{Instant, sleep_until};

use super::super::events::{self, event, next_after};
use super::super::problem::Problem;
use super::visit::Visit;
use super::{Made, View};
use crate::access::Watching;
use crate::frontend::api::errors::over_limit;
use crate::frontend::api::identity::Identity;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Before the next look when one has failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(3);
/// What is shown again after this also if nothing but time has changed: clocks of browsers are not ours.
const AGAIN: Duration = Duration::from_secs(5);

/// What whoever looks on must be allowed to watch. That belongs to the address, whatever its fields say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Watched {
    Everything,
    /// The one that is named.
    Resource,
}

/// Who looks on.
struct Follower {
    watched: Watched,
    view: fn(Visit) -> Made<View>,
    visit: Visit,
    identity: Identity,
    _counted: Watching,
    at: Instant,
    /// What was said last, and when.
    said: Option<(u64, Instant)>,
    over: bool,
}

pub(super) fn follow(watched: Watched, view: fn(Visit) -> Made<View>, visit: Visit) -> Result<Response, Problem> {
    watched.check(&visit)?;
    let api = &visit.door.api;
    let counted = api.access().watch(visit.from.who.last_principal())?;
    let identity = Identity::new(api, visit.from.clone());
    // What was just shown is not shown again at once.
    let at = Instant::now() + INTERVAL;
    let begin = Follower { watched, view, visit, identity, _counted: counted, at, said: None, over: false };
    Ok(events::answer(futures::stream::unfold(begin, Follower::next)))
}

impl Watched {
    /// Who looks on may watch what he looks at.
    fn check(self, visit: &Visit) -> Result<(), RequestError> {
        let api = &visit.door.api;
        match self {
            Self::Everything => api.check(&visit.from, Verb::Watch, Place::Everywhere),
            Self::Resource => api.check(&visit.from, Verb::Watch, Place::Resource(&visit.resource()?)),
        }
    }
}

impl Follower {
    async fn next(mut self) -> Option<(Event, Self)> {
        if self.over {
            return None;
        }
        loop {
            sleep_until(self.at).await;
            let begun = Instant::now();
            let event = match self.look().await {
                Ok(view) => {
                    self.at = next_after(begun, INTERVAL);
                    self.told(&view, begun).then(|| event("view", &view.main.into_string().into()))
                }
                Err(problem) => Some(self.failed(problem)),
            };
            if let Some(event) = event {
                return Some((event, self));
            }
        }
    }

    async fn look(&mut self) -> Result<View, Problem> {
        self.identity.check()?;
        let signed = self.visit.door.api.access().signed();
        if self.visit.ticket.as_ref().is_some_and(|ticket| signed.who(ticket).is_none()) {
            return Err(RequestError::Unauthenticated.into());
        }
        self.visit.from = self.identity.caller().clone();
        self.watched.check(&self.visit)?;
        let view = (self.view)(self.visit.clone());
        match &self.visit.visiting {
            Some(visiting) => visiting.inspect(view).await.map_err(over_limit)?,
            None => view.await,
        }
    }

    /// A look has failed: for now, or because there is nothing to see any more.
    fn failed(&mut self, problem: Problem) -> Event {
        let (status, said) = problem.into_parts();
        let why = said.get("detail").and_then(Value::as_str).unwrap_or_default();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            self.at = Instant::now() + TROUBLE_PAUSE;
            // The next view ends the trouble, also if it says what the last one said.
            self.said = None;
            event("trouble", &why.into())
        } else {
            self.over = true;
            event("over", &why.into())
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
