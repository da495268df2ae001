//! Drain, apply, commit: how queued commands become one batch, and what its outcomes mean.
//!
//! Invariants: a command is answered only after the write it was applied in (or, if it changed nothing, a compare at the
//! same version) is committed; whatever else happens, the commands go back to the head of their queue in their order and
//! are decided again on fresh state. Operation numbers make that harmless.

use super::Broker;
use super::api::{Effect, Ending};
use super::marks::MarkJob;
use super::shard::{Applied, Does, Entry, Item, LaneState, Purpose, Review, Stored, claim_of};
use super::timers::Timer;
use crate::backend::{Change, Guard, Key, Lane, Slot, Write, WriteOutcome};
use crate::command::{Outcome, Refusal};
use crate::limits::COMMANDS_PER_WRITE_MAX;
use crate::name::{ResourceId, Version};
use crate::planted::Bug;
use crate::resource::Context;

/// A record committed so often in a row rests while others are alive, or a distant broker never gets a turn.
const STREAK_MAX: u32 = 32;

/// A batch that is being put together.
#[derive(Default)]
struct Draft {
    items: Vec<Item>,
    writes: Vec<Write>,
    bytes: usize,
    reads: Vec<Key>,
    /// Items that need no store: nothing changed, and nobody else could have changed it.
    settled: Vec<(ResourceId, Vec<Applied>)>,
}

impl Draft {
    /// Marks come before the records: what they decide, these may depend on.
    fn marks(&mut self, jobs: Vec<MarkJob>) {
        self.writes.extend(jobs.iter().map(MarkJob::write));
        self.items.extend(jobs.into_iter().map(Item::Mark));
    }
}

impl Broker {
    /// Starts a batch on a lane that is idle and has work.
    pub(super) fn start_batch(&mut self, lane: usize) {
        if !matches!(self.shards[lane].state, LaneState::Idle) || !self.may_send() {
            return;
        }
        let mut draft = Draft::default();
        draft.marks(self.shards[lane].marks.take_batch(self.config.profile.batch_writes_max));
        self.draft_resources(lane, &mut draft);
        if !draft.reads.is_empty() {
            self.out.push(Effect::Read { keys: draft.reads });
        }
        if !draft.writes.is_empty() {
            let shard = &mut self.shards[lane];
            let guard = Guard { broker: self.config.incarnation, lane: shard.lane, generation: shard.generation };
            shard.state = LaneState::InFlight(draft.items);
            self.counters.commits += 1;
            self.counters.writes += draft.writes.len() as u64;
            self.out.push(Effect::Commit { guard, writes: draft.writes });
        }
        for (id, applied) in draft.settled {
            self.settle(lane, &id, applied);
        }
    }

    fn draft_resources(&mut self, lane: usize, draft: &mut Draft) {
        let profile = &self.config.profile;
        let (writes_max, bytes_max) = (profile.batch_writes_max, profile.batch_bytes_max);
        while draft.writes.len() < writes_max && draft.bytes < bytes_max {
            let Some(id) = self.shards[lane].ready.pop_front() else { break };
            self.draft_resource(lane, id, draft);
        }
    }

    fn draft_resource(&mut self, lane: usize, id: ResourceId, draft: &mut Draft) {
        let now = self.now.mono;
        let context = self.context_for(&id);
        let grants = self.settling.may_grant();
        let Some(entry) = self.shards[lane].entries.get_mut(&id) else { return };
        entry.ready = false;
        entry.touched = now;
        let Some(version) = entry.stored.version() else {
            // What is due is decided once it was read.
            if !entry.reading {
                entry.reading = true;
                draft.reads.push(Key::Resource(id));
            }
            return;
        };
        if entry.rests_until > now {
            let until = entry.rests_until;
            self.timers.set(until, Timer::Resource(id));
            return;
        }
        if !grants && (!entry.review.is_due() || entry.damage.is_being_replaced()) {
            // What waits is decided once the store is settled. So is what replaces a damaged record: without the command that
            // holds its place, an empty state would only delete it.
            return;
        }
        let delay = self.config.lock_delay(&id.lockspace);
        if grants {
            self.strangers.condemn(entry, now, delay);
        }
        // Before the store is settled what was read is confirmed all the same: sessions that move wait for that.
        let (applied, changed) = if grants { apply_pending(entry, context) } else { (Vec::new(), false) };
        let does = if entry.resource.is_idle() && entry.stored.is_record() {
            Does::Delete
        } else if changed {
            Does::Store
        } else {
            Does::Confirm
        };
        if does == Does::Confirm
            && (!self.config.profile.contract.is_shared() || self.planted.has(Bug::AnsweredFromMemory))
        {
            draft.settled.push((id, applied));
            return;
        }
        let change = match does {
            Does::Delete => Change::Delete,
            Does::Store => Change::Put(entry.resource.encode()),
            Does::Confirm if self.config.profile.contract.compares() => Change::Compare,
            // Where the store knows no compare, what stands there is written again.
            Does::Confirm if entry.stored.is_record() => Change::Put(entry.resource.encode()),
            Does::Confirm => Change::Delete,
        };
        entry.in_flight = true;
        if let Change::Put(bytes) = &change {
            draft.bytes += bytes.len();
        }
        let notify = self.config.profile.contract.is_shared() && self.concerns_others(&applied);
        draft.writes.push(Write { key: Key::Resource(id.clone()), expected: version, change, notify });
        draft.items.push(Item::Resource { id, applied, does });
    }

    fn context_for(&self, id: &ResourceId) -> Context {
        let limits = &self.config.limits;
        Context {
            index: 0,
            wall_ms: self.now.wall_ms,
            value_bytes: self.lockspace(&id.lockspace).value_block_bytes,
            queued_max: limits.queued_per_resource,
            record_bytes_max: limits.record_bytes.min(self.config.profile.record_bytes_max),
        }
    }

    /// True if a claim of a session that is not in the table hears of this.
    fn concerns_others(&self, applied: &[Applied]) -> bool {
        applied
            .iter()
            .flat_map(|applied| &applied.outcomes)
            .filter_map(claim_of)
            .any(|claim| !self.sessions.contains_key(&claim.session))
    }

    /// Takes the outcomes of a lane's batch.
    pub(super) fn take_outcomes(&mut self, lane: Lane, mut outcomes: Vec<WriteOutcome>) {
        let at = usize::from(lane.0);
        let Some(shard) = self.shards.get_mut(at) else { return };
        let items = match std::mem::take(&mut shard.state) {
            LaneState::InFlight(items) => items,
            other => {
                shard.state = other;
                return;
            }
        };
        if outcomes.len() != items.len() {
            let text = format!("{} outcomes for {} writes", outcomes.len(), items.len());
            outcomes = vec![WriteOutcome::Unknown(text); items.len()];
        }
        if outcomes.contains(&WriteOutcome::Evicted) {
            self.end(Ending::Evicted);
            return;
        }
        self.settle_lane(at, &outcomes);
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
                entry.streak = 0;
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
        let others = self.liveness.others_alive(self.now.mono);
        let rest = self.liveness.longest_round_trip() * 3 / 2;
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
            entry.resource.committed(version);
            entry.streak += 1;
        }
        if others && entry.streak >= STREAK_MAX {
            entry.streak = 0;
            entry.rests_until = self.now.mono + rest;
        }
        let idle_left = entry.stored.is_record() && entry.resource.is_idle();
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
    fn settle(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>) {
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

/// Applies what waits on a resource, as much as one write may hold. True if the stored state changed.
fn apply_pending(entry: &mut Entry, mut context: Context) -> (Vec<Applied>, bool) {
    let count = entry.pending.len().min(COMMANDS_PER_WRITE_MAX);
    let mut applied = Vec::with_capacity(count);
    let mut changed = false;
    for (index, pending) in entry.pending.drain(..count).enumerate() {
        context.index = index as u16;
        let mut outcomes = Vec::new();
        match &pending.purpose {
            Purpose::Replace(replacing) if !replacing.may_apply(&entry.damage, &entry.resource, &pending) => {
                outcomes.push(Outcome::Refused { refusal: Refusal::NotFound });
            }
            // Whatever ended the claim since its first copy came: no other copy creates it again.
            Purpose::Operation(claim, _) if pending.looks && entry.resource.claim(*claim).is_none() => {
                outcomes.push(Outcome::Gone { claim: *claim });
            }
            _ => changed |= entry.resource.apply(&pending.command, &context, &mut outcomes),
        }
        applied.push(Applied { pending, outcomes });
    }
    (applied, changed)
}

/// Nobody knows what stands there now: commands go back, and the record is read.
fn put_back(entry: &mut Entry, applied: Vec<Applied>, doubtful: bool) {
    restore(entry, applied, doubtful);
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
