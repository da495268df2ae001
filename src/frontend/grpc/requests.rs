//! Requests: from proto to the words of the machine, with every check that needs no state.
//!
//! What depends on the state of a claim or a resource, and which options contradict each other, is the machine's to
//! judge.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sixpin_core::broker::api::{
    ClientInfo, ConvertRequest, LiveClaim, LockRequest, OpenRequest, Request, RequestError, ResumeRequest, Secret,
    SessionRef, UnlockRequest,
};
use sixpin_core::command::{ConversionDeadlock, Options};
use sixpin_core::limits::{self, Limits};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Label, Lockspace, OperationNumber, SessionId};
use sixpin_proto::v1;

use super::errors::{bad_name, invalid};
use super::names::Names;

type Checked<T> = Result<T, RequestError>;

/// A request to open a session.
pub(super) fn open(open: &v1::OpenRequest, from: &ClientInfo, attach: bool) -> Checked<Request> {
    Ok(Request::Open(OpenRequest {
        ttl: session_ttl(open.ttl_ms)?,
        client: client(&open.label, from)?,
        bound: open.connection_bound,
        release_on_end: false,
        attach,
    }))
}

/// What people are told of a session's client.
pub(super) fn client(label: &str, from: &ClientInfo) -> Checked<ClientInfo> {
    Ok(ClientInfo { label: self::label("label", label)?, ..from.clone() })
}

/// Who calls, as the listener says it of every request. The label is for the request to say.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> ClientInfo {
    let address = request.remote_addr().map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    let address = address.and_then(|address| Label::new(&address.to_string()).ok()).unwrap_or_default();
    let shares = request.extensions().get().copied().unwrap_or_default();
    ClientInfo { label: Label::default(), address, shares }
}

/// The TTL of a session, if one is asked for.
pub(super) fn session_ttl(ttl_ms: Option<u32>) -> Checked<Option<Duration>> {
    let (min, max) = (limits::SESSION_TTL_MIN, limits::SESSION_TTL_MAX);
    let ttl = ttl_ms.map(|ttl_ms| Duration::from_millis(u64::from(ttl_ms)));
    match ttl {
        Some(ttl) if ttl < min || ttl > max => Err(invalid(format!(
            "`ttl_ms` is {}: a session's TTL is {} to {} milliseconds",
            ttl.as_millis(),
            min.as_millis(),
            max.as_millis()
        ))),
        ttl => Ok(ttl),
    }
}

/// A request to resume a session.
pub(super) fn resume(
    resume: v1::ResumeRequest,
    names: &mut Names,
    limits: &Limits,
    from: &ClientInfo,
    attach: bool,
) -> Checked<Request> {
    if resume.move_number == 0 {
        return Err(invalid("`move_number` is 0: moves are counted from 1"));
    }
    if resume.void_claims.len() > limits::VOID_CLAIMS_MAX {
        return Err(invalid(format!("`void_claims` has more than {} entries", limits::VOID_CLAIMS_MAX)));
    }
    if resume.more {
        return Err(invalid("`more` is for a stream: one call says everything"));
    }
    if resume.claims.len() > limits.claims_per_session {
        return Err(invalid(format!("`claims` has more than {} entries", limits.claims_per_session)));
    }
    Ok(Request::Resume(ResumeRequest {
        session: session_id("session", &resume.session)?,
        secret: secret(&resume.secret)?,
        move_number: resume.move_number,
        next_claim: number("next_claim", resume.next_claim).map(ClaimNumber)?,
        claims: resume.claims.into_iter().map(|claim| live_claim(claim, names)).collect::<Checked<_>>()?,
        void: resume.void_claims.into_iter().map(claim_number).collect::<Checked<_>>()?,
        client: client(&resume.label, from)?,
        attach,
    }))
}

fn live_claim(live: v1::LiveClaim, names: &mut Names) -> Checked<LiveClaim> {
    let waiting = match live.operation {
        0 => None,
        operation => Some((OperationNumber(operation), wait(live.wait_ms, "wait_ms")?)),
    };
    Ok(LiveClaim {
        claim: claim_number(live.claim)?,
        resource: names.resource(live.resource)?,
        last_operation: operation_number(live.last_operation)?,
        grant_seq: live.grant_seq,
        waiting,
    })
}

/// A request to lock.
pub(super) fn lock(lock: v1::LockRequest, names: &mut Names) -> Checked<LockRequest> {
    if lock.no_deadlock_wait || lock.no_deadlock_block || lock.deadlock_priority != 0 {
        return Err(invalid(
            "`no_deadlock_wait`, `no_deadlock_block` and `deadlock_priority` are refused: there is no deadlock search \
             over several resources yet; use a timeout",
        ));
    }
    let wait = wait(lock.timeout_ms, "timeout_ms")?;
    let options = options([
        (Options::TRY, wait == Some(Duration::ZERO)),
        (Options::NOTIFY_ON_REFUSAL, lock.notify_on_refusal),
        (Options::QUEUE_CONVERSION, lock.queue_conversion),
        (Options::EXPEDITE, lock.expedite),
        (Options::HEAD_OF_QUEUE, lock.head_of_queue),
        (Options::NO_ORDER, lock.no_order),
        (Options::ALTERNATE_PR, lock.alternate_pr),
        (Options::ALTERNATE_CW, lock.alternate_cw),
        (Options::VALUE_BLOCK, lock.value_block),
        (Options::PERSISTENT, lock.persistent),
    ]);
    Ok(LockRequest {
        claim: claim_number(lock.claim)?,
        operation: operation_number(lock.operation)?,
        resource: names.resource(lock.resource)?,
        mode: mode(lock.mode)?,
        options,
        conversion_deadlock: conversion_deadlock(lock.conversion_deadlock)?,
        wait,
        blocking: lock.blocking,
        owner: label("owner", &lock.owner)?,
        label: label("label", &lock.label)?,
        orphan: lock.orphan,
    })
}

/// A request to convert.
pub(super) fn convert(convert: v1::ConvertRequest, names: &mut Names) -> Checked<ConvertRequest> {
    // The broker knows where its claims are; a resource that is given must still be one.
    if convert.resource.is_some() {
        names.resource(convert.resource)?;
    }
    let wait = wait(convert.timeout_ms, "timeout_ms")?;
    let options = options([
        (Options::TRY, wait == Some(Duration::ZERO)),
        (Options::NOTIFY_ON_REFUSAL, convert.notify_on_refusal),
        (Options::QUEUE_CONVERSION, convert.queue_conversion),
        (Options::EXPEDITE, convert.expedite),
        (Options::HEAD_OF_QUEUE, convert.head_of_queue),
        (Options::NO_ORDER, convert.no_order),
        (Options::ALTERNATE_PR, convert.alternate_pr),
        (Options::ALTERNATE_CW, convert.alternate_cw),
        (Options::VALUE_BLOCK, convert.value_block),
        (Options::INVALIDATE_VALUE, convert.invalidate_value),
        (Options::PERSISTENT, convert.persistent),
    ]);
    Ok(ConvertRequest {
        claim: claim_number(convert.claim)?,
        operation: operation_number(convert.operation)?,
        mode: mode(convert.mode)?,
        options,
        conversion_deadlock: conversion_deadlock(convert.conversion_deadlock)?,
        wait,
        blocking: convert.blocking,
        value: value(convert.value)?,
    })
}

/// A request to release.
pub(super) fn unlock(unlock: v1::UnlockRequest) -> Checked<UnlockRequest> {
    let options =
        options([(Options::VALUE_BLOCK, unlock.value_block), (Options::INVALIDATE_VALUE, unlock.invalidate_value)]);
    Ok(UnlockRequest {
        claim: claim_number(unlock.claim)?,
        operation: operation_number(unlock.operation)?,
        options,
        value: value(unlock.value)?,
        force: unlock.force,
    })
}

/// A request to release all.
pub(super) fn unlock_all(all: &v1::UnlockAllRequest) -> Checked<Request> {
    let owner = all.owner.as_deref().map(|owner| label("owner", owner)).transpose()?;
    Ok(Request::UnlockAll { owner })
}

/// A request to cancel.
pub(super) fn cancel(cancel: &v1::CancelRequest) -> Checked<Request> {
    let operation = (cancel.operation != 0).then_some(OperationNumber(cancel.operation));
    Ok(Request::Cancel { claim: claim_number(cancel.claim)?, operation })
}

/// The client has stopped using what was lost.
pub(super) fn confirm_lost(confirm: v1::ConfirmLost) -> Checked<Request> {
    let claims = confirm.claims.into_iter().map(claim_number).collect::<Checked<_>>()?;
    Ok(Request::ConfirmLost { claims })
}

/// Whose request a unary call is, and where its session lives.
pub(super) fn credential(credential: Option<v1::Credential>, names: &mut Names) -> Checked<(SessionRef, Lockspace)> {
    let credential = credential.ok_or_else(|| invalid("`credential` is missing"))?;
    let session = session_id("credential.session", &credential.session)?;
    let secret = secret(&credential.secret)?;
    Ok((SessionRef::Named(session, secret), names.lockspace(&credential.lockspace)?))
}

/// A session's name.
pub(super) fn session_id(field: &str, text: &str) -> Checked<SessionId> {
    text.parse().map_err(|error| bad_name(field, &error))
}

/// A label or owner.
pub(super) fn label(field: &str, text: &str) -> Checked<Label> {
    Label::new(text).map_err(|error| bad_name(field, &error))
}

/// A claim's number.
pub(super) fn claim_number(claim: u64) -> Checked<ClaimNumber> {
    number("claim", claim).map(ClaimNumber)
}

/// A lock mode.
pub(super) fn mode(mode: i32) -> Checked<Mode> {
    match v1::Mode::try_from(mode) {
        Ok(v1::Mode::Nl) => Ok(Mode::NL),
        Ok(v1::Mode::Cr) => Ok(Mode::CR),
        Ok(v1::Mode::Cw) => Ok(Mode::CW),
        Ok(v1::Mode::Pr) => Ok(Mode::PR),
        Ok(v1::Mode::Pw) => Ok(Mode::PW),
        Ok(v1::Mode::Ex) => Ok(Mode::EX),
        Ok(v1::Mode::Unspecified) => Err(invalid("`mode` is missing: NL = 1, CR = 2, CW = 3, PR = 4, PW = 5, EX = 6")),
        Err(_) => {
            Err(invalid(format!("`mode` is {mode}, which is none of NL = 1, CR = 2, CW = 3, PR = 4, PW = 5, EX = 6")))
        }
    }
}

fn secret(bytes: &[u8]) -> Checked<Secret> {
    bytes.try_into().map_err(|_| invalid(format!("the secret has {} bytes: it has 16", bytes.len())))
}

fn operation_number(operation: u32) -> Checked<OperationNumber> {
    number("operation", u64::from(operation)).map(|_| OperationNumber(operation))
}

fn number(field: &str, number: u64) -> Checked<u64> {
    if number == 0 { Err(invalid(format!("`{field}` is 0: it is counted from 1"))) } else { Ok(number) }
}

fn wait(timeout_ms: Option<u64>, field: &str) -> Checked<Option<Duration>> {
    let wait = timeout_ms.map(Duration::from_millis);
    if wait.is_some_and(|wait| wait > limits::WAIT_MAX) {
        let max = limits::WAIT_MAX.as_millis();
        return Err(invalid(format!("`{field}` is more than {max}: leave it out to wait for ever")));
    }
    Ok(wait)
}

fn conversion_deadlock(number: i32) -> Checked<Option<ConversionDeadlock>> {
    match v1::ConversionDeadlock::try_from(number) {
        Ok(v1::ConversionDeadlock::Unspecified) => Ok(None),
        Ok(v1::ConversionDeadlock::Error) => Ok(Some(ConversionDeadlock::Error)),
        Ok(v1::ConversionDeadlock::Demote) => Ok(Some(ConversionDeadlock::Demote)),
        Ok(v1::ConversionDeadlock::Wait) => Ok(Some(ConversionDeadlock::Wait)),
        Err(_) => Err(invalid(format!("`conversion_deadlock` is {number}, which is none of 0 to 3"))),
    }
}

fn value(bytes: Bytes) -> Checked<Option<Bytes>> {
    let max = limits::VALUE_BLOCK_BYTES_MAX;
    if bytes.len() > max {
        return Err(invalid(format!("`value` has {} bytes: a value block has at most {max}", bytes.len())));
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

fn options<const N: usize>(flags: [(Options, bool); N]) -> Options {
    flags.into_iter().filter(|(_, on)| *on).fold(Options::empty(), |options, (option, _)| options | option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid_lock() -> v1::LockRequest {
        v1::LockRequest {
            claim: 1,
            operation: 1,
            resource: Some(v1::Resource { lockspace: String::new(), name: "r".into() }),
            mode: v1::Mode::Ex.into(),
            ..Default::default()
        }
    }

    fn refused(change: impl FnOnce(&mut v1::LockRequest)) -> String {
        let mut request = valid_lock();
        change(&mut request);
        lock(request, &mut Names::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_timeout_of_zero_is_a_try_and_none_waits_for_ever() {
        let mut request = valid_lock();
        assert_eq!(lock(request.clone(), &mut Names::default()).unwrap().wait, None);
        request.timeout_ms = Some(0);
        let checked = lock(request, &mut Names::default()).unwrap();
        assert_eq!(checked.wait, Some(Duration::ZERO));
        assert!(checked.options.contains(Options::TRY));
    }

    #[test]
    fn every_mistake_names_its_field() {
        assert!(refused(|lock| lock.claim = 0).contains("`claim`"));
        assert!(refused(|lock| lock.operation = 0).contains("`operation`"));
        assert!(refused(|lock| lock.mode = 0).contains("`mode`"));
        assert!(refused(|lock| lock.mode = 7).contains("`mode` is 7"));
        assert!(refused(|lock| lock.resource = None).contains("`resource`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name.clear()).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name = "a\nb".into()).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name = "a".repeat(1025)).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().lockspace = "A".into()).contains("`lockspace`"));
        assert!(refused(|lock| lock.owner = "o".repeat(65)).contains("`owner`"));
        assert!(refused(|lock| lock.label = "\u{7}".into()).contains("`label`"));
        assert!(refused(|lock| lock.timeout_ms = Some(u64::MAX)).contains("`timeout_ms`"));
        assert!(refused(|lock| lock.conversion_deadlock = 9).contains("`conversion_deadlock`"));
        assert!(refused(|lock| lock.deadlock_priority = -1).contains("`deadlock_priority`"));
    }
}
