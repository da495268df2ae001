//! Conversions (sections 9 and 10).

use crate::command::{ConversionDeadlock, ConvertCommand, Extras, Options, Outcome, Refusal, Status};
use crate::mode::{ConversionKind, Mode, value_on_grant};
use crate::name::Stamp;

use super::answer::{Ahead, Seen, holding};
use super::claim::{Claim, Ended, Grant, OperationKind, Queue, Slot};
use super::table::End;
use super::{Resource, Step, grant, value};

impl Resource {
    /// A conversion of a granted claim.
    pub(crate) fn convert(&mut self, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        let Some(slot) = self.live(command.claim) else {
            return step.refuse(Refusal::NotFound);
        };
        let claim = self.table.get(slot);
        match Seen::of(claim, command.operation, OperationKind::Convert) {
            Seen::New => {}
            Seen::Wrong(refusal) => return step.refuse(refusal),
            Seen::Repeat => {
                self.repeat(slot, step);
                return false;
            }
        }
        let (Queue::Granted, Some(from)) = (claim.queue, claim.granted) else {
            return step.refuse(Refusal::Busy);
        };
        if let Err(refusal) = check(command, from, step) {
            return step.refuse(refusal);
        }
        self.decide_conversion(slot, from, command, step)
    }

    /// The grant test and what follows when the answer is no (section 7).
    fn decide_conversion(&mut self, slot: Slot, from: Mode, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        if self.conversion_passes(from, command.mode, command.options) {
            return self.convert_now(slot, from, command.mode, command, step);
        }
        let a_try = command.options.contains(Options::TRY);
        let deadlock = !a_try && self.would_deadlock(from, command);
        if deadlock {
            match command.conversion_deadlock.unwrap_or_default() {
                ConversionDeadlock::Error => {
                    return self.refuse_deadlock(slot, from, command, step);
                }
                ConversionDeadlock::Demote => return self.demote(slot, command, step),
                // D6 queues it, and nothing that can be granted may be queued: so N2 comes first.
                ConversionDeadlock::Wait => {}
            }
        }
        if let Some(alternate) = self.alternate_passes(from, command) {
            return self.convert_now(slot, from, alternate, command, step);
        }
        if a_try {
            return self.convert_would_wait(slot, command, step);
        }
        self.queue_conversion(slot, command, deadlock, step)
    }

    /// N2 for a fresh conversion.
    fn alternate_passes(&self, from: Mode, command: &ConvertCommand) -> Option<Mode> {
        let mode = grant::alternate(command.mode, command.options)?.mode();
        self.conversion_passes(from, mode, command.options).then_some(mode)
    }

    /// D1 and D2: some converter can never be granted while the newcomer holds `from`, and the newcomer cannot pass it.
    fn would_deadlock(&self, from: Mode, command: &ConvertCommand) -> bool {
        let blocks = |requested: &Mode| !requested.compatible(from) && self.table.converting_to(*requested) > 0;
        !self.may_overtake(command) && Mode::ALL.iter().any(blocks)
    }

    /// D2: HEADQUE counts unless the newcomer would wait for a converter that it overtakes.
    fn may_overtake(&self, command: &ConvertCommand) -> bool {
        let waits_for = |held: &Mode| !held.compatible(command.mode) && self.table.converting_from(*held) > 0;
        command.options.contains(Options::HEAD_OF_QUEUE) && !Mode::ALL.iter().any(waits_for)
    }

    /// C2: in place. Writes come before grants (P2).
    fn convert_now(&mut self, slot: Slot, from: Mode, to: Mode, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        self.accept(slot, command);
        let moved = value_on_grant(Some(from), to);
        self.value.step(moved, command.options, command.value.as_ref(), step.context.value_bytes);
        self.grant(slot, to, true, to != command.mode, step);
        self.regrant(step);
        true
    }

    /// D4: the claim keeps its old mode. The answer is remembered, so that a late copy does not start it again.
    fn refuse_deadlock(&mut self, slot: Slot, from: Mode, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        let blockers = self.deadlocked_with(from);
        self.table.forget_former(slot);
        let claim = self.table.get_mut(slot);
        claim.operation = command.operation;
        claim.kind = OperationKind::Convert;
        claim.ended = Ended::Deadlock;
        claim.grant = Grant::default();
        claim.value_wanted = false;
        claim.demoted = false;
        let mut completion = holding(claim, command.operation, Status::Deadlock);
        completion.extras = Extras::of_blockers(blockers);
        step.outcomes.push(Outcome::Completed(completion));
        true
    }

    /// D5: drops to NL at once, lets the queued conversions go first, and tries once more as if new.
    fn demote(&mut self, slot: Slot, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        if self.is_full(step) {
            return step.refuse(Refusal::Limit("queued claims per resource"));
        }
        self.accept(slot, command);
        let claim = self.table.get_mut(slot);
        claim.granted = Some(Mode::NL);
        claim.demoted = true;
        self.table.link(slot, End::Tail);
        self.regrant_converters(step);
        let granted = if self.conversion_passes(Mode::NL, command.mode, command.options) {
            Some((command.mode, false))
        } else {
            self.alternate_passes(Mode::NL, command).map(|mode| (mode, true))
        };
        if let Some((mode, alternate)) = granted {
            self.grant(slot, mode, true, alternate, step);
        } else {
            self.enqueue(slot, command, step);
        }
        self.regrant(step);
        true
    }

    /// N4, and D6 when it is queued in spite of a deadlock.
    fn queue_conversion(&mut self, slot: Slot, command: &ConvertCommand, deadlock: bool, step: &mut Step<'_>) -> bool {
        if self.is_full(step) {
            return step.refuse(Refusal::Limit("queued claims per resource"));
        }
        self.accept(slot, command);
        self.enqueue(slot, command, step);
        if deadlock {
            self.notify_own(slot, command.mode, step);
        }
        true
    }

    fn is_full(&self, step: &Step<'_>) -> bool {
        self.table.queued() >= step.context.queued_max
    }

    /// To the tail of the convert queue, or, where HEADQUE counts, to its head.
    fn enqueue(&mut self, slot: Slot, command: &ConvertCommand, step: &mut Step<'_>) {
        let head = self.may_overtake(command);
        self.table.unlink(slot);
        let claim = self.table.get_mut(slot);
        claim.queue = Queue::Converting;
        claim.requested = Some(command.mode);
        claim.alternate = grant::alternate(command.mode, command.options);
        claim.no_order = command.options.contains(Options::NO_ORDER);
        claim.ticket = Some(Stamp::ThisWrite(step.context.index));
        claim.since_ms = step.context.wall_ms;
        claim.grant = Grant::default();
        claim.ended = Ended::Granted;
        self.table.stamped(slot);
        self.table.link(slot, if head { End::Head } else { End::Tail });
        self.tell_queued(slot, false, step);
    }

    /// N3: the claim keeps its old mode, and nothing is remembered: a repeat may be decided anew.
    fn convert_would_wait(&mut self, slot: Slot, command: &ConvertCommand, step: &mut Step<'_>) -> bool {
        let queues = command.options.contains(Options::QUEUE_CONVERSION);
        let ahead = if queues { Ahead::Converters } else { Ahead::Nobody };
        let blockers = self.blockers(command.mode, Some(slot), ahead);
        let mut completion = holding(self.table.get(slot), command.operation, Status::WouldWait);
        completion.demoted = false;
        completion.extras = Extras::of_blockers(blockers);
        step.outcomes.push(Outcome::Completed(completion));
        command.options.contains(Options::NOTIFY_ON_REFUSAL) && self.notify_refused(command.mode, Some(slot), step)
    }

    /// Begins the operation: what it asks for replaces what the last one asked for, except that persistence and the
    /// wish for notifications stay unless given (F6, B9). Leaves the claim unlinked.
    fn accept(&mut self, slot: Slot, command: &ConvertCommand) {
        self.table.unlink(slot);
        self.table.forget_former(slot);
        let claim: &mut Claim = self.table.get_mut(slot);
        claim.operation = command.operation;
        claim.kind = OperationKind::Convert;
        claim.value_wanted = command.options.contains(Options::VALUE_BLOCK);
        claim.demoted = false;
        claim.persistent |= command.options.contains(Options::PERSISTENT);
        if let Some(blocking) = command.blocking {
            claim.blocking = blocking;
        }
        if !claim.blocking {
            claim.level = None;
        }
    }
}

/// A1 to A6 for conversions.
fn check(command: &ConvertCommand, from: Mode, step: &Step<'_>) -> Result<(), Refusal> {
    let options = command.options;
    let demotes = command.conversion_deadlock == Some(ConversionDeadlock::Demote);
    if demotes && options.contains(Options::TRY) {
        return Err(Refusal::Invalid("a try never deadlocks: it cannot be demoted"));
    }
    if options.contains(Options::EXPEDITE) {
        return Err(Refusal::Invalid("expedite is for new requests only"));
    }
    if options.contains(Options::QUEUE_CONVERSION) {
        if !from.queue_conversion_legal(command.mode) {
            return Err(Refusal::Invalid("queue_conversion is for conversions up or sideways only"));
        }
        if options.intersects(Options::HEAD_OF_QUEUE | Options::NO_ORDER) {
            return Err(Refusal::Invalid("queue_conversion contradicts head_of_queue and no_order"));
        }
    }
    for (option, mode) in [(Options::ALTERNATE_PR, Mode::PR), (Options::ALTERNATE_CW, Mode::CW)] {
        if options.contains(option) && from.conversion(mode) != ConversionKind::Up {
            return Err(Refusal::Invalid("an alternate mode must be stronger than the granted one"));
        }
    }
    let moved = value_on_grant(Some(from), command.mode);
    value::check(moved, options, command.value.as_ref(), step.context.value_bytes).map_err(Refusal::Invalid)
}
