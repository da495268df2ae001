//! Drain, apply, commit: how queued commands become one batch, and what its outcomes mean.
//!
//! Invariants: a command is answered only after the write it was applied in (or, if it changed nothing, a compare at the
//! same version) is committed; whatever else happens, the commands go back to the head of their queue in their order and
//! are decided again on fresh state. Operation numbers make that harmless.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::api::{Effect, Ending, Input, LogLevel, RequestError};
use super::shard::{Applied, Entry, Item, LaneState, MarkJob, MarkPurpose, Pending, Purpose, claim_of};
use super::timers::Timer;
use crate::backend::{Change, Generation, Guard, Key, Lane, Slot, StoreError, Write, WriteOutcome};
use crate::command::{Outcome, Refusal};
use crate::limits::COMMANDS_PER_WRITE_MAX;
use crate::name::{ClaimId, ResourceId, Version};
use crate::planted::Bug;
use crate::resource::{Context, Resource};

/// A record committed so often in a row rests while others are alive, or a distant broker never gets a turn.
const STREAK_MAX: u32 = 32;
/// Pauses after the store was unavailable: from here, doubling, to the maximum.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

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

impl Broker {
    /// Starts a batch on a lane that is idle and has work.
    pub(super) fn start_batch(&mut self, lane: usize) {
        if !matches!(self.shards[lane].state, LaneState::Idle) || !self.may_send() {
            return;
        }
        let mut draft = Draft::default();
        self.draft_marks(lane, &mut draft);
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

    fn draft_marks(&mut self, lane: usize, draft: &mut Draft) {
        let max = self.config.profile.batch_writes_max;
        let shard = &mut self.shards[lane];
        while draft.writes.len() < max {
            let Some(job) = shard.marks.pop_front() else { break };
            let key = Key::Session(job.session);
            if draft.writes.iter().any(|write| write.key == key) {
                shard.marks.push_front(job);
                break;
            }
            let change = match &job.mark {
                Some(mark) => Change::Put(mark.encode()),
                None if job.purpose == MarkPurpose::Clear => Change::Delete,
                None => Change::Compare,
            };
            draft.writes.push(Write { key, expected: job.expected, change, notify: false });
            draft.items.push(Item::Mark(job));
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
        let grants = self.may_grant();
        let Some(entry) = self.shards[lane].entries.get_mut(&id) else { return };
        entry.ready = false;
        entry.touched = now;
        let Some(version) = entry.version else {
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
        if !grants && !entry.pending.is_empty() {
            // Before the store is settled, only what was read is confirmed.
            return;
        }
        let delay = self.config.lock_delay(&id.lockspace);
        if grants {
            self.strangers.condemn(entry, now, delay);
        }
        let (applied, changed) = apply_pending(entry, context);
        let idle = entry.resource.is_idle();
        let deletes = idle && entry.exists;
        let confirms = !changed && !deletes;
        if confirms && (!self.config.profile.shared || self.planted.has(Bug::AnsweredFromMemory)) {
            draft.settled.push((id, applied));
            return;
        }
        let change = if deletes {
            Change::Delete
        } else if !confirms {
            Change::Put(entry.resource.encode())
        } else if self.config.profile.compares {
            Change::Compare
        } else if entry.exists {
            Change::Put(entry.resource.encode())
        } else {
            Change::Delete
        };
        entry.in_flight = true;
        if let Change::Put(bytes) = &change {
            draft.bytes += bytes.len();
        }
        let notify = self.config.profile.shared && self.concerns_others(&applied);
        draft.writes.push(Write { key: Key::Resource(id.clone()), expected: version, change, notify });
        draft.items.push(Item::Resource { id, applied, deletes, confirms });
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
        self.muted = !self.config.profile.checks_registration && !self.is_valid();
        for (item, outcome) in items.into_iter().zip(outcomes) {
            match item {
                Item::Resource { id, applied, deletes, confirms } => {
                    self.resource_outcome(at, &id, applied, (deletes, confirms), outcome);
                }
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

    /// What the outcomes mean for the lane itself.
    fn settle_lane(&mut self, at: usize, outcomes: &[WriteOutcome]) {
        let now = self.now.mono;
        let unknown = outcomes.iter().find_map(|outcome| match outcome {
            WriteOutcome::Unknown(text) => Some(text.clone()),
            WriteOutcome::Stale => Some("the store has a newer generation".into()),
            _ => None,
        });
        let unavailable = outcomes.iter().find_map(|outcome| match outcome {
            WriteOutcome::Unavailable(text) => Some(text.clone()),
            _ => None,
        });
        let shard = &mut self.shards[at];
        let Some(text) = unknown.as_ref().or(unavailable.as_ref()) else {
            shard.failures = 0;
            return;
        };
        shard.failures += 1;
        let pause = pause_after(shard.failures);
        let subject = format!("lane {at}");
        if unknown.is_some() {
            self.counters.unknowns += 1;
            let shard = &mut self.shards[at];
            if self.config.profile.checks_generation && !self.planted.has(Bug::RepeatWithoutGuard) {
                shard.generation = Generation(shard.generation.0 + 1);
                shard.state = LaneState::Doubtful { asked: false };
            } else {
                shard.state = LaneState::Resting(now + pause);
                self.timers.set(now + pause, Timer::Lane(at as u16));
            }
            self.log(LogLevel::Warn, "outcome of a batch unknown", subject, text.clone());
            self.ask_generation(at);
        } else {
            shard.state = LaneState::Resting(now + pause);
            self.timers.set(now + pause, Timer::Lane(at as u16));
            self.log(LogLevel::Warn, "store unavailable", subject, text.clone());
        }
    }

    /// Moves the generation of a lane in doubt.
    pub(super) fn ask_generation(&mut self, at: usize) {
        let broker = self.config.incarnation;
        let shard = &mut self.shards[at];
        if let LaneState::Doubtful { asked } = &mut shard.state
            && !*asked
        {
            *asked = true;
            let guard = Guard { broker, lane: shard.lane, generation: shard.generation };
            self.out.push(Effect::Advance { guard });
        }
    }

    /// The generation moved, or not yet.
    pub(super) fn advanced(&mut self, guard: Guard, result: Result<(), StoreError>) {
        let at = usize::from(guard.lane.0);
        let now = self.now.mono;
        let Some(shard) = self.shards.get_mut(at) else { return };
        if !matches!(shard.state, LaneState::Doubtful { asked: true }) || shard.generation != guard.generation {
            return;
        }
        match result {
            Ok(()) => {
                shard.state = LaneState::Idle;
                for id in shard.entries.ids() {
                    self.shards[at].make_ready(&id);
                }
            }
            Err(StoreError::Evicted) => self.end(Ending::Evicted),
            Err(StoreError::Amnesia(text)) => self.forget_everything(text),
            Err(_) => {
                shard.failures += 1;
                shard.state = LaneState::Doubtful { asked: false };
                let pause = pause_after(shard.failures);
                self.timers.set(now + pause, Timer::Lane(at as u16));
            }
        }
    }

    /// A lane's pause is over.
    pub(super) fn wake_lane(&mut self, at: usize) {
        let now = self.now.mono;
        match self.shards.get(at).map(|shard| &shard.state) {
            Some(LaneState::Doubtful { asked: false }) => self.ask_generation(at),
            Some(LaneState::Resting(until)) if *until <= now => self.shards[at].state = LaneState::Idle,
            Some(LaneState::Resting(until)) => self.timers.set(*until, Timer::Lane(at as u16)),
            _ => {}
        }
    }

    fn resource_outcome(
        &mut self,
        at: usize,
        id: &ResourceId,
        applied: Vec<Applied>,
        (deletes, confirms): (bool, bool),
        outcome: WriteOutcome,
    ) {
        let markers = self.config.profile.markers;
        let others = self.others_alive();
        let longest = self.longest_round_trip();
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.in_flight = false;
        entry.damage.read_again();
        let committed = matches!(outcome, WriteOutcome::Committed(_));
        let known = committed || matches!(outcome, WriteOutcome::Conflict(_));
        // What was to be looked at still is, unless the store has just said how the record stands.
        entry.due = !known && (entry.due || entry.once_more || entry.news);
        if !committed {
            entry.news |= std::mem::take(&mut entry.once_more);
        }
        match outcome {
            WriteOutcome::Committed(version) => {
                if deletes {
                    entry.version = Some(if markers { version } else { Version::ABSENT });
                    entry.exists = false;
                    // It is empty, and keeps its room for the next claim.
                    entry.resource.committed(version);
                } else if confirms {
                    entry.version = Some(version);
                } else {
                    entry.resource.committed(version);
                    entry.version = Some(version);
                    entry.exists = true;
                }
                entry.streak += u32::from(!confirms);
                if others && entry.streak >= STREAK_MAX {
                    entry.streak = 0;
                    entry.rests_until = now + longest * 3 / 2;
                }
                let idle_left = entry.exists && entry.resource.is_idle();
                entry.due = idle_left;
                self.deliver(at, id, applied, version);
            }
            WriteOutcome::Conflict(slot) => {
                self.counters.conflicts += 1;
                let fell = !slot.version.is_absent() && entry.version.is_some_and(|known| slot.version < known);
                restore(entry, applied, false);
                if fell {
                    let text = format!("the version of `{id}` fell to {}", slot.version);
                    self.forget_everything(text);
                    return;
                }
                self.load(at, id, slot, true);
            }
            WriteOutcome::ConflictUnread => {
                self.counters.conflicts += 1;
                restore(entry, applied, false);
                entry.version = None;
                entry.streak = 0;
            }
            WriteOutcome::Unknown(_) => {
                restore(entry, applied, true);
                entry.version = None;
            }
            WriteOutcome::Unavailable(text) => {
                restore(entry, applied, false);
                entry.version = None;
                self.refuse_impatient(at, id, &text);
            }
            WriteOutcome::Stale | WriteOutcome::Evicted => {
                restore(entry, applied, false);
                entry.version = None;
                self.refuse_impatient(at, id, "it is away");
            }
        }
        self.shards[at].make_ready(id);
    }

    /// Nothing changed and nobody else writes here: the answers stand.
    fn settle(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>) {
        let version = self.shards[at].entries.get(id).and_then(|entry| entry.version).unwrap_or_default();
        if let Some(entry) = self.shards[at].entries.get_mut(id) {
            entry.due = false;
        }
        self.deliver(at, id, applied, version);
        self.shards[at].make_ready(id);
    }

    /// Tells everybody what a committed write did.
    fn deliver(&mut self, at: usize, id: &ResourceId, applied: Vec<Applied>, version: Version) {
        for Applied { pending, outcomes } in applied {
            self.answer(id, pending, outcomes, version);
        }
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        if std::mem::take(&mut entry.once_more) {
            (entry.news, entry.due) = (true, true);
        } else if std::mem::take(&mut entry.news) {
            let locals = entry.locals.clone();
            let (left, compared): (BTreeSet<ClaimId>, BTreeSet<ClaimId>) =
                locals.into_iter().partition(|claim| self.is_left_alone(*claim));
            self.reconcile(at, id);
            self.resumed_claims_read(&compared);
            if let Some(entry) = self.shards[at].entries.get_mut(id) {
                entry.news |= !left.is_empty();
            }
        }
        self.follow(at, id);
    }

    /// Takes what a conflict or a read says is stored. Nobody is told yet: claims of this broker that changed are told
    /// once a compare has confirmed it.
    fn load(&mut self, at: usize, id: &ResourceId, slot: Slot, compared: bool) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.streak = 0;
        let resource = match &slot.bytes {
            None => Ok(Resource::new()),
            Some(bytes) => Resource::decode(bytes, slot.version),
        };
        match resource {
            Ok(resource) => {
                entry.version = Some(slot.version);
                entry.exists = slot.bytes.is_some();
                entry.resource = resource;
                entry.news = !entry.locals.is_empty();
                // A read may show what was there before a record was left idle here: what was due stays so.
                entry.due |= entry.exists && entry.resource.is_idle();
                self.meet_strangers(at, id);
                self.confirm_news(at, id);
            }
            Err(error) if compared => self.damaged(at, id, slot.version, &error),
            Err(_) => self.read_damaged(at, id, slot.version),
        }
    }

    /// Slots that were read. Those that changed while the read was under way are better known already.
    pub(super) fn take_slots(&mut self, keys: Vec<Key>, result: Result<Vec<Slot>, StoreError>) {
        let slots = match result {
            Ok(slots) if slots.len() == keys.len() => slots.into_iter().map(Some).collect(),
            Ok(_) => vec![None; keys.len()],
            Err(StoreError::Amnesia(text)) => {
                self.forget_everything(text);
                return;
            }
            Err(StoreError::Evicted) => {
                self.end(Ending::Evicted);
                return;
            }
            Err(_) => {
                self.looked_in_vain(&keys);
                vec![None; keys.len()]
            }
        };
        for (key, slot) in keys.into_iter().zip(slots) {
            match key {
                Key::Resource(id) => {
                    self.sweep_saw(&Key::Resource(id.clone()), slot.as_ref());
                    self.resource_slot(&id, slot);
                }
                Key::Session(session) => self.mark_slot(session, slot),
            }
        }
    }

    fn resource_slot(&mut self, id: &ResourceId, slot: Option<Slot>) {
        let at = self.lane_of(id);
        let now = self.now.mono;
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        entry.reading = false;
        if entry.in_flight {
            return;
        }
        match (slot, entry.version) {
            (Some(slot), None) => self.load(at, id, slot, false),
            (Some(slot), Some(known)) if slot.version != known && !is_older(&slot, known) => {
                self.load(at, id, slot, false);
            }
            (Some(_), Some(_)) => {}
            (None, _) => {
                self.timers.set(now + PAUSE_FIRST * 5, Timer::Resource(id.clone()));
                self.refuse_impatient(at, id, "it is away");
                return;
            }
        }
        self.shards[at].make_ready(id);
        self.follow(at, id);
    }

    /// Commands that waited too long for a store that is away, or that refuses them, are refused, if nothing can have
    /// happened.
    fn refuse_impatient(&mut self, at: usize, id: &ResourceId, reason: &str) {
        let text = format!("the store did not take it ({reason}); nothing happened: try again");
        self.refuse_waiting(at, id, &text, |pending| pending.purpose.is_for_a_client());
    }

    /// Where a broker that cannot prove its life sends nothing, no outcome refuses what waits.
    pub(super) fn refuse_what_cannot_be_sent(&mut self) {
        if self.may_send() {
            return;
        }
        for at in 0..self.shards.len() {
            let waited_on: Vec<ResourceId> =
                self.shards[at].entries.ids_of(|entry| !entry.pending.is_empty()).collect();
            for id in waited_on {
                self.refuse_impatient(at, &id, "this broker cannot reach it");
            }
        }
    }

    /// The store is not settled: requests that do not want to wait have waited long enough.
    pub(super) fn refuse_tries(&mut self, at: usize, id: &ResourceId) {
        let text = "the store may have lost locks, so nothing is granted for a while: try again";
        self.refuse_waiting(at, id, text, |pending| pending.command.is_try());
    }

    /// Refuses those of these commands that have waited for `store_patience`, and of which nothing can have happened.
    fn refuse_waiting(&mut self, at: usize, id: &ResourceId, text: &str, of_these: impl Fn(&Pending) -> bool) {
        let error = RequestError::Unavailable(text.into());
        let before = self.now.mono.saturating_sub(self.config.store_patience);
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let (refused, kept): (Vec<Pending>, Vec<Pending>) = std::mem::take(&mut entry.pending)
            .into_iter()
            .partition(|pending| pending.is_unsent() && pending.since < before && of_these(pending));
        entry.pending = kept.into();
        for pending in refused {
            self.refuse(id, pending, &error);
        }
    }

    pub(super) fn refuse_all(&mut self, at: usize, id: &ResourceId, error: &RequestError) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let pending = std::mem::take(&mut entry.pending);
        for pending in pending {
            self.refuse(id, pending, error);
        }
    }

    /// Puts a mark in its session's lane.
    pub(super) fn push_mark(&mut self, job: MarkJob) {
        let at = self.lane(&Key::Session(job.session));
        self.shards[at].marks.push_back(job);
    }

    /// Input of the lanes.
    pub(super) fn lane_input(&mut self, input: Input) {
        match input {
            Input::Committed { lane, outcomes } => self.take_outcomes(lane, outcomes),
            Input::Advanced { guard, result } => self.advanced(guard, result),
            Input::Slots { keys, result } => self.take_slots(keys, result),
            _ => {}
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

/// Commands go back to the head of their queue, in their order.
fn restore(entry: &mut Entry, applied: Vec<Applied>, doubtful: bool) {
    for Applied { mut pending, outcomes } in applied.into_iter().rev() {
        if doubtful {
            pending.comes_into_doubt(outcomes);
        }
        entry.pending.push_front(pending);
    }
}

/// A read may show what was there before. A lower version surely is old; "absent" cannot be told and is believed until a
/// compare says otherwise.
fn is_older(slot: &Slot, known: Version) -> bool {
    !slot.version.is_absent() && slot.version < known
}

fn pause_after(failures: u32) -> Duration {
    (PAUSE_FIRST * 2_u32.pow(failures.min(6).saturating_sub(1))).min(PAUSE_MAX)
}
