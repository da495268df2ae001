//! Ways out: release, cancel, the end of a session, removal, purge (sections 14 to 16).

use bytes::Bytes;

use crate::command::{CancelReason, Completion, Extras, Options, Outcome, PurgeScope, Refusal, Status};
use crate::mode::{Mode, ValueMove, value_on_release};
use crate::name::{ClaimId, Label, OperationNumber, SessionId};

use super::answer::{Ahead, bare, holding};
use super::claim::{Claim, Ended, Grant, Queue, Slot};
use super::table::End;
use super::{Resource, Step, value};

impl Resource {
    /// R2: releases a granted claim; with force from any queue.
    pub(crate) fn unlock(&mut self, release: &Release<'_>, step: &mut Step<'_>) -> bool {
        let Some(slot) = self.live(release.claim) else {
            step.outcomes.push(Outcome::Gone { claim: release.claim });
            return false;
        };
        let claim = self.table.get(slot);
        if release.operation < claim.operation {
            return step.refuse(Refusal::StaleOperation);
        }
        if release.operation == claim.operation {
            return step.refuse(Refusal::Invalid("the operation number was used by another operation of this claim"));
        }
        let queued = claim.queue != Queue::Granted;
        if queued && !release.force {
            return step.refuse(Refusal::Busy);
        }
        let moved = claim.granted.map_or(ValueMove::Nothing, value_on_release);
        let length = step.context.value_bytes;
        if let Err(reason) = value::check(moved, release.options, release.value, length) {
            return step.refuse(Refusal::Invalid(reason));
        }
        if queued {
            step.outcomes.push(Outcome::Completed(withdrawn(claim)));
        }
        let grant_seq = claim.grant_seq;
        self.table.remove(slot);
        self.value.step(moved, release.options, release.value, length);
        let mut completion = bare(release.claim, release.operation, Status::Released);
        completion.grant_seq = grant_seq;
        if release.options.contains(Options::VALUE_BLOCK) {
            completion.extras = Extras::new(Some(self.value.report(false)), Vec::new(), None);
        }
        step.outcomes.push(Outcome::Completed(completion));
        self.regrant(step);
        true
    }

    /// R3: a waiting claim is removed, a converting one goes back to its old mode, a granted one stays.
    pub(crate) fn cancel(
        &mut self,
        id: ClaimId,
        operation: Option<OperationNumber>,
        reason: CancelReason,
        step: &mut Step<'_>,
    ) -> bool {
        let Some(slot) = self.live(id) else {
            step.outcomes.push(Outcome::Gone { claim: id });
            return false;
        };
        let claim = self.table.get(slot);
        let meant = operation.is_none_or(|operation| operation == claim.operation);
        if claim.queue == Queue::Granted || !meant {
            step.outcomes.push(Outcome::AlreadyGranted { claim: id });
            return false;
        }
        let (status, ended) = match reason {
            CancelReason::Cancelled => (Status::Cancelled, Ended::Cancelled),
            CancelReason::TimedOut => (Status::TimedOut, Ended::TimedOut),
        };
        let blockers = match reason {
            CancelReason::Cancelled => Vec::new(),
            CancelReason::TimedOut => self.met_by(slot),
        };
        let mut completion = if self.table.get(slot).queue == Queue::Converting {
            self.back_to_granted(slot, ended, step);
            let claim = self.table.get(slot);
            holding(claim, claim.operation, status)
        } else {
            let completion = bare(id, self.table.get(slot).operation, status);
            self.table.remove(slot);
            completion
        };
        completion.extras = Extras::of_blockers(blockers);
        step.outcomes.push(Outcome::Completed(completion));
        self.regrant(step);
        true
    }

    /// Whom a queued claim waits for.
    fn met_by(&self, slot: Slot) -> Vec<crate::command::Blocker> {
        let claim = self.table.get(slot);
        let ahead = match claim.queue {
            _ if claim.no_order => Ahead::Nobody,
            Queue::Waiting => Ahead::ConvertersAndWaiters,
            Queue::Converting | Queue::Granted => Ahead::Converters,
        };
        claim.requested.map(|mode| self.blockers(mode, Some(slot), ahead)).unwrap_or_default()
    }

    /// C5: the conversion is off, the old mode was never lost (unless demoted). It hears again that it blocks (B7).
    fn back_to_granted(&mut self, slot: Slot, ended: Ended, step: &Step<'_>) {
        self.table.unlink(slot);
        let claim = self.table.get_mut(slot);
        claim.settle();
        claim.queue = Queue::Granted;
        claim.ended = ended;
        claim.grant = Grant::default();
        claim.value_wanted = false;
        claim.level = None;
        claim.since_ms = step.context.wall_ms;
        self.table.link(slot, End::Tail);
    }

    /// H2: all claims of the session leave, then V9, then one regrant pass. Persistent ones stay as orphans (F6).
    pub(crate) fn bury(&mut self, session: SessionId, step: &mut Step<'_>) -> bool {
        let claims = self.table.of_session(session).filter(|slot| !self.table.get(*slot).orphan);
        let (stay, leave): (Vec<Slot>, Vec<Slot>) = claims.partition(|slot| {
            let claim = self.table.get(*slot);
            claim.persistent && claim.queue != Queue::Waiting
        });
        if stay.is_empty() && leave.is_empty() {
            return false;
        }
        for slot in stay {
            self.orphan(slot, step);
        }
        self.take_away(leave, step);
        self.regrant(step);
        true
    }

    /// F6: cancelled back to the old mode if it was converting; blocks as before; hears nothing any more.
    fn orphan(&mut self, slot: Slot, step: &mut Step<'_>) {
        if self.table.get(slot).queue == Queue::Converting {
            self.back_to_granted(slot, Ended::Cancelled, step);
        }
        self.table.unlink(slot);
        let claim = self.table.get_mut(slot);
        claim.orphan = true;
        claim.blocking = false;
        claim.level = None;
        let id = claim.id;
        self.table.link(slot, End::Tail);
        step.outcomes.push(Outcome::Orphaned { claim: id });
    }

    /// Claims that count as if their session were dead; persistence does not protect them.
    pub(crate) fn remove(&mut self, claims: &[ClaimId], step: &mut Step<'_>) -> bool {
        let slots = claims.iter().filter_map(|id| self.table.find(*id)).collect();
        self.take_away_and_regrant(slots, step)
    }

    /// F8: removes orphans.
    pub(crate) fn purge(&mut self, scope: &PurgeScope, step: &mut Step<'_>) -> bool {
        let meant = |slot: &Slot| {
            let claim = self.table.get(*slot);
            match scope {
                PurgeScope::All => true,
                PurgeScope::Session(session) => claim.id.session == *session,
                PurgeScope::Owner(owner) => self.table.party(claim).owner == *owner,
                PurgeScope::Claim(id) => claim.id == *id,
            }
        };
        let slots = match scope {
            PurgeScope::Claim(id) => {
                self.table.find(*id).filter(|slot| self.table.get(*slot).orphan).into_iter().collect()
            }
            _ => self.table.orphans().filter(meant).collect(),
        };
        self.take_away_and_regrant(slots, step)
    }

    fn take_away_and_regrant(&mut self, slots: Vec<Slot>, step: &mut Step<'_>) -> bool {
        if slots.is_empty() {
            return false;
        }
        self.take_away(slots, step);
        self.regrant(step);
        true
    }

    /// Removes claims that did not release. If one of them held PW or EX, the value block cannot be trusted (V9).
    fn take_away(&mut self, slots: Vec<Slot>, step: &mut Step<'_>) {
        let mut doubt = false;
        for slot in slots {
            let claim = self.table.get(slot);
            // A list may name a claim twice; it is taken away once.
            if !claim.linked {
                continue;
            }
            doubt |= matches!(claim.granted, Some(Mode::PW | Mode::EX));
            step.outcomes.push(removed(claim));
            self.table.remove(slot);
        }
        self.value.invalid |= doubt;
    }

    /// R6: releases all claims of a session, or those of one of its owners. No value bytes move.
    pub(crate) fn unlock_all(&mut self, session: SessionId, owner: Option<&Label>, step: &mut Step<'_>) -> bool {
        let meant = |slot: &Slot| {
            let claim = self.table.get(*slot);
            !claim.orphan && owner.is_none_or(|owner| self.table.party(claim).owner == *owner)
        };
        let slots: Vec<Slot> = self.table.of_session(session).filter(meant).collect();
        if slots.is_empty() {
            return false;
        }
        for slot in slots {
            let claim = self.table.get(slot);
            if claim.queue != Queue::Granted {
                step.outcomes.push(Outcome::Completed(withdrawn(claim)));
            }
            step.outcomes.push(removed(claim));
            self.table.remove(slot);
        }
        self.regrant(step);
        true
    }
}

/// The fields of [`crate::command::Command::Unlock`].
pub(crate) struct Release<'a> {
    pub(crate) claim: ClaimId,
    pub(crate) operation: OperationNumber,
    pub(crate) options: Options,
    pub(crate) value: Option<&'a Bytes>,
    pub(crate) force: bool,
}

/// The completion of an operation that ends because its claim is released.
fn withdrawn(claim: &Claim) -> Completion {
    let mut completion = bare(claim.id, claim.operation, Status::Cancelled);
    completion.grant_seq = claim.grant_seq;
    completion.demoted = claim.demoted;
    completion
}

fn removed(claim: &Claim) -> Outcome {
    Outcome::Removed { claim: claim.id, held: claim.granted.is_some() }
}
