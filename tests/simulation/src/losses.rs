//! A store that loses everything, or its last writes, and what brokers that used it before hear then.
//!
//! Wiped, it has another root record, and every call of a broker that opened it before fails. When another copy takes
//! over that lacks the last writes, the root record is the same and the history another one: what was sent to the old copy
//! is lost on its way, commits are refused until their broker knows of the new history, and a beat that says that nothing
//! is missing is refused if something is.

use std::collections::VecDeque;

use sixpin_core::backend::{Root, StoreError, WriteOutcome};
use sixpin_core::broker::api::Input;
use sixpin_core::standing::History;
use sixpin_memory::Store;

use crate::broker::Call;
use crate::plan::{Fault, MS, SECOND, Time};
use crate::world::{Event, World};

/// How often a copy follows, and how many of its states are kept.
const BACKUP_EVERY: Time = 25 * MS;
const BACKUPS: usize = 12;

/// What was lost so far.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Counts the writes that were done, of all copies.
    pub(crate) writes: u64,
    /// Counts the copies that took over.
    copies: u64,
    /// States of the copy that follows: how many writes were done then, and what was stored.
    backups: VecDeque<(u64, Store)>,
    /// Writes that were lost: after the first number, up to the second.
    lost: Vec<(u64, u64)>,
    /// When something was lost last.
    last: Option<Time>,
}

/// What a call is sent to: whoever opened the store knows its root record, and the connection leads to one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) root: u64,
    pub(crate) history: History,
    /// The broker said that it knows of this copy.
    pub(crate) trusts: bool,
}

impl World {
    /// The history that answers now.
    pub(crate) fn history(&self) -> History {
        if self.plan.faults.has(Fault::LostWrites) { History(self.losses.copies + 1) } else { History::LASTING }
    }

    /// Something was lost in this schedule.
    pub(crate) fn has_lost(&self) -> bool {
        self.losses.last.is_some()
    }

    /// Something was lost not long ago: whoever believed in it may be told so.
    pub(crate) fn may_miss(&self) -> bool {
        self.losses.last.is_some_and(|last| self.now < last.max(self.well_from.min(self.plan.heal_at)) + 8 * SECOND)
    }

    pub(crate) fn backup(&mut self) {
        if self.healed {
            self.losses.backups.clear();
            return;
        }
        if self.losses.backups.len() == BACKUPS {
            self.losses.backups.pop_front();
        }
        self.losses.backups.push_back((self.losses.writes, self.store.clone()));
        self.after(BACKUP_EVERY, Event::Backup);
    }

    /// Everything is gone. Whoever comes next makes a new root record.
    pub(crate) fn wipe(&mut self) {
        self.trace(|| "FAULT the store is wiped".into());
        let identity = self.rng.u64(2..u64::MAX);
        let root = Root { secret_key: identity.to_be_bytes().repeat(4).try_into().unwrap_or([9; 32]), identity };
        self.store = self.store.wiped(root);
        self.lost();
    }

    /// A copy takes over that lacks the last writes.
    pub(crate) fn lose_writes(&mut self) {
        let fresh = self.losses.backups.len() / 2;
        let at = if self.rng.bool() { self.rng.usize(fresh..self.losses.backups.len().max(fresh + 1)) } else { 0 };
        let Some((writes, store)) = self.losses.backups.get(at).cloned() else { return };
        let lost = self.losses.writes - writes;
        self.trace(|| format!("FAULT another copy takes over and lacks {lost} writes"));
        self.losses.copies += 1;
        for node in &mut self.brokers {
            node.misses |= node.acknowledged > writes;
        }
        self.store = store;
        self.lost();
        // What is still answered by the old copy may be among what is lost.
        self.losses.lost.push((writes, self.losses.writes));
    }

    fn lost(&mut self) {
        self.check.tally.losses += 1;
        self.losses.last = Some(self.now);
        self.repair_all();
        self.losses.backups.clear();
        self.snapshots.clear();
    }

    /// The answer to a broker that opened a store which is no more.
    pub(crate) fn answer_from_another_store(&mut self, body: Call, copy: bool) -> Input {
        let amnesia = || StoreError::Amnesia("the root record changed".into());
        // A store that checks who writes finds nobody of that name, before or after it sees that the root is another one.
        let nobody = self.rng.bool();
        let told = || if nobody { StoreError::Evicted } else { amnesia() };
        let outcome = || {
            if nobody { WriteOutcome::Evicted } else { WriteOutcome::Unavailable("the root record changed".into()) }
        };
        match body {
            Call::Commit(guard, batch, writes) if self.plan.contract.checks_registration() => {
                Input::Committed { lane: guard.lane, batch, outcomes: vec![outcome(); writes.len()] }
            }
            Call::Commit(guard, batch, writes) => {
                let lane = guard.lane;
                let unknown = vec![WriteOutcome::Unknown("the sequence was given again".into()); writes.len()];
                if nobody && !copy {
                    // It may be written all the same, where nothing but the version is looked at.
                    drop(self.apply_call(Call::Commit(guard, batch, writes)));
                }
                Input::Committed { lane, batch, outcomes: unknown }
            }
            Call::Advance(guard) => Input::Advanced { guard, result: Err(told()) },
            Call::Read(keys) => Input::Slots { keys, result: Err(amnesia()) },
            Call::List(family, after, _) => Input::Listed { family, after, result: Err(amnesia()) },
            Call::Beat(beat) => Input::Beaten { number: beat.number, result: Err(told()) },
            Call::Leave(_) => Input::Left { result: Ok(()) },
            Call::Evict(_, target, _) => Input::EvictDone { target, outcome: outcome() },
            Call::Clear(_, target, _) => Input::ClearDone { target, outcome: outcome() },
            Call::Pulses => Input::Pulses { result: Err(amnesia()) },
        }
    }

    /// The answer to a commit that is refused, because its broker does not know yet who answers, or for no reason that matters.
    pub(crate) fn refuse(body: &Call) -> Option<Input> {
        let Call::Commit(guard, batch, writes) = body else { return None };
        let outcomes = vec![WriteOutcome::Unavailable("another copy answers".into()); writes.len()];
        Some(Input::Committed { lane: guard.lane, batch: *batch, outcomes })
    }

    /// The number of the last write that an answer acknowledges, if it acknowledges any. What was only compared counts: its
    /// broker tells it to clients.
    pub(crate) fn acknowledged_by(&mut self, input: &Input) -> Option<u64> {
        let acknowledged = match input {
            Input::Committed { outcomes, .. } => outcomes.iter().any(is_committed),
            Input::Beaten { result, .. } => result.is_ok(),
            Input::EvictDone { outcome, .. } | Input::ClearDone { outcome, .. } => is_committed(outcome),
            _ => false,
        };
        if !acknowledged {
            return None;
        }
        self.losses.writes += 1;
        Some(self.losses.writes)
    }

    /// A broker hears that a write was done.
    pub(crate) fn note_acknowledged(&mut self, slot: usize, write: u64) {
        let lost = self.losses.lost.iter().any(|(kept, last)| (*kept + 1..=*last).contains(&write));
        let node = &mut self.brokers[slot];
        node.acknowledged = node.acknowledged.max(write);
        node.misses |= lost;
    }
}

fn is_committed(outcome: &WriteOutcome) -> bool {
    matches!(outcome, WriteOutcome::Committed(_))
}
