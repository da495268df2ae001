//! Server-Sent Events: what a stream of them is, whatever it tells.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _};
use serde_json::Value;
use tokio::time::Instant;

/// Between two events at least so many times what it took to make the first.
const PAUSE_FACTOR: u32 = 20;
/// What is in between keeps a connection on which something comes.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// When the next event may come after one that was begun then: what takes long to make, others wait for.
pub(super) fn next_after(begun: Instant, interval: Duration) -> Instant {
    begun + interval.max(begun.elapsed() * PAUSE_FACTOR)
}

/// An event. JSON has no line ends that would end it.
pub(super) fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// An answer that goes on for as long as events come.
pub(super) fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let comments = KeepAlive::new().interval(COMMENT_EVERY);
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(comments).into_response();
    response.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}
