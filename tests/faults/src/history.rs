//! What clients saw, and when.
//!
//! Times are of `CLOCK_BOOTTIME`, which all processes of a machine share. A time is always taken on the side that makes
//! the statement weaker: that of a grant after it was heard, that of a proof of validity and of a release before. So a
//! history can hide a violation for a moment, and never shows one that was not there.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds since some fixed point.
pub type Time = u64;

/// Now.
pub fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// Something that a client saw of one of its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// On the clock that all processes of the machine share.
    pub at: Time,
    /// Whose claim.
    pub session: String,
    /// Its number.
    pub claim: u64,
    /// Of which resource.
    pub resource: usize,
    /// What the client saw.
    pub what: What,
}

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It was granted a lock, or a conversion upwards or sideways: a mode by its number from 1 to 6, and the fence.
    Granted(u8, u64),
    /// The lock was valid at this moment, by its own clock, and if nothing more is heard it stays so until then.
    Valid(Time),
    /// From now on it uses at most this mode.
    Lowered(u8),
    /// From now on it uses nothing.
    Released,
    /// It found the lock lost.
    Lost(String),
    /// It was told that somebody took a lock, or what it asked for, away from it: by what it asked.
    Taken(String),
}

/// A queue as somebody saw it by inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Of which resource.
    pub resource: usize,
    /// The version of its record.
    pub version: u64,
    /// Claims that wait, the first first, as text.
    pub waiting: Vec<String>,
    /// Claims that hold something.
    pub granted: Vec<String>,
}

/// Where events go.
pub type Recorder = Arc<dyn Fn(Event) + Send + Sync>;

/// Everything that was seen. Clones are the same history.
#[derive(Debug, Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Seen>>,
}

/// The contents of a history.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By clients, in any order.
    pub events: Vec<Event>,
    /// By inspection, in any order.
    pub queues: Vec<Queue>,
}

impl History {
    /// One more event.
    pub fn record(&self, event: Event) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).events.push(event);
    }

    /// One more look at a queue.
    pub fn saw(&self, queue: Queue) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).queues.push(queue);
    }

    /// A recorder into this history.
    pub fn recorder(&self) -> Recorder {
        let history = self.clone();
        Arc::new(move |event| history.record(event))
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
