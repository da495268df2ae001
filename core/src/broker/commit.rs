//! Drain, apply, commit: how queued commands become batches.
//!
//! Invariants: a batch keeps to the limits of the store; a record is in it only at a version that is known, and with nothing
//! granted in it before the store is settled; a command that changed nothing is in it with a compare, unless nobody else can
//! have changed the record.

use super::Broker;
use super::api::Effect;
use super::marks::MarkJob;
use super::shard::{Applied, Does, Entry, Flight, Item, LaneState, Purpose, Stored, claim_of};
use super::state::State;
use super::timers::Timer;
use crate::backend::{Change, Contract, Guard, Key, Write};
use crate::command::{Outcome, Refusal};
use crate::limits::COMMANDS_PER_WRITE_MAX;
use crate::name::ResourceId;
use crate::planted::Bug;
use crate::resource::Context;

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

    fn record(&mut self, write: Write, id: ResourceId, applied: Vec<Applied>, does: Does) {
        if let Change::Put(bytes) = &write.change {
            self.bytes += bytes.len();
        }
        self.writes.push(write);
        self.items.push(Item::Resource { id, applied, does });
    }
}

impl Broker {
    /// Starts as many batches as the lane may have in flight and its work fills.
    pub(super) fn start_batches(&mut self, lane: usize) {
        while self.may_start(lane) {
            self.start_batch(lane);
        }
    }

    fn may_start(&self, lane: usize) -> bool {
        let shard = &self.shards[lane];
        matches!(shard.state, LaneState::Open)
            && shard.flights.len() < usize::from(self.config.depth)
            && (!shard.ready.is_empty() || shard.marks.may_go())
            && self.may_send()
    }

    fn start_batch(&mut self, lane: usize) {
        let mut draft = Draft::default();
        let jobs = self.shards[lane].marks.take_batch(self.config.profile.batch_writes_max);
        if self.planted.has(Bug::MarkInTwoBatches) {
            for job in &jobs {
                self.shards[lane].marks.landed(job);
            }
        }
        draft.marks(jobs);
        self.draft_resources(lane, &mut draft);
        if !draft.reads.is_empty() {
            self.out.push(Effect::Read { keys: draft.reads });
        }
        if !draft.writes.is_empty() {
            let shard = &mut self.shards[lane];
            let guard = Guard { broker: self.config.incarnation, lane: shard.lane, generation: shard.generation };
            let batch = shard.next_batch;
            shard.next_batch += 1;
            shard.flights.insert(batch, Flight { generation: shard.generation, items: draft.items });
            self.counters.commits += 1;
            self.counters.writes += draft.writes.len() as u64;
            self.out.push(Effect::Commit { guard, batch, writes: draft.writes });
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
        if !self.may_draft(lane, &id, draft) {
            return;
        }
        let now = self.now.mono;
        let contract = self.config.profile.contract;
        let context = self.context_for(&id);
        let grants = self.settling.may_grant();
        let delay = self.config.lock_delay(&id.lockspace);
        let keeping = self.keeping();
        let Some(entry) = self.shards[lane].entries.get_mut(&id) else { return };
        if grants {
            self.strangers.condemn(entry, now, delay);
        }
        // Before the store is settled what was read is confirmed all the same: sessions that move wait for that.
        let (applied, changed) = if grants { apply_pending(entry, context) } else { (Vec::new(), false) };
        let does =
            if entry.state.is_idle() && entry.stored.is_record() && (!entry.stays(keeping) || entry.review.is_due()) {
                Does::Delete
            } else if changed && !(entry.state.is_idle() && self.planted.has(Bug::IdleAssumed)) {
                Does::Store
            } else {
                Does::Confirm
            };
        if does == Does::Confirm && (!contract.is_shared() || self.planted.has(Bug::AnsweredFromMemory)) {
            draft.settled.push((id, applied));
            return;
        }
        let Some(expected) = entry.stored.version() else { return };
        let change = change_of(entry, does, contract, self.writing.now);
        entry.in_flight = !self.planted.has(Bug::RecordInTwoBatches);
        let notify = contract.is_shared() && self.concerns_others(&applied);
        draft.record(Write { key: Key::Resource(id.clone()), expected, change, notify }, id, applied, does);
    }

    /// Whether a batch may take this record up now. One that is not known is asked for, and one that rests goes on later.
    fn may_draft(&mut self, lane: usize, id: &ResourceId, draft: &mut Draft) -> bool {
        let now = self.now.mono;
        let Some(entry) = self.shards[lane].entries.get_mut(id) else { return false };
        entry.ready = false;
        entry.touched = now;
        if entry.in_flight {
            return false;
        }
        if self.planted.has(Bug::ColdTakenForEmpty) && !entry.state.is_warm() {
            entry.state = State::default();
        }
        if !entry.state.warm_up() {
            entry.stored = Stored::Unread;
        }
        if entry.stored.version().is_none() {
            // What is due is decided once it was read.
            if !std::mem::replace(&mut entry.reading, true) {
                draft.reads.push(Key::Resource(id.clone()));
            }
            return false;
        }
        if entry.rests_until > now {
            self.timers.set(entry.rests_until, Timer::Resource(id.clone()));
            return false;
        }
        // What waits is decided once the store is settled. So is what replaces a damaged record: without the command that
        // holds its place, an empty state would only delete it.
        self.settling.may_grant() || (entry.review.is_due() && !entry.damage.is_being_replaced())
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
}

/// What the store is asked to do with a record.
fn change_of(entry: &Entry, does: Does, contract: Contract, format: u8) -> Change {
    match does {
        Does::Delete => Change::Delete,
        Does::Store => Change::Put(entry.state.view().encode_as(format)),
        Does::Confirm if contract.compares() => Change::Compare,
        // Where the store knows no compare, what stands there is written again.
        Does::Confirm if entry.stored.is_record() => Change::Put(entry.state.view().encode_as(format)),
        Does::Confirm => Change::Delete,
    }
}

/// Applies what waits on a resource, as much as one write may hold. True if the stored state changed.
fn apply_pending(entry: &mut Entry, mut context: Context) -> (Vec<Applied>, bool) {
    let count = entry.pending.len().min(COMMANDS_PER_WRITE_MAX);
    let mut applied = Vec::with_capacity(count);
    let mut changed = false;
    let Some(resource) = entry.state.warm() else { return (applied, changed) };
    for (index, pending) in entry.pending.drain(..count).enumerate() {
        context.index = index as u16;
        // Nearly all have one.
        let mut outcomes = Vec::with_capacity(1);
        match &pending.purpose {
            Purpose::Replace(replacing) if !replacing.may_apply(&entry.damage, resource, &pending) => {
                outcomes.push(Outcome::Refused { refusal: Refusal::NotFound });
            }
            // Whatever ended the claim since its first copy came: no other copy creates it again.
            Purpose::Operation(claim, _) if pending.looks && resource.claim(*claim).is_none() => {
                outcomes.push(Outcome::Gone { claim: *claim });
            }
            _ => changed |= resource.apply(&pending.command, &context, &mut outcomes),
        }
        applied.push(Applied { pending, outcomes });
    }
    (applied, changed)
}
