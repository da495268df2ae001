//! What happened to locks and sessions, for whoever counts.

use std::fmt;
use std::time::Duration;

use super::{DoneStatus, LostReason, RequestError};
use crate::command::Status;
use crate::mode::Mode;
use crate::name::{ClaimId, Label, ResourceId, SessionId};

/// Something that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A lock or a conversion was asked for, and that has ended. A copy of the request is no request of its own, and one that goes on
    /// at another broker ends there.
    Asked {
        /// What was asked for.
        on: ResourceId,
        /// For which claim.
        claim: ClaimId,
        /// The mode asked for. Absent if that was at another broker, and nothing was granted.
        mode: Option<Mode>,
        /// How it ended.
        ended: Ended,
        /// It stood in the queue of the resource. Otherwise only the store was waited for.
        queued: bool,
        /// Since it was asked for here.
        waited: Duration,
    },
    /// A lock was held, and is not any more.
    Held {
        /// What was held.
        on: ResourceId,
        /// By which claim.
        claim: ClaimId,
        /// In which mode, at the end.
        mode: Option<Mode>,
        /// It was lost. Otherwise its client let go of it, or took it to another broker, or it stays behind its session.
        lost: bool,
        /// Since it was granted, or came to this broker.
        held: Duration,
    },
    /// Sessions are lost.
    Lost {
        /// Who or what took them.
        reason: LostReason,
        /// How many.
        sessions: usize,
        /// Which, with the label that its client gave it; absent where more than one may be lost at once.
        which: Option<(SessionId, Label)>,
    },
}

/// How a request to lock or to convert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was granted.
    Granted,
    /// It was a try, and would have had to wait.
    WouldWait,
    /// It would have waited for itself.
    Deadlock,
    /// It was withdrawn.
    Cancelled,
    /// Its wait ended.
    TimedOut,
    /// Its client let go of it while it waited.
    Released,
    /// Its claim was taken away while it waited.
    Lost,
    /// Its claim had ended before.
    Gone,
    /// Whoever asked may not do that.
    Denied,
    /// A limit was reached.
    Limit,
    /// Nothing happened, and it may pass.
    Unavailable,
    /// Nobody knows whether something happened.
    Unknown,
    /// It made no sense, or not now.
    Invalid,
}

impl Ended {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::Granted,
        Self::WouldWait,
        Self::Deadlock,
        Self::Cancelled,
        Self::TimedOut,
        Self::Released,
        Self::Lost,
        Self::Gone,
        Self::Denied,
        Self::Limit,
        Self::Unavailable,
        Self::Unknown,
        Self::Invalid,
    ];
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted",
            Self::WouldWait => "would_wait",
            Self::Deadlock => "deadlock",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Released => "released",
            Self::Lost => "lost",
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        })
    }
}

impl From<DoneStatus> for Ended {
    fn from(status: DoneStatus) -> Self {
        match status {
            DoneStatus::Is(Status::Granted) => Self::Granted,
            DoneStatus::Is(Status::WouldWait) => Self::WouldWait,
            DoneStatus::Is(Status::Deadlock) => Self::Deadlock,
            DoneStatus::Is(Status::Cancelled) => Self::Cancelled,
            DoneStatus::Is(Status::TimedOut) => Self::TimedOut,
            DoneStatus::Is(Status::Released) => Self::Released,
            DoneStatus::Lost => Self::Lost,
            DoneStatus::Gone => Self::Gone,
        }
    }
}

impl From<&RequestError> for Ended {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::Denied(_) | RequestError::Unauthenticated | RequestError::WrongToken(_) => Self::Denied,
            RequestError::Limit(_) => Self::Limit,
            RequestError::Unavailable(_) | RequestError::Draining { .. } | RequestError::NotHere { .. } => {
                Self::Unavailable
            }
            RequestError::Unknown(_) => Self::Unknown,
            RequestError::SessionGone(_) => Self::Lost,
            RequestError::Invalid(_)
            | RequestError::NotFound(_)
            | RequestError::Busy(_)
            | RequestError::Damaged(_)
            | RequestError::StaleOperation(_)
            | RequestError::StaleMove(_)
            | RequestError::Unsupported(_) => Self::Invalid,
        }
    }
}
