//! The grant test (section 7), and what a grant does.

use crate::command::{Options, Outcome};
use crate::mode::{ConversionKind, Mode, ValueMove, value_on_grant};
use crate::name::Stamp;

use super::claim::{Alternate, Ended, Grant, Queue, Slot};
use super::table::End;
use super::{Resource, Step};

/// The alternate mode that a request would also take (N2): PR, or CW when PR itself was requested.
pub(crate) fn alternate(mode: Mode, options: Options) -> Option<Alternate> {
    if options.contains(Options::ALTERNATE_PR) && mode != Mode::PR {
        Some(Alternate::Pr)
    } else if options.contains(Options::ALTERNATE_CW) && mode != Mode::CW {
        Some(Alternate::Cw)
    } else {
        None
    }
}

impl Resource {
    /// G2, G3: the mode conflicts with the granted mode of another claim. `own` is the mode that the asking claim holds
    /// itself: a claim is never compared with itself (M2).
    pub(crate) fn conflicts(&self, mode: Mode, own: Option<Mode>) -> bool {
        Mode::ALL.into_iter().filter(|held| !held.compatible(mode)).any(|held| {
            let others = self.table.holding(held) - u32::from(own == Some(held));
            others > 0
        })
    }

    /// A fresh new request, G1 to G9.
    pub(crate) fn new_request_passes(&self, mode: Mode, options: Options) -> bool {
        if options.contains(Options::EXPEDITE) {
            return true;
        }
        if self.conflicts(mode, None) {
            return false;
        }
        options.contains(Options::NO_ORDER) || self.table.queued() == 0
    }

    /// A fresh conversion, G2 to G7.
    pub(crate) fn conversion_passes(&self, from: Mode, mode: Mode, options: Options) -> bool {
        if self.conflicts(mode, Some(from)) {
            return false;
        }
        !options.contains(Options::QUEUE_CONVERSION) || self.table.line(Queue::Converting).is_empty()
    }

    /// A queued request, evaluated again: the mode in which it can be granted now, and whether that is its alternate
    /// one (G2 to G10, N2). Asked only of the heads of the queues and of NOORDER claims: nobody else can be next.
    pub(crate) fn queued_passes(&self, slot: Slot) -> Option<(Mode, bool)> {
        let claim = self.table.get(slot);
        let behind_converters = claim.queue == Queue::Waiting && !self.table.line(Queue::Converting).is_empty();
        if behind_converters && !claim.no_order {
            return None;
        }
        let requested = claim.requested?;
        if !self.conflicts(requested, claim.granted) {
            return Some((requested, false));
        }
        let alternate = claim.alternate?.mode();
        (!self.conflicts(alternate, claim.granted)).then_some((alternate, true))
    }

    /// Grants `mode` to a claim: puts it on the granted queue, completes its operation, and gives it a fence if the
    /// grant is new or goes up or sideways (X1). Whatever was to be written was written before (P2).
    pub(crate) fn grant(&mut self, slot: Slot, mode: Mode, immediate: bool, alternate: bool, step: &mut Step<'_>) {
        self.table.unlink(slot);
        let claim = self.table.get_mut(slot);
        let from = claim.granted;
        claim.settle();
        claim.queue = Queue::Granted;
        claim.granted = Some(mode);
        claim.ended = Ended::Granted;
        claim.grant = Grant {
            immediate,
            alternate,
            value_read: claim.value_wanted && value_on_grant(from, mode) == ValueMove::Read,
        };
        claim.grant_seq = claim.grant_seq.saturating_add(1);
        claim.level = None;
        claim.since_ms = step.context.wall_ms;
        let keeps_fence =
            from.is_some_and(|from| matches!(from.conversion(mode), ConversionKind::Down | ConversionKind::Same));
        if !keeps_fence {
            claim.fence = Some(Stamp::ThisWrite(step.context.index));
            self.table.stamped(slot);
        }
        self.table.link(slot, End::Tail);
        step.outcomes.push(Outcome::Completed(self.answer(slot)));
    }
}
