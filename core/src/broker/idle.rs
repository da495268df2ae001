//! What becomes of records and entries that are not used any more.
//!
//! A record on which nobody has a claim says nothing, so the write that takes the last claim away deletes it. But a name that is
//! locked again and again would be created and deleted each time, which costs stores more than a change does. So where a name
//! was *in use* so far, locked again soon after its last claim had gone, several times in a row and by this broker alone, its
//! record is kept for a moment: it is written, as one without claims, and the next lock changes it. Once it has not been used
//! for a while (`unused_after`) it is deleted after all, and the count begins anew. Another broker that locks such a name meets
//! a conflict once, and so does this one afterwards, and the count begins anew as well; the same happens where a sweep of another
//! broker finds such a record.
//!
//! Where a delete leaves a marker it costs what any other write does, and nothing is kept.
//!
//! What is held and was not used for as long rests: its state cools down (`state`), and takes about a tenth of the room.
//!
//! Invariants: a record that is kept was written, and nobody assumes what it says; a name that is locked once costs two writes;
//! whoever leaves the store deletes what it kept, and where it could not, a sweep does (rule 10).

use std::collections::VecDeque;
use std::time::Duration;

use super::Broker;
use super::phases::Phase;
use super::shard::{Entry, Stored};
use crate::name::ResourceId;
use crate::planted::Bug;

/// An entry that nobody needs is forgotten when it was not used for so many times as long as makes it unused.
const FORGOTTEN_AFTER: u32 = 10;

/// From how many reuses on a record that becomes idle is kept, if at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeping(Option<u8>);

impl Entry {
    /// Its record is kept when it becomes idle.
    pub(super) fn stays(&self, Keeping(reuses): Keeping) -> bool {
        reuses.is_some_and(|reuses| self.reuses >= reuses)
    }

    /// It is used again, by a command that comes at this time.
    pub(super) fn used_at(&mut self, now: Duration, unused_after: Duration) {
        if self.state.is_idle() && self.pending.is_empty() {
            let soon = now.saturating_sub(self.touched) < unused_after;
            self.reuses = if soon { self.reuses.saturating_add(1) } else { 0 };
        }
        self.touched = now;
    }

    /// Nobody has a claim there, and nothing is being done with it.
    fn is_unused(&self) -> bool {
        self.state.is_idle() && self.pending.is_empty() && !self.in_flight
    }

    /// A record without claims stands in the store, where it was kept.
    pub(super) fn is_kept_idle(&self) -> bool {
        self.stored.is_record() && self.is_unused() && !self.review.is_due()
    }

    /// Nothing is being done with it, and nobody waits for it.
    fn rests(&self) -> bool {
        !self.has_work() && !self.in_flight && !self.reading && !self.ready && !self.waited_for
    }

    /// Makes it small.
    fn cool_down(&mut self) {
        if let Stored::Record(version) = self.stored {
            self.state.cool_down(version);
        }
        if self.pending.capacity() > 0 {
            self.pending = VecDeque::new();
        }
    }

    /// Nothing is lost if the broker forgets it.
    fn is_forgettable(&self) -> bool {
        !self.has_work()
            && !self.ready
            && !self.in_flight
            && !self.reading
            && self.locals.is_empty()
            && !self.is_kept_idle()
    }
}

impl Broker {
    /// Whose records are kept when they become idle, if any are.
    pub(super) fn keeping(&self) -> Keeping {
        let keeps = self.phase == Phase::Serving && !self.config.profile.contract.leaves_markers();
        Keeping(keeps.then_some(self.config.reuses_kept))
    }

    /// Looks over some entries: what is kept for nothing goes, and what rests is made small.
    pub(super) fn look_after_entries(&mut self) {
        let (now, unused) = (self.now.mono, self.config.unused_after);
        let keeps_for_ever = self.planted.has(Bug::KeptIdleStays);
        for shard in &mut self.shards {
            let mut due = Vec::new();
            shard.entries.look_over(|id, entry| {
                let age = now.saturating_sub(entry.touched);
                if age >= unused && entry.is_kept_idle() && !keeps_for_ever {
                    entry.review = entry.review.and_due(true);
                    entry.reuses = 0;
                    due.push(id.clone());
                } else if age >= unused && entry.rests() {
                    entry.cool_down();
                }
                !entry.is_forgettable() || age < unused * FORGOTTEN_AFTER || entry.damage.is_remembered(now)
            });
            for id in due {
                shard.make_ready(&id);
            }
        }
    }

    /// The broker leaves: nobody else knows which records it kept.
    pub(super) fn delete_kept_idle(&mut self) {
        for shard in &mut self.shards {
            for id in shard.entries.ids_of(Entry::is_kept_idle).collect::<Vec<ResourceId>>() {
                if let Some(entry) = shard.entries.get_mut(&id) {
                    entry.review = entry.review.and_due(true);
                }
                shard.make_ready(&id);
            }
        }
    }
}
