//! Answers and events: from the words of the machine to proto.

use std::time::Duration;

use sixpin_core::broker::api::{CancelResult, ClaimState, Done, DoneStatus, Event, LostReason, Reply};
use sixpin_core::command::{Blocker, Status, Value};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, ClaimNumber, Lockspace};
use sixpin_proto::{API_LEVEL, v1};
use v1::session_response::Body;

use super::errors;
use crate::frontend::api::calls::Queued;
use crate::frontend::api::errors::unexpected;
use crate::frontend::api::listening::Standing;
use crate::frontend::api::{Api, Opened, Resumed};

/// Builds the answers of one stream or call: some say things about the broker.
#[derive(Clone)]
pub(crate) struct Replies {
    api: Api,
}

impl Replies {
    /// Answers of the broker behind `api`.
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    /// A session is open.
    pub(crate) fn opened(&self, opened: &Opened) -> v1::Opened {
        v1::Opened {
            session: opened.session.to_string(),
            token: opened.token.to_string(),
            ttl_ms: opened.session.ttl_ms,
            keepalive_ms: opened.keepalive.as_millis() as u32,
            broker: self.api.broker().into(),
            value_block_bytes: opened.value_block_bytes as u32,
            requests_max: self.requests_max(),
            api_level: API_LEVEL,
        }
    }

    /// A session is here.
    pub(crate) fn resumed(&self, resumed: Resumed) -> v1::Resumed {
        v1::Resumed {
            move_number: resumed.move_number,
            broker: self.api.broker().into(),
            keepalive_ms: resumed.keepalive.as_millis() as u32,
            requests_max: self.requests_max(),
            claims: resumed.claims.into_iter().map(claim_state).collect(),
            api_level: API_LEVEL,
        }
    }

    /// The answer to a request on a stream; `lockspace` is the one that the session was opened for.
    pub(crate) fn reply(&self, reply: Reply, lockspace: &Lockspace) -> Option<Body> {
        Some(match reply {
            Reply::Done(done) => Body::Completion(completion(&done)),
            Reply::Queued { claim, operation, position, ticket } => {
                Body::Queued(queued(&Queued { claim, operation, position, ticket }))
            }
            Reply::KeptAlive { move_number, ttl, lost } => Body::KeptAlive(kept_alive(move_number, ttl, &lost)),
            Reply::Opened { session, secret } => {
                Body::Opened(self.opened(&self.api.opened(session, secret, lockspace)))
            }
            Reply::Resumed { session, move_number, claims } => {
                Body::Resumed(self.resumed(self.api.resumed(session, move_number, claims)))
            }
            Reply::UnlockedAll { released } => Body::UnlockedAll(v1::UnlockedAll { released }),
            Reply::Cancelled { claim, result } => Body::Cancelled(cancelled(claim, result)),
            Reply::Closed => Body::Closed(v1::Closed {}),
            Reply::Error(error) => Body::Error(errors::to_proto(&error)),
            // A confirmation needs no content: an answer without a body says that it was noted.
            Reply::Confirmed => return None,
            other => Body::Error(errors::to_proto(&unexpected(&other))),
        })
    }

    fn requests_max(&self) -> u32 {
        self.api.limits().requests_per_stream as u32
    }
}

/// An event on a stream.
pub(crate) fn event(event: Event) -> Body {
    match event {
        Event::Done(done) => Body::Completion(completion(&done)),
        Event::Blocking { claim, grant_seq, wanted, own } => Body::Blocking(blocking(claim, grant_seq, wanted, own)),
        Event::Lost { reason, claims } => Body::Lost(lost(reason, &claims)),
        Event::Move { addresses } => Body::Move(v1::Move { addresses }),
    }
}

/// The end of an operation.
pub(crate) fn completion(done: &Done) -> v1::Completion {
    v1::Completion {
        claim: done.claim.0,
        operation: done.operation.0,
        status: status(done.status).into(),
        held: mode(done.mode).held(),
        fence: done.fence.map_or(0, |fence| fence.0),
        grant_seq: done.grant_seq,
        immediate: done.immediate,
        demoted: done.demoted,
        alternate: done.alternate,
        value: done.extras.value().map(value),
        blockers: done.extras.blockers().iter().map(blocker).collect(),
        adopted: done.extras.adopted().map(claim_ref),
    }
}

/// An operation waits.
pub(crate) fn queued(queued: &Queued) -> v1::Queued {
    v1::Queued {
        claim: queued.claim.0,
        operation: queued.operation.0,
        position: queued.position,
        ticket: queued.ticket.0,
    }
}

/// A claim is in somebody's way.
pub(crate) fn blocking(claim: ClaimNumber, grant_seq: u32, wanted: Mode, own: bool) -> v1::Blocking {
    v1::Blocking { claim: claim.0, grant_seq, wanted: mode(Some(wanted)).into(), own }
}

/// Events come from now on.
pub(crate) fn listening(standing: &Standing) -> v1::Listening {
    v1::Listening { lost: numbers(&standing.lost), waiting: numbers(&standing.waiting) }
}

/// The session lives, less what it lost.
pub(crate) fn kept_alive(move_number: u32, ttl: Duration, lost: &[ClaimNumber]) -> v1::KeptAlive {
    v1::KeptAlive { move_number, ttl_ms: ttl.as_millis() as u32, lost_claims: numbers(lost) }
}

/// What a cancel did.
pub(crate) fn cancelled(claim: ClaimNumber, result: CancelResult) -> v1::Cancelled {
    let result = match result {
        CancelResult::Cancelled => v1::CancelResult::Cancelled,
        CancelResult::AlreadyGranted => v1::CancelResult::AlreadyGranted,
        CancelResult::Gone => v1::CancelResult::Gone,
    };
    v1::Cancelled { result: result.into(), claim: claim.0 }
}

/// What was lost, and why.
pub(crate) fn lost(reason: LostReason, claims: &[ClaimNumber]) -> v1::Lost {
    let reason = match reason {
        LostReason::Expired => v1::LostReason::Expired,
        LostReason::Forced => v1::LostReason::Forced,
        LostReason::Amnesia => v1::LostReason::Amnesia,
        LostReason::Moved => v1::LostReason::Moved,
        LostReason::Closed => v1::LostReason::Closed,
    };
    v1::Lost { reason: reason.into(), claims: numbers(claims) }
}

/// A mode, or none.
pub(crate) fn mode(mode: Option<Mode>) -> v1::Mode {
    match mode {
        None => v1::Mode::Unspecified,
        Some(Mode::NL) => v1::Mode::Nl,
        Some(Mode::CR) => v1::Mode::Cr,
        Some(Mode::CW) => v1::Mode::Cw,
        Some(Mode::PR) => v1::Mode::Pr,
        Some(Mode::PW) => v1::Mode::Pw,
        Some(Mode::EX) => v1::Mode::Ex,
    }
}

fn numbers(claims: &[ClaimNumber]) -> Vec<u64> {
    claims.iter().map(|claim| claim.0).collect()
}

fn claim_state(state: ClaimState) -> v1::ClaimState {
    v1::ClaimState {
        claim: state.claim.0,
        held: mode(state.mode).held(),
        waiting: state.waiting,
        completion: state.done.as_ref().map(completion),
    }
}

fn status(status: DoneStatus) -> v1::Status {
    match status {
        DoneStatus::Is(Status::Granted) => v1::Status::Granted,
        DoneStatus::Is(Status::WouldWait) => v1::Status::WouldWait,
        DoneStatus::Is(Status::Deadlock) => v1::Status::Deadlock,
        DoneStatus::Is(Status::Cancelled) => v1::Status::Cancelled,
        DoneStatus::Is(Status::TimedOut) => v1::Status::TimedOut,
        DoneStatus::Is(Status::Released) => v1::Status::Released,
        DoneStatus::Lost => v1::Status::Lost,
        DoneStatus::Gone => v1::Status::Gone,
    }
}

fn value(value: &Value) -> v1::Value {
    v1::Value { bytes: value.bytes.clone(), seq: value.seq, invalid: value.invalid }
}

fn blocker(blocker: &Blocker) -> v1::Blocker {
    v1::Blocker {
        session: blocker.claim.session.to_string(),
        claim: blocker.claim.number.0,
        granted: mode(blocker.granted).into(),
        requested: mode(blocker.requested).into(),
        owner: blocker.owner.as_str().into(),
        label: blocker.label.as_str().into(),
    }
}

fn claim_ref(claim: ClaimId) -> v1::ClaimRef {
    v1::ClaimRef { session: claim.session.to_string(), claim: claim.number.0 }
}
