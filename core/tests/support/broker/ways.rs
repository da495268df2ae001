//! The ways between brokers and the store: what is sent is done and answered at once, unless the script holds it.

use sixpin_core::backend::{Guard, Key, Lane, StoreError, Write, WriteOutcome};
use sixpin_core::broker::api::Input;

use super::world::{Batch, World};

impl World {
    pub fn forget_everything(&mut self) {
        self.store.forget_everything();
    }

    /// The replica takes over, and every broker notices that another history answers.
    pub fn fail_over(&mut self) {
        self.store.fail_over();
        for station in self.stations.values_mut() {
            station.inbox.push(Input::History(self.store.history()));
        }
    }

    pub fn cut_off(&mut self, name: &str, cut_off: bool) {
        self.station(name).cut_off = cut_off;
    }

    /// What the broker writes from now on stays on its way, or goes through again.
    pub fn hold(&mut self, name: &str, holds: bool) {
        self.station(name).holds = holds;
    }

    /// What is on its way arrives; the answers stay on theirs.
    pub fn take(&mut self, name: &str) {
        let mut batches = std::mem::take(&mut self.station(name).under_way);
        for batch in batches.iter_mut().filter(|batch| batch.outcomes.is_none()) {
            let outcomes = self.commit(name, batch.guard, &batch.writes);
            self.done(name, "store, to nobody yet", &batch.writes, &outcomes);
            batch.outcomes = Some(outcomes);
        }
        self.station(name).under_way = batches;
    }

    /// What is on its way, or the first batch of it. Nothing is held any more, unless it is only the first batch.
    fn under_way(&mut self, name: &str, first: bool) -> Vec<Batch> {
        self.station(name).holds &= first;
        let under_way = &mut self.station(name).under_way;
        let count = if first { under_way.len().min(1) } else { under_way.len() };
        under_way.drain(..count).collect()
    }

    /// What is on its way arrives, and its answers do. Nothing is held any more, unless it is only the first batch.
    pub fn answer(&mut self, name: &str, first: bool) {
        for Batch { guard, number, writes, outcomes } in self.under_way(name, first) {
            let outcomes = outcomes.unwrap_or_else(|| {
                let outcomes = self.commit(name, guard, &writes);
                self.done(name, "store", &writes, &outcomes);
                outcomes
            });
            self.hear_outcomes(name, guard.lane, number, &writes, outcomes);
        }
    }

    /// The first batch on its way does not arrive, and the broker is told so.
    pub fn refuse(&mut self, name: &str) {
        for batch in self.under_way(name, true) {
            let outcomes = vec![WriteOutcome::Unavailable("away".into()); batch.writes.len()];
            self.input(name, Input::Committed { lane: batch.guard.lane, batch: batch.number, outcomes });
        }
    }

    /// The broker hears nothing of what is on its way. What did not arrive is late. Nothing is held any more, unless it is
    /// only the first batch.
    pub fn lose(&mut self, name: &str, first: bool) {
        for batch in self.under_way(name, first) {
            let outcomes = vec![WriteOutcome::Unknown("no answer".into()); batch.writes.len()];
            self.input(name, Input::Committed { lane: batch.guard.lane, batch: batch.number, outcomes });
            if batch.outcomes.is_none() {
                self.station(name).late.push(batch);
            }
        }
    }

    /// What is late arrives after all, and nobody hears of it.
    pub fn arrive_late(&mut self, name: &str) {
        for Batch { guard, writes, .. } in std::mem::take(&mut self.station(name).late) {
            let outcomes = self.commit(name, guard, &writes);
            self.done(name, "store, to nobody", &writes, &outcomes);
        }
    }

    /// The store does what it can.
    pub fn commit(&mut self, name: &str, guard: Guard, writes: &[Write]) -> Vec<WriteOutcome> {
        match self.reach(name) {
            Ok(()) if self.stations[name].trusted != self.store.history() => {
                vec![WriteOutcome::Unavailable("another history answers".into()); writes.len()]
            }
            Ok(()) => self.store.commit(guard, writes),
            Err(error) => vec![WriteOutcome::Unavailable(error.to_string()); writes.len()],
        }
    }

    /// Says what the store did, and tells those who watch.
    pub fn done(&mut self, name: &str, who: &str, writes: &[Write], outcomes: &[WriteOutcome]) {
        for (write, outcome) in writes.iter().zip(outcomes) {
            let words = self.names.outcome(write, outcome);
            self.say(&format!("{who}: {words}"));
            if write.notify && matches!(outcome, WriteOutcome::Committed(_)) {
                self.hint(name, &write.key);
            }
        }
    }

    pub fn hear_outcomes(&mut self, name: &str, lane: Lane, batch: u64, writes: &[Write], outcomes: Vec<WriteOutcome>) {
        for (write, outcome) in writes.iter().zip(&outcomes) {
            let version = match outcome {
                WriteOutcome::Committed(version) => *version,
                WriteOutcome::Conflict(slot) => slot.version,
                _ => continue,
            };
            self.station(name).seen.insert(write.key.clone(), version);
        }
        self.input(name, Input::Committed { lane, batch, outcomes });
    }

    /// Brokers that watch a key hear that somebody else changed it.
    fn hint(&mut self, writer: &str, key: &Key) {
        if self.hints_lost {
            return;
        }
        let names: Vec<String> = self.stations.keys().filter(|name| *name != writer).cloned().collect();
        for name in names {
            let station = self.station(&name);
            if station.alive && station.watches.remove(key).is_some() {
                station.inbox.push(Input::Changed { key: key.clone() });
                let words = self.names.key(key);
                self.say(&format!("store to {name}: {words} has changed"));
            }
        }
    }

    /// Does the broker reach the store that it was started on?
    pub fn reach(&self, name: &str) -> Result<(), StoreError> {
        let station = &self.stations[name];
        if station.cut_off {
            return Err(StoreError::Unavailable("it is out of reach".into()));
        }
        if station.root != self.store.root().identity {
            return Err(StoreError::Amnesia("its root record is another one".into()));
        }
        Ok(())
    }
}
