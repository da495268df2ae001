//! What the caller is told: completions, repeats, and whom a request met.

use crate::command::{BLOCKERS_MAX, Blocker, Completion, Extras, Outcome, Refusal, Status};
use crate::mode::Mode;
use crate::name::{ClaimId, OperationNumber, Stamp};

use super::claim::{Claim, ClaimView, Ended, OperationKind, Queue, Slot};
use super::{Resource, Step};

/// How an operation number relates to the last one that the claim saw.
pub(crate) enum Seen {
    /// Never seen: go on.
    New,
    /// The last one: answered again, nothing changes.
    Repeat,
    /// Refused.
    Wrong(Refusal),
}

impl Seen {
    pub(crate) fn of(claim: &Claim, operation: OperationNumber, kind: OperationKind) -> Self {
        if operation > claim.operation {
            Seen::New
        } else if operation < claim.operation {
            Seen::Wrong(Refusal::StaleOperation)
        } else if kind == claim.kind {
            Seen::Repeat
        } else {
            Seen::Wrong(Refusal::Invalid("the operation number was used by another operation of this claim"))
        }
    }
}

/// A completion of an operation that came to nothing, or before its details are filled in.
pub(crate) fn bare(claim: ClaimId, operation: OperationNumber, status: Status) -> Completion {
    Completion {
        claim,
        operation,
        status,
        mode: None,
        fence: None,
        grant_seq: 0,
        immediate: false,
        demoted: false,
        alternate: false,
        extras: Extras::default(),
        repeated: false,
    }
}

impl Resource {
    /// The completion of the last operation of a granted claim, as its record tells it; absent while an operation is
    /// pending. A broker uses it for a claim of its own that another broker's write granted.
    pub fn completion(&self, id: ClaimId) -> Option<Completion> {
        let slot = self.table.find(id)?;
        (self.table.get(slot).queue == Queue::Granted).then(|| self.answer(slot))
    }

    /// Who stands in the way of a queued claim: a holder in conflict with what it wants, before all others, and else a claim
    /// that is ahead of it in the queue. Absent if the claim is not queued.
    pub fn blocker_of(&self, id: ClaimId) -> Option<ClaimView<'_>> {
        let slot = self.table.find(id)?;
        let claim = self.table.get(slot);
        let ahead = match claim.queue {
            Queue::Granted => return None,
            _ if claim.no_order => Ahead::Nobody,
            Queue::Converting => Ahead::Converters,
            Queue::Waiting => Ahead::ConvertersAndWaiters,
        };
        let blockers = self.blockers(claim.requested?, Some(slot), ahead);
        self.claim(blockers.first()?.claim)
    }

    /// See [`Resource::completion`].
    pub(crate) fn answer(&self, slot: Slot) -> Completion {
        let claim = self.table.get(slot);
        let status = match claim.ended {
            Ended::Granted => Status::Granted,
            Ended::Deadlock => Status::Deadlock,
            Ended::Cancelled => Status::Cancelled,
            Ended::TimedOut => Status::TimedOut,
        };
        let granted = claim.ended == Ended::Granted;
        let value = (granted && claim.value_wanted).then(|| self.value.report(claim.grant.value_read));
        Completion {
            immediate: granted && claim.grant.immediate,
            alternate: granted && claim.grant.alternate,
            extras: Extras::new(value, Vec::new(), claim.former.as_deref().copied()),
            ..holding(claim, claim.operation, status)
        }
    }

    /// Answers a repeat of the claim's last operation (R1).
    pub(crate) fn repeat(&self, slot: Slot, step: &mut Step<'_>) {
        let claim = self.table.get(slot);
        if claim.queue == Queue::Granted {
            step.outcomes.push(Outcome::Completed(Completion { repeated: true, ..self.answer(slot) }));
        } else {
            self.tell_queued(slot, true, step);
        }
    }

    /// Tells that a claim is queued, and how many are ahead of it.
    pub(crate) fn tell_queued(&self, slot: Slot, repeated: bool, step: &mut Step<'_>) {
        let claim = self.table.get(slot);
        let mut position = self.table.line(claim.queue).ahead_of(claim.place);
        if claim.queue == Queue::Waiting {
            position += self.table.line(Queue::Converting).len();
        }
        step.outcomes.push(Outcome::Queued {
            claim: claim.id,
            operation: claim.operation,
            position: position as u32,
            ticket: claim.ticket.unwrap_or(Stamp::ThisWrite(step.context.index)),
            repeated,
        });
    }

    /// Whom a request for `mode` meets: holders in conflict, then, unless it may pass them, the queued claims ahead.
    pub(crate) fn blockers(&self, mode: Mode, own: Option<Slot>, ahead: Ahead) -> Vec<Blocker> {
        let mut found = Found { resource: self, own, blockers: Vec::new() };
        for queue in [Queue::Granted, Queue::Converting] {
            let conflicting = Mode::ALL.into_iter().filter(|held| !held.compatible(mode));
            let mut slots: Vec<Slot> =
                conflicting.flat_map(|held| self.table.holders_of(queue, held).take(BLOCKERS_MAX + 1)).collect();
            slots.sort_by_key(|slot| self.table.get(*slot).place);
            found.add(slots);
        }
        if ahead != Ahead::Nobody {
            let line = self.table.line(Queue::Converting);
            let stop = own.filter(|own| self.table.get(*own).queue == Queue::Converting);
            found.add(line.iter().take_while(|slot| Some(*slot) != stop).take(2 * BLOCKERS_MAX));
        }
        if ahead == Ahead::ConvertersAndWaiters {
            let line = self.table.line(Queue::Waiting);
            found.add(line.iter().take_while(|slot| Some(*slot) != own).take(2 * BLOCKERS_MAX));
        }
        found.blockers
    }

    /// The converters that a claim granted in `from` would keep from ever being granted (D1).
    pub(crate) fn deadlocked_with(&self, from: Mode) -> Vec<Blocker> {
        let mut found = Found { resource: self, own: None, blockers: Vec::new() };
        let conflicting = Mode::ALL.into_iter().filter(|requested| !requested.compatible(from));
        let mut slots: Vec<Slot> =
            conflicting.flat_map(|requested| self.table.converters_to(requested).take(BLOCKERS_MAX)).collect();
        slots.sort_by_key(|slot| self.table.get(*slot).place);
        found.add(slots);
        found.blockers
    }
}

/// Which queued claims a request must wait for by order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// NOORDER, or a conversion in place.
    Nobody,
    /// A conversion.
    Converters,
    /// A new request.
    ConvertersAndWaiters,
}

/// Collects blockers, each once, up to the limit.
struct Found<'a> {
    resource: &'a Resource,
    own: Option<Slot>,
    blockers: Vec<Blocker>,
}

impl Found<'_> {
    fn add(&mut self, slots: impl IntoIterator<Item = Slot>) {
        let table = &self.resource.table;
        for slot in slots {
            if self.blockers.len() == BLOCKERS_MAX {
                return;
            }
            let claim = table.get(slot);
            if Some(slot) == self.own || self.blockers.iter().any(|blocker| blocker.claim == claim.id) {
                continue;
            }
            self.blockers.push(Blocker {
                claim: claim.id,
                granted: claim.granted,
                requested: claim.requested,
                owner: table.party(claim).owner.clone(),
                label: claim.label.clone(),
            });
        }
    }
}

/// A completion that says what the claim holds.
pub(crate) fn holding(claim: &Claim, operation: OperationNumber, status: Status) -> Completion {
    Completion {
        mode: claim.granted,
        fence: claim.fence,
        grant_seq: claim.grant_seq,
        demoted: claim.demoted,
        ..bare(claim.id, operation, status)
    }
}
