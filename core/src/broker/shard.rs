//! One shard: the resources and marks of one lane.
//!
//! A shard keeps the records it believes current, the commands that wait for each, and the batches in flight.
//! Invariants: no key is in two batches in flight, so an entry that is in one takes no other command; an entry whose version is
//! not known is read before it is used again; after an unknown outcome nothing is sent until the lane's generation has moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::api::ReplyTo;
use super::damage::Damage;
use super::entries::Entries;
use super::marks::{MarkJob, MarkJobs};
use super::replacing::Replacing;
use super::state::State;
use crate::backend::{Generation, Key, Lane, Slot, WriteOutcome};
use crate::command::{Command, Outcome, Status};
use crate::name::{ClaimId, OperationNumber, ResourceId, SessionId, Version};
use crate::small::Set;

/// Why a command is applied, and so who hears of what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A lock, convert or adoption: answered through the claim's pending operation.
    Operation(ClaimId, OperationNumber),
    /// A release.
    Unlock(ClaimId, OperationNumber, Option<ReplyTo>),
    /// A cancel by the client.
    Cancel(ClaimId, ReplyTo),
    /// A cancel by the broker: a deadline, or a unary caller that left.
    Withdraw(ClaimId),
    /// One part of a request over several resources.
    Part(u64),
    /// Claims of a session that ended, whoever's it was.
    Bury(SessionId),
    /// Claims that count as dead.
    Remove(Vec<ClaimId>),
    /// Orphans that an administrator or the orphan TTL removes.
    Purge(Option<ReplyTo>),
    /// A damaged record that an administrator has removed.
    Replace(Replacing),
}

/// A command that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) purpose: Purpose,
    /// When it came, monotonic.
    pub(super) since: Duration,
    /// It was in a batch whose outcome was unknown: it may have happened.
    pub(super) doubtful: bool,
    /// Claims that it ended then, if it happened.
    pub(super) may_have_ended: Vec<Outcome>,
    /// A further copy of a request: it finds out how its claim stands, and never creates it.
    pub(super) looks: bool,
}

impl Purpose {
    /// A lock, convert or adoption of this claim.
    pub(super) fn is_operation_of(&self, claim: ClaimId) -> bool {
        matches!(self, Self::Operation(own, _) if *own == claim)
    }

    /// The claim of this broker among whose commands it is counted.
    pub(super) fn claim(&self) -> Option<ClaimId> {
        match self {
            Self::Operation(claim, _) | Self::Unlock(claim, ..) | Self::Cancel(claim, _) | Self::Withdraw(claim) => {
                Some(*claim)
            }
            Self::Replace(replacing) => Some(replacing.claim()),
            Self::Part(_) | Self::Bury(_) | Self::Remove(_) | Self::Purge(_) => None,
        }
    }

    /// Somebody waits for an answer to it.
    pub(super) fn is_for_a_client(&self) -> bool {
        matches!(
            self,
            Self::Operation(..)
                | Self::Unlock(..)
                | Self::Cancel(..)
                | Self::Part(_)
                | Self::Purge(Some(_))
                | Self::Replace(_)
        )
    }
}

impl Pending {
    pub(super) fn new(command: Command, purpose: Purpose, since: Duration) -> Self {
        Self { command, purpose, since, doubtful: false, may_have_ended: Vec::new(), looks: false }
    }

    /// A copy of a lock, convert or adoption.
    pub(super) fn is_copy_of(&self, claim: ClaimId, number: OperationNumber) -> bool {
        self.purpose == Purpose::Operation(claim, number)
    }

    /// Nothing can have happened of it: neither was it sent, nor is it a further copy of something that may have been.
    pub(super) fn is_unsent(&self) -> bool {
        !self.doubtful && !self.looks
    }

    /// The batch that it was applied in may have been written.
    pub(super) fn comes_into_doubt(&mut self, outcomes: Vec<Outcome>) {
        self.doubtful = true;
        let ended: Vec<Outcome> = outcomes.into_iter().filter(ends_a_claim).collect();
        self.may_have_ended.retain(|known| ended.iter().all(|newer| claim_of(newer) != claim_of(known)));
        self.may_have_ended.extend(ended);
    }

    /// What the command did, now that it is known: what a copy in doubt ended and this one did not meet was ended by that
    /// copy.
    pub(super) fn settle(&mut self, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let mut ended = std::mem::take(&mut self.may_have_ended);
        if ended.is_empty() || matches!(outcomes.as_slice(), [Outcome::Refused { .. }]) {
            return outcomes;
        }
        outcomes.retain(|outcome| !matches!(outcome, Outcome::Gone { .. }));
        let met: BTreeSet<ClaimId> = outcomes.iter().filter_map(claim_of).collect();
        ended.retain(|outcome| claim_of(outcome).is_some_and(|claim| !met.contains(&claim)));
        outcomes.extend(ended);
        outcomes
    }
}

/// After it the record says nothing of the claim. A refused try ended nothing: there was no claim.
fn ends_a_claim(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Completed(done) => done.mode.is_none() && done.status != Status::WouldWait,
        Outcome::Removed { .. } => true,
        _ => false,
    }
}

/// What stands in the store at a resource's key, as far as the broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stored {
    /// Not known: it is read before it is used.
    #[default]
    Unread,
    /// No record: nothing, or the marker that a delete left, at this version.
    Nothing(Version),
    /// A record at this version.
    Record(Version),
}

impl Stored {
    pub(super) fn of(slot: &Slot) -> Self {
        if slot.bytes.is_some() { Self::Record(slot.version) } else { Self::Nothing(slot.version) }
    }

    /// The version to expect; absent: read first.
    pub(super) fn version(self) -> Option<Version> {
        match self {
            Self::Unread => None,
            Self::Nothing(version) | Self::Record(version) => Some(version),
        }
    }

    pub(super) fn is_record(self) -> bool {
        matches!(self, Self::Record(_))
    }

    /// The same at another version.
    #[must_use]
    pub(super) fn confirmed_at(self, version: Version) -> Self {
        if self.is_record() { Self::Record(version) } else { Self::Nothing(version) }
    }
}

/// What is to be done with a record although no command waits on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Review {
    /// Nothing: the claims of this broker have been compared with it since it was read.
    #[default]
    Nothing,
    /// It must be written or confirmed for its own sake: an idle record is to be deleted.
    Due,
    /// It was read, and says nothing that the claims of this broker do not know. They are compared with it after the next
    /// write or compare, whatever that is for.
    Read,
    /// It was read and says something of claims of this broker. It must be confirmed, so that they can be told.
    News,
    /// A session moved here while a write of it was under way, which may have been done before the session's other broker
    /// changed the claim. Whatever comes of that write, the record is looked at once more.
    OnceMore,
}

impl Review {
    pub(super) fn of(was_read: bool, due: bool) -> Self {
        match (was_read, due) {
            (false, false) => Self::Nothing,
            (false, true) => Self::Due,
            (true, false) => Self::Read,
            (true, true) => Self::News,
        }
    }

    /// It must be written or confirmed.
    pub(super) fn is_due(self) -> bool {
        matches!(self, Self::Due | Self::News)
    }

    /// The claims of this broker have not been compared with what was read.
    pub(super) fn was_read(self) -> bool {
        matches!(self, Self::Read | Self::News)
    }

    /// What is still to be done when a write of the record has ended so. What was to be looked at still is, unless the store
    /// has just said how the record stands.
    #[must_use]
    pub(super) fn after(self, outcome: &WriteOutcome) -> Self {
        let known = matches!(outcome, WriteOutcome::Committed(_) | WriteOutcome::Conflict(_));
        Self::of(self.was_read() || self == Self::OnceMore, !known && self != Self::Nothing)
    }

    #[must_use]
    pub(super) fn and_due(self, due: bool) -> Self {
        Self::of(self.was_read(), due)
    }

    #[must_use]
    pub(super) fn and_read(self, was_read: bool) -> Self {
        Self::of(was_read, self.is_due())
    }
}

/// What the broker believes of one resource.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) stored: Stored,
    /// That at the version that is stored; while in a batch, the one to be.
    pub(super) state: State,
    pub(super) pending: VecDeque<Pending>,
    /// It is on the shard's ready list.
    pub(super) ready: bool,
    /// It is in a batch in flight.
    pub(super) in_flight: bool,
    /// What is to be done with it although no command waits.
    pub(super) review: Review,
    /// A read is under way.
    pub(super) reading: bool,
    /// Claims here that belong to sessions of this broker.
    pub(super) locals: Set<ClaimId>,
    /// Commits in a row without seeing another writer or resting, and since when.
    pub(super) streak: u32,
    pub(super) streak_since: Duration,
    /// How often in a row it was used again soon after it had become idle, without seeing another writer.
    pub(super) reuses: u8,
    /// It rests until then, so that a distant broker gets a turn.
    pub(super) rests_until: Duration,
    /// The version that is watched.
    pub(super) watched: Option<Version>,
    /// When it is read again at the latest.
    pub(super) poll_at: Option<Duration>,
    /// A session of this broker waits here, so that it is read again about once a second.
    pub(super) waited_for: bool,
    pub(super) damage: Damage,
    /// When it was last used.
    pub(super) touched: Duration,
}

impl Entry {
    /// A resource that was never looked at: probably nobody has a claim on it.
    pub(super) fn presumed_absent() -> Self {
        Self { stored: Stored::Nothing(Version::ABSENT), ..Self::default() }
    }

    /// Another broker wrote the record, or may have.
    pub(super) fn met_other_writer(&mut self) {
        self.streak = 0;
        self.reuses = 0;
    }

    /// A batch would do something with it.
    pub(super) fn has_work(&self) -> bool {
        self.review.is_due() || !self.pending.is_empty()
    }
}

/// One write of a batch, and what depends on it.
#[derive(Debug)]
pub(super) enum Item {
    /// A resource with the commands that were applied.
    Resource { id: ResourceId, applied: Vec<Applied>, does: Does },
    /// A session's mark.
    Mark(MarkJob),
}

/// What the write of a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// It stores what the commands made of the record.
    Store,
    /// Nobody has a claim any more: it deletes the record.
    Delete,
    /// Nothing changed: it finds out whether the version is still the same, before anybody is told so.
    Confirm,
}

/// A command that was applied, and what happened.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) pending: Pending,
    pub(super) outcomes: Vec<Outcome>,
}

/// Whether batches may be sent through a lane.
#[derive(Debug, Default)]
pub(super) enum LaneState {
    #[default]
    Open,
    /// An outcome was unknown: the generation must move first.
    Doubtful {
        /// The request to move it is under way.
        asked: bool,
    },
    /// The store said that it is unavailable: try again then.
    Resting(Duration),
}

/// A batch that was sent and has no outcome yet.
#[derive(Debug)]
pub(super) struct Flight {
    /// The generation that it was sent under.
    pub(super) generation: Generation,
    /// In the order of its writes.
    pub(super) items: Vec<Item>,
}

/// One lane with its resources.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) lane: Lane,
    pub(super) generation: Generation,
    pub(super) state: LaneState,
    /// By the number of the batch.
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) next_batch: u64,
    pub(super) entries: Entries,
    pub(super) ready: VecDeque<ResourceId>,
    pub(super) marks: MarkJobs,
    /// Failures in a row, for the pause before the next try.
    pub(super) failures: u32,
}

impl Shard {
    pub(super) fn new(lane: Lane, key: u64) -> Self {
        Self {
            lane,
            generation: Generation(1),
            state: LaneState::Open,
            flights: BTreeMap::new(),
            next_batch: 1,
            entries: Entries::with_key(key),
            ready: VecDeque::new(),
            marks: MarkJobs::default(),
            failures: 0,
        }
    }

    /// Puts a command in its resource's queue.
    pub(super) fn push(&mut self, id: &ResourceId, pending: Pending, unused_after: Duration) -> &mut Entry {
        let (id, entry) = self.entries.get_or_make_named(id);
        entry.used_at(pending.since, unused_after);
        if entry.pending.capacity() == 0 {
            // Most resources have one command at a time; a queue would begin with room for four.
            entry.pending.reserve_exact(1);
        }
        entry.pending.push_back(pending);
        if !entry.ready && !entry.in_flight {
            entry.ready = true;
            self.ready.push_back(id.clone());
        }
        entry
    }

    /// Versions may have fallen: every record is read again before it is used, and none that is read is taken for old.
    pub(super) fn forget_versions(&mut self) {
        for id in self.entries.ids() {
            if let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.in_flight) {
                if entry.is_kept_idle() {
                    entry.review = entry.review.and_due(true);
                }
                entry.stored = Stored::Unread;
                self.make_ready(&id);
            }
        }
    }

    /// Puts an entry on the ready list if it has something to do and may do it.
    pub(super) fn make_ready(&mut self, id: &ResourceId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if !entry.ready && !entry.in_flight && entry.has_work() {
            entry.ready = true;
            self.ready.push_back(id.clone());
        }
    }

    /// The same for all entries.
    pub(super) fn make_all_ready(&mut self) {
        for id in self.entries.ids_of(Entry::has_work).collect::<Vec<_>>() {
            self.make_ready(&id);
        }
    }
}

/// The lane of a key. All commands of one resource share a lane, and so do all marks of one session.
pub(super) fn lane_of(key: &Key, lanes: u16) -> usize {
    match key {
        Key::Resource(id) => lane_of_resource(id, lanes),
        Key::Session(id) => lane_of_hash((id.opener.0 as u32) ^ id.serial.wrapping_mul(0x9e37_79b9), lanes),
    }
}

/// See [`lane_of`].
pub(super) fn lane_of_resource(id: &ResourceId, lanes: u16) -> usize {
    lane_of_hash(id.name.hash32(), lanes)
}

fn lane_of_hash(hash: u32, lanes: u16) -> usize {
    (hash % u32::from(lanes)) as usize
}

/// The claims that an outcome speaks of.
pub(super) fn claim_of(outcome: &Outcome) -> Option<ClaimId> {
    match outcome {
        Outcome::Refused { .. } => None,
        Outcome::Completed(completion) => Some(completion.claim),
        Outcome::Queued { claim, .. }
        | Outcome::Blocking { claim, .. }
        | Outcome::Removed { claim, .. }
        | Outcome::AlreadyGranted { claim }
        | Outcome::Gone { claim }
        | Outcome::Orphaned { claim } => Some(*claim),
    }
}
