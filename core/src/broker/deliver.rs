//! What a committed write means to clients: answers and events.
//!
//! Invariants: a completion is told once, to whoever asked or, after `queued`, to the session's connection; nothing is
//! told of a session that is being buried; a claim that was created is noted before anything of it is told.

use std::sync::Arc;

use super::Broker;
use super::api::{CancelResult, Done, DoneStatus, Effect, Event, LostReason, Reply, ReplyTo, RequestError};
use super::shard::{Pending, Purpose};
use super::table::{Claim, Session};
use super::timers::Timer;
use crate::command::{Command, Completion, Options, Outcome, Status};
use crate::name::{ClaimId, ClaimNumber, Fence, OperationNumber, ResourceId, Version};
use crate::planted::Bug;

impl Done {
    /// A completion as clients see it, given the version of its write.
    pub(super) fn of(completion: Completion, version: Version) -> Self {
        Self {
            claim: completion.claim.number,
            operation: completion.operation,
            status: DoneStatus::Is(completion.status),
            mode: completion.mode,
            fence: completion.fence.map(|stamp| stamp.resolve(version)),
            grant_seq: completion.grant_seq,
            immediate: completion.immediate,
            demoted: completion.demoted,
            alternate: completion.alternate,
            value: completion.value,
            blockers: completion.blockers,
            adopted: completion.adopted,
        }
    }

    /// An answer that holds nothing.
    pub(super) fn empty(claim: ClaimNumber, operation: OperationNumber, status: DoneStatus) -> Self {
        Self {
            claim,
            operation,
            status,
            mode: None,
            fence: None,
            grant_seq: 0,
            immediate: false,
            demoted: false,
            alternate: false,
            value: None,
            blockers: Vec::new(),
            adopted: None,
        }
    }
}

impl Broker {
    /// Sends an answer, unless this broker may not speak.
    pub(super) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.calls.remove(&to.connection);
        if !self.muted {
            self.out.push(Effect::Reply { to, reply });
        } else if !self.connections.contains_key(&to.connection) {
            // Streams are ended; a call would wait for ever. It may have happened, and it may count for nothing.
            let text = "this broker may have been declared dead: repeat the request".to_owned();
            self.out.push(Effect::Reply { to, reply: Reply::Error(RequestError::Unknown(text)) });
        }
    }

    pub(super) fn reply_error(&mut self, to: ReplyTo, error: RequestError) {
        self.reply(to, Reply::Error(error));
    }

    /// Sends an event to a session's connection, if it has one.
    pub(super) fn tell(&mut self, claim: ClaimId, event: Event) {
        if self.muted {
            return;
        }
        let Some(session) = self.sessions.get_mut(&claim.session) else { return };
        if session.resuming.is_some() {
            session.held_back.push(event);
        } else if let Some(connection) = session.connection {
            self.out.push(Effect::Event { connection, event });
        }
    }

    /// Tells what one command did.
    pub(super) fn answer(&mut self, id: &ResourceId, mut pending: Pending, outcomes: Vec<Outcome>, version: Version) {
        self.queued = self.queued.saturating_sub(usize::from(pending.purpose.is_for_a_client()));
        let outcomes = if self.planted.has(Bug::EndInDoubtForgotten) { outcomes } else { pending.settle(outcomes) };
        match &pending.purpose {
            Purpose::Operation(claim, operation) => {
                self.command_done(*claim);
                if let [Outcome::Refused { refusal }] = outcomes.as_slice() {
                    self.refuse_operation(id, *claim, *operation, refusal.clone());
                    return;
                }
                if let [Outcome::Gone { .. }] = outcomes.as_slice() {
                    self.look_closer(id, *claim);
                }
                self.tell_all(id, outcomes, version);
            }
            Purpose::Unlock(claim, operation, reply) => {
                self.command_done(*claim);
                self.answer_unlock(id, *claim, *operation, *reply, pending.doubtful, outcomes, version);
            }
            Purpose::Cancel(claim, reply) => {
                self.command_done(*claim);
                self.answer_cancel(id, *claim, *reply, outcomes, version);
            }
            Purpose::Withdraw(claim) => {
                self.command_done(*claim);
                self.tell_all(id, outcomes, version);
            }
            Purpose::Part(part) => {
                let part = *part;
                let mut released = 0;
                for outcome in outcomes {
                    match outcome {
                        // Only the asking session's own claims leave here: they were released, not taken away.
                        Outcome::Removed { claim } => {
                            released += 1;
                            let done = Done::empty(claim.number, OperationNumber(0), DoneStatus::Is(Status::Released));
                            self.drop_claim(claim, Some(Arc::new(done)));
                        }
                        other => self.tell_one(id, other, version),
                    }
                }
                self.part_done(part, released);
            }
            Purpose::Bury(session) => {
                let session = *session;
                self.tell_all(id, outcomes, version);
                self.claims_buried(session, id);
            }
            Purpose::Remove(claims) => {
                let claims = claims.clone();
                self.tell_all(id, outcomes, version);
                for claim in claims {
                    self.removal_done(claim);
                }
            }
            Purpose::Replace(replacing) => self.answer_replaced(id, &replacing.clone(), outcomes, version),
            Purpose::Purge(reply) => {
                let reply = *reply;
                let purged =
                    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Removed { .. })).count() as u32;
                self.tell_all(id, outcomes, version);
                if let Some(to) = reply {
                    self.reply(to, Reply::Purged { purged });
                }
            }
        }
    }

    /// A further copy of a request found no claim. What ended it has told so, unless that was another broker.
    fn look_closer(&mut self, id: &ResourceId, claim: ClaimId) {
        let at = self.lane_of(id);
        if self.claim_mut(claim).is_some()
            && let Some(entry) = self.shards[at].entries.get_mut(id)
        {
            entry.review = entry.review.and_read(true);
        }
    }

    pub(super) fn command_done(&mut self, claim: ClaimId) {
        if let Some(claim) = self.claim_mut(claim) {
            claim.commands = claim.commands.saturating_sub(1);
        }
    }

    pub(super) fn claim_mut(&mut self, claim: ClaimId) -> Option<&mut Claim> {
        self.sessions.get_mut(&claim.session)?.claims.get_mut(&claim.number).map(Box::as_mut)
    }

    fn tell_all(&mut self, id: &ResourceId, outcomes: Vec<Outcome>, version: Version) {
        for outcome in outcomes {
            self.tell_one(id, outcome, version);
        }
    }

    pub(super) fn tell_one(&mut self, id: &ResourceId, outcome: Outcome, version: Version) {
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
            Outcome::Removed { claim } => self.removed(claim),
            Outcome::Orphaned { claim } => {
                self.drop_claim(claim, None);
            }
            Outcome::Refused { .. } | Outcome::AlreadyGranted { .. } | Outcome::Gone { .. } => {
                let _ = id;
            }
        }
    }

    /// An operation ended.
    pub(super) fn complete(&mut self, completion: Completion, version: Version) {
        let id = completion.claim;
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        let Some(claim) = session.claims.get_mut(&id.number) else { return };
        let mut done = Done::of(completion, version);
        if self.planted.has(Bug::FenceFromMemory) {
            done.fence = done.fence.map(|_| Fence(self.counters.writes));
        }
        let done = Arc::new(done);
        if done.grant_seq > claim.grant_seq {
            claim.blocking_told = None;
        }
        let is_new = claim.granted.is_none() || claim.untold == Some(done.operation);
        claim.granted = done.mode;
        claim.done = Some(done.clone());
        claim.grant_seq = done.grant_seq.max(claim.grant_seq);
        // An earlier one is over too: it ended at another broker, before the session came back.
        // While it is given back, only its end is an answer.
        let speaks = !claim.leaving || done.mode.is_none();
        let operation = claim.pending.take_if(|operation| speaks && operation.number <= done.operation);
        session.waiting -= usize::from(operation.is_some());
        session.numbers.mark_once(id.number);
        if operation.is_some() {
            claim.untold = (self.muted && is_new).then_some(done.operation);
        }
        let untold = done.status == DoneStatus::Is(Status::Granted) && operation.as_ref().is_some_and(|it| it.given_up);
        if done.mode.is_none() {
            self.drop_claim(id, Some(done.clone()));
        } else if untold && is_new {
            self.give_back(id, done.operation);
        }
        if let Some(operation) = operation {
            match operation.reply {
                Some(to) if operation.number == done.operation => self.reply(to, Reply::Done(done)),
                Some(to) if done.mode.is_none() => {
                    let gone = Done::empty(id.number, operation.number, DoneStatus::Gone);
                    self.reply(to, Reply::Done(Arc::new(gone)));
                }
                Some(to) => self.reply_error(to, RequestError::StaleOperation(id.number)),
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

    /// A claim left without a completion.
    fn removed(&mut self, id: ClaimId) {
        let Some(session) = self.sessions.get(&id.session) else { return };
        if !session.claims.contains_key(&id.number) {
            return;
        }
        if session.void.contains(&id.number) {
            // What the client gave up when it moved was taken from nobody.
            return self.end_claim(id, DoneStatus::Gone, None);
        }
        let lost = session.life.is_vouched_for();
        self.lose_claim(id, lost.then_some(LostReason::Forced));
    }

    /// Drops a claim that was taken away, and tells its client.
    pub(super) fn lose_claim(&mut self, id: ClaimId, reason: Option<LostReason>) {
        self.end_claim(id, DoneStatus::Lost, reason);
    }

    pub(super) fn end_claim(&mut self, id: ClaimId, status: DoneStatus, reason: Option<LostReason>) {
        let operation = self.claim_mut(id).and_then(|claim| claim.pending.take());
        if operation.is_some()
            && let Some(session) = self.sessions.get_mut(&id.session)
        {
            session.waiting -= 1;
        }
        let number = operation.as_ref().map_or(OperationNumber(0), |operation| operation.number);
        let done = Arc::new(Done::empty(id.number, number, status));
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

    /// Takes a claim out of the table. Further copies of its requests that wait would find nothing.
    pub(super) fn drop_claim(&mut self, id: ClaimId, done: Option<Arc<Done>>) -> Option<Claim> {
        let session = self.sessions.get_mut(&id.session)?;
        let claim = session.finish(id.number, done)?;
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
        if resumes && !self.planted.has(Bug::ResumeForgotten) {
            self.answer_resume(id.session);
        }
        Some(claim)
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

    #[expect(clippy::too_many_arguments, reason = "the parts of one answer")]
    fn answer_unlock(
        &mut self,
        id: &ResourceId,
        claim: ClaimId,
        operation: OperationNumber,
        reply: Option<ReplyTo>,
        doubtful: bool,
        outcomes: Vec<Outcome>,
        version: Version,
    ) {
        if let [Outcome::Refused { refusal }] = outcomes.as_slice() {
            let error = RequestError::from_refusal(refusal.clone(), claim.number, id);
            match (reply, self.claim_mut(claim)) {
                (Some(to), _) => self.reply_error(to, error),
                (None, Some(known)) => known.leaving = false,
                (None, None) => {}
            }
            return;
        }
        let gone = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Gone { claim: gone } if *gone == claim));
        self.tell_all(id, outcomes, version);
        // Gone after a doubtful first copy: that copy released it. Gone otherwise: somebody took it away.
        let lost = gone && !doubtful && self.claim_mut(claim).is_some_and(|claim| claim.granted.is_some());
        let status = if lost { DoneStatus::Lost } else { DoneStatus::Is(Status::Released) };
        let done = Arc::new(Done::empty(claim.number, operation, status));
        let waiting = self.drop_claim(claim, Some(done.clone())).and_then(|claim| claim.pending);
        // Copies of earlier requests that came behind the release.
        if let Some((number, to)) = waiting.and_then(|waiting| Some((waiting.number, waiting.reply?))) {
            self.reply(to, Reply::Done(Arc::new(Done::empty(claim.number, number, DoneStatus::Gone))));
        }
        if let Some(to) = reply {
            self.reply(to, Reply::Done(done));
        }
    }

    fn answer_cancel(
        &mut self,
        id: &ResourceId,
        claim: ClaimId,
        to: ReplyTo,
        outcomes: Vec<Outcome>,
        version: Version,
    ) {
        let withdrew = |outcome: &Outcome| matches!(outcome, Outcome::Completed(done) if done.claim == claim && done.status == Status::Cancelled);
        let result = if outcomes.iter().any(withdrew) {
            CancelResult::Cancelled
        } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::AlreadyGranted { .. })) {
            CancelResult::AlreadyGranted
        } else {
            CancelResult::Gone
        };
        self.tell_all(id, outcomes, version);
        self.reply(to, Reply::Cancelled { claim: claim.number, result });
    }
}

impl Session {
    /// Counts what people want to see.
    pub(super) fn held(&self) -> usize {
        self.claims.values().filter(|claim| claim.granted.is_some()).count()
    }
}
