//! What becomes of records and entries that are not used any more.
//!
//! A record on which nobody has a claim says nothing, so the write that takes the last claim away deletes it. But a name that is
//! locked again and again would be created and deleted each time, which costs stores more than a change does. So where a name
//! was *in use* so far, locked again soon after its last claim had gone, several times in a row and by this broker alone, its
//! record is kept for a moment: it is written, as one without claims, and the next lock changes it. Once it has not been used
//! for [`IDLE_KEPT`] it is deleted after all. Another broker that locks such a name meets a conflict once, and so does this one
//! afterwards; then its count begins anew.
//!
//! Where a delete leaves a marker it costs what any other write does, and nothing is kept.
//!
//! Invariants: a record that is kept was written, and nobody assumes what it says; a name that is locked once costs two writes;
//! whoever leaves the store deletes what it kept, and where it could not, a sweep does (rule 10).

use std::time::Duration;

use super::Broker;
use super::phases::Phase;
use super::shard::Entry;
use crate::name::ResourceId;
use crate::planted::Bug;

/// A record that became idle is kept for this long where its name is in use.
pub(super) const IDLE_KEPT: Duration = Duration::from_secs(1);
/// An entry that nobody needs is forgotten after this.
const ENTRY_IDLE: Duration = Duration::from_secs(10);

/// From how many reuses on a record that becomes idle is kept, if at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping(Option<u8>);

impl Entry {
    /// Its record is kept when it becomes idle.
    pub(super) fn stays(&self, Keeping(reuses): Keeping) -> bool {
        reuses.is_some_and(|reuses| self.reuses >= reuses)
    }

    /// It is used again, by a command that comes at this time.
    pub(super) fn used_at(&mut self, now: Duration) {
        if self.is_unused() {
            let soon = now.saturating_sub(self.touched) < IDLE_KEPT;
            self.reuses = if soon { self.reuses.saturating_add(1) } else { 0 };
        }
        self.touched = now;
    }

    /// Nobody has a claim there, and nothing is being done with it.
    fn is_unused(&self) -> bool {
        self.resource.is_idle() && self.pending.is_empty() && !self.in_flight
    }

    /// A record without claims stands in the store, where it was kept.
    fn is_kept_idle(&self) -> bool {
        self.stored.is_record() && self.is_unused() && !self.review.is_due()
    }

    /// Nothing is lost if the broker forgets it.
    fn is_forgettable(&self) -> bool {
        !self.has_work() && !self.in_flight && !self.reading && self.locals.is_empty() && !self.is_kept_idle()
    }
}

impl Broker {
    /// Whose records are kept when they become idle, if any are.
    pub(super) fn keeping(&self) -> Keeping {
        let keeps = self.phase == Phase::Serving && !self.config.profile.contract.leaves_markers();
        Keeping(keeps.then_some(self.config.reuses_kept))
    }

    /// Records that were kept, and not used since, are due to be deleted.
    pub(super) fn delete_kept_idle(&mut self, unused_for: Duration) {
        if self.planted.has(Bug::KeptIdleStays) {
            return;
        }
        let now = self.now.mono;
        for shard in &mut self.shards {
            let old = |entry: &Entry| entry.is_kept_idle() && now.saturating_sub(entry.touched) >= unused_for;
            let ids: Vec<ResourceId> = shard.entries.ids_of(old).collect();
            for id in ids {
                if let Some(entry) = shard.entries.get_mut(&id) {
                    entry.review = entry.review.and_due(true);
                }
                shard.make_ready(&id);
            }
        }
    }

    /// Entries that nobody needs go: what they knew can be read again.
    pub(super) fn forget_idle_entries(&mut self) {
        let now = self.now.mono;
        for shard in &mut self.shards {
            shard.entries.retain(|entry| {
                let fresh = now.saturating_sub(entry.touched) < ENTRY_IDLE || entry.damage.is_remembered(now);
                !entry.is_forgettable() || fresh
            });
        }
    }
}
