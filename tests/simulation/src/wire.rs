//! Messages of the session stream as the broker machine's words, and back.
//!
//! The server's own conversion also checks what strangers may send; here both ends are ours.

use std::time::Duration;

use sixpin_core::broker::api::{
    CancelResult, ClientInfo, ConvertRequest, Done, DoneStatus, Event, LiveClaim, LockRequest, LostReason, OpenRequest,
    Reply, Request, RequestError, ResumeRequest, UnlockRequest,
};
use sixpin_core::command::{ConversionDeadlock, Options, Status};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Label, Lockspace, OperationNumber, ResourceId, ResourceName};
use sixpin_core::token::SessionToken;
use sixpin_proto::{API_LEVEL, v1};
use v1::session_request::Body as Up;
use v1::session_response::Body as Down;

/// What a client asks. Absent if the message makes no sense, which our own client must never send.
pub(crate) fn request(body: Up) -> Option<Request> {
    Some(match body {
        Up::Open(open) => Request::Open(Box::new(OpenRequest {
            ttl: open.ttl_ms.map(|ms| Duration::from_millis(ms.into())),
            client: ClientInfo { label: Label::new(&open.label).ok()?, ..ClientInfo::default() },
            bound: open.connection_bound,
            release_on_end: false,
            attach: true,
        })),
        Up::Resume(resume) => Request::Resume(Box::new(self::resume(resume)?)),
        Up::KeepAlive(keep) => Request::KeepAlive { move_number: keep.move_number },
        Up::Lock(lock) => Request::Lock { lock: self::lock(lock)?, until_done: false },
        Up::Convert(convert) => Request::Convert { convert: self::convert(convert)?, until_done: false },
        Up::Unlock(unlock) => Request::Unlock(UnlockRequest {
            claim: ClaimNumber(unlock.claim),
            operation: OperationNumber(unlock.operation),
            options: flag(unlock.value_block, Options::VALUE_BLOCK)
                | flag(unlock.invalidate_value, Options::INVALIDATE_VALUE),
            value: (!unlock.value.is_empty()).then_some(unlock.value),
            force: unlock.force,
        }),
        Up::UnlockAll(all) => Request::UnlockAll { owner: all.owner.map(|owner| Label::new(&owner)).transpose().ok()? },
        Up::Cancel(cancel) => Request::Cancel {
            claim: ClaimNumber(cancel.claim),
            operation: (cancel.operation != 0).then_some(OperationNumber(cancel.operation)),
        },
        Up::ConfirmLost(confirm) => {
            Request::ConfirmLost { claims: confirm.claims.into_iter().map(ClaimNumber).collect() }
        }
        Up::Close(_) => Request::Close,
        // There is no access control here, so nobody says who it is.
        Up::Authenticate(_) => return None,
    })
}

fn flag(set: bool, option: Options) -> Options {
    if set { option } else { Options::empty() }
}

fn resource(resource: v1::Resource) -> Option<ResourceId> {
    let lockspace =
        if resource.lockspace.is_empty() { Lockspace::default() } else { Lockspace::new(&resource.lockspace).ok()? };
    Some(ResourceId { lockspace, name: ResourceName::new(&resource.name).ok()? })
}

fn mode(mode: i32) -> Option<Mode> {
    Mode::from_number(u8::try_from(mode.checked_sub(1)?).ok()?)
}

fn wait(ms: Option<u64>) -> Option<Duration> {
    ms.map(Duration::from_millis)
}

fn deadlock(deadlock: i32) -> Option<ConversionDeadlock> {
    match v1::ConversionDeadlock::try_from(deadlock).ok()? {
        v1::ConversionDeadlock::Unspecified => None,
        v1::ConversionDeadlock::Error => Some(ConversionDeadlock::Error),
        v1::ConversionDeadlock::Demote => Some(ConversionDeadlock::Demote),
        v1::ConversionDeadlock::Wait => Some(ConversionDeadlock::Wait),
    }
}

fn resume(resume: v1::Resume) -> Option<ResumeRequest> {
    let claims = resume.claims.into_iter().map(|live| {
        let waiting = (live.operation != 0).then_some((OperationNumber(live.operation), wait(live.wait_ms)));
        Some(LiveClaim {
            claim: ClaimNumber(live.claim),
            resource: resource(live.resource?)?,
            last_operation: OperationNumber(live.last_operation),
            grant_seq: live.grant_seq,
            waiting,
        })
    });
    let token: SessionToken = resume.token.parse().ok()?;
    Some(ResumeRequest {
        session: token.session,
        secret: token.secret,
        move_number: resume.move_number,
        next_claim: ClaimNumber(resume.next_claim),
        claims: claims.collect::<Option<Vec<_>>>()?,
        void: resume.void_claims.into_iter().map(ClaimNumber).collect(),
        client: ClientInfo { label: Label::new(&resume.label).ok()?, ..ClientInfo::default() },
        attach: true,
    })
}

fn lock(lock: v1::Lock) -> Option<LockRequest> {
    let mode = mode(lock.mode().into())?;
    Some(LockRequest {
        claim: ClaimNumber(lock.claim),
        operation: OperationNumber(lock.operation),
        resource: resource(lock.resource?)?,
        mode,
        options: flag(lock.value_block, Options::VALUE_BLOCK)
            | flag(lock.expedite, Options::EXPEDITE)
            | flag(lock.head_of_queue, Options::HEAD_OF_QUEUE)
            | flag(lock.no_order, Options::NO_ORDER)
            | flag(lock.persistent, Options::PERSISTENT),
        conversion_deadlock: None,
        wait: wait(lock.timeout_ms),
        blocking: lock.blocking,
        owner: Label::new(&lock.owner).ok()?,
        label: Label::new(&lock.label).ok()?,
        orphan: lock.orphan,
    })
}

fn convert(convert: v1::Convert) -> Option<ConvertRequest> {
    Some(ConvertRequest {
        claim: ClaimNumber(convert.claim),
        operation: OperationNumber(convert.operation),
        mode: mode(convert.mode().into())?,
        options: flag(convert.value_block, Options::VALUE_BLOCK)
            | flag(convert.queue_conversion, Options::QUEUE_CONVERSION)
            | flag(convert.head_of_queue, Options::HEAD_OF_QUEUE),
        conversion_deadlock: deadlock(convert.conversion_deadlock),
        wait: wait(convert.timeout_ms),
        blocking: convert.blocking,
        value: (!convert.value.is_empty()).then_some(convert.value),
    })
}

/// An answer.
pub(crate) fn reply(reply: Reply) -> Option<Down> {
    Some(match reply {
        Reply::Opened { session, secret } => Down::Opened(v1::Opened {
            session: session.to_string(),
            token: SessionToken { session, lockspace: Lockspace::default(), secret }.to_string(),
            ttl_ms: session.ttl_ms,
            keepalive_ms: session.ttl_ms / 3,
            broker: "broker".into(),
            value_block_bytes: 32,
            requests_max: 256,
            api_level: API_LEVEL,
        }),
        Reply::Resumed { session, move_number, claims } => Down::Resumed(v1::Resumed {
            move_number,
            broker: "broker".into(),
            keepalive_ms: session.ttl_ms / 3,
            requests_max: 256,
            claims: claims
                .into_iter()
                .map(|state| v1::ClaimState {
                    claim: state.claim.0,
                    held: mode_of(state.mode).held(),
                    waiting: state.waiting,
                    completion: state.done.as_ref().map(completion),
                })
                .collect(),
            api_level: API_LEVEL,
        }),
        Reply::Listening { .. } | Reply::Notified { .. } => return None,
        Reply::KeptAlive { move_number, ttl, lost } => Down::KeptAlive(v1::KeptAlive {
            move_number,
            ttl_ms: ttl.as_millis() as u32,
            lost_claims: lost.into_iter().map(|claim| claim.0).collect(),
        }),
        Reply::Done(done) => Down::Completion(completion(&done)),
        Reply::Queued { claim, operation, position, ticket } => {
            Down::Queued(v1::Queued { claim: claim.0, operation: operation.0, position, ticket: ticket.0 })
        }
        Reply::UnlockedAll { released } => Down::UnlockedAll(v1::UnlockedAll { released }),
        Reply::Cancelled { claim, result } => {
            let result = match result {
                CancelResult::Cancelled => v1::CancelResult::Cancelled,
                CancelResult::AlreadyGranted => v1::CancelResult::AlreadyGranted,
                CancelResult::Gone => v1::CancelResult::Gone,
            };
            Down::Cancelled(v1::Cancelled { result: result.into(), claim: claim.0 })
        }
        Reply::Closed => Down::Closed(v1::Closed {}),
        Reply::Error(error) => Down::Error(self::error(&error)),
        _ => return None,
    })
}

fn error(error: &RequestError) -> v1::Error {
    use v1::Reason;
    let (reason, address) = match error {
        RequestError::Invalid(_) => (Reason::Invalid, ""),
        RequestError::NotFound(_) => (Reason::NotFound, ""),
        RequestError::Busy(_) => (Reason::Busy, ""),
        RequestError::Limit(_) => (Reason::Limit, ""),
        RequestError::SessionGone(_) => (Reason::SessionGone, ""),
        RequestError::NotHere { address, .. } => (Reason::NotHere, address.as_str()),
        RequestError::Damaged(_) => (Reason::Damaged, ""),
        RequestError::Unavailable(_) => (Reason::Unavailable, ""),
        RequestError::Unknown(_) => (Reason::Unknown, ""),
        RequestError::Draining { address } => (Reason::Draining, address.as_str()),
        RequestError::StaleOperation(_) => (Reason::StaleOperation, ""),
        RequestError::StaleMove(_) => (Reason::StaleMove, ""),
        RequestError::WrongToken(_) => (Reason::WrongToken, ""),
        RequestError::Unsupported(_) => (Reason::Unsupported, ""),
        RequestError::Unauthenticated => (Reason::Unauthenticated, ""),
        RequestError::Denied(_) => (Reason::Denied, ""),
    };
    v1::Error { reason: reason.into(), message: error.to_string(), address: address.into(), retry_after_ms: 0 }
}

/// An event.
pub(crate) fn event(event: Event) -> Down {
    match event {
        Event::Done(done) => Down::Completion(completion(&done)),
        Event::Blocking { claim, grant_seq, wanted, own } => {
            Down::Blocking(v1::Blocking { claim: claim.0, grant_seq, wanted: mode_of(Some(wanted)).into(), own })
        }
        Event::Lost { reason, claims } => {
            let reason = match reason {
                LostReason::Expired => v1::LostReason::Expired,
                LostReason::Forced => v1::LostReason::Forced,
                LostReason::Amnesia => v1::LostReason::Amnesia,
                LostReason::Moved => v1::LostReason::Moved,
                LostReason::Closed => v1::LostReason::Closed,
            };
            Down::Lost(v1::Lost { reason: reason.into(), claims: claims.into_iter().map(|claim| claim.0).collect() })
        }
        Event::Move { addresses } => Down::Move(v1::Move { addresses }),
    }
}

fn mode_of(mode: Option<Mode>) -> v1::Mode {
    mode.and_then(|mode| v1::Mode::try_from(i32::from(mode.number()) + 1).ok()).unwrap_or_default()
}

fn completion(done: &Done) -> v1::Completion {
    let status = match done.status {
        DoneStatus::Is(Status::Granted) => v1::Status::Granted,
        DoneStatus::Is(Status::WouldWait) => v1::Status::WouldWait,
        DoneStatus::Is(Status::Deadlock) => v1::Status::Deadlock,
        DoneStatus::Is(Status::Cancelled) => v1::Status::Cancelled,
        DoneStatus::Is(Status::TimedOut) => v1::Status::TimedOut,
        DoneStatus::Is(Status::Released) => v1::Status::Released,
        DoneStatus::Lost => v1::Status::Lost,
        DoneStatus::Gone => v1::Status::Gone,
    };
    v1::Completion {
        claim: done.claim.0,
        operation: done.operation.0,
        status: status.into(),
        held: mode_of(done.mode).held(),
        fence: done.fence.map_or(0, |fence| fence.0),
        grant_seq: done.grant_seq,
        immediate: done.immediate,
        demoted: done.demoted,
        alternate: done.alternate,
        value: done.extras.value().map(|value| v1::Value {
            bytes: value.bytes.clone(),
            seq: value.seq,
            invalid: value.invalid,
        }),
        blockers: Vec::new(),
        adopted: None,
    }
}
