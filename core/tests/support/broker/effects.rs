//! What brokers want done: each effect is carried out and told, and what it ends in goes back to its broker.

use sixpin_core::backend::{Beat, Guard, Key, Slot, StoreError, Write, WriteOutcome};
use sixpin_core::broker::api::{ConnectionId, Effect, Ending, Input, LogLine, Reply, ReplyTo};
use sixpin_core::name::Incarnation;

use super::words::{self, Names};
use super::world::{ADMIN, Batch, RESUME, World};

/// Logged again and again while the store is away.
const QUIET_STEPS: [&str; 3] = ["beat failed", "store unavailable", "stored format"];

impl World {
    pub fn carry_out(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            if let Some(input) = self.effect(name, effect) {
                self.input(name, input);
            }
        }
    }

    /// Carries out one effect, and brings what it ends in.
    fn effect(&mut self, name: &str, effect: Effect) -> Option<Input> {
        let reached = self.reach(name);
        match effect {
            Effect::Reply { to, reply } => self.reply(name, to, &reply),
            Effect::Event { connection, event } => {
                let (who, current) = self.party(connection);
                let words = self.names.event(&who, &event);
                self.tell(name, &who, current, &words);
                if let Some(client) = self.clients.get_mut(&who).filter(|_| current) {
                    client.hear_event(&event);
                }
            }
            Effect::Disconnect { connection } => {
                let (who, current) = self.party(connection);
                let client = self.clients.get_mut(&who).filter(|_| current)?;
                if client.ear.take_if(|ear| *ear == connection).is_some() {
                    self.say(&format!("{name} lets {who} listen no more"));
                } else {
                    client.stream = None;
                    self.say(&format!("{name} ends {who}'s stream"));
                }
            }
            Effect::Commit { guard, batch, writes } => self.send(name, guard, batch, writes),
            Effect::Advance { guard } => {
                self.say(&format!("{name} moves lane {} to generation {}", guard.lane.0, guard.generation.0));
                let result = reached.and_then(|()| self.store.advance(guard));
                return Some(Input::Advanced { guard, result });
            }
            Effect::Read { keys } => return Some(self.read(name, keys, reached)),
            Effect::Watch { key, seen } => {
                if reached.is_ok() && !self.hints_lost && self.store.slot(&key).version != seen {
                    return Some(Input::Changed { key });
                }
                self.station(name).watches.insert(key, seen);
            }
            Effect::Unwatch { key } => {
                self.station(name).watches.remove(&key);
            }
            Effect::List { family, after, .. } => {
                let result = reached.map(|()| self.store.list(&family));
                return Some(Input::Listed { family, after, result });
            }
            Effect::Beat(beat) => return Some(self.beat(name, *beat, reached)),
            Effect::Leave => {
                self.say(&format!("{name} leaves the store"));
                let result = reached.map(|()| self.store.leave(incarnation(&self.names, name)));
                return Some(Input::Left { result });
            }
            Effect::Evict { guard, target, seen } => {
                let target_name = self.names.broker(target);
                self.say(&format!("{name} evicts {target_name}, as of its beat {}", seen.0.saturating_sub(1)));
                let outcome = reached.map_or_else(unavailable, |()| self.store.evict(guard, target, seen));
                if !matches!(outcome, WriteOutcome::Committed(_)) {
                    self.say("store: refused");
                }
                return Some(Input::EvictDone { target, outcome });
            }
            Effect::Clear { guard, target, seen } => {
                let outcome = reached.map_or_else(unavailable, |()| self.store.clear(guard, target, seen));
                return Some(Input::ClearDone { target, outcome });
            }
            Effect::Pulses => return Some(Input::Pulses { result: reached.map(|()| self.store.pulses()) }),
            Effect::Trust(history) => self.station(name).trusted = history,
            Effect::Note(note) => {
                let words = self.names.note(&note);
                self.say(&format!("{name} notes: {words}"));
            }
            Effect::Log(line) => self.log(name, &line),
            Effect::Over(ending) => self.over(name, &ending),
        }
        None
    }

    fn send(&mut self, name: &str, guard: Guard, number: u64, writes: Vec<Write>) {
        let held = self.station(name).holds;
        for write in &writes {
            let words = self.names.write(write);
            self.say(&format!("{name} {words}{}", if held { "; on its way" } else { "" }));
        }
        if held {
            self.station(name).under_way.push(Batch { guard, number, writes, outcomes: None });
            return;
        }
        let outcomes = self.commit(name, guard, &writes);
        self.done(name, "store", &writes, &outcomes);
        self.hear_outcomes(name, guard.lane, number, &writes, outcomes);
    }

    /// Reads are shown where they bring news.
    fn read(&mut self, name: &str, keys: Vec<Key>, reached: Result<(), StoreError>) -> Input {
        let nothing = self.station(name).reads_nothing;
        let slot = |key| if nothing { Slot::default() } else { self.store.slot(key) };
        let slots: Vec<_> = keys.iter().map(slot).collect();
        if reached.is_ok() {
            for (key, slot) in keys.iter().zip(&slots) {
                let seen = self.station(name).seen.insert(key.clone(), slot.version);
                if seen != Some(slot.version) {
                    let words = self.names.slot(key, slot);
                    self.say(&format!("{name} reads: {words}"));
                }
            }
        }
        Input::Slots { keys, result: reached.map(|()| slots) }
    }

    fn beat(&mut self, name: &str, beat: Beat, reached: Result<(), StoreError>) -> Input {
        let number = beat.number;
        if number == 0 {
            self.say(&format!("{name} registers"));
        }
        Input::Beaten { number, result: reached.and_then(|()| self.store.beat(beat)) }
    }

    fn reply(&mut self, name: &str, to: ReplyTo, reply: &Reply) {
        self.refused |= matches!(reply, Reply::Error(_));
        let (who, current) = self.party(to.connection);
        if let Reply::Opened { session, .. } = reply {
            self.names.sessions.insert(*session, who.clone());
        }
        if !matches!(reply, Reply::KeptAlive { lost, .. } if lost.is_empty()) {
            let words = self.names.reply(&who, reply);
            self.tell(name, &who, current, &words);
        }
        if let Some(client) = self.clients.get_mut(&who).filter(|_| current) {
            client.hear_reply(reply);
            client.calls.iter_mut().for_each(|calls| calls.retain(|call| *call != to.connection));
            if matches!(reply, Reply::Error(_)) && to.request == RESUME {
                client.stream = None;
            }
        }
    }

    /// Who is at the other end of a stream, and whether that one still listens.
    fn party(&self, connection: ConnectionId) -> (String, bool) {
        let who = self.connections[&connection].clone();
        let current = who == ADMIN || self.clients[&who].listens_to(connection);
        (who, current)
    }

    fn tell(&mut self, name: &str, who: &str, current: bool, words: &str) {
        let old = if current { "" } else { " (on a line that it left)" };
        self.say(&format!("{name} tells {who}{old}: {words}"));
    }

    fn log(&mut self, name: &str, line: &LogLine) {
        if !QUIET_STEPS.contains(&line.step) {
            let words = self.names.log(line);
            self.say(&format!("{name} logs {words}"));
        }
    }

    fn over(&mut self, name: &str, ending: &Ending) {
        self.say(&format!("{name} is over: {}", words::ending(ending)));
        self.stop(name);
    }
}

fn unavailable(error: StoreError) -> WriteOutcome {
    WriteOutcome::Unavailable(error.to_string())
}

fn incarnation(names: &Names, name: &str) -> Incarnation {
    let found = names.brokers.iter().find(|(_, known)| *known == name);
    *found.unwrap().0
}
