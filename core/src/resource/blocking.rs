//! Blocking notifications (section 13).
//!
//! They are evaluated once at the end of each command, when its regrant passes are done: nobody is told of a request that
//! the same step grants. A holder hears a level only once since its last grant (B4), so each evaluation touches only
//! those that are told something.

use crate::command::Outcome;
use crate::mode::Mode;

use super::claim::{Queue, Slot};
use super::{Resource, Step};

impl Resource {
    /// B2 to B5: tells every granted claim that blocks a queued request, unless it was told as much before.
    pub(crate) fn notify_blocking(&mut self, step: &mut Step<'_>) {
        if self.table.queued() == 0 {
            return;
        }
        let mut told = Vec::new();
        for held in Mode::ALL {
            if self.table.granted_in(held) == 0 {
                continue;
            }
            if let Some(wanted) = self.highest_request_against(held) {
                told.extend(self.table.told_less_than(Queue::Granted, held, wanted).map(|slot| (slot, wanted)));
            }
        }
        self.tell(told, step);
    }

    /// B6: a refused try tells granted and converting blockers. True if it told anybody.
    pub(crate) fn notify_refused(&mut self, wanted: Mode, own: Option<Slot>, step: &mut Step<'_>) -> bool {
        let mut any = false;
        for queue in [Queue::Granted, Queue::Converting] {
            let conflicting = Mode::ALL.into_iter().filter(|held| !held.compatible(wanted));
            let blockers = conflicting.flat_map(|held| self.table.told_less_than(queue, held, wanted));
            let told: Vec<_> = blockers.filter(|slot| Some(*slot) != own).map(|slot| (slot, wanted)).collect();
            any |= !told.is_empty();
            self.tell(told, step);
        }
        any
    }

    /// D6: a conversion that was queued in spite of a deadlock hears of it, whatever it was told before.
    pub(crate) fn notify_own(&self, slot: Slot, wanted: Mode, step: &mut Step<'_>) {
        let claim = self.table.get(slot);
        if claim.blocking {
            let (claim, grant_seq) = (claim.id, claim.grant_seq);
            step.outcomes.push(Outcome::Blocking { claim, grant_seq, wanted, own: true });
        }
    }

    /// B3: the numerically highest requested mode in conflict with a holder of `held`.
    fn highest_request_against(&self, held: Mode) -> Option<Mode> {
        Mode::ALL.into_iter().rev().find(|wanted| !wanted.compatible(held) && self.table.requesting(*wanted) > 0)
    }

    /// Notes the levels and reports them in queue order.
    fn tell(&mut self, mut told: Vec<(Slot, Mode)>, step: &mut Step<'_>) {
        told.sort_by_key(|(slot, _)| self.table.get(*slot).place);
        for (slot, wanted) in told {
            self.table.set_level(slot, Some(wanted));
            let claim = self.table.get(slot);
            let (claim, grant_seq) = (claim.id, claim.grant_seq);
            step.outcomes.push(Outcome::Blocking { claim, grant_seq, wanted, own: false });
        }
    }
}
