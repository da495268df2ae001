//! What a committed write means to whoever asked for the commands in it.
//!
//! Invariant: each command is answered once, after the write it was applied in, or its refusal (`refusals`).

use super::Broker;
use super::api::{CancelResult, Done, DoneStatus, Reply, ReplyTo, RequestError};
use super::shard::{Pending, Purpose};
use crate::command::{Outcome, Status};
use crate::name::{ClaimId, OperationNumber, ResourceId, Version};
use crate::planted::Bug;

impl Broker {
    /// Tells what one command did.
    pub(super) fn answer(&mut self, id: &ResourceId, mut pending: Pending, outcomes: Vec<Outcome>, version: Version) {
        self.queued = self.queued.saturating_sub(usize::from(pending.purpose.is_for_a_client()));
        let outcomes = if self.planted.has(Bug::EndInDoubtForgotten) { outcomes } else { pending.settle(outcomes) };
        if let Some(claim) = pending.purpose.claim() {
            self.command_done(claim);
        }
        // What an operation removes is the orphan that it adopts: nothing is lost.
        if !matches!(pending.purpose, Purpose::Operation(..)) {
            self.note_buried(id, &outcomes);
        }
        match pending.purpose {
            Purpose::Operation(claim, operation) => self.answer_operation(id, claim, operation, outcomes, version),
            Purpose::Unlock(claim, operation, reply) => {
                self.answer_unlock(id, claim, operation, reply, pending.doubtful, outcomes, version);
            }
            Purpose::Cancel(claim, reply) => self.answer_cancel(claim, reply, outcomes, version),
            Purpose::Withdraw(_) => self.tell_all(outcomes, version),
            Purpose::Part(part) => self.answer_part(part, outcomes, version),
            Purpose::Bury(session) => {
                self.tell_all(outcomes, version);
                self.claims_buried(session, id);
            }
            Purpose::Remove(claims) => {
                self.tell_all(outcomes, version);
                for claim in claims {
                    self.removal_done(claim);
                }
            }
            Purpose::Replace(replacing) => self.answer_replaced(id, &replacing, outcomes, version),
            Purpose::Purge(reply) => self.answer_purge(reply, outcomes, version),
        }
    }

    fn answer_operation(
        &mut self,
        id: &ResourceId,
        claim: ClaimId,
        operation: OperationNumber,
        outcomes: Vec<Outcome>,
        version: Version,
    ) {
        match outcomes.as_slice() {
            [Outcome::Refused { refusal }] => return self.refuse_operation(id, claim, operation, refusal.clone()),
            [Outcome::Gone { .. }] => self.look_closer(id, claim),
            _ => {}
        }
        self.tell_all(outcomes, version);
    }

    /// A session released everything. Only its own claims leave here: they were released, not taken away.
    fn answer_part(&mut self, part: u64, outcomes: Vec<Outcome>, version: Version) {
        let mut released = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::Removed { claim, .. } => {
                    released += 1;
                    let done = Done::empty(claim.number, OperationNumber(0), DoneStatus::Is(Status::Released));
                    self.drop_claim(claim, Some(done));
                }
                other => self.tell_one(other, version),
            }
        }
        let told = self.gatherings.part_done(part, released);
        self.reply_all(told);
    }

    fn answer_purge(&mut self, to: Option<ReplyTo>, outcomes: Vec<Outcome>, version: Version) {
        let purged = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Removed { .. })).count() as u32;
        self.tell_all(outcomes, version);
        self.reply_all(to.map(|to| (to, Reply::Purged { purged })));
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
        self.tell_all(outcomes, version);
        // Gone after a doubtful first copy: that copy released it. Gone otherwise: somebody took it away.
        let lost = gone && !doubtful && self.claim_mut(claim).is_some_and(|claim| claim.granted.is_some());
        let status = if lost { DoneStatus::Lost } else { DoneStatus::Is(Status::Released) };
        let done = Done::empty(claim.number, operation, status);
        let waiting = self.drop_claim(claim, Some(done.clone())).and_then(|claim| claim.pending);
        // Copies of earlier requests that came behind the release.
        if let Some((number, to)) = waiting.and_then(|waiting| Some((waiting.number, waiting.reply?))) {
            self.reply(to, Reply::Done(Done::empty(claim.number, number, DoneStatus::Gone)));
        }
        if let Some(to) = reply {
            self.reply(to, Reply::Done(done));
        }
    }

    fn answer_cancel(&mut self, claim: ClaimId, to: ReplyTo, outcomes: Vec<Outcome>, version: Version) {
        let withdrew = |outcome: &Outcome| matches!(outcome, Outcome::Completed(done) if done.claim == claim && done.status == Status::Cancelled);
        let result = if outcomes.iter().any(withdrew) {
            CancelResult::Cancelled
        } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::AlreadyGranted { .. })) {
            CancelResult::AlreadyGranted
        } else {
            CancelResult::Gone
        };
        self.tell_all(outcomes, version);
        self.reply(to, Reply::Cancelled { claim: claim.number, result });
    }
}
