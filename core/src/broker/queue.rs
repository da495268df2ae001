//! Commands are put into the queues of their resources.
//!
//! Invariant: a command that belongs to a claim of this broker is counted there until its outcome is known.

use super::Broker;
use super::shard::{Pending, Purpose};
use super::timers::Timer;
use crate::command::{CancelReason, Command};
use crate::name::{ClaimId, OperationNumber, ResourceId, SessionId};
use crate::planted::Bug;

impl Broker {
    /// Queues a command; one that belongs to a claim of this broker is counted there.
    pub(super) fn push_command(
        &mut self,
        resource: &ResourceId,
        command: Command,
        purpose: Purpose,
        claim: Option<ClaimId>,
    ) {
        self.push(resource, self.pending(command, purpose), claim);
    }

    pub(super) fn push(&mut self, resource: &ResourceId, pending: Pending, claim: Option<ClaimId>) {
        let at = self.lane_of(resource);
        self.queued += usize::from(pending.purpose.is_for_a_client());
        let own = claim.filter(|claim| match self.claim_mut(*claim) {
            Some(claim) => {
                claim.commands += 1;
                true
            }
            None => false,
        });
        let entry = self.shards[at].push(resource, pending, self.config.unused_after);
        entry.locals.extend(own);
    }

    pub(super) fn pending(&self, command: Command, purpose: Purpose) -> Pending {
        Pending::new(command, purpose, self.now.mono)
    }

    pub(super) fn command_done(&mut self, claim: ClaimId) {
        if let Some(claim) = self.claim_mut(claim) {
            claim.commands = claim.commands.saturating_sub(1);
        }
    }

    /// Queues a cancel of the broker's own.
    pub(super) fn withdraw(&mut self, claim: ClaimId, operation: Option<OperationNumber>, reason: CancelReason) {
        let Some(known) = self.claim_mut(claim) else { return };
        let resource = known.resource.clone();
        let command = Command::Cancel { claim, operation, reason };
        self.push_command(&resource, command, Purpose::Withdraw(claim), Some(claim));
    }

    pub(super) fn remove_claims(&mut self, id: &ResourceId, claims: Vec<ClaimId>) {
        let command = Command::Remove { claims: claims.clone() };
        self.push_command(id, command, Purpose::Remove(claims), None);
    }

    /// Queues the end of a session on one resource, after the lockspace's lock-delay if the end was abnormal.
    pub(super) fn bury_on(&mut self, id: SessionId, resource: &ResourceId, abnormal: bool) {
        let now = self.now.mono;
        let free = self.strangers.dead_since(id).unwrap_or(now) + self.config.lock_delay(&resource.lockspace);
        if abnormal && free > now && !self.planted.has(Bug::LockDelayIgnored) {
            self.timers.set(free, Timer::Delayed(id, resource.clone()));
        } else {
            self.bury_now(id, resource);
        }
    }

    pub(super) fn bury_now(&mut self, id: SessionId, resource: &ResourceId) {
        let command = if self.planted.has(Bug::ValueStaysValid) {
            Command::UnlockAll { session: id, owner: None }
        } else {
            Command::Bury { session: id }
        };
        self.push_command(resource, command, Purpose::Bury(id), None);
    }
}
