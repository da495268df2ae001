//! What the outcomes of a batch mean for its records.
//!
//! Invariants: a command is answered only after the write it was applied in (or, if it changed nothing, a compare at the
//! same version) is committed; whatever else happens, the commands go back to the head of their queue in their order and
//! are decided again on fresh state. Operation numbers make that harmless.

use super::Broker;
use super::api::Ending;
use super::shard::{Applied, Does, Entry, Flight, Item, Review, Stored};
use crate::backend::{Lane, Slot, WriteOutcome};
use crate::name::{ResourceId, Version};

/// A record that was committed so often in a row, and for so many times as long as it will rest, rests while others are alive,
/// or a distant broker never gets a turn. So a rest costs a sixteenth of the time at most.
const STREAK_MAX: u32 = 32;
const RESTS_PER_STREAK: u32 = 16;

impl Broker {
    /// Takes the outcomes of one of a lane's batches.
    pub(super) fn take_outcomes(&mut self, lane: Lane, batch: u64, mut outcomes: Vec<WriteOutcome>) {
        let at = usize::from(lane.0);
        let Some(shard) = self.shards.get_mut(at) else { return };
        let Some(Flight { generation, items }) = shard.flights.remove(&batch) else { return };
        if outcomes.len() != items.len() {
            let text = format!("{} outcomes for {} writes", outcomes.len(), items.len());
            outcomes = vec![WriteOutcome::Unknown(text); items.len()];
        }
        if outcomes.contains(&WriteOutcome::Evicted) {
            self.end(Ending::Evicted);
            return;
        }
        self.settle_lane(at, generation, &outcomes);
        self.say_what_is_checked();
        self.muted = !self.config.profile.contract.checks_registration() && !self.is_valid();
        for (item, outcome) in items.into_iter().zip(outcomes) {
            match item {
                Item::Resource { id, applied, does } => self.record_outcome(at, &id, applied, does, outcome),
                Item::Mark(job) => self.mark_outcome(job, outcome),
            }
            if self.is_over() {
                return;
            }
        }
        if std::mem::take(&mut self.muted) {
            self.disconnect_all();
        }
    }

    fn record_outcome(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>, does: Does, outcome: WriteOutcome) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let review = entry.review;
        entry.in_flight = false;
        entry.damage.read_again();
        entry.review = review.after(&outcome);
        match outcome {
            WriteOutcome::Committed(version) => self.record_committed(at, id, applied, does, version, review),
            WriteOutcome::Conflict(slot) => self.record_conflict(at, id, applied, slot, review),
            WriteOutcome::ConflictUnread => {
                self.counters.conflicts += 1;
                entry.met_other_writer();
                put_back(entry, applied, false);
            }
            WriteOutcome::Unknown(_) => put_back(entry, applied, true),
            WriteOutcome::Unavailable(text) => {
                put_back(entry, applied, false);
                self.refuse_impatient(at, id, &text);
            }
            WriteOutcome::Stale | WriteOutcome::Evicted => {
                put_back(entry, applied, false);
                self.refuse_impatient(at, id, "it is away");
            }
        }
        self.shards[at].make_ready(id);
    }

    fn record_committed(
        &mut self,
        at: usize,
        id: &ResourceId,
        applied: Vec<Applied>,
        does: Does,
        version: Version,
        review: Review,
    ) {
        let now = self.now.mono;
        let others = self.liveness.others_alive(now);
        let rest = self.liveness.longest_round_trip() * 3 / 2;
        let keeping = self.keeping();
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.stored = match does {
            Does::Store => Stored::Record(version),
            Does::Delete => {
                Stored::Nothing(if self.config.profile.contract.leaves_markers() { version } else { Version::ABSENT })
            }
            Does::Confirm => entry.stored.confirmed_at(version),
        };
        if does != Does::Confirm {
            // One that is deleted is empty, and keeps its room for the next claim.
            if let Some(resource) = entry.state.warm() {
                resource.committed(version);
            }
            if entry.streak == 0 {
                entry.streak_since = now;
            }
            entry.streak += 1;
        }
        if others && entry.streak >= STREAK_MAX && now >= entry.streak_since + rest * RESTS_PER_STREAK {
            entry.streak = 0;
            entry.rests_until = now + rest;
        }
        let idle_left = entry.stored.is_record() && entry.state.is_idle() && !entry.stays(keeping);
        entry.review = Review::of(review.was_read(), idle_left);
        self.deliver(id, applied, version);
        if let Some(entry) = self.shards[at].entries.get_mut(id)
            && review == Review::OnceMore
        {
            entry.review = Review::News;
        } else {
            self.compare_claims(at, id);
        }
        self.follow(at, id);
    }

    fn record_conflict(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>, slot: Slot, review: Review) {
        self.counters.conflicts += 1;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let fell = !slot.version.is_absent() && entry.stored.version().is_some_and(|known| slot.version < known);
        restore(entry, applied, false);
        if fell {
            self.store_forgot(format!("the version of `{id}` fell to {}", slot.version));
        } else {
            // What was compared before a session moved here tells nothing of it, as little as a read does.
            self.load(at, id, slot, review != Review::OnceMore);
        }
    }

    /// Nothing changed and nobody else writes here: the answers stand.
    pub(super) fn settle(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let version = entry.stored.version().unwrap_or_default();
        entry.review = entry.review.and_due(false);
        self.deliver(id, applied, version);
        self.compare_claims(at, id);
        self.follow(at, id);
        self.shards[at].make_ready(id);
    }

    /// Tells everybody what a committed write did.
    fn deliver(&mut self, id: &ResourceId, applied: Vec<Applied>, version: Version) {
        for Applied { pending, outcomes } in applied {
            self.answer(id, pending, outcomes, version);
        }
    }
}

/// Nobody knows what stands there now: commands go back, and the record is read.
fn put_back(entry: &mut Entry, applied: Vec<Applied>, doubtful: bool) {
    restore(entry, applied, doubtful);
    if entry.stored.is_record() {
        // It may have been kept without claims: should its commands go away, it is still to be deleted.
        entry.review = entry.review.and_due(true);
    }
    entry.stored = Stored::Unread;
}

/// Commands go back to the head of their queue, in their order.
fn restore(entry: &mut Entry, applied: Vec<Applied>, doubtful: bool) {
    for Applied { mut pending, outcomes } in applied.into_iter().rev() {
        if doubtful {
            pending.comes_into_doubt(outcomes);
        }
        entry.pending.push_front(pending);
    }
}
