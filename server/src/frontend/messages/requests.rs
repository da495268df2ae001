//! Requests: from proto to the words of the API, with the checks that it offers.

use std::time::Duration;

use sixpin_core::broker::api::{
    ConvertRequest, LiveClaim, LockRequest, OpenRequest, Request, RequestError, ResumeRequest, UnlockRequest,
};
use sixpin_core::command::{ConversionDeadlock, Options};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Label, Lockspace, OperationNumber, ResourceId};
use sixpin_core::token::SessionToken;
use sixpin_proto::v1;

use crate::frontend::api::checks::{self, options};
use crate::frontend::api::errors::{invalid, missing, unsupported};
use crate::frontend::api::names::Names;
use crate::frontend::api::{Caller, Checked};

/// A resource.
pub(crate) fn resource(resource: Option<v1::Resource>, names: &mut Names) -> Checked<ResourceId> {
    let resource = resource.ok_or_else(|| missing("resource"))?;
    names.resource(&resource.lockspace, &resource.name)
}

/// A request to open a session.
pub(crate) fn open(open: &v1::Open, from: &Caller, attach: bool) -> Checked<OpenRequest> {
    Ok(OpenRequest {
        ttl: checks::session_ttl(open.ttl_ms.map(u64::from))?,
        client: from.info(&open.label, &open.program)?,
        bound: open.connection_bound,
        release_on_end: false,
        attach,
    })
}

/// A request to resume a session, and the lockspace whose store it lives in.
pub(crate) fn resume(
    resume: v1::Resume,
    names: &mut Names,
    from: &Caller,
    attach: bool,
) -> Checked<(Lockspace, ResumeRequest)> {
    if resume.move_number == 0 {
        return Err(invalid("`move_number` is 0: moves are counted from 1"));
    }
    if resume.more {
        return Err(invalid("`more` is for a stream: one call says everything"));
    }
    checks::resume_lists(resume.claims.len(), resume.void_claims.len())?;
    let SessionToken { session, lockspace, secret } = checks::token(&resume.token)?;
    let resume = ResumeRequest {
        session,
        secret,
        move_number: resume.move_number,
        next_claim: checks::number("next_claim", resume.next_claim).map(ClaimNumber)?,
        claims: resume.claims.into_iter().map(|claim| live_claim(claim, names)).collect::<Checked<_>>()?,
        void: resume.void_claims.into_iter().map(checks::claim_number).collect::<Checked<_>>()?,
        client: from.info(&resume.label, &resume.program)?,
        attach,
    };
    Ok((lockspace, resume))
}

/// What a client knows of a claim. What it holds, with which fence, and its place are looked at and not needed: the record of
/// the resource says it.
fn live_claim(live: v1::LiveClaim, names: &mut Names) -> Checked<LiveClaim> {
    match live.held {
        Some(v1::live_claim::Held::Mode(held)) => {
            mode(held)?;
        }
        Some(v1::live_claim::Held::Permits(_)) => return Err(unsupported("permits")),
        None => {}
    }
    match live.wanted {
        Some(v1::live_claim::Wanted::WantedMode(wanted)) => {
            mode(wanted)?;
        }
        Some(v1::live_claim::Wanted::WantedPermits(_)) => return Err(unsupported("permits")),
        None => {}
    }
    let waiting = match live.operation {
        0 => None,
        operation => Some((OperationNumber(operation), checks::wait("wait_ms", live.wait_ms)?)),
    };
    Ok(LiveClaim {
        claim: checks::claim_number(live.claim)?,
        resource: resource(live.resource, names)?,
        last_operation: checks::operation_number(live.last_operation)?,
        grant_seq: live.grant_seq,
        waiting,
    })
}

/// A request to lock.
pub(crate) fn lock(lock: v1::Lock, names: &mut Names) -> Checked<LockRequest> {
    let mode = match lock.what {
        Some(v1::lock::What::Mode(wanted)) => mode(wanted)?,
        Some(v1::lock::What::Permits(_)) => return Err(unsupported("permits")),
        Some(v1::lock::What::Arrival(_)) => return Err(unsupported("barriers")),
        None => return Err(no_mode()),
    };
    let wait = checks::wait("timeout_ms", lock.timeout_ms)?;
    let options = options([
        (Options::TRY, wait == Some(Duration::ZERO)),
        (Options::NOTIFY_ON_REFUSAL, lock.notify_on_refusal),
        (Options::EXPEDITE, lock.expedite),
        (Options::HEAD_OF_QUEUE, lock.head_of_queue),
        (Options::NO_ORDER, lock.no_order),
        (Options::ALTERNATE_PR, lock.alternate_pr),
        (Options::ALTERNATE_CW, lock.alternate_cw),
        (Options::VALUE_BLOCK, lock.value_block),
        (Options::PERSISTENT, lock.persistent),
    ]);
    Ok(LockRequest {
        claim: checks::claim_number(lock.claim)?,
        operation: checks::operation_number(lock.operation)?,
        resource: resource(lock.resource, names)?,
        mode,
        options,
        conversion_deadlock: None,
        wait,
        blocking: lock.blocking,
        owner: checks::label("owner", &lock.owner)?,
        label: checks::label("label", &lock.label)?,
        orphan: lock.orphan,
    })
}

/// A request to convert.
pub(crate) fn convert(convert: v1::Convert, names: &mut Names) -> Checked<ConvertRequest> {
    // The broker knows where its claims are; a resource that is given must still be one.
    if convert.resource.is_some() {
        resource(convert.resource, names)?;
    }
    let mode = match convert.what {
        Some(v1::convert::What::Mode(wanted)) => mode(wanted)?,
        Some(v1::convert::What::Permits(_)) => return Err(unsupported("permits")),
        None => return Err(no_mode()),
    };
    let wait = checks::wait("timeout_ms", convert.timeout_ms)?;
    let options = options([
        (Options::TRY, wait == Some(Duration::ZERO)),
        (Options::NOTIFY_ON_REFUSAL, convert.notify_on_refusal),
        (Options::QUEUE_CONVERSION, convert.queue_conversion),
        (Options::HEAD_OF_QUEUE, convert.head_of_queue),
        (Options::NO_ORDER, convert.no_order),
        (Options::ALTERNATE_PR, convert.alternate_pr),
        (Options::ALTERNATE_CW, convert.alternate_cw),
        (Options::VALUE_BLOCK, convert.value_block),
        (Options::INVALIDATE_VALUE, convert.invalidate_value),
        (Options::PERSISTENT, convert.persistent),
    ]);
    Ok(ConvertRequest {
        claim: checks::claim_number(convert.claim)?,
        operation: checks::operation_number(convert.operation)?,
        mode,
        options,
        conversion_deadlock: conversion_deadlock(convert.conversion_deadlock)?,
        wait,
        blocking: convert.blocking,
        value: checks::value(convert.value)?,
    })
}

/// A request to release.
pub(crate) fn unlock(unlock: v1::Unlock) -> Checked<UnlockRequest> {
    let options =
        options([(Options::VALUE_BLOCK, unlock.value_block), (Options::INVALIDATE_VALUE, unlock.invalidate_value)]);
    Ok(UnlockRequest {
        claim: checks::claim_number(unlock.claim)?,
        operation: checks::operation_number(unlock.operation)?,
        options,
        value: checks::value(unlock.value)?,
        force: unlock.force,
    })
}

/// Whose claims to release; absent: all of the session.
pub(crate) fn owner(all: &v1::UnlockAll) -> Checked<Option<Label>> {
    all.owner.as_deref().map(|owner| checks::label("owner", owner)).transpose()
}

/// What to cancel; without an operation: whatever the claim waits for.
pub(crate) fn cancel(cancel: &v1::Cancel) -> Checked<(ClaimNumber, Option<OperationNumber>)> {
    let operation = (cancel.operation != 0).then_some(OperationNumber(cancel.operation));
    Ok((checks::claim_number(cancel.claim)?, operation))
}

/// The client has stopped using what was lost.
pub(crate) fn confirm_lost(confirm: v1::ConfirmLost) -> Checked<Request> {
    let claims = confirm.claims.into_iter().map(checks::claim_number).collect::<Checked<_>>()?;
    Ok(Request::ConfirmLost { claims })
}

/// A lock mode.
pub(crate) fn mode(mode: i32) -> Checked<Mode> {
    match v1::Mode::try_from(mode) {
        Ok(v1::Mode::Nl) => Ok(Mode::NL),
        Ok(v1::Mode::Cr) => Ok(Mode::CR),
        Ok(v1::Mode::Cw) => Ok(Mode::CW),
        Ok(v1::Mode::Pr) => Ok(Mode::PR),
        Ok(v1::Mode::Pw) => Ok(Mode::PW),
        Ok(v1::Mode::Ex) => Ok(Mode::EX),
        Ok(v1::Mode::Unspecified) => Err(no_mode()),
        Err(_) => {
            Err(invalid(format!("`mode` is {mode}, which is none of NL = 1, CR = 2, CW = 3, PR = 4, PW = 5, EX = 6")))
        }
    }
}

fn no_mode() -> RequestError {
    invalid("`mode` is missing: NL = 1, CR = 2, CW = 3, PR = 4, PW = 5, EX = 6")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn valid_lock() -> v1::Lock {
        v1::Lock {
            claim: 1,
            operation: 1,
            resource: Some(v1::Resource { lockspace: String::new(), name: "r".into() }),
            what: Some(v1::Mode::Ex.into()),
            ..Default::default()
        }
    }

    fn refused(change: impl FnOnce(&mut v1::Lock)) -> String {
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
        assert!(refused(|lock| lock.what = None).contains("`mode`"));
        assert!(refused(|lock| lock.what = Some(v1::Mode::Unspecified.into())).contains("`mode`"));
        assert!(refused(|lock| lock.what = Some(v1::lock::What::Mode(7))).contains("`mode` is 7"));
        assert!(refused(|lock| lock.resource = None).contains("`resource`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name.clear()).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name = "a\nb".into()).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().name = "a".repeat(1025)).contains("`resource.name`"));
        assert!(refused(|lock| lock.resource.as_mut().unwrap().lockspace = "A".into()).contains("`lockspace`"));
        assert!(refused(|lock| lock.owner = "o".repeat(65)).contains("`owner`"));
        assert!(refused(|lock| lock.label = "\u{7}".into()).contains("`label`"));
        assert!(refused(|lock| lock.timeout_ms = Some(u64::MAX)).contains("`timeout_ms`"));
    }

    #[test]
    fn what_comes_with_a_later_level_is_refused_and_not_taken_for_a_lock() {
        for what in [
            v1::lock::What::Permits(v1::Permits { count: 1, limit: Some(3) }),
            v1::lock::What::Arrival(v1::Arrival { parties: 2 }),
        ] {
            let mut request = valid_lock();
            request.what = Some(what);
            let refused = lock(request, &mut Names::default());
            assert!(matches!(refused, Err(RequestError::Unsupported(_))), "{refused:?}");
        }
    }
}
