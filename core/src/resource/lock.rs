//! New requests (section 7) and adoptions (F7).

use crate::command::{ConversionDeadlock, Extras, LockCommand, Options, Outcome, Refusal, Status};
use crate::limits::VALUE_BLOCK_BYTES_MAX;
use crate::mode::Mode;
use crate::name::{ClaimId, Label, OperationNumber, SessionId, Stamp};

use super::answer::{Ahead, Seen, bare};
use super::claim::{Claim, OperationKind, Queue};
use super::table::End;
use super::value::ValueBlock;
use super::{Resource, Step, grant, size};

impl Resource {
    /// A new request.
    pub(crate) fn lock(&mut self, command: &LockCommand, step: &mut Step<'_>) -> bool {
        if self.answers_known(command.claim, command.operation, OperationKind::Lock, step) {
            return false;
        }
        if let Err(refusal) = check(command.mode, command.options, command.conversion_deadlock) {
            return step.refuse(refusal);
        }
        let alternate = grant::alternate(command.mode, command.options);
        let passes = |mode| self.new_request_passes(mode, command.options);
        let granted = if passes(command.mode) {
            Some((command.mode, false))
        } else {
            alternate.map(|alternate| (alternate.mode(), true)).filter(|(mode, _)| passes(*mode))
        };
        if granted.is_none() && command.options.contains(Options::TRY) {
            return self.lock_would_wait(command, step);
        }
        if granted.is_none() && self.table.queued() >= step.context.queued_max {
            return step.refuse(Refusal::Limit("queued claims per resource"));
        }
        if !self.has_room(command.claim.session, &command.owner, &command.label, 0, step) {
            return step.refuse(Refusal::Limit("bytes of one record"));
        }

        let mut claim = Claim::new(command.claim, command.operation, OperationKind::Lock);
        claim.label = command.label.clone();
        claim.blocking = command.blocking;
        claim.persistent = command.options.contains(Options::PERSISTENT);
        claim.value_wanted = command.options.contains(Options::VALUE_BLOCK);
        if let Some((mode, alternate)) = granted {
            let slot = self.admit(claim, &command.owner, step);
            self.grant(slot, mode, true, alternate, step);
            return true;
        }
        claim.requested = Some(command.mode);
        claim.alternate = alternate;
        claim.no_order = command.options.contains(Options::NO_ORDER);
        self.queue_request(claim, command, step);
        true
    }

    /// N4: to the tail of the wait queue, or with HEADQUE to its head, where it may be grantable now.
    fn queue_request(&mut self, mut claim: Claim, command: &LockCommand, step: &mut Step<'_>) {
        claim.queue = Queue::Waiting;
        claim.ticket = Some(Stamp::ThisWrite(step.context.index));
        claim.since_ms = step.context.wall_ms;
        let head = command.options.contains(Options::HEAD_OF_QUEUE);
        let slot = self.admit(claim, &command.owner, step);
        self.table.stamped(slot);
        self.table.link(slot, if head { End::Head } else { End::Tail });
        self.tell_queued(slot, false, step);
        if head {
            self.regrant(step);
        }
    }

    /// N3: a try that is not grantable disappears.
    fn lock_would_wait(&mut self, command: &LockCommand, step: &mut Step<'_>) -> bool {
        let mut completion = bare(command.claim, command.operation, Status::WouldWait);
        let unordered = command.options.contains(Options::NO_ORDER);
        let ahead = if unordered { Ahead::Nobody } else { Ahead::ConvertersAndWaiters };
        completion.extras = Extras::of_blockers(self.blockers(command.mode, None, ahead));
        step.outcomes.push(Outcome::Completed(completion));
        command.options.contains(Options::NOTIFY_ON_REFUSAL) && self.notify_refused(command.mode, None, step)
    }

    /// F7: takes over the oldest orphan granted in exactly this mode.
    pub(crate) fn adopt(&mut self, adopter: &Adopter<'_>, step: &mut Step<'_>) -> bool {
        if self.answers_known(adopter.claim, adopter.operation, OperationKind::Adopt, step) {
            return false;
        }
        if !(Options::VALUE_BLOCK | Options::PERSISTENT | Options::TRY).contains(adopter.options) {
            return step.refuse(Refusal::Invalid("an adoption takes no options but value_block and persistent"));
        }
        let Some(orphan) = self.table.oldest_orphan(adopter.mode) else {
            if !self.table.has_orphans() {
                return step.refuse(Refusal::NotFound);
            }
            let completion = bare(adopter.claim, adopter.operation, Status::WouldWait);
            step.outcomes.push(Outcome::Completed(completion));
            return false;
        };
        if !self.has_room(adopter.claim.session, adopter.owner, adopter.label, size::FORMER, step) {
            return step.refuse(Refusal::Limit("bytes of one record"));
        }
        let (former, grant_seq) = (self.table.get(orphan).id, self.table.get(orphan).grant_seq);
        self.table.remove(orphan);
        step.outcomes.push(Outcome::Removed { claim: former, held: true });

        let mut claim = Claim::new(adopter.claim, adopter.operation, OperationKind::Adopt);
        claim.label = adopter.label.clone();
        claim.blocking = adopter.blocking;
        claim.persistent = adopter.options.contains(Options::PERSISTENT);
        claim.value_wanted = adopter.options.contains(Options::VALUE_BLOCK);
        claim.grant_seq = grant_seq;
        claim.former = Some(Box::new(former));
        let slot = self.table.insert(claim, adopter.owner);
        self.grant(slot, adopter.mode, true, false, step);
        true
    }

    /// If the claim exists already, answers from what is known of it.
    fn answers_known(&self, id: ClaimId, operation: OperationNumber, kind: OperationKind, step: &mut Step<'_>) -> bool {
        let Some(slot) = self.table.find(id) else {
            return false;
        };
        let claim = self.table.get(slot);
        if claim.orphan {
            return !step.refuse(Refusal::Invalid("the claim is an orphan: its session has ended"));
        }
        match Seen::of(claim, operation, kind) {
            Seen::Repeat => self.repeat(slot, step),
            Seen::Wrong(refusal) => drop(step.refuse(refusal)),
            Seen::New if claim.queue != Queue::Granted => drop(step.refuse(Refusal::Busy)),
            Seen::New => drop(step.refuse(Refusal::Invalid("the claim number is in use: each lock needs a new one"))),
        }
        true
    }

    /// Takes in a claim. The first one brings the resource into being, with a zero value block (V7).
    fn admit(&mut self, claim: Claim, owner: &Label, step: &Step<'_>) -> u32 {
        if self.table.is_empty() {
            self.value = ValueBlock::zero(step.context.value_bytes);
        }
        self.table.insert(claim, owner)
    }

    /// A7: one more claim does not make the record too large.
    fn has_room(&self, session: SessionId, owner: &Label, label: &Label, more: usize, step: &Step<'_>) -> bool {
        let value = self.value.bytes.len().max(step.context.value_bytes.min(VALUE_BLOCK_BYTES_MAX));
        let room = step.context.record_bytes_max.saturating_sub(size::HEADER + value + self.table.bytes() + more);
        // Far from the limit it does not matter whether the session and owner are known already.
        size::claim(label) + size::party(owner) <= room || self.table.bytes_of(session, owner, label) <= room
    }
}

/// Who adopts, and how: the fields of [`crate::command::Command::Adopt`].
pub(crate) struct Adopter<'a> {
    pub(crate) claim: ClaimId,
    pub(crate) operation: OperationNumber,
    pub(crate) mode: Mode,
    pub(crate) options: Options,
    pub(crate) blocking: bool,
    pub(crate) owner: &'a Label,
    pub(crate) label: &'a Label,
}

/// A1 and A2 for new requests.
fn check(mode: Mode, options: Options, conversion_deadlock: Option<ConversionDeadlock>) -> Result<(), Refusal> {
    if options.contains(Options::QUEUE_CONVERSION) {
        return Err(Refusal::Invalid("queue_conversion is for conversions only"));
    }
    if conversion_deadlock.is_some() {
        return Err(Refusal::Invalid("conversion_deadlock is for conversions only"));
    }
    if options.contains(Options::EXPEDITE) && mode != Mode::NL {
        return Err(Refusal::Invalid("expedite is for mode NL only"));
    }
    if options.contains(Options::EXPEDITE | Options::TRY) {
        return Err(Refusal::Invalid("expedite never waits: it cannot be a try"));
    }
    Ok(())
}
