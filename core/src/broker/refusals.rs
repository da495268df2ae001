//! Commands that are refused without having reached the store.
//!
//! Invariants: nothing is refused that may have happened; who asked hears of it; a claim that the command would have created
//! is forgotten with its number.

use super::Broker;
use super::api::{Reply, RequestError};
use super::shard::{Pending, Purpose};
use crate::name::ResourceId;

impl Broker {
    /// Commands that waited too long for a store that is away, or that refuses them, are refused, if nothing can have
    /// happened.
    pub(super) fn refuse_impatient(&mut self, at: usize, id: &ResourceId, reason: &str) {
        let text = format!("the store did not take it ({reason}); nothing happened: try again");
        self.refuse_waiting(at, id, &text, |pending| pending.purpose.is_for_a_client());
    }

    /// Where a broker that cannot prove its life sends nothing, no outcome refuses what waits.
    pub(super) fn refuse_what_cannot_be_sent(&mut self) {
        if self.may_send() {
            return;
        }
        for at in 0..self.shards.len() {
            let waited_on: Vec<ResourceId> =
                self.shards[at].entries.ids_of(|entry| !entry.pending.is_empty()).collect();
            for id in waited_on {
                self.refuse_impatient(at, &id, "this broker cannot reach it");
            }
        }
    }

    /// The store is not settled: requests that do not want to wait have waited long enough.
    pub(super) fn refuse_tries(&mut self, at: usize, id: &ResourceId) {
        let text = "the store may have lost locks, so nothing is granted for a while: try again";
        self.refuse_waiting(at, id, text, |pending| pending.command.is_try());
    }

    /// Refuses those of these commands that have waited for `store_patience`, and of which nothing can have happened.
    fn refuse_waiting(&mut self, at: usize, id: &ResourceId, text: &str, of_these: impl Fn(&Pending) -> bool) {
        let error = RequestError::Unavailable(text.into());
        let before = self.now.mono.saturating_sub(self.config.store_patience);
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let (refused, kept): (Vec<Pending>, Vec<Pending>) = std::mem::take(&mut entry.pending)
            .into_iter()
            .partition(|pending| pending.is_unsent() && pending.since < before && of_these(pending));
        entry.pending = kept.into();
        for pending in refused {
            self.refuse(id, pending, &error);
        }
    }

    pub(super) fn refuse_all(&mut self, at: usize, id: &ResourceId, error: &RequestError) {
        let Some(entry) = self.shards[at].entries.get_mut(id) else { return };
        let pending = std::mem::take(&mut entry.pending);
        for pending in pending {
            self.refuse(id, pending, error);
        }
    }

    /// A command was refused without reaching the store.
    pub(super) fn refuse(&mut self, id: &ResourceId, pending: Pending, error: &RequestError) {
        let error = error.clone();
        self.queued = self.queued.saturating_sub(usize::from(pending.purpose.is_for_a_client()));
        if let Some(claim) = pending.purpose.claim() {
            self.command_done(claim);
        }
        match pending.purpose {
            Purpose::Operation(claim, operation) => self.fail_operation(claim, operation, error),
            Purpose::Unlock(_, _, reply) => self.reply_all(reply.map(|to| (to, Reply::Error(error)))),
            Purpose::Cancel(_, to) => self.reply_error(to, error),
            Purpose::Withdraw(_) => {}
            Purpose::Part(part) => {
                let told = self.gatherings.part_failed(part, error);
                self.reply_all(told);
            }
            Purpose::Purge(reply) => self.reply_all(reply.map(|to| (to, Reply::Error(error)))),
            // Of a record that cannot be understood nothing is left to take.
            Purpose::Remove(claims) => {
                for claim in claims {
                    self.removal_done(claim);
                }
            }
            Purpose::Bury(session) => self.claims_buried(session, id),
            Purpose::Replace(replacing) => self.end_replacing(&replacing, error),
        }
    }
}
