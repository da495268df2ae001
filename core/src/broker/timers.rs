//! What the broker wants to be woken for.
//!
//! Timers are never taken back: one that fires too early or for something that is over finds nothing to do. That keeps
//! them cheap for a hundred thousand sessions whose deadlines move with every keepalive. So whoever sets one does not set it
//! far ahead, and what repeats itself sees to it that it has one only.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::name::{ClaimId, OperationNumber, ResourceId, SessionId};

/// What to look at when the time has come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The wait of an operation ends.
    Wait(ClaimId, OperationNumber),
    /// A session may have been silent for its TTL.
    Session(SessionId),
    /// A resource on which somebody waits should be read again, or one that rests may go on.
    Resource(ResourceId),
    /// Claims that were taken away are freed without the holder's word.
    Forced(ClaimId),
    /// A session that an administrator ended goes without the client's word.
    Expired(SessionId),
    /// The lock-delay of a dead session on a resource is over.
    Delayed(SessionId, ResourceId),
    /// A lane should try again.
    Lane(u16),
    /// Beats, pulses and observation.
    Liveness,
    /// A broker is gone, or a session of one may be buried.
    Strangers,
    /// Strangers, sweeps and clearing up.
    Housekeeping,
    /// What is held is looked at again.
    Round,
    /// Perhaps nobody believes any more in what the store does not know of.
    Settling,
    /// The drain's patience is over.
    Drain,
}

/// All timers, by monotonic time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Duration, timer: Timer) {
        self.set.insert((at, timer));
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes one timer whose time has come.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.set.pop_first().map(|(_, timer)| timer)
    }
}
