//! What others did to claims of this broker: the table is compared with a record that was just confirmed.
//!
//! A claim changes through the commands of its own broker, whose outcomes tell it (`deliver`), and through what others write:
//! they grant it from the queue, block it, take it away; and the store can lose what it acknowledged. For that the claims in
//! the table are compared with the record, after every write or compare that follows a read.
//!
//! Invariants: nothing is compared but with what a compare-and-swap has confirmed; a claim with commands on its way is left
//! alone, because their outcomes say how it stands; what a client was told of a later grant is never replaced by an earlier
//! one: then the store lost something.

use std::collections::BTreeSet;

use super::Broker;
use super::shard::{Entry, Pending};
use super::table::{Claim, Operation};
use crate::command::{Completion, Outcome};
use crate::mode::Mode;
use crate::name::{ClaimId, OperationNumber, ResourceId, Version};
use crate::resource::{ClaimView, Queue, Resource};

impl Broker {
    /// What was read is confirmed now: the claims of this broker are compared with it, except those that are left alone, and who
    /// resumes with one is told of it.
    pub(super) fn compare_claims(&mut self, at: usize, id: &ResourceId) {
        let Some(entry) = self.shards[at].entries.get_mut(id).filter(|entry| entry.review.was_read()) else { return };
        entry.review = entry.review.and_read(false);
        let locals: Vec<ClaimId> = entry.locals.iter().copied().collect();
        let (left, compared): (BTreeSet<ClaimId>, BTreeSet<ClaimId>) =
            locals.into_iter().partition(|claim| self.is_left_alone(*claim));
        self.reconcile(at, id);
        self.note_since(at, id, &compared);
        self.resumed_claims_read(&compared);
        if let Some(entry) = self.shards[at].entries.get_mut(id)
            && !left.is_empty()
        {
            entry.review = entry.review.and_read(true);
        }
    }

    /// Compares the claims of this broker with a state that was just confirmed, and tells what others did to them.
    pub(super) fn reconcile(&mut self, at: usize, id: &ResourceId) {
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let version = entry.stored.version().unwrap_or_default();
        let resource = entry.state.view();
        let news: Vec<News> = entry
            .locals
            .iter()
            .filter(|claim| self.differs(entry, **claim))
            .map(|claim| News {
                claim: *claim,
                queued: resource.claim(*claim).filter(|view| view.queue != Queue::Granted).map(|view| Waiting {
                    operation: view.operation,
                    granted: view.granted,
                    requested: view.requested,
                    grant_seq: view.grant_seq,
                    since_ms: view.since_ms,
                }),
                vanished: resource.claim(*claim).is_none(),
                lost: resource.claim(*claim).is_some_and(|view| self.was_lost(entry, *claim, &view)),
                completion: resource.completion(*claim),
                blocking: blocking_of(&resource, *claim),
            })
            .collect();
        for News { claim, queued, vanished, lost, completion, blocking } in news {
            if vanished {
                self.vanished(claim);
            } else if lost {
                self.lost_by_store(claim);
                continue;
            } else if let Some(waiting) = queued {
                self.note_waiting(claim, &waiting);
            } else if let Some(completion) = completion {
                self.reconcile_claim(completion, version);
            }
            if let Some(blocking) = blocking {
                let told = self.claim_mut(claim).and_then(|claim| claim.blocking_told);
                let news =
                    matches!(&blocking, Outcome::Blocking { wanted, .. } if told.is_none_or(|told| *wanted > told));
                if news {
                    self.tell_one(blocking, version);
                }
            }
        }
    }

    fn reconcile_claim(&mut self, completion: Completion, version: Version) {
        let id = completion.claim;
        let Some(claim) = self.claim_mut(id) else { return };
        // Or for an earlier one, which is over too: it ended at another broker, before the session came back.
        let waits_for_this = claim.pending.as_ref().is_some_and(|operation| operation.number <= completion.operation);
        if waits_for_this || completion.grant_seq > claim.grant_seq {
            self.complete(completion, version);
        }
    }

    /// A claim waits although this broker did not ask for it: its session moved here meanwhile.
    fn note_waiting(&mut self, id: ClaimId, waiting: &Waiting) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get_mut(&id.session) else { return };
        let Some(claim) = session.claims.get_mut(&id.number) else { return };
        claim.holds(waiting.granted, now);
        claim.grant_seq = claim.grant_seq.max(waiting.grant_seq);
        if claim.waits_for_less(waiting.operation) {
            let more = claim.pending.is_none();
            claim.operation = claim.operation.max(waiting.operation);
            claim.pending = Some(Operation {
                number: waiting.operation,
                reply: None,
                until_done: false,
                mode: waiting.requested,
                asked: Some(now),
                deadline: None,
                queued: None,
                given_up: false,
                since_ms: waiting.since_ms,
            });
            session.counts.waiting(isize::from(more));
        }
    }

    /// A claim that came with a move has waited since it came to its queue, and not only since it came here.
    fn note_since(&mut self, at: usize, id: &ResourceId, compared: &BTreeSet<ClaimId>) {
        let Some(entry) = self.shards[at].entries.get(id) else { return };
        let resource = entry.state.view();
        for id in compared {
            let session = self.sessions.get_mut(&id.session);
            let claim = session.and_then(|session| session.claims.get_mut(&id.number)).filter(|claim| claim.unread);
            let view = resource.claim(*id).filter(|view| view.queue != Queue::Granted);
            if let (Some(pending), Some(view)) = (claim.and_then(|claim| claim.pending.as_mut()), view) {
                pending.since_ms = view.since_ms;
            }
        }
    }

    /// True if the record says something of a claim that its client has not been told.
    pub(super) fn differs(&self, entry: &Entry, id: ClaimId) -> bool {
        let Some(claim) = self.sessions.get(&id.session).and_then(|session| session.claims.get(&id.number)) else {
            return false;
        };
        let differs = |view: ClaimView<'_>| differs_from(claim, &view) || self.was_lost(entry, id, &view);
        // What was taken away has been told, and goes when its holder had its time.
        let vanished = !claim.forced;
        !self.is_left_alone(id) && entry.state.view().claim(id).map_or(vanished, differs)
    }

    /// True if the store lost what it had acknowledged of a claim: a grant that the client was told, or its place in the
    /// queue. What the record says besides is older than what the client knows, so the claim can only be taken away.
    fn was_lost(&self, entry: &Entry, id: ClaimId, view: &ClaimView<'_>) -> bool {
        let Some(claim) = self.sessions.get(&id.session).and_then(|session| session.claims.get(&id.number)) else {
            return false;
        };
        if claim.forced {
            return false;
        }
        // It may stand there with an earlier operation that is over long since. One that was told no place, and whose command
        // still waits here until the store is settled, had none yet.
        let waits_here = |operation: &Operation| {
            operation.queued.is_none() && entry.pending.iter().any(|it| it.is_copy_of(id, operation.number))
        };
        let place_lost = claim.waits_for_more(view.operation) && !claim.pending.as_ref().is_some_and(waits_here);
        claim.was_granted_after(view.grant_seq) || (self.settling.loses_writes() && place_lost)
    }

    /// A claim with commands on their way is not compared with its record: the answers to these say how it stands. Nor is
    /// one whose session is not vouched for, of which nothing is told. Before the store is settled, no command is on its
    /// way, and a session that moves need not wait for what is decided then.
    pub(super) fn is_left_alone(&self, id: ClaimId) -> bool {
        let Some(session) = self.sessions.get(&id.session) else { return false };
        let Some(claim) = session.claims.get(&id.number) else { return false };
        let on_its_way =
            claim.commands > 0 && (!claim.unread || self.settling.may_grant() || self.is_in_doubt(id, claim));
        on_its_way || !session.life.is_vouched_for()
    }

    /// A command of this claim may have happened.
    fn is_in_doubt(&self, id: ClaimId, claim: &Claim) -> bool {
        let entry = self.shards[self.lane_of(&claim.resource)].entries.get(&claim.resource);
        let doubtful = |pending: &Pending| pending.doubtful && pending.purpose.claim() == Some(id);
        entry.is_some_and(|entry| entry.in_flight || entry.pending.iter().any(doubtful))
    }
}

/// What a record says of a claim that its client has not been told.
struct News {
    claim: ClaimId,
    /// It stands on a queue.
    queued: Option<Waiting>,
    vanished: bool,
    /// See [`Broker::was_lost`].
    lost: bool,
    completion: Option<Completion>,
    blocking: Option<Outcome>,
}

/// An operation that waits, as the record says.
struct Waiting {
    operation: OperationNumber,
    granted: Option<Mode>,
    requested: Option<Mode>,
    grant_seq: u32,
    since_ms: u64,
}

fn differs_from(claim: &Claim, view: &ClaimView<'_>) -> bool {
    let ended = claim
        .pending
        .as_ref()
        .is_some_and(|operation| view.queue == Queue::Granted && view.operation >= operation.number);
    let waits_unknown = view.queue != Queue::Granted && claim.waits_for_less(view.operation);
    let told_less = view.blocking_level.is_some_and(|level| claim.blocking_told.is_none_or(|told| level > told));
    ended || waits_unknown || view.grant_seq > claim.grant_seq || told_less
}

fn blocking_of(resource: &Resource, id: ClaimId) -> Option<Outcome> {
    let view = resource.claim(id)?;
    let wanted = view.blocking_level?;
    Some(Outcome::Blocking { claim: id, grant_seq: view.grant_seq, wanted, own: false })
}
