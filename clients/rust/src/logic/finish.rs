//! How operations end.

use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;

use super::api::{ClaimEvent, Done, Grant, OperationId, Output, ValueBlock};
use super::claim::{Asking, Claim, Granted, Job, Place, Release, Stage, Waiter, What, Withdraw};
use super::machine::Machine;
use super::send::Flight;
use crate::error::{Blocker, Error, Loss, NotGranted, Refusal};
use crate::mode::Mode;

impl Machine {
    /// Tells the program, if it still waits.
    pub(super) fn answer(&mut self, id: OperationId, result: Result<Done, Error>, out: &mut Vec<Output>) {
        if self.operations.remove(&id).is_some() {
            self.waits.forget(id);
            out.push(Output::Complete { id, result });
        }
    }

    fn answer_waiter(&mut self, waiter: Option<OperationId>, result: Result<Done, Error>, out: &mut Vec<Output>) {
        if let Some(id) = waiter {
            self.answer(id, result, out);
        }
    }

    /// The one final answer to an operation came: as a reply, as an event, or with a resume.
    pub(super) fn completed(&mut self, now: Duration, completion: v1::Completion, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get(&completion.claim) else {
            self.release_stray(&completion, out);
            return;
        };
        let operation = completion.operation;
        if operation == 0 {
            return;
        }
        if claim.release.as_ref().is_some_and(|release| release.operation == operation) {
            self.release_completed(&completion, out);
        } else if let Some(pending) = claim.pending.as_ref().filter(|pending| pending.operation == operation) {
            match pending.what {
                What::Lock(_) => self.lock_completed(now, completion, out),
                What::Convert { .. } => self.convert_completed(completion, out),
            }
        }
    }

    /// A grant of a claim that nobody knows any more: it must not stay behind.
    fn release_stray(&mut self, completion: &v1::Completion, out: &mut Vec<Output>) {
        if completion.status() == v1::Status::Granted {
            let unlock = Body::Unlock(v1::Unlock {
                claim: completion.claim,
                operation: completion.operation + 1,
                force: true,
                ..v1::Unlock::default()
            });
            self.send(unlock, Flight::Stray, out);
        }
    }

    fn lock_completed(&mut self, now: Duration, completion: v1::Completion, out: &mut Vec<Output>) {
        let number = completion.claim;
        match completion.status() {
            v1::Status::Granted => self.lock_granted(completion, out),
            v1::Status::Gone => self.lock_gone(now, number, false, out),
            v1::Status::Lost => self.lock_gone(now, number, true, out),
            // A broker that could not look says so by naming nobody.
            v1::Status::TimedOut if completion.blockers.is_empty() && !self.is_queued(number) => {
                let pending = self.claims.get(&number).and_then(|claim| claim.pending.as_ref());
                let error = pending.map_or_else(|| undecided(None), |pending| pending.why_undecided(None));
                self.end_lock(number, Err(error), out);
            }
            _ => self.end_lock(number, Err(self.not_granted(completion, None)), out),
        }
    }

    fn lock_granted(&mut self, completion: v1::Completion, out: &mut Vec<Output>) {
        let number = completion.claim;
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let was_asked = claim.is_asked();
        let Some(mode) = Mode::from_proto(completion.mode) else { return };
        claim.granted = Some(Granted { mode, grant_seq: completion.grant_seq });
        let waiter = claim.pending.take().and_then(|pending| pending.waiter);
        claim.held = waiter.is_some();
        self.asked -= usize::from(was_asked);
        if claim.release.is_some() {
            return;
        }
        if waiter.is_none() {
            // Nobody waited for it any more: a grant that came before the cancel must not stay behind (R4).
            let request = Box::new(v1::Unlock { claim: number, ..v1::Unlock::default() });
            self.release(number, None, request, out);
        }
        self.answer_waiter(waiter, Ok(Done::Granted(Box::new(grant(completion, mode)))), out);
    }

    /// The broker says that nothing is held under this number. If nobody took it away, it is asked for again.
    pub(super) fn lock_gone(&mut self, now: Duration, number: u64, taken: bool, out: &mut Vec<Output>) {
        let Some(pending) = self.claims.get(&number).and_then(|claim| claim.pending.as_ref()) else { return };
        if pending.wait_until.is_some_and(|until| now >= until) {
            let error = pending.why_undecided(None);
            self.end_lock(number, Err(error), out);
        } else if pending.withdraw != Withdraw::No {
            self.end_lock(number, Err(cancelled(None)), out);
        } else if taken && pending.stage == Stage::Queued {
            // It had its place in the queue, and somebody took it away.
            self.end_lock(number, Err(Error::Lost(Loss::Forced)), out);
        } else if let Some(id) = self.ask_anew(number, out) {
            self.retry(now, Job::Lock(id), 0);
        }
    }

    /// Gives up a claim's number: its lock is to be asked for under a new one. Gives back who waits for it; absent if
    /// it was withdrawn, because then it ends here.
    pub(super) fn ask_anew(&mut self, number: u64, out: &mut Vec<Output>) -> Option<OperationId> {
        let claim = self.claims.remove(&number)?;
        self.asked -= usize::from(claim.is_asked());
        let pending = claim.pending?;
        let (Some(id), What::Lock(request)) = (pending.waiter, pending.what) else { return None };
        if pending.withdraw != Withdraw::No {
            self.answer(id, Err(cancelled(None)), out);
            return None;
        }
        self.operations.insert(id, Place::Unsent(Asking { request, wait_until: pending.wait_until }));
        Some(id)
    }

    /// A lock that ends without being held.
    pub(super) fn end_lock(&mut self, number: u64, result: Result<Done, Error>, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.remove(&number) else { return };
        self.asked -= usize::from(claim.is_asked());
        self.answer_waiter(claim.pending.and_then(|pending| pending.waiter), result, out);
    }

    fn convert_completed(&mut self, completion: v1::Completion, out: &mut Vec<Output>) {
        let number = completion.claim;
        if matches!(completion.status(), v1::Status::Lost | v1::Status::Gone) {
            self.claim_lost(number, Loss::Forced, out);
            return;
        }
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let waiter = claim.pending.take().and_then(|pending| pending.waiter);
        let former = claim.granted.map(|granted| granted.mode);
        let mode = Mode::from_proto(completion.mode).or(former).unwrap_or(Mode::NL);
        let granted = completion.status() == v1::Status::Granted;
        let changed = granted || former != Some(mode) || completion.demoted;
        let grant_seq = claim.granted.map_or(0, |former| former.grant_seq).max(completion.grant_seq);
        claim.granted = Some(Granted { mode, grant_seq });
        let released = claim.release.is_some();
        if waiter.is_none() && changed && !released {
            out.push(Output::Changed(Box::new(grant(completion, mode))));
        } else if granted {
            self.answer_waiter(waiter, Ok(Done::Granted(Box::new(grant(completion, mode)))), out);
        } else {
            self.answer_waiter(waiter, Err(self.not_granted(completion, Some(mode))), out);
        }
        if !released {
            self.next_pending(number);
        }
    }

    fn release_completed(&mut self, completion: &v1::Completion, out: &mut Vec<Output>) {
        let release = self.claims.get(&completion.claim).and_then(|claim| claim.release.as_ref());
        let doubt = release.is_some_and(|release| release.doubt);
        let result = match completion.status() {
            // After a copy that may have happened, not finding the claim is what was to be expected.
            v1::Status::Lost if !doubt => Err(Error::Lost(Loss::Forced)),
            _ => Ok(Done::Released),
        };
        self.end_release(completion.claim, result, out);
    }

    /// A claim is released, and with it everything that was pending on it.
    pub(super) fn end_release(&mut self, number: u64, result: Result<Done, Error>, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.remove(&number) else { return };
        let lost = result.is_err();
        if let Some(id) = claim.pending.and_then(|pending| pending.waiter) {
            self.answer(id, Err(cancelled(claim.granted.map(|granted| granted.mode))), out);
        }
        if let Some(Release { waiter: Some(waiter), .. }) = claim.release {
            self.answer_release(waiter, result, out);
        }
        if lost {
            // The program has let go of it before it asked for the release.
            self.confirm_lost(vec![number], out);
        }
    }

    pub(super) fn answer_release(&mut self, waiter: Waiter, result: Result<Done, Error>, out: &mut Vec<Output>) {
        match waiter {
            Waiter::One(id) => out.push(Output::Complete { id, result }),
            Waiter::Group(id) => {
                let Some(group) = self.groups.get_mut(&id) else { return };
                group.missing -= 1;
                group.released += u32::from(result.is_ok());
                if group.missing == 0 {
                    let released = group.released;
                    self.groups.remove(&id);
                    out.push(Output::Complete { id, result: Ok(Done::ReleasedAll { released }) });
                }
            }
        }
    }

    /// A claim was taken away. The program is told, and confirms by letting go of it.
    pub(super) fn claim_lost(&mut self, number: u64, loss: Loss, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        if claim.lost.is_some() || claim.release.is_some() {
            return;
        }
        if claim.held {
            claim.lost = Some(loss);
            let pending = claim.pending.take();
            let waiters: Vec<OperationId> =
                pending.into_iter().chain(claim.behind.drain(..)).filter_map(|pending| pending.waiter).collect();
            out.push(Output::ClaimEvent { claim: number, event: ClaimEvent::Lost(loss) });
            for id in waiters {
                self.answer(id, Err(Error::Lost(loss)), out);
            }
        } else {
            self.end_lock(number, Err(Error::Lost(loss)), out);
            self.confirm_lost(vec![number], out);
        }
    }

    /// Tells the broker that the program has stopped using what was taken away, now or when there is a broker.
    pub(super) fn confirm_lost(&mut self, claims: Vec<u64>, out: &mut Vec<Output>) {
        // Should the session move before a broker has heard of this, whoever meets the claims knows what they are.
        self.void.extend(claims.iter().map(|number| (*number, false)));
        self.confirmations.extend(claims);
        self.send_confirmations(out);
    }

    /// Not repeated if it goes astray: without it the broker waits for the TTL.
    pub(super) fn send_confirmations(&mut self, out: &mut Vec<Output>) {
        if self.confirmations.is_empty() {
            return;
        }
        if let Some(link) = &mut self.links.attached {
            let claims = std::mem::take(&mut self.confirmations);
            let request = link.next_request();
            let body = Some(Body::ConfirmLost(v1::ConfirmLost { claims }));
            out.push(Output::Send { link: link.id, message: Box::new(v1::SessionRequest { request, body }) });
        }
    }

    fn is_queued(&self, number: u64) -> bool {
        let pending = self.claims.get(&number).and_then(|claim| claim.pending.as_ref());
        pending.is_some_and(|pending| pending.stage == Stage::Queued)
    }

    fn not_granted(&self, completion: v1::Completion, mode: Option<Mode>) -> Error {
        let why = match completion.status() {
            v1::Status::WouldWait => Refusal::WouldWait,
            v1::Status::Deadlock => Refusal::Deadlock,
            v1::Status::TimedOut => Refusal::TimedOut,
            _ => Refusal::Cancelled,
        };
        let session = self.identity.as_ref().map(|identity| identity.session.as_str()).unwrap_or_default();
        let blockers = completion.blockers.into_iter().map(|blocker| Blocker::from_proto(blocker, session)).collect();
        Error::NotGranted(NotGranted { why, mode, demoted: completion.demoted, blockers })
    }

    /// Whether a claim that the session knows is granted to the program.
    pub(super) fn held_claim(&self, number: u64) -> Option<&Claim> {
        self.claims.get(&number).filter(|claim| claim.held && claim.lost.is_none() && claim.release.is_none())
    }
}

/// A wait that ended here.
pub(super) fn timed_out(mode: Option<Mode>) -> Error {
    ended(Refusal::TimedOut, mode)
}

/// A wait that ended here, and nobody is known to be in the way.
pub(super) fn undecided(mode: Option<Mode>) -> Error {
    ended(Refusal::Undecided, mode)
}

/// An operation that was withdrawn before a broker heard of it.
pub(super) fn cancelled(mode: Option<Mode>) -> Error {
    ended(Refusal::Cancelled, mode)
}

fn ended(why: Refusal, mode: Option<Mode>) -> Error {
    Error::NotGranted(NotGranted { why, mode, demoted: false, blockers: Vec::new() })
}

fn grant(completion: v1::Completion, mode: Mode) -> Grant {
    Grant {
        claim: completion.claim,
        mode,
        fence: completion.fence,
        grant_seq: completion.grant_seq,
        immediate: completion.immediate,
        demoted: completion.demoted,
        alternate: completion.alternate,
        value: completion.value.map(|value| ValueBlock { bytes: value.bytes, seq: value.seq, invalid: value.invalid }),
        adopted: completion.adopted.map(|adopted| (adopted.session, adopted.claim)),
    }
}
