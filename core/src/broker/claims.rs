//! What becomes of claims: operations complete, claims end, and their clients are told.
//!
//! Invariants: a completion is told once, to whoever asked or, after `queued`, to the session's connection; nothing is
//! told of a session that is being buried; a claim that was created is noted before anything of it is told.

use super::Broker;
use super::api::{Done, DoneStatus, Ended, Event, LogLevel, LostReason, Reply, RequestError};
use super::shard::{Pending, Purpose};
use super::table::{Claim, Life, Operation, Session};
use super::timers::Timer;
use crate::access::{Place, Verb};
use crate::command::{Command, Completion, Options, Outcome, Refusal, Status};
use crate::limits::with_tolerance;
use crate::name::{ClaimId, ClaimNumber, Fence, OperationNumber, ResourceId, Version};
use crate::planted::Bug;

/// How the broker found out that a claim is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// A command took it out of its record.
    Removed,
    /// A compare found its record without it.
    Vanished,
    /// A command that was to take it out did not find it, or has taken it out already.
    NotFound,
}

/// What its client is told of a claim that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It is over, and nobody took it away.
    Gone,
    /// It was taken away. Without a reason, an event has told so or nobody is to hear of it.
    Lost(Option<LostReason>),
    /// The store has it no more, although nobody whom this broker knows of took it.
    LostByStore,
}

/// The one decision whether a claim that is no more was taken from its client. Nothing is told of one that is not in the
/// table.
fn told_of(session: &Session, number: ClaimNumber, missed: Missed) -> Option<Told> {
    let claim = session.claims.get(&number)?;
    let (taken, void) = (session.taken.contains(&number), session.void.contains(&number));
    Some(match missed {
        // What the client gave up when it moved was taken from nobody.
        Missed::Removed | Missed::Vanished if void => Told::Gone,
        Missed::Removed => Told::Lost(session.life.is_vouched_for().then_some(LostReason::Forced)),
        // A wait that ended, or was cancelled, through the broker where the session was before was taken from nobody.
        Missed::Vanished | Missed::NotFound if claim.granted.is_none() && !taken => Told::Gone,
        Missed::NotFound => Told::Lost(None),
        // One that came with a move may have been released or taken where the session was before.
        Missed::Vanished if taken || claim.unread => Told::Lost(Some(LostReason::Forced)),
        Missed::Vanished => Told::LostByStore,
    })
}

impl Broker {
    pub(super) fn tell_all(&mut self, outcomes: Vec<Outcome>, version: Version) {
        for outcome in outcomes {
            self.tell_one(outcome, version);
        }
    }

    pub(super) fn tell_one(&mut self, outcome: Outcome, version: Version) {
        match outcome {
            Outcome::Completed(completion) => self.complete(completion, version),
            Outcome::Queued { claim, operation, position, ticket, .. } => {
                self.queued(claim, operation, position, ticket.resolve(version));
            }
            Outcome::Blocking { claim, grant_seq, wanted, own } => {
                if let Some(known) = self.claim_mut(claim) {
                    if !own {
                        known.blocking_told = Some(wanted);
                    }
                    self.tell(claim, Event::Blocking { claim: claim.number, grant_seq, wanted, own });
                }
            }
            Outcome::Removed { claim, .. } => self.removed(claim),
            Outcome::Orphaned { claim } => {
                if let Some(known) = self.drop_claim(claim, None) {
                    self.note_orphan(claim, &known);
                }
            }
            Outcome::Refused { .. } | Outcome::AlreadyGranted { .. } | Outcome::Gone { .. } => {}
        }
    }

    /// An operation ended.
    pub(super) fn complete(&mut self, completion: Completion, version: Version) {
        let (id, now) = (completion.claim, self.now.mono);
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        let Some(claim) = session.claims.get_mut(&id.number) else { return };
        let mut done = Done::of(completion, version);
        // Who may not see who holds a lock still learns that somebody does.
        let names_others = !done.extras.blockers().is_empty() || done.extras.adopted().is_some();
        if names_others && !session.principal.may(Verb::Inspect, Place::Resource(&claim.resource)) {
            done.extras = done.extras.without_others();
        }
        if self.planted.has(Bug::FenceFromMemory) {
            done.fence = done.fence.map(|_| Fence(self.counters.writes));
        }
        if done.grant_seq > claim.grant_seq {
            claim.blocking_told = None;
        }
        let is_news = done.mode.is_some() && done.grant_seq > claim.grant_seq.max(claim.believed_seq);
        // A client that came here with a grant knows of it: then it is for the client to release, whatever late copy of its
        // request was cut.
        let known_to_client = claim.believed_seq > 0;
        let is_new = !known_to_client && (claim.granted.is_none() || claim.untold == Some(done.operation));
        // A claim that ends keeps its mode here until it is dropped: what is written of its end asks whether it held something.
        claim.holds(done.mode.or(claim.granted), now);
        claim.done = Some(done.clone());
        claim.grant_seq = done.grant_seq.max(claim.grant_seq);
        // An earlier one is over too: it ended at another broker, before the session came back.
        // While it is given back, only its end is an answer.
        let speaks = !claim.leaving || done.mode.is_none();
        let mut operation = claim.pending.take_if(|operation| speaks && operation.number <= done.operation);
        if let Some(operation) = &mut operation {
            let status = if operation.number == done.operation { done.status } else { DoneStatus::Gone };
            // What it asked for at another broker shows when it is granted. Otherwise the mode is the one that it held before.
            if status == DoneStatus::Is(Status::Granted) {
                operation.mode = operation.mode.or(done.mode);
            }
            self.facts.ended(now, id, &claim.resource, operation, status);
        }
        session.counts.waiting(-isize::from(operation.is_some()));
        session.numbers.mark_once(id.number);
        if operation.is_some() {
            claim.untold = (self.muted && is_new).then_some(done.operation);
        }
        let untold = done.status == DoneStatus::Is(Status::Granted) && operation.as_ref().is_some_and(|it| it.given_up);
        if is_news {
            self.note_grant(id, &done);
        }
        let goes_back = untold && is_new && done.mode.is_some();
        if done.mode.is_none() {
            self.drop_claim(id, Some(done.clone()));
        } else if goes_back {
            self.give_back(id, done.operation);
        }
        if let Some(operation) = operation {
            match operation.reply {
                Some(to) if operation.number == done.operation => self.reply(to, Reply::Done(done)),
                Some(to) if done.mode.is_none() => {
                    let gone = Done::empty(id.number, operation.number, DoneStatus::Gone);
                    self.reply(to, Reply::Done(gone));
                }
                Some(to) => self.reply_error(to, RequestError::StaleOperation(id.number)),
                // Whoever listens must not take it for its own.
                None if goes_back && !self.planted.has(Bug::GivenBackTold) => {}
                None => self.tell(id, Event::Done(done)),
            }
        }
    }

    fn queued(&mut self, id: ClaimId, number: OperationNumber, position: u32, ticket: crate::name::Fence) {
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        session.numbers.mark_once(id.number);
        let Some(claim) = session.claims.get_mut(&id.number) else { return };
        let Some(operation) = claim.pending.as_mut().filter(|operation| operation.number == number) else { return };
        operation.queued = Some((position, ticket));
        if operation.until_done {
            return;
        }
        if let Some(to) = operation.reply.take() {
            self.reply(to, Reply::Queued { claim: id.number, operation: number, position, ticket });
        }
    }

    /// A lock was granted for a caller that is gone and was never told: nobody would ever release it.
    fn give_back(&mut self, claim: ClaimId, operation: OperationNumber) {
        if self.planted.has(Bug::UntoldGrantKept) {
            return;
        }
        let Some(known) = self.claim_mut(claim) else { return };
        known.leaving = true;
        let (resource, operation) = (known.resource.clone(), OperationNumber(operation.0.saturating_add(1)));
        let command = Command::Unlock { claim, operation, options: Options::empty(), value: None, force: true };
        self.push_command(&resource, command, Purpose::Unlock(claim, operation, None), Some(claim));
    }

    /// A claim left its record without a completion.
    fn removed(&mut self, id: ClaimId) {
        let told = self.told_of(id, Missed::Removed);
        self.tell_missed(id, told);
    }

    /// A claim that should be there is not.
    pub(super) fn vanished(&mut self, id: ClaimId) {
        let told = self.told_of(id, Missed::Vanished);
        self.tell_missed(id, told);
    }

    /// A claim that was to be removed is no more.
    pub(super) fn removal_done(&mut self, id: ClaimId) {
        let told = self.told_of(id, Missed::NotFound);
        if let Some(session) = self.sessions.get_mut(&id.session) {
            session.taken.remove(&id.number);
        }
        self.tell_missed(id, told);
        let told = self.takings.freed(id);
        self.reply_all(told);
    }

    fn told_of(&self, id: ClaimId, missed: Missed) -> Option<Told> {
        told_of(self.sessions.get(&id.session)?, id.number, missed)
    }

    fn tell_missed(&mut self, id: ClaimId, told: Option<Told>) {
        match told {
            Some(Told::Gone) => self.end_claim(id, DoneStatus::Gone, None),
            Some(Told::Lost(reason)) => self.lose_claim(id, reason),
            Some(Told::LostByStore) => self.lost_by_store(id),
            None => {}
        }
    }

    /// The store does not have any more what it acknowledged of a claim. The holder gets its time, as with everything that is
    /// taken away, and what is left of the claim is withheld for the lock-delay, as if its session had died; what others do
    /// meanwhile, only fences tell it.
    pub(super) fn lost_by_store(&mut self, id: ClaimId) {
        let Some(claim) = self.claim_mut(id) else { return };
        claim.forced = true;
        let resource = claim.resource.clone();
        let subject = format!("claim {id} on {resource}");
        let detail =
            "its record does not say any more what was granted: it was deleted or damaged, or the store lost it";
        self.log(LogLevel::Warn, "lock lost", subject, detail.into());
        let free_in = with_tolerance(id.session.ttl()) + self.config.lock_delay(&resource.lockspace);
        self.timers.set(self.now.mono + free_in, Timer::Forced(id));
        self.tell(id, Event::Lost { reason: LostReason::Amnesia, claims: vec![id.number] });
    }

    /// Drops a claim that was taken away, and tells its client.
    pub(super) fn lose_claim(&mut self, id: ClaimId, reason: Option<LostReason>) {
        self.end_claim(id, DoneStatus::Lost, reason);
    }

    pub(super) fn end_claim(&mut self, id: ClaimId, status: DoneStatus, reason: Option<LostReason>) {
        let operation = self.take_pending(id, status);
        let number = operation.as_ref().map_or(OperationNumber(0), |operation| operation.number);
        let done = Done::empty(id.number, number, status);
        let was_told = self.claim_mut(id).is_some_and(|claim| claim.forced);
        self.drop_claim(id, Some(done.clone()));
        match operation {
            Some(operation) => match operation.reply {
                Some(to) => self.reply(to, Reply::Done(done)),
                None => self.tell(id, Event::Done(done)),
            },
            None => {
                if let Some(reason) = reason
                    && !was_told
                {
                    self.tell(id, Event::Lost { reason, claims: vec![id.number] });
                }
            }
        }
    }

    /// The operation that is pending on a claim ends so.
    fn take_pending(&mut self, id: ClaimId, status: DoneStatus) -> Option<Operation> {
        let session = self.sessions.get_mut(&id.session)?;
        let claim = session.claims.get_mut(&id.number)?;
        let operation = claim.pending.take()?;
        session.counts.waiting(-1);
        self.facts.ended(self.now.mono, id, &claim.resource, &operation, status);
        Some(operation)
    }

    /// Takes a claim out of the table. Further copies of its requests that wait would find nothing.
    pub(super) fn drop_claim(&mut self, id: ClaimId, done: Option<Done>) -> Option<Claim> {
        let session = self.sessions.get_mut(&id.session)?;
        let end = done.as_ref().map(|done| done.status);
        let claim = session.finish(id.number, done)?;
        let lost = end.is_some_and(|end| claim.is_lost_by(end, session.life == Life::Closing));
        self.facts.dropped(self.now.mono, id, &claim, lost);
        // It needs no reading any more.
        let resumes = session.resuming.as_mut().is_some_and(|resuming| resuming.unread.remove(&id.number));
        if session.is_abandoned() {
            self.timers.set(self.now.mono, Timer::Session(id.session));
        }
        let at = self.lane_of(&claim.resource);
        if let Some(entry) = self.shards[at].entries.get_mut(&claim.resource) {
            entry.locals.remove(&id);
            if claim.commands > 0 {
                let before = entry.pending.len();
                let copy = |pending: &Pending| pending.looks && pending.purpose.is_operation_of(id);
                entry.pending.retain(|pending| !copy(pending));
                self.queued = self.queued.saturating_sub(before - entry.pending.len());
            }
        }
        if let Some(end) = end {
            self.note_end(id, &claim, end);
        }
        if resumes && !self.planted.has(Bug::ResumeForgotten) {
            self.answer_resume(id.session);
        }
        Some(claim)
    }

    pub(super) fn time_out(&mut self, claim: ClaimId, number: OperationNumber) {
        let Some(session) = self.sessions.get_mut(&claim.session) else { return };
        let Some(known) = session.claims.get_mut(&claim.number) else { return };
        let Some(operation) = known.pending.take_if(|pending| pending.number == number) else { return };
        if !self.planted.has(Bug::QuotaNotGivenBack) {
            session.counts.waiting(-1);
        }
        self.facts.ended(self.now.mono, claim, &known.resource, &operation, Ended::TimedOut);
        let (granted, grant_seq) = (known.granted, known.grant_seq);
        let mut done = Done::empty(claim.number, number, DoneStatus::Is(Status::TimedOut));
        (done.mode, done.grant_seq) = (granted, grant_seq);
        if granted.is_none() {
            self.drop_claim(claim, Some(done.clone()));
        }
        match operation.reply {
            Some(to) => self.reply(to, Reply::Done(done)),
            None => self.tell(claim, super::api::Event::Done(done)),
        }
    }

    pub(super) fn refuse_operation(
        &mut self,
        id: &ResourceId,
        claim: ClaimId,
        operation: OperationNumber,
        refusal: Refusal,
    ) {
        let error = RequestError::from_refusal(refusal, claim.number, id);
        self.fail_operation(claim, operation, error);
    }

    /// An operation was refused; nothing changed. A claim that it would have created is forgotten with its number, unless its
    /// client has let go of it meanwhile.
    pub(super) fn fail_operation(&mut self, id: ClaimId, number: OperationNumber, error: RequestError) {
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        let Some(claim) = session.claims.get_mut(&id.number) else { return };
        let Some(operation) = claim.pending.take_if(|operation| operation.number == number) else { return };
        self.facts.ended(self.now.mono, id, &claim.resource, &operation, &error);
        let resource = claim.resource.clone();
        let created = claim.granted.is_some() || session.numbers.is_used(id.number);
        session.counts.waiting(-1);
        if claim.let_go && !self.planted.has(Bug::RefusedCopyCreates) {
            session.never_create(id.number);
        }
        if !created {
            self.unqueue_withdrawals(&resource, id);
            self.drop_claim(id, None);
        }
        if let Some(to) = operation.reply {
            self.reply_error(to, error);
        }
    }

    /// Takes out of the queue what would withdraw a claim that never came to be: it would be counted as a command of the next
    /// claim of that number.
    fn unqueue_withdrawals(&mut self, resource: &ResourceId, claim: ClaimId) {
        let at = self.lane_of(resource);
        if let Some(entry) = self.shards[at].entries.get_mut(resource) {
            entry.pending.retain(|pending| pending.purpose != Purpose::Withdraw(claim));
        }
    }
}
