//! Which connection an answer goes to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use sixpin_core::broker::api::{ConnectionId, Event, Reply, ReplyTo, RequestError};
use tokio::sync::oneshot;

use super::outbox::{End, Outbox, Outgoing};
use crate::traces::commit::Commit;

/// Where the answers of one connection go.
#[derive(Debug)]
pub enum Sink {
    /// A stream: many answers and events.
    Stream(Arc<Outbox>),
    /// A call: one answer.
    Call(oneshot::Sender<Answer>),
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// What is said.
    pub reply: Reply,
    /// The commit that it comes of, where that is wanted.
    pub commit: Option<Arc<Commit>>,
}

impl From<RequestError> for Answer {
    fn from(error: RequestError) -> Self {
        Self { reply: Reply::Error(error), commit: None }
    }
}

/// The table of connections of one engine.
#[derive(Default)]
pub struct Router {
    routes: HashMap<ConnectionId, Route, BuildHasherDefault<ConnectionHasher>>,
    /// Streams with answers that were not handed over yet.
    dirty: Vec<ConnectionId>,
}

enum Route {
    Stream { outbox: Arc<Outbox>, pending: Vec<Outgoing> },
    Call(oneshot::Sender<Answer>),
}

impl Router {
    /// Adds a connection.
    pub fn connect(&mut self, connection: ConnectionId, sink: Sink) {
        let route = match sink {
            Sink::Stream(outbox) => Route::Stream { outbox, pending: Vec::new() },
            Sink::Call(answer) => Route::Call(answer),
        };
        self.routes.insert(connection, route);
    }

    /// True while the connection may be answered.
    pub fn knows(&self, connection: ConnectionId) -> bool {
        self.routes.contains_key(&connection)
    }

    /// Forgets a connection. False if it was not known (any more).
    pub fn remove(&mut self, connection: ConnectionId) -> bool {
        self.routes.remove(&connection).is_some()
    }

    /// Answers a request. An answer to a connection that ended is dropped.
    pub fn reply(&mut self, to: ReplyTo, reply: Reply, commit: Option<Arc<Commit>>) {
        match self.routes.get_mut(&to.connection) {
            Some(Route::Stream { .. }) => {
                self.push(to.connection, Outgoing::Reply { request: to.request, reply, commit });
            }
            Some(Route::Call(_)) => {
                if let Some(Route::Call(answer)) = self.routes.remove(&to.connection) {
                    // The caller may have given up in this moment; the machine hears of that by itself.
                    let _ = answer.send(Answer { reply, commit });
                }
            }
            None => {}
        }
    }

    /// Tells a stream.
    pub fn event(&mut self, connection: ConnectionId, event: Event, commit: Option<Arc<Commit>>) {
        self.push(connection, Outgoing::Event { event, commit });
    }

    /// Ends a stream after what was said to it.
    pub fn disconnect(&mut self, connection: ConnectionId) {
        if let Some(Route::Stream { outbox, mut pending }) = self.routes.remove(&connection) {
            outbox.append(&mut pending);
            outbox.end(End::Finished);
        }
    }

    /// Hands over everything that was said, one wake-up per stream. The streams that did not take their answers are cut
    /// off, forgotten and appended to `too_slow`.
    pub fn dispatch(&mut self, too_slow: &mut Vec<ConnectionId>) {
        for connection in self.dirty.drain(..) {
            let Some(Route::Stream { outbox, pending }) = self.routes.get_mut(&connection) else { continue };
            if !outbox.append(pending) {
                self.routes.remove(&connection);
                too_slow.push(connection);
            }
        }
    }

    /// Ends everything: the broker behind it is over.
    pub fn end_all(&mut self, text: &str) {
        self.dirty.clear();
        for (_, route) in self.routes.drain() {
            match route {
                Route::Stream { outbox, mut pending } => {
                    outbox.append(&mut pending);
                    outbox.end(End::BrokerOver(text.into()));
                }
                Route::Call(answer) => {
                    // Whether the request took effect is not known any more, so the caller must repeat it.
                    let _ = answer.send(RequestError::Unknown(text.into()).into());
                }
            }
        }
    }

    fn push(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        if let Some(Route::Stream { pending, .. }) = self.routes.get_mut(&connection) {
            if pending.is_empty() {
                self.dirty.push(connection);
            }
            pending.push(outgoing);
        }
    }
}

/// Connection numbers are given by this process and count up, so no client can choose colliding ones: one
/// multiplication spreads them well enough.
#[derive(Default)]
struct ConnectionHasher(u64);

impl Hasher for ConnectionHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
