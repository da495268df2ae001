//! What clients ask: each request is checked, noted in the table, and becomes a command in a resource's queue.
//!
//! Invariants: nothing is queued for a session that this broker does not vouch for; a claim number is created at most
//! once; every limit is checked before it is reached; every request gets one answer.

use std::time::Duration;

use super::api::{
    CancelResult, ConvertRequest, Done, DoneStatus, LockRequest, Reply, ReplyTo, RequestError, UnlockRequest,
};
use super::shard::{Pending, Purpose};
use super::shares::check_quotas;
use super::table::{Claim, Life, Operation};
use super::waits::wait_timer;
use super::{Broker, Phase};
use crate::access::Principal;
use crate::command::{CancelReason, Command, ConvertCommand, LockCommand, Options, Status};
use crate::limits::WAIT_MAX;
use crate::mode::Mode;
use crate::name::{ClaimId, ClaimNumber, Label, OperationNumber, ResourceId, SessionId};
use crate::planted::Bug;

/// What noting an operation came to.
enum Noted {
    /// Its claim ended meanwhile: nothing is pending.
    ClaimGone,
    /// It is pending.
    Pending {
        /// The caller of an earlier copy, who is answered no more.
        replaced: Option<ReplyTo>,
    },
}

impl Broker {
    pub(super) fn lock(
        &mut self,
        from: ReplyTo,
        id: SessionId,
        mut lock: LockRequest,
        until_done: bool,
    ) -> Result<(), RequestError> {
        check_numbers(lock.claim, lock.operation)?;
        check_wait(lock.wait, &mut lock.options)?;
        let claim = ClaimId { session: id, number: lock.claim };
        let copy = self.claim_mut(claim).is_some();
        if let Some(known) = self.claim_mut(claim) {
            if known.resource != lock.resource {
                let text = format!("claim {} is on another resource, `{}`", lock.claim, known.resource);
                return Err(RequestError::Invalid(text));
            }
        } else if self.repeat_of_finished(from, claim, lock.operation) {
            return Ok(());
        } else {
            // What was asked before the rules changed goes on: its copies only look what became of it, and make nothing.
            self.principal_of(id)?.check_lock(lock.mode, lock.options, &lock.resource)?;
            self.check_new_claim(id, lock.claim)?;
        }
        self.check_requests()?;
        if let Some(session) = self.sessions.get_mut(&id) {
            // Who looks at the resource, at whatever broker, then sees whose claim it is.
            if lock.label.is_empty() {
                lock.label = session.client.label.clone();
            }
            session.claim(lock.claim, || Claim::new(lock.resource.clone(), lock.operation));
        }
        let operation = self.operation(from, lock.operation, lock.mode, lock.wait, until_done);
        let resource = lock.resource.clone();
        let command = lock_command(claim, lock);
        self.begin(claim, operation, &resource, command, copy)
    }

    pub(super) fn convert(
        &mut self,
        from: ReplyTo,
        id: SessionId,
        mut convert: ConvertRequest,
        until_done: bool,
    ) -> Result<(), RequestError> {
        check_numbers(convert.claim, convert.operation)?;
        check_wait(convert.wait, &mut convert.options)?;
        let claim = ClaimId { session: id, number: convert.claim };
        if self.claim_mut(claim).is_none() && self.repeat_of_finished(from, claim, convert.operation) {
            return Ok(());
        }
        let Some(known) = self.claim_mut(claim) else {
            return Err(RequestError::NotFound(format!("session {id} has no claim {}", convert.claim)));
        };
        let (resource, held) = (known.resource.clone(), known.granted);
        let principal = self.principal_of(id)?;
        // A repeat is looked at as well: which operations were used on a claim is what its client says when it moves.
        principal.check_lock(convert.mode, convert.options, &resource)?;
        check_giving_up(principal, held, writes(convert.value.is_some(), convert.options), &resource)?;
        self.check_requests()?;
        let operation = self.operation(from, convert.operation, convert.mode, convert.wait, until_done);
        let command = Command::Convert(ConvertCommand {
            claim,
            operation: convert.operation,
            mode: convert.mode,
            options: convert.options,
            conversion_deadlock: convert.conversion_deadlock,
            blocking: convert.blocking,
            value: convert.value,
        });
        self.begin(claim, operation, &resource, command, false)
    }

    /// Whose session it is.
    fn principal_of(&self, id: SessionId) -> Result<&Principal, RequestError> {
        self.sessions.get(&id).map(|session| &session.principal).ok_or_else(|| self.not_here(id))
    }

    fn operation(
        &self,
        from: ReplyTo,
        number: OperationNumber,
        mode: Mode,
        wait: Option<Duration>,
        until_done: bool,
    ) -> Operation {
        let now = self.now.mono;
        let (asked, deadline) = (Some(now), wait.filter(|wait| !wait.is_zero()).map(|wait| now + wait));
        Operation {
            number,
            reply: Some(from),
            until_done,
            mode: Some(mode),
            asked,
            deadline,
            queued: None,
            given_up: false,
            since_ms: self.now.wall_ms,
        }
    }

    /// Notes an operation as pending and queues its command. A further copy of a lock request only looks: the claim that
    /// the first one made may end before it.
    fn begin(
        &mut self,
        claim: ClaimId,
        operation: Operation,
        resource: &ResourceId,
        command: Command,
        looks: bool,
    ) -> Result<(), RequestError> {
        let looks = looks && !self.planted.has(Bug::CopyCreatesAgain);
        let (number, caller) = (operation.number, operation.reply.filter(|_| operation.until_done));
        let Noted::Pending { replaced } = self.note_operation(claim, operation)? else { return Ok(()) };
        if let Some(to) = caller {
            self.calls.insert(to.connection, claim);
        }
        if let Some(old) = replaced {
            let text = format!("a newer copy of this request of claim {} is answered instead", claim.number);
            self.reply_error(old, RequestError::Busy(text));
            if self.planted.has(Bug::ReplacedCallWithdraws) {
                self.calls.insert(old.connection, claim);
            }
        }
        self.push(resource, Pending { looks, ..self.pending(command, Purpose::Operation(claim, number)) }, Some(claim));
        Ok(())
    }

    /// Notes what is pending on a claim, and begins its wait.
    fn note_operation(&mut self, claim: ClaimId, mut operation: Operation) -> Result<Noted, RequestError> {
        let number = operation.number;
        let waiting_max = self.config.limits.waiting_per_session;
        let Some(session) = self.sessions.get_mut(&claim.session) else { return Err(self.not_here(claim.session)) };
        let refused = if session.counts.that_wait() >= waiting_max {
            Some(RequestError::Limit(format!("{waiting_max} waiting claims of one session")))
        } else {
            check_quotas(session, true).err()
        };
        let Some(known) = session.claims.get_mut(&claim.number) else { return Ok(Noted::ClaimGone) };
        match &mut known.pending {
            Some(pending) if pending.number == number => {
                // A repeat takes the place of the first copy as the one that is answered; its wait is not begun anew,
                // unless this broker never heard of it.
                match (pending.deadline, operation.deadline) {
                    (None, Some(deadline)) => wait_timer(&mut self.timers, self.now.mono, deadline, claim, number),
                    (known, _) => operation.deadline = known,
                }
                (operation.queued, operation.asked) = (pending.queued, pending.asked);
                operation.since_ms = pending.since_ms;
                Ok(Noted::Pending { replaced: std::mem::replace(pending, operation).reply })
            }
            Some(pending) if pending.number > number => Err(RequestError::StaleOperation(claim.number)),
            Some(_) => {
                let text =
                    format!("claim {} has an operation pending: cancel it first, or release with force", claim.number);
                Err(RequestError::Busy(text))
            }
            None if refused.is_some() => {
                // One that came with a move is not this request's.
                if known.granted.is_none() && known.commands == 0 && !known.unread {
                    session.drop_claim(claim.number);
                }
                Err(refused.unwrap_or_else(|| self.not_here(claim.session)))
            }
            None => {
                known.operation = known.operation.max(number);
                operation.asked.take_if(|_| known.done.as_ref().is_some_and(|done| done.operation >= number));
                if let Some(deadline) = operation.deadline {
                    wait_timer(&mut self.timers, self.now.mono, deadline, claim, number);
                }
                known.pending = Some(operation);
                session.counts.waiting(1);
                Ok(Noted::Pending { replaced: None })
            }
        }
    }

    /// Answers a repeat for a claim that ended. False if the claim was never seen.
    fn repeat_of_finished(&mut self, from: ReplyTo, claim: ClaimId, operation: OperationNumber) -> bool {
        let Some(session) = self.sessions.get(&claim.session) else { return false };
        let known = session.finished(claim.number).filter(|done| done.operation == operation);
        let done = match known {
            Some(done) => done.clone(),
            None if session.numbers.is_used(claim.number) || session.void.contains(&claim.number) => {
                Done::empty(claim.number, operation, DoneStatus::Gone)
            }
            None => return false,
        };
        self.reply(from, Reply::Done(done));
        true
    }

    fn check_new_claim(&self, id: SessionId, number: ClaimNumber) -> Result<(), RequestError> {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get(&id) else { return Err(self.not_here(id)) };
        if matches!(self.phase, Phase::Draining { .. }) && !self.config.profile.contract.is_shared() {
            return Err(self.draining());
        }
        if session.life == Life::Ending {
            return Err(RequestError::SessionGone(id));
        }
        if session.claims.len() >= limits.claims_per_session {
            return Err(RequestError::Limit(format!("{} claims of one session", limits.claims_per_session)));
        }
        check_quotas(session, false)?;
        if session.numbers.is_too_far(number) {
            let text =
                format!("claim number {number} runs too far ahead of the numbers used before: number claims in order");
            return Err(RequestError::Invalid(text));
        }
        Ok(())
    }

    fn check_requests(&self) -> Result<(), RequestError> {
        let max = self.config.limits.requests_per_broker;
        if self.queued >= max {
            return Err(RequestError::Limit(format!(
                "{max} requests waiting for the store at this broker: try again later"
            )));
        }
        Ok(())
    }

    pub(super) fn unlock(&mut self, from: ReplyTo, id: SessionId, unlock: UnlockRequest) -> Result<(), RequestError> {
        check_numbers(unlock.claim, unlock.operation)?;
        let claim = ClaimId { session: id, number: unlock.claim };
        let Some(known) = self.claim_mut(claim) else {
            return self.unlock_gone(from, claim, unlock.operation);
        };
        if let Some(pending) = &known.pending
            && !unlock.force
            && known.granted.is_none()
            && pending.queued.is_some()
        {
            let text = format!("claim {} waits: cancel it first, or release with force", claim.number);
            return Err(RequestError::Busy(text));
        }
        let (resource, held) = (known.resource.clone(), known.granted);
        if writes(unlock.value.is_some(), unlock.options) {
            check_giving_up(self.principal_of(id)?, held, true, &resource)?;
        }
        if let Some(known) = self.claim_mut(claim) {
            known.let_go = true;
        }
        let command = Command::Unlock {
            claim,
            operation: unlock.operation,
            options: unlock.options,
            value: unlock.value,
            force: unlock.force,
        };
        self.push_command(&resource, command, Purpose::Unlock(claim, unlock.operation, Some(from)), Some(claim));
        Ok(())
    }

    /// Unlocking an own claim that is gone: released, or lost if it was taken away (A9).
    fn unlock_gone(&mut self, from: ReplyTo, claim: ClaimId, operation: OperationNumber) -> Result<(), RequestError> {
        let Some(session) = self.sessions.get_mut(&claim.session) else { return Err(self.not_here(claim.session)) };
        let lost = session.finished(claim.number).is_some_and(|done| done.status == DoneStatus::Lost);
        if !session.numbers.is_used(claim.number) && session.finished(claim.number).is_none() {
            session.never_create(claim.number);
            return Err(RequestError::NotFound(format!("session {} has no claim {}", claim.session, claim.number)));
        }
        let status = if lost { DoneStatus::Lost } else { DoneStatus::Is(Status::Released) };
        self.reply(from, Reply::Done(Done::empty(claim.number, operation, status)));
        Ok(())
    }

    pub(super) fn unlock_all(
        &mut self,
        from: ReplyTo,
        id: SessionId,
        owner: Option<Label>,
    ) -> Result<(), RequestError> {
        let Some(session) = self.sessions.get(&id) else { return Err(self.not_here(id)) };
        let resources = session.resources();
        if resources.is_empty() {
            self.reply(from, Reply::UnlockedAll { released: 0 });
            return Ok(());
        }
        let part = self.gatherings.begin(from, resources.len());
        for resource in resources {
            let command = Command::UnlockAll { session: id, owner: owner.clone() };
            self.push_command(&resource, command, Purpose::Part(part), None);
        }
        Ok(())
    }

    pub(super) fn cancel(
        &mut self,
        from: ReplyTo,
        id: SessionId,
        number: ClaimNumber,
        operation: Option<OperationNumber>,
    ) {
        let claim = ClaimId { session: id, number };
        let Some(known) = self.claim_mut(claim) else {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.never_create(number);
            }
            self.reply(from, Reply::Cancelled { claim: number, result: CancelResult::Gone });
            return;
        };
        known.let_go = true;
        let resource = known.resource.clone();
        let command = Command::Cancel { claim, operation, reason: CancelReason::Cancelled };
        self.push_command(&resource, command, Purpose::Cancel(claim, from), Some(claim));
    }
}

/// Whether the value block would be written from a mode that may.
fn writes(has_value: bool, options: Options) -> bool {
    has_value || options.intersects(Options::VALUE_BLOCK | Options::INVALIDATE_VALUE)
}

/// Whether whoever gives a mode up may hold it: the value block may be written with that. As long as it is not known what is held,
/// as after a move, it may be any mode from which that can be done.
fn check_giving_up(
    principal: &Principal,
    held: Option<Mode>,
    writes: bool,
    resource: &ResourceId,
) -> Result<(), RequestError> {
    let unknown: &[Mode] = if writes { &[Mode::PW, Mode::EX] } else { &[] };
    let modes = held.as_ref().map_or(unknown, std::slice::from_ref);
    modes.iter().try_for_each(|mode| principal.check_lock(*mode, Options::empty(), resource))
}

fn check_numbers(claim: ClaimNumber, operation: OperationNumber) -> Result<(), RequestError> {
    if claim.0 == 0 || operation.0 == 0 {
        return Err(RequestError::Invalid("claims and operations are numbered from 1".into()));
    }
    Ok(())
}

fn lock_command(claim: ClaimId, lock: LockRequest) -> Command {
    if lock.orphan {
        return Command::Adopt {
            claim,
            operation: lock.operation,
            mode: lock.mode,
            options: lock.options,
            blocking: lock.blocking,
            owner: lock.owner,
            label: lock.label,
        };
    }
    Command::Lock(LockCommand {
        claim,
        operation: lock.operation,
        mode: lock.mode,
        options: lock.options,
        conversion_deadlock: lock.conversion_deadlock,
        blocking: lock.blocking,
        owner: lock.owner,
        label: lock.label,
    })
}

fn check_wait(wait: Option<Duration>, options: &mut Options) -> Result<(), RequestError> {
    match wait {
        Some(wait) if wait.is_zero() => options.insert(Options::TRY),
        Some(wait) if wait > WAIT_MAX => {
            return Err(RequestError::Invalid(format!(
                "a wait is at most {WAIT_MAX:?}; leave it out to wait for ever"
            )));
        }
        _ => {}
    }
    Ok(())
}
