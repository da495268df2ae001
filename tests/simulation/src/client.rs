//! A client process: session logic, clock, and a program that locks.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_client::Mode;
use sixpin_client::logic::{ClaimEvent, Config, Done, Grant, Input, Machine, OperationId, Output};
use sixpin_core::name::SessionId;
use sixpin_proto::v1;

use crate::check::{self, Register};
use crate::plan::{Fault, MS, Time};
use crate::planted::{Planted, WorldBug};
use crate::world::{Event, Place, World};

/// Claims that a program has or wants at once.
const CLAIMS_MAX: usize = 3;

/// How much longer than its wait a lock may take to end, and how long a try may take: what the library promises.
const ANSWER_MS: u64 = 500;
const TRY_ENDS_MS: u64 = 2_000;

/// What an operation was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Lock { resource: usize },
    Convert { claim: u64 },
    Unlock { claim: u64 },
}

/// A claim that the program holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) resource: usize,
    /// The mode that the program may act on now: while it converts down, already the lower one.
    pub(crate) believed: Mode,
    granted: Mode,
    pub(crate) fence: u64,
    converting: bool,
    /// The register as it read it, to write it back with one more.
    read: Option<Register>,
}

/// One client process, which may be restarted.
pub(crate) struct ClientNode {
    pub(crate) number: usize,
    logic: Option<Machine>,
    /// Counts the processes.
    pub(crate) life: u32,
    /// How fast its clock runs, in thousandths.
    rate: u64,
    pub(crate) paused_until: Time,
    /// The same, whatever was healed: what was put off to the end of a pause comes then all the same.
    asleep_until: Time,
    /// The tick to come.
    tick: Option<Place>,
    next_operation: u64,
    aims: BTreeMap<OperationId, Aim>,
    /// When locks that do not wait for ever are over at the latest, by its clock.
    ends: BTreeMap<OperationId, Duration>,
    pub(crate) held: BTreeMap<u64, Held>,
    closing: bool,
    /// Its session, once it is open.
    pub(crate) session: Option<SessionId>,
    /// How long its session is valid, as it was said last, by its own clock.
    pub(crate) valid_until: Duration,
    /// Time that its clock did not count; only a planted bug loses any.
    uncounted: Time,
    /// Until then its program does nothing.
    pub(crate) idle_until: Time,
    /// It has left for good.
    left: bool,
}

impl ClientNode {
    pub(crate) fn new(number: usize, rng: &mut fastrand::Rng) -> Self {
        Self {
            number,
            logic: None,
            life: 0,
            rate: [990, 1_000, 1_010][rng.usize(..3)],
            paused_until: 0,
            asleep_until: 0,
            tick: None,
            next_operation: 1,
            aims: BTreeMap::new(),
            ends: BTreeMap::new(),
            held: BTreeMap::new(),
            closing: false,
            session: None,
            valid_until: Duration::ZERO,
            uncounted: 0,
            idle_until: 0,
            left: false,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.logic.is_some()
    }

    pub(crate) fn describe(&self) -> String {
        format!("waits for {:?}, holds {:?}, closing {}", self.aims, self.held.keys(), self.closing)
    }

    pub(crate) fn clock(&self, now: Time) -> Duration {
        Duration::from_secs(50 * (self.number as u64 + 1))
            + Duration::from_nanos(now.saturating_sub(self.uncounted) * self.rate)
    }

    fn real(&self, local: Duration) -> Time {
        let elapsed = local.saturating_sub(Duration::from_secs(50 * (self.number as u64 + 1)));
        elapsed.as_nanos().div_ceil(u128::from(self.rate)) as Time + 1 + self.uncounted
    }

    /// Whether the client counts its session valid at this moment.
    pub(crate) fn is_valid(&self, now: Time) -> bool {
        let until = self.logic.as_ref().and_then(Machine::valid_until);
        until.is_some_and(|until| self.clock(now) < until)
    }

    /// The mode that the program may act on, if its session is valid at this moment.
    pub(crate) fn valid_mode(&self, claim: u64, now: Time) -> Option<Mode> {
        let logic = self.logic.as_ref()?;
        if !self.is_valid(now) {
            return None;
        }
        logic.holds(claim)?;
        self.held.get(&claim).map(|held| held.believed)
    }
}

impl World {
    pub(crate) fn client_ready(&mut self, client: usize, life: u32, again: impl FnOnce() -> Event) -> bool {
        let node = &self.clients[client];
        if node.logic.is_none() || node.life != life {
            return false;
        }
        let paused = node.paused_until;
        if paused > self.now {
            self.at(paused, again());
            return false;
        }
        true
    }

    pub(crate) fn client_starts(&mut self, client: usize) {
        if self.clients[client].logic.is_some() || self.leaving {
            return;
        }
        let mut endpoints: Vec<String> = (0..self.plan.brokers).map(|slot| format!("b{slot}")).collect();
        let first = self.rng.usize(..endpoints.len());
        endpoints.rotate_left(first);
        let config = Config {
            endpoints,
            ttl_ms: Some(self.plan.ttl.as_millis() as u32),
            open_timeout: Duration::from_secs(60),
            attempt_timeout: Duration::from_millis(500),
            seed: self.rng.u64(..),
            connection_bound: client < self.plan.bound,
            ..Config::default()
        };
        let node = &mut self.clients[client];
        let mut logic = Machine::new(config);
        if let Some(Planted::Client(bug)) = self.planted {
            logic.plant(bug);
        }
        node.logic = Some(logic);
        node.life += 1;
        node.valid_until = Duration::ZERO;
        node.aims.clear();
        node.ends.clear();
        node.held.clear();
        node.closing = false;
        node.session = None;
        let life = node.life;
        self.trace(|| format!("c{client} starts, life {life}"));
        self.after(10 * MS, Event::Program { client, life });
        self.client_tick(client);
    }

    /// The process stands still. Its clock goes on, whatever the machine does.
    pub(crate) fn pause_client(&mut self, client: usize, until: Time) {
        let stops = self.has(WorldBug::ClientClockStops);
        let node = &mut self.clients[client];
        if stops {
            node.uncounted += until.saturating_sub(node.paused_until.max(self.now));
        }
        node.paused_until = node.paused_until.max(until);
        node.asleep_until = node.asleep_until.max(until);
    }

    /// The process dies without a word.
    pub(crate) fn client_stops(&mut self, client: usize) {
        self.clients[client].logic = None;
        self.clients[client].held.clear();
        if let Some(tick) = self.clients[client].tick.take() {
            self.cancel(tick);
        }
        let streams: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.client == client && !stream.client_closed)
            .map(|(id, _)| *id)
            .collect();
        for stream in streams {
            self.client_closes(stream);
        }
    }

    pub(crate) fn client_input(&mut self, client: usize, input: Input) {
        let clock = self.clients[client].clock(self.now);
        let mut outputs = Vec::new();
        let Some(logic) = &mut self.clients[client].logic else { return };
        logic.handle(clock, input, &mut outputs);
        self.client_outputs(client, outputs);
    }

    /// The tick of a process that is paused comes when it wakes.
    pub(crate) fn client_tick_comes(&mut self, client: usize) {
        let paused = self.clients[client].paused_until;
        if paused > self.now {
            self.clients[client].tick = Some(self.at(paused, Event::ClientTick { client }));
            return;
        }
        self.clients[client].tick = None;
        self.client_tick(client);
    }

    fn client_tick(&mut self, client: usize) {
        let clock = self.clients[client].clock(self.now);
        let mut outputs = Vec::new();
        let Some(logic) = &mut self.clients[client].logic else { return };
        logic.tick(clock, &mut outputs);
        self.client_outputs(client, outputs);
    }

    fn client_outputs(&mut self, client: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.client_output(client, output);
        }
        let node = &self.clients[client];
        let Some(deadline) = node.logic.as_ref().and_then(Machine::deadline) else { return };
        let at = node.real(deadline).max(self.now + 1);
        if node.tick.is_some_and(|(time, _)| time == at) {
            return;
        }
        let tick = self.at(at, Event::ClientTick { client });
        if let Some(replaced) = self.clients[client].tick.replace(tick) {
            self.cancel(replaced);
        }
    }

    fn client_output(&mut self, client: usize, output: Output) {
        self.trace(|| format!("c{client} output {output:?}"));
        match output {
            Output::Connect { link, address } => self.client_connects(client, link, &address),
            Output::Send { link, message } => {
                if let Some(stream) = self.stream_of(client, link) {
                    self.send_up(stream, message);
                }
            }
            Output::Disconnect { link } => {
                if let Some(stream) = self.stream_of(client, link) {
                    self.client_closes(stream);
                }
            }
            Output::Opened(opened) => {
                self.check.tally.sessions += 1;
                self.clients[client].session = opened.session.parse().ok();
                self.trace(|| format!("c{client} opened {}", opened.session));
            }
            Output::State(state) => self.check_state(client, state),
            Output::Resumed { move_number, .. } => {
                self.check.tally.moves += 1;
                self.trace(|| format!("c{client} resumed, move {move_number}"));
            }
            Output::Complete { id, result } => self.completed(client, id, result),
            Output::ClaimEvent { claim, event } => self.claim_event(client, claim, event),
            Output::Over => self.session_over(client),
            Output::OpenFailed(error) => self.trace(|| format!("c{client} could not open: {error}")),
            Output::ValidUntil(until) => self.clients[client].valid_until = until,
            Output::Changed(_) => {}
        }
    }

    fn session_over(&mut self, client: usize) {
        self.trace(|| format!("c{client} session over"));
        self.check.tally.sessions_over += 1;
        self.client_stops(client);
        if self.leaving {
            self.clients[client].left = true;
        } else {
            let pause = self.rng.u64(10 * MS..300 * MS);
            self.after(pause, Event::ClientStarts { client });
        }
    }

    fn completed(&mut self, client: usize, id: OperationId, result: Result<Done, sixpin_client::Error>) {
        self.check_wait(client, id);
        let Some(aim) = self.clients[client].aims.remove(&id) else { return };
        self.trace(|| format!("c{client} {aim:?} ends: {result:?}"));
        let claim = match aim {
            Aim::Lock { .. } => 0,
            Aim::Convert { claim } | Aim::Unlock { claim } => claim,
        };
        self.check_loss(client, &result, claim);
        match (aim, result) {
            (Aim::Lock { resource }, Ok(Done::Granted(grant))) => self.granted(client, resource, &grant),
            (Aim::Convert { claim }, Ok(Done::Granted(grant))) => {
                if let Some(resource) = self.clients[client].held.get(&claim).map(|held| held.resource) {
                    self.granted(client, resource, &grant);
                }
            }
            (Aim::Convert { claim }, Err(_)) => {
                if let Some(held) = self.clients[client].held.get_mut(&claim) {
                    held.converting = false;
                    // A refused conversion leaves the old mode; a demoted claim says so by its granted mode.
                    held.believed = held.granted;
                }
                let now = self.now;
                if let Some(logic) = &self.clients[client].logic
                    && let Some(mode) = logic.holds(claim)
                    && let Some(held) = self.clients[client].held.get_mut(&claim)
                {
                    held.granted = mode;
                    held.believed = mode;
                }
                self.check_exclusion(client, claim, now);
                if let Some(resource) = self.clients[client].held.get(&claim).map(|held| held.resource) {
                    self.check_belief_now(client, resource);
                }
            }
            (Aim::Unlock { claim }, _) => {
                self.clients[client].held.remove(&claim);
            }
            _ => {}
        }
    }

    /// A wait is a bound, whatever brokers and the network do; only the process itself can stand still.
    fn check_wait(&mut self, client: usize, id: OperationId) {
        let node = &mut self.clients[client];
        let Some(end) = node.ends.remove(&id) else { return };
        let end = node.real(end);
        if node.asleep_until < end && self.now > end + 10 * MS {
            let late = (self.now - end) / MS;
            self.check.fail(format!("c{client} heard of {id:?} {late} ms after its wait was over"));
        }
    }

    fn granted(&mut self, client: usize, resource: usize, grant: &Grant) {
        self.check.tally.grants += 1;
        let old_fence = self.clients[client].held.get(&grant.claim).map(|held| held.fence);
        self.clients[client].held.insert(
            grant.claim,
            Held {
                resource,
                believed: grant.mode,
                granted: grant.mode,
                fence: grant.fence,
                converting: false,
                read: None,
            },
        );
        if self.clients[client].valid_mode(grant.claim, self.now).is_none() {
            return;
        }
        let deleted = self.clients[client].session.is_some_and(|session| self.is_deleted(session, grant.claim));
        if old_fence != Some(grant.fence) && !deleted {
            self.check.fence(resource, grant.mode, grant.fence, || format!("c{client} claim {}", grant.claim));
        }
        self.check_exclusion(client, grant.claim, self.now);
        self.check_belief_now(client, resource);
        if let Some((seq, bytes)) = grant.value.as_ref().and_then(|value| Some((value.seq, value.bytes.as_ref()?))) {
            self.check.value_told(self.plan.resource(resource), seq, bytes);
        }
    }

    /// No two claims that are valid at this moment, as their clients see it, are incompatible.
    fn check_exclusion(&mut self, client: usize, claim: u64, now: Time) {
        let Some(mode) = self.clients[client].valid_mode(claim, now) else { return };
        let Some(resource) = self.clients[client].held.get(&claim).map(|held| held.resource) else { return };
        let deleted = |node: &ClientNode, claim| node.session.is_some_and(|session| self.is_deleted(session, claim));
        if deleted(&self.clients[client], claim) {
            return;
        }
        let caller = self.callers_on(resource).find(|(_, other)| !check::compatible(mode, *other));
        if let Some((name, other)) = caller {
            let own = format!("c{client} claim {claim} has {mode:?}");
            self.check.fail(format!("r{resource} held twice: {own}, {name} has {other:?}"));
            return;
        }
        let others =
            self.clients.iter().flat_map(|node| node.held.iter().map(move |(number, held)| (node, *number, held)));
        for (node, number, held) in others {
            if held.resource != resource || (node.number == client && number == claim) || deleted(node, number) {
                continue;
            }
            let Some(other) = node.valid_mode(number, now) else { continue };
            if !check::compatible(mode, other) {
                let text = format!(
                    "resource r{resource} held twice: c{client} claim {claim} has {mode:?}, c{} claim {number} has {other:?}",
                    node.number
                );
                self.check.fail(text);
                return;
            }
        }
    }

    fn claim_event(&mut self, client: usize, claim: u64, event: ClaimEvent) {
        self.trace(|| format!("c{client} claim {claim}: {event:?}"));
        match event {
            ClaimEvent::Lost(_) => {
                self.clients[client].held.remove(&claim);
                // Letting go acknowledges the loss.
                let request = Box::new(v1::Unlock { claim, ..v1::Unlock::default() });
                self.client_input(client, Input::Unlock { id: None, request });
            }
            ClaimEvent::Blocking { .. } => self.check.tally.blocking += 1,
            other => self.check.fail(format!("c{client} was told what nobody here knows: {other:?}")),
        }
    }

    /// The program does one thing, and the next one later.
    pub(crate) fn program(&mut self, client: usize) {
        let life = self.clients[client].life;
        if self.now < self.clients[client].idle_until {
            // Somebody has deleted what it holds, and it is to hear of that without doing anything.
        } else if self.leaving {
            self.leave(client);
        } else {
            self.act(client);
        }
        let pause = self.rng.u64(2 * MS..self.plan.pause_max);
        self.after(pause, Event::Program { client, life });
    }

    fn act(&mut self, client: usize) {
        let node = &self.clients[client];
        let busy = node.held.len() + node.aims.values().filter(|aim| matches!(aim, Aim::Lock { .. })).count();
        let claim = {
            let free: Vec<u64> =
                node.held.iter().filter(|(_, held)| !held.converting).map(|(claim, _)| *claim).collect();
            (!free.is_empty()).then(|| free[self.rng.usize(..free.len())])
        };
        // Of a conversion that may have happened before it was refused for a full queue, no answer tells: it is repeated until
        // there is room, which two holders can keep from each other.
        let converts = ![Fault::SmallLimits, Fault::ChangedLimits].into_iter().any(|fault| self.plan.faults.has(fault));
        match (self.rng.u32(..100), claim) {
            (0..35, _) if busy < CLAIMS_MAX => self.ask_lock(client),
            (35..50, Some(claim)) if converts => self.ask_convert(client, claim),
            (50..75, Some(claim)) => self.ask_unlock(client, claim),
            (75..90, Some(claim)) => self.use_register(client, claim),
            (90..95, _) => self.ask_cancel(client),
            (95..96, _) => self.close(client),
            _ => {}
        }
    }

    fn operation(&mut self, client: usize, aim: Aim) -> OperationId {
        let node = &mut self.clients[client];
        let id = OperationId(node.next_operation);
        node.next_operation += 1;
        node.aims.insert(id, aim);
        id
    }

    fn ask_lock(&mut self, client: usize) {
        let resource = self.rng.usize(..self.plan.resources);
        let id = self.operation(client, Aim::Lock { resource });
        let timeout_ms = match self.rng.u32(..4) {
            0 => Some(0),
            1 => Some(self.rng.u64(10..800)),
            _ => None,
        };
        if let Some(timeout) = timeout_ms {
            let wait = Duration::from_millis(if timeout == 0 { TRY_ENDS_MS } else { timeout + ANSWER_MS });
            let node = &mut self.clients[client];
            node.ends.insert(id, node.clock(self.now) + wait);
        }
        let lockspace = self.plan.lockspace(resource).to_owned();
        let request = Box::new(v1::Lock {
            resource: Some(v1::Resource { lockspace, name: format!("r{resource}") }),
            what: Some(v1::lock::What::Mode(self.rng.i32(1..=6))),
            timeout_ms,
            blocking: self.rng.bool(),
            value_block: self.rng.bool(),
            ..v1::Lock::default()
        });
        self.client_input(client, Input::Lock { id, request });
    }

    fn ask_convert(&mut self, client: usize, claim: u64) {
        let mode = self.rng.i32(1..=6);
        let Some(held) = self.clients[client].held.get_mut(&claim) else { return };
        let resource = held.resource;
        held.converting = true;
        held.read = None;
        // From now on the program acts only on what it surely still has when this is granted.
        let demote = self.rng.u32(..5) == 0;
        held.believed = if demote { Mode::NL } else { check::meet(held.granted, check::mode(mode)) };
        let id = self.operation(client, Aim::Convert { claim });
        let timeout_ms = if self.rng.bool() { Some(self.rng.u64(0..600)) } else { None };
        let deadlock = if demote { v1::ConversionDeadlock::Demote } else { v1::ConversionDeadlock::Error };
        let timeout_ms = if demote { timeout_ms.map(|ms| ms.max(1)) } else { timeout_ms };
        let request = Box::new(v1::Convert {
            claim,
            what: Some(v1::convert::What::Mode(mode)),
            timeout_ms,
            value_block: self.rng.bool(),
            value: self.value(resource),
            conversion_deadlock: deadlock.into(),
            ..v1::Convert::default()
        });
        self.client_input(client, Input::Convert { id, request, queue: None });
    }

    fn ask_unlock(&mut self, client: usize, claim: u64) {
        let Some(held) = self.clients[client].held.remove(&claim) else { return };
        let id = self.operation(client, Aim::Unlock { claim });
        let writes = self.rng.u32(..3) == 0;
        let value = if writes { self.value(held.resource) } else { bytes::Bytes::new() };
        let request = Box::new(v1::Unlock { claim, value_block: writes, value, ..v1::Unlock::default() });
        self.client_input(client, Input::Unlock { id: Some(id), request });
    }

    /// Bytes for a value block that nobody wrote before.
    fn value(&mut self, resource: usize) -> bytes::Bytes {
        self.values += 1;
        let value = bytes::Bytes::from(format!("value {}", self.values));
        self.check.value_sent(self.plan.resource(resource), &value);
        value
    }

    /// Reads the register of a resource, or writes back what was read with one more, under PW or EX.
    fn use_register(&mut self, client: usize, claim: u64) {
        let now = self.now;
        let Some(mode) = self.clients[client].valid_mode(claim, now) else { return };
        let deleted = self.clients[client].session.is_some_and(|session| self.is_deleted(session, claim));
        if deleted || !matches!(mode, Mode::PW | Mode::EX) {
            return;
        }
        let Some(held) = self.clients[client].held.get_mut(&claim) else { return };
        let (resource, fence) = (held.resource, held.fence);
        match held.read.take() {
            None => held.read = Some(self.check.register(resource)),
            Some(read) => self.check.write_register(resource, fence, read, || format!("c{client} claim {claim}")),
        }
    }

    /// Somebody changes their mind about an operation that waits.
    fn ask_cancel(&mut self, client: usize) {
        let waiting: Vec<OperationId> = self.clients[client]
            .aims
            .iter()
            .filter(|(_, aim)| !matches!(aim, Aim::Unlock { .. }))
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let id = waiting[self.rng.usize(..waiting.len())];
        let abandon = self.rng.bool();
        self.trace(|| format!("c{client} gives up {id:?}, abandon {abandon}"));
        if abandon && matches!(self.clients[client].aims.get(&id), Some(Aim::Lock { .. })) {
            self.clients[client].aims.remove(&id);
            self.client_input(client, Input::Abandon { id });
        } else {
            self.client_input(client, Input::Cancel { id });
        }
    }

    fn close(&mut self, client: usize) {
        self.clients[client].closing = true;
        self.clients[client].held.clear();
        self.client_input(client, Input::Close);
    }

    /// Lets go of everything, waits for what was asked, and closes the session.
    fn leave(&mut self, client: usize) {
        if self.clients[client].closing {
            return;
        }
        let claims: Vec<u64> =
            self.clients[client].held.iter().filter(|(_, held)| !held.converting).map(|(claim, _)| *claim).collect();
        for claim in claims {
            self.ask_unlock(client, claim);
        }
        let node = &self.clients[client];
        let patience = self.well_from.max(self.plan.heal_at + self.plan.calm) + self.patience();
        if node.aims.is_empty() && node.held.is_empty() {
            self.close(client);
        } else if self.now > patience {
            let text = format!(
                "c{client} still waits long after everything was released: {}; stored: {}",
                node.describe(),
                self.stored()
            );
            self.check.fail(text);
        }
    }
}
