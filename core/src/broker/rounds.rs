//! Rounds: what is held here is looked at again now and then.
//!
//! A broker whose sessions hold a resource for which nobody waits here has no reason to read its record: the holder keeps its
//! session alive, and that is all. Whoever deletes the record by hand, or writes something else there, would be noticed when
//! the lock is released, long after somebody else was granted it. So such records are read one after the other, in rounds.
//!
//! A read of what is known changes nothing. One that shows something else goes the way of every read: a compare confirms it,
//! and what a session held and the record does not have any more is lost, and told at once (rule 19 of the liveness rules).
//!
//! Invariants: a round begins `broker_ttl` after the one before at the earliest; at most [`LOOKS`] records are read in a
//! [`STEP`], and no more before those were answered; nothing is read while the store is away or not settled, when what is
//! held is looked at anyway, nor where nobody else can write.

use std::collections::VecDeque;
use std::time::Duration;

use super::api::Effect;
use super::shard::Entry;
use super::timers::Timer;
use super::{Broker, Phase};
use crate::backend::Key;
use crate::name::ResourceId;
use crate::planted::Bug;

/// The pause between two reads of one round.
const STEP: Duration = Duration::from_millis(250);
/// Records of one read. With a `broker_ttl` of 5 s, 1,280 records are all read in each, and 2,560 in every second.
const LOOKS: usize = 64;

/// The round that is under way.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// When it began, monotonic.
    began: Duration,
    /// When it goes on; timers that come before were replaced.
    next: Duration,
    /// What is still to be read in it.
    left: VecDeque<ResourceId>,
    /// What was asked for last.
    asked: Vec<ResourceId>,
}

impl Entry {
    /// Sessions of this broker have something here, and nobody looks at it because somebody waits.
    fn is_only_held(&self) -> bool {
        !self.locals.is_empty() && !self.waited_for
    }
}

impl Broker {
    /// Reads some of what is held, and sets the time for more.
    pub(super) fn go_round(&mut self) {
        let now = self.now.mono;
        if matches!(self.phase, Phase::Leaving | Phase::Over)
            || !self.config.profile.contract.is_shared()
            || now < self.rounds.next
        {
            return;
        }
        if self.rounds.left.is_empty() {
            self.rounds.began = now;
            let held = self.shards.iter().flat_map(|shard| shard.entries.ids_of(Entry::is_only_held));
            self.rounds.left = held.collect();
        }
        let may_look = self.settling.may_grant() && self.may_send() && self.is_valid() && !self.is_reading_still();
        if may_look && !self.planted.has(Bug::HeldRecordNotLookedAt) {
            self.look_at_some();
        }
        let next = if self.rounds.left.is_empty() { self.rounds.began + self.config.broker_ttl } else { now };
        self.go_round_at(next.max(now + STEP));
    }

    fn go_round_at(&mut self, at: Duration) {
        self.rounds.next = at;
        self.timers.set(at, Timer::Round);
    }

    fn is_reading_still(&self) -> bool {
        let reading =
            |id: &ResourceId| self.shards[self.lane_of(id)].entries.get(id).is_some_and(|entry| entry.reading);
        self.rounds.asked.iter().any(reading)
    }

    fn look_at_some(&mut self) {
        let looks = LOOKS.min(self.config.profile.batch_writes_max).max(1);
        self.rounds.asked.clear();
        while self.rounds.asked.len() < looks
            && let Some(id) = self.rounds.left.pop_front()
        {
            let at = self.lane_of(&id);
            let Some(entry) = self.shards[at].entries.get_mut(&id) else { continue };
            // What is being written or read is looked at already.
            if entry.is_only_held() && !entry.in_flight && !entry.reading {
                entry.reading = true;
                self.rounds.asked.push(id);
            }
        }
        let keys: Vec<Key> = self.rounds.asked.iter().cloned().map(Key::Resource).collect();
        if !keys.is_empty() {
            self.out.push(Effect::Read { keys });
        }
    }

    /// A read brought nothing. If it was that of the round, the round goes on with the same.
    pub(super) fn looked_in_vain(&mut self, keys: &[Key]) {
        let asked = &self.rounds.asked;
        let same = |(key, id): (&Key, &ResourceId)| matches!(key, Key::Resource(read) if read == id);
        if asked.is_empty() || asked.len() != keys.len() || !keys.iter().zip(asked).all(same) {
            return;
        }
        for id in std::mem::take(&mut self.rounds.asked).into_iter().rev() {
            self.rounds.left.push_front(id);
        }
        self.go_round_at(self.now.mono + STEP);
    }
}
