//! What a session knows of one of its claims.

use std::collections::VecDeque;
use std::time::Duration;

use sixpin_proto::v1;

use super::api::OperationId;
use super::finish::undecided;
use crate::error::{Error, Loss};
use crate::mode::Mode;

/// A claim that was asked for under a number.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) resource: v1::Resource,
    pub(super) owner: String,
    /// The newest grant; absent while the first one is waited for.
    pub(super) granted: Option<Granted>,
    /// The newest operation number used on it.
    pub(super) last_operation: u32,
    /// The lock or conversion that the broker works on, or gets next. One at a time.
    pub(super) pending: Option<Pending>,
    /// Conversions behind it.
    pub(super) behind: VecDeque<Pending>,
    /// Nothing follows a release, and a release overtakes what is pending.
    pub(super) release: Option<Release>,
    /// The program has a handle on it, and will let go of it.
    pub(super) held: bool,
    /// It was taken away, and the program has not let go of it yet.
    pub(super) lost: Option<Loss>,
}

impl Claim {
    /// A lock request that no broker has answered: it may or may not exist.
    pub(super) fn is_asked(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            matches!(pending.what, What::Lock(_)) && pending.stage != Stage::Queued && self.granted.is_none()
        })
    }
}

/// The newest grant of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) mode: Mode,
    pub(super) fence: u64,
    pub(super) grant_seq: u32,
}

/// A lock or a conversion.
#[derive(Debug)]
pub(super) struct Pending {
    /// Who waits for it; absent once it was abandoned.
    pub(super) waiter: Option<OperationId>,
    pub(super) what: What,
    /// Given when it is first sent; 0 before.
    pub(super) operation: u32,
    pub(super) stage: Stage,
    /// Its place in the queue; 0 until it has one.
    pub(super) ticket: u64,
    /// Absent: waits for ever, or is a try.
    pub(super) wait_until: Option<Duration>,
    pub(super) withdraw: Withdraw,
    /// An earlier copy of it may have happened, so that a refusal of a later one proves nothing.
    pub(super) doubt: bool,
    /// What a broker said that refused it for now, if it certainly did not happen.
    pub(super) refused: Option<Box<v1::Error>>,
    /// How often it was refused for now.
    pub(super) failures: u32,
}

impl Pending {
    /// What it asks for; unspecified if that is no mode.
    pub(super) fn mode(&self) -> v1::Mode {
        match &self.what {
            What::Lock(request) => request.mode(),
            What::Convert { request, .. } => request.mode(),
        }
    }

    /// The trace that it belongs to; empty: none that the program named.
    pub(super) fn traceparent(&self) -> &str {
        match &self.what {
            What::Lock(request) => &request.traceparent,
            What::Convert { request, .. } => &request.traceparent,
        }
    }

    /// It does not wait for others, so neither does it wait for a broker that refuses it for now.
    pub(super) fn is_try(&self) -> bool {
        match &self.what {
            What::Lock(request) => request.timeout_ms == Some(0),
            What::Convert { request, .. } => request.timeout_ms == Some(0),
        }
    }

    /// Why it ends although no broker could say whether it can be granted: what the last one that refused it said.
    pub(super) fn why_undecided(&self, mode: Option<Mode>) -> Error {
        self.refused.as_ref().map_or_else(|| undecided(mode), |error| Error::from_proto((**error).clone()))
    }

    /// What is left of its wait in milliseconds, rounded up; absent: for ever.
    pub(super) fn wait_ms(&self, now: Duration) -> Option<u64> {
        if self.is_try() {
            return Some(0);
        }
        self.wait_until.map(|until| {
            let left = until.saturating_sub(now).as_nanos().div_ceil(1_000_000);
            u64::try_from(left).unwrap_or(u64::MAX).max(1)
        })
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) enum What {
    /// Kept as it was asked, because it may have to be asked again.
    Lock(Box<v1::Lock>),
    /// `queue`: wait behind other converters; absent: if the mode then held is NL.
    Convert { request: Box<v1::Convert>, queue: Option<bool> },
}

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be sent, or sent again with the same number.
    Ready,
    /// Sent and not answered: it may or may not have happened.
    Sent,
    /// The broker says that it waits.
    Queued,
}

/// Whether an operation is to be withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withdraw {
    No,
    /// A cancel is to be sent, or sent again.
    Wanted,
    /// A cancel is on its way, or was answered.
    Sent,
}

/// A release.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) waiter: Option<Waiter>,
    pub(super) request: Box<v1::Unlock>,
    /// Given when it is first sent; 0 before.
    pub(super) operation: u32,
    pub(super) stage: Stage,
    /// An earlier copy of it may have happened.
    pub(super) doubt: bool,
    pub(super) failures: u32,
}

/// Who waits for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    One(OperationId),
    /// One of many that were released together.
    Group(OperationId),
}

/// A lock that was not sent yet, and has no number.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) request: Box<v1::Lock>,
    pub(super) wait_until: Option<Duration>,
}

/// Where an operation that somebody waits for is.
#[derive(Debug)]
pub(super) enum Place {
    Unsent(Asking),
    /// Pending on a claim, or behind.
    Claim(u64),
}

/// Something to send when there is room. Checked again then, because much may have happened since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// A lock that has no number yet.
    Lock(OperationId),
    /// What is pending on a claim.
    Operation(u64),
    Release(u64),
    Cancel(u64),
}
