//! A broker process: machine, clocks, calls to the store.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::backend::{BrokerInfo, Change, Guard, Key, Slot, StoreError, Write, WriteOutcome};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{
    BrokerConfig, Effect, Ending, Input, Now, Reply, ReplyTo, Request, RequestError, SessionRef,
};
use sixpin_core::format;
use sixpin_core::limits::Limits;
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::History;

use crate::listeners::asks_for_a_grant;
use crate::losses::Addressee;
use crate::plan::{Fault, MS, SECOND, Time};
use crate::planted::{Planted, WorldBug};
use crate::world::{Event, Place, World};
use crate::{network, wire};

/// How long a broker waits for the store before an outcome counts as unknown.
const CALL_TIMEOUT: Time = 150 * MS;

/// A request to the store.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Commit(Guard, u64, Vec<sixpin_core::backend::Write>),
    Advance(Guard),
    Read(Vec<Key>),
    List(sixpin_core::backend::Family, Option<String>, usize),
    Beat(sixpin_core::backend::Beat),
    Leave(Incarnation),
    Evict(Guard, Incarnation, Version),
    Clear(Guard, Incarnation, Version),
    Pulses,
}

impl Call {
    /// What the machine hears if the answer does not come.
    fn given_up(self) -> Input {
        let text = || "no answer in time".to_owned();
        let unknown = || StoreError::Unknown(text());
        match self {
            Call::Commit(guard, batch, writes) => {
                let outcomes = vec![WriteOutcome::Unknown(text()); writes.len()];
                Input::Committed { lane: guard.lane, batch, outcomes }
            }
            Call::Advance(guard) => Input::Advanced { guard, result: Err(unknown()) },
            Call::Read(keys) => Input::Slots { keys, result: Err(unknown()) },
            Call::List(family, after, _) => Input::Listed { family, after, result: Err(unknown()) },
            Call::Beat(beat) => Input::Beaten { number: beat.number, result: Err(unknown()) },
            Call::Leave(_) => Input::Left { result: Err(unknown()) },
            Call::Evict(_, target, _) => Input::EvictDone { target, outcome: WriteOutcome::Unknown(text()) },
            Call::Clear(_, target, _) => Input::ClearDone { target, outcome: WriteOutcome::Unknown(text()) },
            Call::Pulses => Input::Pulses { result: Err(unknown()) },
        }
    }

    /// What a planted bug makes of that.
    fn refused(self) -> Input {
        match self.given_up() {
            Input::Committed { lane, batch, outcomes } => {
                let outcomes = vec![WriteOutcome::Unavailable("no answer in time".into()); outcomes.len()];
                Input::Committed { lane, batch, outcomes }
            }
            other => other,
        }
    }

    fn is_write(&self) -> bool {
        matches!(self, Call::Commit(..) | Call::Evict(..) | Call::Beat(_))
    }
}

/// One broker process, which may be restarted.
pub(crate) struct BrokerNode {
    pub(crate) slot: usize,
    pub(crate) machine: Option<Broker>,
    pub(crate) incarnation: u64,
    /// How fast its clocks run, in thousandths.
    rate: u64,
    pub(crate) paused_until: Time,
    /// Time that the monotonic clock did not count.
    pub(crate) suspended: Time,
    pub(crate) suspended_until: Time,
    pub(crate) store_cut_until: Time,
    /// What an operator has changed its limits to.
    pub(crate) limits: Option<Limits>,
    /// The root record of the store that it opened.
    root: u64,
    /// The history of which it knows, and the one in which it commits.
    history: History,
    trusted: History,
    /// The last write that was acknowledged to it, and whether one of them was lost.
    pub(crate) acknowledged: u64,
    pub(crate) misses: bool,
    /// What its next incarnation has to wait, because the store lost its memory.
    hold_back: Duration,
    /// Calls without an answer yet, and when each is given up.
    calls: BTreeMap<u64, (Call, Place)>,
    next_call: u64,
    /// The tick to come.
    tick: Option<Place>,
    flushing: bool,
    /// Incarnations, with this one.
    lives: u64,
    /// When this one first found the store settled.
    settled_from: Option<Time>,
    watches: BTreeMap<Key, Version>,
}

impl BrokerNode {
    pub(crate) fn new(slot: usize, rng: &mut fastrand::Rng) -> Self {
        Self {
            slot,
            machine: None,
            incarnation: 0,
            rate: [990, 1_000, 1_010][rng.usize(..3)],
            paused_until: 0,
            suspended: 0,
            suspended_until: 0,
            store_cut_until: 0,
            limits: None,
            root: 0,
            history: History::LASTING,
            trusted: History::LASTING,
            acknowledged: 0,
            misses: false,
            hold_back: Duration::ZERO,
            calls: BTreeMap::new(),
            next_call: 1,
            tick: None,
            flushing: false,
            lives: 0,
            settled_from: None,
            watches: BTreeMap::new(),
        }
    }

    fn clock(&self, now: Time) -> Now {
        let scale = |time: Time| Duration::from_nanos(time * self.rate);
        // A process that starts later does not start at zero.
        let offset = Duration::from_secs(1_000 * (self.slot as u64 + 1));
        Now {
            mono: offset + scale(now - self.suspended),
            boot: offset * 2 + scale(now),
            wall_ms: 1_790_000_000_000 + now / MS,
        }
    }

    /// The real time of a monotonic one.
    fn real(&self, mono: Duration) -> Time {
        let offset = Duration::from_secs(1_000 * (self.slot as u64 + 1));
        let elapsed = mono.saturating_sub(offset).as_nanos().div_ceil(u128::from(self.rate));
        elapsed as Time + 1 + self.suspended
    }
}

impl World {
    /// True if the process runs and is not paused; a paused one sees the event when it wakes.
    pub(crate) fn broker_ready(&mut self, slot: usize, incarnation: u64, again: impl FnOnce() -> Event) -> bool {
        let node = &self.brokers[slot];
        if node.machine.is_none() || node.incarnation != incarnation {
            return false;
        }
        let paused = node.paused_until;
        if paused > self.now {
            self.at(paused, again());
            return false;
        }
        true
    }

    pub(crate) fn broker_starts(&mut self, slot: usize) {
        if self.brokers[slot].machine.is_some() {
            return;
        }
        // A machine that sleeps starts nothing.
        let paused = self.brokers[slot].paused_until;
        if paused > self.now {
            self.at(paused, Event::BrokerStarts { slot });
            return;
        }
        let incarnation = self.rng.u64(1..u64::MAX);
        let profile = sixpin_core::backend::Profile {
            commit_timeout: Duration::from_micros(CALL_TIMEOUT),
            batch_writes_max: 8,
            ..self.store.profile(true)
        };
        let config = BrokerConfig {
            incarnation: Incarnation(incarnation),
            info: BrokerInfo { name: format!("b{slot}"), address: self.address_of(slot), ..BrokerInfo::default() },
            broker_ttl: self.plan.broker_ttl,
            session_ttl: self.plan.ttl,
            session_ttl_max: self.plan.ttl,
            limits: self.limits_of(slot),
            lanes: self.plan.lanes,
            depth: self.plan.depth,
            reuses_kept: self.plan.reuses_kept,
            unused_after: self.plan.unused_after,
            lockspaces: self.plan.lockspaces(),
            profile,
            root: self.store.root().clone(),
            store_patience: Duration::from_secs(2),
            history: self.history(),
            format_max: self.format_of(slot),
            // Whoever starts is told the truth: this is the first time, or it is not.
            first_start_grace: (!self.has_lost()).then_some(Duration::ZERO),
            hold_back: std::mem::take(&mut self.brokers[slot].hold_back),
            drain_timeout: Duration::from_secs(5),
            notes: false,
        };
        let (root, history) = (config.root.identity, config.history);
        let node = &mut self.brokers[slot];
        (node.root, node.history, node.trusted) = (root, history, history);
        (node.acknowledged, node.misses) = (0, false);
        let mut machine = Broker::new(config);
        if let Some(Planted::Broker(bug)) = self.planted {
            machine.plant(bug);
        }
        node.machine = Some(machine);
        node.incarnation = incarnation;
        node.calls.clear();
        node.watches.clear();
        node.flushing = false;
        node.lives += 1;
        node.settled_from = None;
        self.trace(|| format!("b{slot} starts as {incarnation:016x}"));
        self.broker_tick(slot);
    }

    /// As an operator does it who wants to be sure.
    pub(crate) fn restart_a_broker(&mut self) {
        self.trace(|| "b0 is restarted".into());
        self.broker_stops(0);
        self.after(10 * MS, Event::BrokerStarts { slot: 0 });
    }

    /// The process ends: its streams break, soon or late.
    pub(crate) fn broker_stops(&mut self, slot: usize) {
        self.brokers[slot].machine = None;
        if let Some(tick) = self.brokers[slot].tick.take() {
            self.cancel(tick);
        }
        self.calls_break(slot);
        self.ears_break(slot);
        let streams: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| stream.slot == slot).map(|(id, _)| *id).collect();
        for stream in streams {
            let delay =
                if self.rng.u32(..4) == 0 { self.rng.u64(100 * MS..2_000 * MS) } else { self.rng.u64(1..20 * MS) };
            self.after(delay, Event::DownEnds { stream });
        }
    }

    pub(crate) fn broker_event(&mut self, slot: usize, incarnation: u64, input: Box<Input>) {
        let node = &self.brokers[slot];
        if node.machine.is_none() || node.incarnation != incarnation {
            return;
        }
        if node.paused_until > self.now {
            let paused = node.paused_until;
            self.at(paused, Event::BrokerInput { slot, incarnation, input });
            return;
        }
        self.broker_input(slot, *input);
    }

    pub(crate) fn broker_input(&mut self, slot: usize, input: Input) {
        if let Input::Request { from, request: Request::Resume(_), .. } = &input {
            self.resumes.insert(*from);
        }
        let listens = matches!(&input, Input::Request { request: Request::Listen, .. });
        let clock = self.brokers[slot].clock(self.now);
        let mut effects = Vec::new();
        let Some(machine) = &mut self.brokers[slot].machine else { return };
        machine.handle(clock, input, &mut effects);
        let ended =
            |effect: &Effect| if let Effect::Disconnect { connection } = effect { Some(connection.0) } else { None };
        if let Some(ended) = effects.iter().find_map(ended).filter(|_| listens) {
            self.check_listening_ends_no_stream(ended);
        }
        self.carry_out(slot, effects);
        self.plan_flush(slot);
    }

    /// The tick of a process that is paused comes when it wakes.
    pub(crate) fn broker_tick_comes(&mut self, slot: usize) {
        let paused = self.brokers[slot].paused_until;
        if paused > self.now {
            self.brokers[slot].tick = Some(self.at(paused, Event::BrokerTick { slot }));
            return;
        }
        self.brokers[slot].tick = None;
        self.broker_tick(slot);
    }

    fn broker_tick(&mut self, slot: usize) {
        let clock = self.brokers[slot].clock(self.now);
        let mut effects = Vec::new();
        let Some(machine) = &mut self.brokers[slot].machine else { return };
        if machine.deadline().is_some_and(|deadline| deadline <= clock.mono) {
            machine.tick(clock, &mut effects);
        }
        self.carry_out(slot, effects);
        self.plan_flush(slot);
    }

    /// Inputs that come close together go into one batch.
    fn plan_flush(&mut self, slot: usize) {
        let incarnation = self.brokers[slot].incarnation;
        if self.brokers[slot].machine.is_some() && !self.brokers[slot].flushing {
            self.brokers[slot].flushing = true;
            let delay = if self.rng.bool() { 0 } else { self.rng.u64(..400) };
            self.after(delay, Event::BrokerFlush { slot, incarnation });
        }
        self.plan_tick(slot);
    }

    fn plan_tick(&mut self, slot: usize) {
        let node = &self.brokers[slot];
        let Some(deadline) = node.machine.as_ref().and_then(Broker::deadline) else { return };
        let at = node.real(deadline).max(self.now);
        if node.tick.is_some_and(|(time, _)| time == at) {
            return;
        }
        let tick = self.at(at, Event::BrokerTick { slot });
        if let Some(replaced) = self.brokers[slot].tick.replace(tick) {
            self.cancel(replaced);
        }
    }

    pub(crate) fn broker_flush(&mut self, slot: usize) {
        let clock = self.brokers[slot].clock(self.now);
        let mut effects = Vec::new();
        self.brokers[slot].flushing = false;
        let Some(machine) = &mut self.brokers[slot].machine else { return };
        machine.flush(clock, &mut effects);
        if let Some(session) = machine.forgotten_resume() {
            self.check.fail(format!("b{slot} never answers the resume of {session}: it waits for nothing"));
        }
        if let Some(connection) = machine.stray_connection() {
            self.check.fail(format!("b{slot} and a session do not agree on connection {connection:?}"));
        }
        if let Some(client) = machine.miscounted() {
            self.check.fail(format!("b{slot} counts other claims of {client:?} than its sessions have"));
        }
        self.carry_out(slot, effects);
        self.plan_tick(slot);
    }

    fn carry_out(&mut self, slot: usize, effects: Vec<Effect>) {
        for effect in effects {
            if self.brokers[slot].machine.is_none() {
                return;
            }
            self.effect(slot, effect);
        }
    }

    fn effect(&mut self, slot: usize, effect: Effect) {
        let own = Incarnation(self.brokers[slot].incarnation);
        match effect {
            Effect::Reply { to, reply } => {
                self.check_refusal(slot, to, &reply);
                if self.call_reply(slot, to, &reply) || self.ear_reply(to, &reply) {
                    return;
                }
                if let Reply::Opened { session, secret } = &reply {
                    self.secrets.insert(*session, *secret);
                }
                if let Some(body) = wire::reply(reply) {
                    self.send_down(to.connection.0, to.request, body);
                }
            }
            Effect::Event { connection, event } => {
                if !asks_for_a_grant(&event) {
                    self.check.fail(format!("b{slot} asks a holder to let go of what was never granted: {event:?}"));
                }
                if !self.ear_event(connection.0, &event) {
                    self.send_down(connection.0, 0, wire::event(event));
                }
            }
            Effect::Disconnect { connection } => {
                if !self.ear_ends(connection.0) {
                    self.broker_closes(connection.0);
                }
            }
            Effect::Commit { guard, batch, writes } => {
                if self.newest_written.is_none() && writes.iter().any(is_of_newest_format) {
                    self.newest_written = Some(self.now);
                }
                self.call(slot, Call::Commit(guard, batch, writes));
            }
            Effect::Advance { guard } => self.call(slot, Call::Advance(guard)),
            Effect::Read { keys } => self.call(slot, Call::Read(keys)),
            Effect::List { family, after, limit } => self.call(slot, Call::List(family, after, limit)),
            Effect::Beat(beat) => self.call(slot, Call::Beat(*beat)),
            Effect::Leave => self.call(slot, Call::Leave(own)),
            Effect::Evict { guard, target, seen } => {
                self.check_eviction(slot);
                self.call(slot, Call::Evict(guard, target, seen));
            }
            Effect::Clear { guard, target, seen } => self.call(slot, Call::Clear(guard, target, seen)),
            Effect::Pulses => self.call(slot, Call::Pulses),
            Effect::Trust(history) => self.brokers[slot].trusted = history,
            Effect::Watch { key, seen } => {
                self.brokers[slot].watches.insert(key, seen);
            }
            Effect::Unwatch { key } => {
                self.brokers[slot].watches.remove(&key);
            }
            // Brokers are not asked for any.
            Effect::Note(_) => {}
            Effect::Log(line) => {
                // From now on it has looked who else is there.
                if line.step == "store settled" {
                    self.brokers[slot].settled_from.get_or_insert(self.now);
                }
                self.trace(|| format!("b{slot} log: {} {} {}", line.step, line.subject, line.detail));
            }
            Effect::Over(ending) => self.over(slot, &ending),
        }
    }

    /// What a session has is no reason to refuse its move, however much less is allowed by now: it would lose all of it. How many
    /// sessions there are is no matter here.
    fn check_refusal(&mut self, slot: usize, to: ReplyTo, reply: &Reply) {
        let resumes = self.resumes.remove(&to);
        let Reply::Error(RequestError::Limit(text)) = reply else { return };
        self.check.tally.refused += 1;
        if resumes {
            self.check.fail(format!("b{slot} refuses the move of a session for a limit: {text}"));
        }
    }

    /// In every eighth schedule brokers are inside programs: they tell nobody where they are, and only those go there who
    /// know it.
    fn address_of(&self, slot: usize) -> String {
        if self.plan.seed % 8 == 2 { String::new() } else { format!("b{slot}") }
    }

    fn limits_of(&self, slot: usize) -> Limits {
        let planned = self.plan.faults.has(Fault::SmallLimits).then_some(&self.plan.limits);
        self.brokers[slot].limits.as_ref().or(planned).cloned().unwrap_or_default()
    }

    /// In every fourth schedule half of the lives of brokers are those of a program that knows only the oldest format.
    fn format_of(&self, slot: usize) -> u8 {
        let is_old = self.plan.seed % 4 == 1 && (self.brokers[slot].lives + slot as u64).is_multiple_of(2);
        if is_old { format::OLDEST } else { format::NEWEST }
    }

    /// A broker that serves is not put out of service by one that writes a later format. One that others declared dead may
    /// find out so.
    fn check_outdated(&mut self, slot: usize) {
        let incarnation = Incarnation(self.brokers[slot].incarnation);
        let is_there = self.store.pulses().iter().any(|pulse| pulse.broker == incarnation && !pulse.gone);
        let was_there =
            self.brokers[slot].settled_from.is_some_and(|from| self.newest_written.is_some_and(|at| from < at));
        // What is read of registrations may be old there, or a late copy brings back that of a broker that was declared dead.
        let late = [Fault::StaleReads, Fault::LateCopies, Fault::LateRegistrations];
        let is_excused = self.has_lost() || late.into_iter().any(|fault| self.plan.faults.has(fault));
        if is_there && was_there && !is_excused {
            self.check.fail(format!("b{slot} was there before a record was written that it cannot read"));
        }
    }

    fn over(&mut self, slot: usize, ending: &Ending) {
        self.trace(|| format!("b{slot} over: {ending:?}"));
        if let Ending::Outdated { .. } = ending {
            self.check_outdated(slot);
        }
        if let Ending::Amnesia { text, hold_back } = ending {
            self.brokers[slot].hold_back = *hold_back;
            if !self.has_lost() {
                self.check.fail(format!("b{slot} believes that the store lost its memory: {text}"));
            }
        }
        self.check.tally.endings += 1;
        self.broker_stops(slot);
        let downtime = self.rng.u64(MS..300 * MS);
        self.after(downtime, Event::BrokerStarts { slot });
    }

    fn call(&mut self, slot: usize, body: Call) {
        let node = &mut self.brokers[slot];
        let (incarnation, call) = (node.incarnation, node.next_call);
        node.next_call += 1;
        self.trace(|| format!("b{slot} -> store {body:?}"));
        let (root, now) = (self.brokers[slot].root, self.history());
        let to = Addressee { root, history: now, trusts: self.brokers[slot].trusted == now };
        let given_up = self.after(CALL_TIMEOUT, Event::CallGivenUp { slot, incarnation, call });
        self.brokers[slot].calls.insert(call, (body.clone(), given_up));
        let Some(mut delay) = self.store_delay(slot) else { return };
        if self.is_in_trouble() && matches!(body, Call::Advance(_)) && self.rng.bool() {
            delay += self.rng.u64(30 * MS..900 * MS);
        }
        // A request that was answered does not come twice. One whose answer is lost may: its sender tried again below us.
        let faults = self.plan.faults;
        let doubled = faults.has(Fault::LateCopies) && !self.healed && body.is_write() && self.rng.u32(..20) == 0;
        if doubled {
            let late = delay + self.rng.u64(10 * MS..1_500 * MS);
            let body = Box::new(body.clone());
            self.after(late, Event::CallArrives { slot, incarnation, call, to, body, copy: true });
        }
        if faults.has(Fault::LateRegistrations) && matches!(&body, Call::Beat(beat) if beat.number == 0) {
            let late = delay + self.rng.u64(SECOND..12 * SECOND);
            let body = Box::new(body.clone());
            self.after(late, Event::CallArrives { slot, incarnation, call, to, body, copy: true });
        }
        self.after(delay, Event::CallArrives { slot, incarnation, call, to, body: Box::new(body), copy: doubled });
    }

    /// How long a message to or from the store takes; absent: it is lost.
    fn store_delay(&mut self, slot: usize) -> Option<Time> {
        let base = self.rng.u64(100..4 * MS);
        if self.healed {
            return Some(base);
        }
        let faults = self.plan.faults;
        if faults.has(Fault::LostCalls) && self.rng.u32(..100) < 3 {
            return None;
        }
        let cut = self.brokers[slot].store_cut_until.max(self.store_away_until);
        if cut > self.now {
            // What was sent into a cut is lost, or arrives when it is over.
            return self.rng.bool().then_some(cut - self.now + base);
        }
        if faults.has(Fault::SlowCalls) && self.rng.u32(..100) < 4 {
            return Some(base + self.rng.u64(30 * MS..900 * MS));
        }
        Some(base)
    }

    pub(crate) fn call_arrives(
        &mut self,
        (slot, incarnation, call): (usize, u64, u64),
        to: Addressee,
        body: Call,
        copy: bool,
    ) {
        let history = self.history();
        if to.history != history {
            // The connection led to a copy that is no more.
            return;
        }
        let misses = self.brokers[slot].incarnation == incarnation && self.brokers[slot].misses;
        let input = match &body {
            _ if to.root != self.store.root().identity => self.answer_from_another_store(body, copy),
            Call::Beat(beat) if misses && beat.standing.checked == Some(history) => {
                let text = "an acknowledged write of this broker is gone".to_owned();
                Input::Beaten { number: beat.number, result: Err(StoreError::Amnesia(text)) }
            }
            _ if !to.trusts || (!copy && self.is_refused(slot)) => {
                Self::refuse(&body).unwrap_or_else(|| self.apply_call(body))
            }
            _ => self.apply_call(body),
        };
        let write = self.acknowledged_by(&input);
        if copy {
            return;
        }
        if let Some(delay) = self.store_delay(slot) {
            let input = Box::new(input);
            self.after(delay, Event::CallAnswered { slot, incarnation, call, input, history, write });
        }
    }

    /// The store refuses batches, and takes its time to move generations.
    fn is_in_trouble(&self) -> bool {
        self.plan.faults.has(Fault::RefusedBatches) && !self.healed
    }

    /// A store that leaves older calls without an answer refuses more than others: what is refused must not end the doubt in
    /// which the others will be.
    fn is_refused(&mut self, slot: usize) -> bool {
        if !self.is_in_trouble() {
            return false;
        }
        let node = &self.brokers[slot];
        let stuck = node.calls.first_key_value().is_some_and(|(oldest, _)| oldest + 4 < node.next_call);
        self.rng.u32(..if stuck { 2 } else { 20 }) == 0
    }

    pub(crate) fn apply_call(&mut self, body: Call) -> Input {
        let now = self.wall_10us();
        match body {
            Call::Commit(guard, batch, writes) => {
                let before: Vec<(Key, Slot)> = writes
                    .iter()
                    .map(|write| {
                        (write.key.clone(), self.store.read(std::slice::from_ref(&write.key)).pop().unwrap_or_default())
                    })
                    .collect();
                let notify: Vec<bool> = writes.iter().map(|write| write.notify).collect();
                let outcomes = self.store.commit(now, guard, writes);
                self.committed(before, &notify, &outcomes);
                Input::Committed { lane: guard.lane, batch, outcomes }
            }
            Call::Advance(guard) => Input::Advanced { guard, result: self.store.advance(guard) },
            Call::Read(keys) => {
                let slots = self.readable().read(&keys);
                Input::Slots { keys, result: Ok(slots) }
            }
            Call::List(family, after, limit) => {
                let result = self.readable().list(&family, after.as_deref(), limit);
                Input::Listed { family, after, result }
            }
            Call::Beat(beat) => {
                let number = beat.number;
                let result = self.store.beat(now, beat);
                let revived = number > 0 && self.has(WorldBug::GoneBrokerBeats);
                Input::Beaten { number, result: if revived { result.or(Ok(Version(now))) } else { result } }
            }
            Call::Leave(broker) => {
                self.store.leave(now, broker);
                Input::Left { result: Ok(()) }
            }
            Call::Evict(guard, target, seen) => {
                Input::EvictDone { target, outcome: self.store.evict(now, guard, target, seen) }
            }
            Call::Clear(guard, target, seen) => {
                Input::ClearDone { target, outcome: self.store.clear(guard, target, seen) }
            }
            // Where another copy may take over, reads are answered by the one that takes the writes.
            Call::Pulses if self.plan.faults.has(Fault::LostWrites) => {
                Input::Pulses { result: Ok(self.store.pulses()) }
            }
            Call::Pulses => Input::Pulses { result: Ok(self.readable().pulses()) },
        }
    }

    /// The store as a read sees it: sometimes as it was.
    fn readable(&mut self) -> &sixpin_memory::Store {
        let stale = !self.snapshots.is_empty() && !self.healed && self.rng.u32(..10) == 0;
        if stale {
            let at = self.rng.usize(..self.snapshots.len());
            return &self.snapshots[at];
        }
        &self.store
    }

    fn committed(&mut self, before: Vec<(Key, Slot)>, notify: &[bool], outcomes: &[WriteOutcome]) {
        for ((key, old), (notify, outcome)) in before.into_iter().zip(notify.iter().zip(outcomes)) {
            if !matches!(outcome, WriteOutcome::Committed(_)) {
                continue;
            }
            let new = self.store.read(std::slice::from_ref(&key)).pop().unwrap_or_default();
            self.check.stored(self.now, &key, &old, &new);
            self.check_believers(&key, &new);
            if *notify && new.version != old.version {
                self.hint(&key, new.version);
            }
        }
    }

    fn hint(&mut self, key: &Key, version: Version) {
        for slot in 0..self.brokers.len() {
            let node = &self.brokers[slot];
            if node.machine.is_none() || node.watches.get(key).is_none_or(|seen| *seen == version) {
                continue;
            }
            let incarnation = node.incarnation;
            if !self.healed && self.plan.faults.has(Fault::LostHints) && self.rng.u32(..100) < 30 {
                continue;
            }
            let delay = self.rng.u64(200..8 * MS);
            let input = Box::new(Input::Changed { key: key.clone() });
            self.after(delay, Event::BrokerInput { slot, incarnation, input });
        }
    }

    pub(crate) fn call_answered(
        &mut self,
        (slot, incarnation, call): (usize, u64, u64),
        input: Box<Input>,
        history: History,
        write: Option<u64>,
    ) {
        let node = &mut self.brokers[slot];
        if node.machine.is_none() || node.incarnation != incarnation {
            return;
        }
        if node.paused_until > self.now {
            let paused = node.paused_until;
            self.at(paused, Event::CallAnswered { slot, incarnation, call, input, history, write });
            return;
        }
        if history < node.history {
            // Its connection is closed.
            return;
        }
        let Some((_, given_up)) = node.calls.remove(&call) else { return };
        let is_new = std::mem::replace(&mut node.history, history) != history;
        self.cancel(given_up);
        if let Some(write) = write {
            self.note_acknowledged(slot, write);
        }
        self.trace(|| format!("b{slot} <- store {input:?}"));
        self.broker_input(slot, *input);
        if is_new && self.brokers[slot].incarnation == incarnation {
            self.broker_input(slot, Input::History(history));
        }
    }

    pub(crate) fn call_given_up(&mut self, slot: usize, call: u64) {
        if let Some((body, _)) = self.brokers[slot].calls.remove(&call) {
            self.trace(|| format!("b{slot} gives up on {body:?}"));
            self.check.tally.unknowns += 1;
            let input = if self.has(WorldBug::SilenceTakenForRefusal) { body.refused() } else { body.given_up() };
            self.broker_input(slot, input);
        }
    }

    /// A client's message, as the broker's front end hands it on.
    pub(crate) fn client_request(&mut self, slot: usize, stream: u64, request: u64, body: Request) {
        let from = ReplyTo { connection: network::connection(stream), request };
        // A stream says once who it is of.
        let says = matches!(body, Request::Open(_) | Request::Resume(_));
        let of = self.streams.get(&stream).filter(|_| says);
        let principal = of.map(|stream| Box::new(self.principal(stream.client)));
        self.broker_input(slot, Input::Request { from, session: SessionRef::Attached, principal, request: body });
    }
}

fn is_of_newest_format(write: &Write) -> bool {
    let bytes = match (&write.key, &write.change) {
        (Key::Resource(_), Change::Put(bytes)) => bytes.first(),
        _ => None,
    };
    bytes == Some(&format::NEWEST)
}
