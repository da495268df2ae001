//! The regrant pass (section 8).
//!
//! A pass looks at the head of each queue and at the NOORDER claims, in groups of which each member is granted under the
//! same conditions. So it stops as soon as nothing can be granted, whatever the length of the queues.

use crate::mode::Mode;

use super::claim::{Queue, Slot};
use super::order::Place;
use super::{Resource, Step};

impl Resource {
    /// P3 and P4: grants whatever can be granted. Notifications (P5) follow at the end of the command.
    pub(crate) fn regrant(&mut self, step: &mut Step<'_>) {
        self.regrant_converters(step);
        self.sweep(Queue::Waiting, step);
    }

    /// P3: from the head, again and again until a pass grants nothing.
    pub(crate) fn regrant_converters(&mut self, step: &mut Step<'_>) {
        while self.sweep(Queue::Converting, step) {}
    }

    /// One pass over a queue from its head; true if it granted something.
    fn sweep(&mut self, queue: Queue, step: &mut Step<'_>) -> bool {
        let mut passed = None;
        while let Some((slot, mode, alternate)) = self.next_grantable(queue, passed) {
            passed = Some(self.table.get(slot).place);
            self.grant(slot, mode, false, alternate, step);
        }
        passed.is_some()
    }

    /// The first claim behind `passed` that passes the grant test as things stand. Only the head and NOORDER claims
    /// can.
    fn next_grantable(&self, queue: Queue, passed: Option<Place>) -> Option<(Slot, Mode, bool)> {
        let head = self.table.line(queue).first();
        let head = head.filter(|(place, _)| passed.is_none_or(|passed| *place > passed)).map(|(_, slot)| slot);
        let candidates = head.into_iter().chain(self.table.unordered(queue, passed));
        candidates
            .filter_map(|slot| self.queued_passes(slot).map(|(mode, alternate)| (slot, mode, alternate)))
            .min_by_key(|(slot, ..)| self.table.get(*slot).place)
    }
}
