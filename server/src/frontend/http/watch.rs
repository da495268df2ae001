//! A resource as it is, and again whenever it has changed: as Server-Sent Events, or as one answer that waits for the next change.
//!
//! What changes faster than it is told is merged: each event is the whole state, so nothing but states in between is missed. An
//! event's id is the version; who comes back with the one that it saw last is told nothing until there is another, or first
//! that something was missed.

use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures::{Stream, StreamExt as _};
use serde_json::{Map, Value};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::asked::Asked;
use super::events::{self, event, next_after};
use super::json::{time, write};
use super::problem::Problem;
use super::routes::{Answered, json};
use crate::frontend::api::Checked;
use crate::frontend::api::errors::{invalid, missing};

/// Between two events about one resource.
const INTERVAL: Duration = Duration::from_millis(100);
/// States are written one after the other, and not on the threads on which locks are answered: a large one takes long.
static WRITING: Semaphore = Semaphore::const_new(1);
/// Longest wait for a change.
const WAIT_MAX: Duration = Duration::from_secs(55);
/// Where a browser says what it saw last.
const LAST_SEEN: &str = "last-event-id";

pub(super) async fn watch(asked: Asked) -> Answered {
    let mut asked = asked.with_resource()?;
    let (version, wait) = (asked.take("version"), asked.take("wait"));
    let seen = match &version {
        Some(version) => Some(number("version", version)?),
        None => last_seen(&asked)?,
    };
    let states = asked.door.inspection.watch(&asked.from, asked.message()?)?;
    let states = states.map(|watched| watched.and_then(|watched| watched.state.ok_or_else(|| missing("state"))));
    match (version, wait) {
        (Some(_), wait) => next(states, seen, wait_of(wait)?).await,
        (None, Some(_)) => Err(invalid("`wait` is for who says which `version` it has seen").into()),
        (None, None) => Ok(follow(states, seen)),
    }
}

fn last_seen(asked: &Asked) -> Checked<Option<u64>> {
    let Some(seen) = asked.parts.headers.get(LAST_SEEN) else { return Ok(None) };
    number("Last-Event-ID", &Value::from(seen.to_str().unwrap_or_default())).map(Some)
}

fn number(field: &str, value: &Value) -> Checked<u64> {
    let number = value.as_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid(format!("`{field}` must be the version of a state")))
}

fn wait_of(wait: Option<Value>) -> Checked<Duration> {
    let Some(wait) = wait else { return Ok(Duration::ZERO) };
    let wait = wait.as_str().and_then(time).filter(|wait| *wait <= WAIT_MAX);
    wait.ok_or_else(|| invalid(format!("`wait` is a time with a unit, as \"30s\", and at most {WAIT_MAX:?}")))
}

/// The first state that was not seen, or the last one once the wait is over.
async fn next(
    states: impl Stream<Item = Result<v1::ResourceState, RequestError>>,
    seen: Option<u64>,
    wait: Duration,
) -> Answered {
    let until = Instant::now() + wait;
    let mut states = pin!(states);
    let mut last = None;
    loop {
        let state = match &last {
            None => states.next().await,
            Some(_) => match timeout_at(until, states.next()).await {
                Ok(state) => state,
                Err(_) => break,
            },
        };
        let Some(state) = state.transpose()? else { break };
        let new = Some(state.version) != seen;
        last = Some(state);
        if new {
            break;
        }
    }
    Ok(json(write(&last.ok_or_else(|| RequestError::Unavailable("the broker is stopping".into()))?)))
}

fn follow(
    states: impl Stream<Item = Result<v1::ResourceState, RequestError>> + Send + 'static,
    seen: Option<u64>,
) -> Response {
    let begin = (Box::pin(states), Seen::First(seen), Instant::now());
    let events = futures::stream::unfold(begin, |(mut states, seen, at)| async move {
        sleep_until(at).await;
        let state = states.next().await?;
        // It is never closed.
        let turn = WRITING.acquire().await.ok()?;
        let begun = Instant::now();
        let events = spawn_blocking(move || told(state, seen)).await.ok()?;
        drop(turn);
        Some((futures::stream::iter(events), (states, Seen::More, next_after(begun, INTERVAL))))
    });
    events::answer(events.flatten())
}

/// What the watcher knows.
#[derive(Clone, Copy)]
enum Seen {
    /// It was told nothing yet, and says what it saw before.
    First(Option<u64>),
    /// It was told something.
    More,
}

fn told(state: Result<v1::ResourceState, RequestError>, seen: Seen) -> Vec<Event> {
    let state = match state {
        Ok(state) => state,
        Err(error) => return vec![event("error", &Value::from(Problem::from(error).body()))],
    };
    let whole = || event("state", &Value::from(write(&state))).id(state.version.to_string());
    match seen {
        Seen::First(Some(seen)) if seen == state.version => Vec::new(),
        Seen::First(Some(_)) => vec![event("resync", &Value::Object(Map::default())), whole()],
        Seen::First(None) | Seen::More => vec![whole()],
    }
}
