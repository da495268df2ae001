//! What a broker says.

use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_response::Body;

use super::api::{ClaimEvent, LinkId, Output};
use super::claim::{Claim, Job, Pending, Release, Stage, Waiter, Withdraw};
use super::finish::cancelled;
use super::machine::Machine;
use super::planted::Bug;
use super::send::Flight;
use crate::error::{Error, Loss};
use crate::mode::Mode;

impl Machine {
    pub(super) fn received(
        &mut self,
        now: Duration,
        link: LinkId,
        message: v1::SessionResponse,
        out: &mut Vec<Output>,
    ) {
        if self.links.attempts.find(link).is_some() {
            self.attempt_answered(now, link, message, out);
        } else if self.links.is_attached(link) {
            let flight = self.flights.remove(&message.request);
            if let Some(body) = message.body {
                self.attached_said(now, message.request, flight, body, out);
            }
        }
    }

    fn attached_said(
        &mut self,
        now: Duration,
        request: u64,
        flight: Option<Flight>,
        body: Body,
        out: &mut Vec<Output>,
    ) {
        match body {
            Body::Closed(_) => self.end_closed(out),
            _ if self.life().is_none() => {}
            Body::KeptAlive(kept) => self.kept_alive(now, kept, request, out),
            Body::Completion(completion) => self.completed(now, completion, out),
            Body::Queued(queued) => self.queued(queued.claim, queued.operation),
            Body::Cancelled(done) => {
                if let (Some(Flight::Cancel { claim, operation }), v1::CancelResult::Gone) = (flight, done.result()) {
                    self.cancel_found_nothing(claim, operation, out);
                }
            }
            Body::Error(error) => self.refused(now, flight, error, out),
            Body::Blocking(blocking) => self.blocking(blocking, out),
            Body::Lost(lost) => self.told_lost(&lost, out),
            Body::Move(to) => self.told_to_leave(now, to.addresses, false),
            Body::Opened(_) | Body::Resumed(_) | Body::UnlockedAll(_) => {}
        }
    }

    fn pending_mut(&mut self, number: u64, operation: u32) -> Option<&mut Pending> {
        let pending = self.claims.get_mut(&number)?.pending.as_mut()?;
        (pending.operation == operation).then_some(pending)
    }

    fn queued(&mut self, number: u64, operation: u32) {
        let was_asked = self.claims.get(&number).is_some_and(Claim::is_asked);
        if let Some(pending) = self.pending_mut(number, operation) {
            pending.stage = Stage::Queued;
            pending.failures = 0;
            let is_asked = self.claims.get(&number).is_some_and(Claim::is_asked);
            self.asked -= usize::from(was_asked && !is_asked);
            self.withdraw_again(number);
        }
    }

    /// A cancel that found nothing came before the operation was known to wait: now it can find it.
    pub(super) fn withdraw_again(&mut self, number: u64) {
        let pending = self.claims.get(&number).and_then(|claim| claim.pending.as_ref());
        if pending.is_some_and(|pending| pending.withdraw == Withdraw::Wanted) {
            self.urgent.push_back(Job::Cancel(number));
        }
    }

    /// There was nothing to withdraw. If the operation was answered as waiting before, it is over by now.
    fn cancel_found_nothing(&mut self, number: u64, operation: u32, out: &mut Vec<Output>) {
        let Some(pending) = self.pending_mut(number, operation) else { return };
        if pending.stage == Stage::Queued {
            if self.claims.get(&number).is_some_and(|claim| claim.granted.is_none()) {
                self.end_lock(number, Err(cancelled(None)), out);
            } else {
                self.claim_lost(number, Loss::Forced, out);
            }
        } else {
            // Its own answer is still to come; should it wait then, it is withdrawn again.
            pending.withdraw = Withdraw::Wanted;
        }
    }

    /// A blocking notification counts only for the newest grant, and only if that is in the way (B8).
    fn blocking(&mut self, blocking: v1::Blocking, out: &mut Vec<Output>) {
        let Some(granted) = self.held_claim(blocking.claim).and_then(|claim| claim.granted) else { return };
        let Some(wanted) = Mode::from_proto(blocking.wanted) else { return };
        if blocking.grant_seq == granted.grant_seq && (blocking.own || !granted.mode.compatible(wanted)) {
            let event = ClaimEvent::Blocking { wanted, own: blocking.own };
            out.push(Output::ClaimEvent { claim: blocking.claim, event });
        }
    }

    fn told_lost(&mut self, lost: &v1::Lost, out: &mut Vec<Output>) {
        if self.planted.has(Bug::LossIgnored) {
            return;
        }
        let loss = Loss::from_proto(lost.reason());
        if lost.claims.is_empty() {
            self.lose(loss, out);
        }
        for number in &lost.claims {
            self.claim_lost(*number, loss, out);
        }
    }

    /// A request was refused.
    fn refused(&mut self, now: Duration, flight: Option<Flight>, error: v1::Error, out: &mut Vec<Output>) {
        match error.reason() {
            v1::Reason::SessionGone => return self.gone(out),
            // Our own moves end the link, so the newer one is somebody else's.
            v1::Reason::StaleMove => return self.lose(Loss::Moved, out),
            v1::Reason::NotHere => self.told_to_leave(now, vec![error.address.clone()], true),
            v1::Reason::Draining => self.told_to_leave(now, vec![error.address.clone()], false),
            _ => {}
        }
        match flight {
            Some(Flight::KeepAlive) => self.keepalive_refused(now, &error),
            Some(Flight::Operation { claim, operation }) => {
                self.operation_refused(now, claim, operation, error, out);
            }
            Some(Flight::Release { claim, operation }) => self.release_refused(now, claim, operation, error, out),
            Some(Flight::Cancel { claim, operation }) => self.cancel_refused(now, claim, operation, &error, out),
            Some(Flight::Close) => self.end_closed(out),
            Some(Flight::Stray) | None => {}
        }
    }

    /// A broker that cannot vouch now: another one may.
    fn keepalive_refused(&mut self, now: Duration, error: &v1::Error) {
        if let Some(life) = self.life_mut() {
            life.refused(now);
        }
        if error.reason() == v1::Reason::Unavailable {
            self.told_to_leave(now, vec![error.address.clone()], false);
        }
    }

    fn operation_refused(
        &mut self,
        now: Duration,
        number: u64,
        operation: u32,
        error: v1::Error,
        out: &mut Vec<Output>,
    ) {
        let staying = self.links.usable();
        let Some(pending) = self.pending_mut(number, operation) else { return };
        let for_now = match error.reason() {
            v1::Reason::Unknown => {
                pending.doubt = true;
                true
            }
            v1::Reason::Unavailable | v1::Reason::Draining | v1::Reason::NotHere => true,
            // These speak of the copy that was refused, and an earlier one may have happened: only an answer tells.
            v1::Reason::Limit | v1::Reason::Busy => pending.doubt,
            _ => false,
        };
        if !for_now {
            self.end_refused(number, &error, out);
            return;
        }
        pending.stage = Stage::Ready;
        pending.failures += 1;
        pending.refused = (!pending.doubt).then(|| Box::new(error.clone()));
        let failures = pending.failures;
        // What certainly did not happen may end here.
        let certain = !pending.doubt;
        let over = pending.wait_until.is_some_and(|until| now >= until);
        if certain && pending.withdraw != Withdraw::No {
            self.end_operation(number, Err(cancelled(None)), out);
        } else if certain && over {
            // Nobody is known to be in the way: what the broker says is the reason.
            self.end_operation(number, Err(Error::from_proto(error)), out);
        } else if certain && staying && pending.is_try() {
            self.end_operation(number, Err(Error::from_proto(error)), out);
        } else {
            self.retry(now, Job::Operation(number), failures);
        }
    }

    /// A refusal for good.
    fn end_refused(&mut self, number: u64, error: &v1::Error, out: &mut Vec<Output>) {
        let granted = self.claims.get(&number).is_some_and(|claim| claim.granted.is_some());
        if granted && error.reason() == v1::Reason::NotFound {
            // A conversion of a claim that is not there any more.
            self.claim_lost(number, Loss::Forced, out);
        } else {
            self.end_operation(number, Err(Error::from_proto(error.clone())), out);
        }
    }

    /// What is pending on a claim ends without a grant. A claim that holds nothing ends with it.
    fn end_operation(&mut self, number: u64, result: Result<super::api::Done, Error>, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let Some(mode) = claim.granted.map(|granted| granted.mode) else {
            self.end_lock(number, result, out);
            return;
        };
        let result = match result {
            Err(Error::NotGranted(mut not_granted)) => {
                not_granted.mode = Some(mode);
                Err(Error::NotGranted(not_granted))
            }
            other => other,
        };
        if let Some(id) = claim.pending.take().and_then(|pending| pending.waiter) {
            self.answer(id, result, out);
        }
        self.next_pending(number);
    }

    /// A release is never given up: nobody would hold what stays behind, and nobody could let go of it.
    fn release_refused(&mut self, now: Duration, number: u64, operation: u32, error: v1::Error, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let Some(release) = claim.release.as_mut().filter(|release| release.operation == operation) else { return };
        release.stage = Stage::Ready;
        release.failures += 1;
        release.doubt |= error.reason() == v1::Reason::Unknown;
        let failures = release.failures;
        match error.reason() {
            v1::Reason::NotFound => return self.end_release(number, Ok(super::api::Done::Released), out),
            v1::Reason::Busy => release.request.force = true,
            v1::Reason::StaleOperation => {
                // Only a number that was used before can be meant; the next one is free.
                release.operation = 0;
            }
            v1::Reason::Unavailable
            | v1::Reason::Unknown
            | v1::Reason::Draining
            | v1::Reason::NotHere
            | v1::Reason::Limit => {}
            _ => {
                // The value block was refused, so say so; the claim is released without it.
                let waiter = release.waiter.take();
                *release = plain_release(number);
                if let Some(waiter) = waiter {
                    self.answer_release(waiter, Err(Error::from_proto(error)), out);
                }
            }
        }
        self.retry(now, Job::Release(number), failures);
    }

    fn cancel_refused(&mut self, now: Duration, number: u64, operation: u32, error: &v1::Error, out: &mut Vec<Output>) {
        if error.reason() == v1::Reason::NotFound {
            self.cancel_found_nothing(number, operation, out);
        } else if let Some(pending) = self.pending_mut(number, operation) {
            pending.withdraw = Withdraw::Wanted;
            pending.failures += 1;
            let failures = pending.failures;
            self.retry(now, Job::Cancel(number), failures);
        }
    }
}

fn plain_release(number: u64) -> Release {
    Release {
        waiter: None::<Waiter>,
        request: Box::new(v1::Unlock { claim: number, force: true, ..v1::Unlock::default() }),
        operation: 0,
        stage: Stage::Ready,
        doubt: false,
        failures: 0,
    }
}
