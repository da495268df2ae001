//! Brokers, clients, and time.
//!
//! Nothing happens at the same time here: after each line of a script the brokers take turns, by name, until none has
//! anything to do. What a broker sends to the store is done and answered at once, unless the script holds it on its way.
//! Time passes only where the script says so, and then from one deadline to the next.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use sixpin_core::access::Principal;
use sixpin_core::backend::{BrokerInfo, Guard, Key, Write, WriteOutcome};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{
    AdminRequest, BrokerConfig, Client as Shares, ClientInfo, ConnectionId, Input, LockspaceConfig, Now, OpenRequest,
    Query, ReplyTo, Request, SessionRef,
};
use sixpin_core::limits::{self, Limits};
use sixpin_core::name::{Incarnation, Lockspace, Version};
use sixpin_core::standing::History;

use super::client::{Client, KEEPALIVE};
use super::store::{Like, Store};
use super::words::{self, Names};

/// A number that can be divided: beats every 2 s, and others are looked at every 0.5 s.
const BROKER_TTL: Duration = Duration::from_secs(6);
/// Who asks when it is no client.
pub const ADMIN: &str = "admin";
/// The number of a request to resume; all others are 1.
pub const RESUME: u64 = 2;
/// More turns than any line of a script needs.
const TURNS_MAX: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub struct World {
    pub store: Store,
    /// Brokers are not told that a record has changed.
    pub hints_lost: bool,
    pub clients: BTreeMap<String, Client>,
    pub names: Names,
    now: Duration,
    pub stations: BTreeMap<String, Station>,
    /// Who is at the other end of each stream.
    pub connections: BTreeMap<ConnectionId, String>,
    output: String,
    /// Something was refused since the last time that output was taken.
    pub refused: bool,
    /// The time of the last line that was put out.
    shown: Duration,
}

/// One broker, and its way to the store.
#[derive(Debug)]
pub struct Station {
    pub broker: Broker,
    pub root: u64,
    pub alive: bool,
    /// Its machine is suspended since then.
    suspended: Option<Duration>,
    /// For how long it was: its monotonic clock stood still then.
    slept: Duration,
    pub inbox: Vec<Input>,
    /// What it writes stays on its way.
    pub holds: bool,
    /// Batches on their way, in order.
    pub under_way: Vec<Batch>,
    /// Batches of which the broker heard nothing, and that may still arrive.
    pub late: Vec<Batch>,
    pub cut_off: bool,
    /// Its reads show a time before anything was written.
    pub reads_nothing: bool,
    /// The history of the store in which its writes are taken.
    pub trusted: History,
    /// What it last saw at each key.
    pub seen: BTreeMap<Key, Version>,
    pub watches: BTreeMap<Key, Version>,
}

/// Writes that were sent together.
#[derive(Debug)]
pub struct Batch {
    pub guard: Guard,
    pub number: u64,
    pub writes: Vec<Write>,
    /// What the store answered, once they arrived.
    pub outcomes: Option<Vec<WriteOutcome>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            store: Store::new(Like::Etcd),
            hints_lost: false,
            clients: BTreeMap::new(),
            names: Names::default(),
            now: Duration::ZERO,
            stations: BTreeMap::new(),
            connections: BTreeMap::new(),
            output: String::new(),
            refused: false,
            shown: Duration::ZERO,
        }
    }
}

/// How a broker starts.
pub struct Start<'a> {
    pub address: &'a str,
    pub lanes: u16,
    pub depth: u16,
    pub reuses_kept: u8,
    pub hold_back: Duration,
    pub lock_delay: Duration,
    pub format_max: u8,
    pub limits: Limits,
    /// It notes what becomes of locks.
    pub notes: bool,
}

/// Brokers.
impl World {
    pub fn start(&mut self, name: &str, start: &Start<'_>) {
        let Start { address, lanes, depth, reuses_kept, hold_back, lock_delay, format_max, ref limits, notes } = *start;
        let incarnation = Incarnation(0xb0_0000 + self.names.brokers.len() as u64);
        self.names.brokers.insert(incarnation, name.into());
        let info = BrokerInfo { address: address.into(), admin_address: address.into(), ..BrokerInfo::default() };
        let config = BrokerConfig {
            incarnation,
            info,
            broker_ttl: BROKER_TTL,
            session_ttl: limits::SESSION_TTL_DEFAULT,
            session_ttl_max: limits::SESSION_TTL_DEFAULT,
            limits: limits.clone(),
            lanes,
            depth,
            reuses_kept,
            unused_after: limits::UNUSED_AFTER,
            lockspaces: BTreeMap::from([(Lockspace::default(), LockspaceConfig { lock_delay, ..Default::default() })]),
            profile: self.store.profile(),
            root: self.store.root(),
            store_patience: Duration::from_secs(1),
            history: self.store.history(),
            format_max,
            first_start_grace: Some(Duration::ZERO),
            hold_back,
            drain_timeout: Duration::from_secs(30),
            notes,
        };
        let station = Station {
            root: config.root.identity,
            trusted: config.history,
            broker: Broker::new(config),
            alive: true,
            suspended: None,
            slept: Duration::ZERO,
            inbox: Vec::new(),
            holds: false,
            under_way: Vec::new(),
            late: Vec::new(),
            cut_off: false,
            reads_nothing: false,
            seen: BTreeMap::new(),
            watches: BTreeMap::new(),
        };
        self.stations.insert(name.into(), station);
        self.tick(name);
    }

    /// As by a kill. What it sent may still arrive.
    pub fn stop(&mut self, name: &str) {
        let station = self.station(name);
        station.alive = false;
        let unheard = station.under_way.drain(..).filter(|batch| batch.outcomes.is_none());
        station.late.extend(unheard);
        for client in self.clients.values_mut().filter(|client| client.broker == name) {
            (client.stream, client.ear) = (None, None);
            client.calls.iter_mut().for_each(Vec::clear);
        }
    }

    /// Its machine stands still with it.
    pub fn suspend(&mut self, name: &str) {
        self.station(name).suspended = Some(self.now);
    }

    /// It goes on with what came meanwhile, and does not know how long it was away, but by the clock that went on.
    pub fn wake(&mut self, name: &str) {
        let now = self.now;
        let station = self.station(name);
        let since = station.suspended.take().expect("the broker is awake");
        station.slept += now.saturating_sub(since);
    }

    pub fn is_broker(&self, name: &str) -> bool {
        self.stations.contains_key(name)
    }

    pub fn station(&mut self, name: &str) -> &mut Station {
        self.stations.get_mut(name).unwrap()
    }

    fn time(&self, name: &str) -> Now {
        let (boot, slept) = (self.now, self.stations[name].slept);
        Now { mono: boot.saturating_sub(slept), boot, wall_ms: words::WALL_MS + boot.as_millis() as u64 }
    }

    fn tick(&mut self, name: &str) {
        let now = self.time(name);
        let mut effects = Vec::new();
        self.station(name).broker.tick(now, &mut effects);
        self.carry_out(name, effects);
    }

    /// Brokers take turns until none has anything to do.
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let names: Vec<String> = self.stations.keys().cloned().collect();
            if !names.iter().fold(false, |busy, name| busy | self.turn(name)) {
                return;
            }
        }
        panic!("the brokers do not come to rest");
    }

    /// Drain, apply, commit. True if there was anything to do.
    fn turn(&mut self, name: &str) -> bool {
        let now = self.time(name);
        let station = self.station(name);
        if !station.is_awake() {
            return false;
        }
        let mut effects = Vec::new();
        let inputs = std::mem::take(&mut station.inbox);
        let busy = !inputs.is_empty();
        for input in inputs {
            station.broker.handle(now, input, &mut effects);
        }
        station.broker.flush(now, &mut effects);
        let busy = busy || !effects.is_empty();
        self.carry_out(name, effects);
        busy
    }

    /// Lets time pass, from one deadline to the next.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.next_deadline().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.keep_alive();
            for name in self.due() {
                self.tick(&name);
            }
            self.settle();
        }
        self.now = until;
    }

    /// Brokers that want to be woken by now.
    fn due(&self) -> Vec<String> {
        let due = |station: &Station| station.deadline().is_some_and(|deadline| deadline <= self.now);
        self.stations.iter().filter(|(_, station)| due(station)).map(|(name, _)| name.clone()).collect()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let brokers = self.stations.values().filter_map(Station::deadline);
        brokers.chain(self.clients.values().filter_map(|client| client.keepalive_at)).min()
    }

    /// Clients that live say so.
    fn keep_alive(&mut self) {
        let now = self.now;
        let due = |client: &Client| client.keepalive_at.is_some_and(|at| at <= now);
        let names: Vec<String> =
            self.clients.iter().filter(|(_, client)| due(client)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let client = self.clients.get_mut(&name).unwrap();
            client.keepalive_at = Some(now + KEEPALIVE);
            if client.is_connected() && client.session.is_some() {
                let move_number = client.move_number;
                self.ask(&name, Request::KeepAlive { move_number });
            }
        }
    }
}

/// Clients and administrators.
impl World {
    /// Opens a session, on a stream or by a call.
    pub fn open(&mut self, name: &str, broker: &str, principal: Principal, bound: bool, calls: bool) {
        let mut client = Client::new(broker.into(), self.now);
        let shares = Shares { id: principal.digest(), trusted: false };
        client.principal = principal;
        if calls {
            client.calls = Some(Vec::new());
        } else {
            client.stream = Some(self.connect(name));
        }
        self.clients.insert(name.into(), client);
        self.ask(
            name,
            Request::Open(Box::new(OpenRequest {
                attach: !calls,
                bound,
                client: ClientInfo { shares, ..ClientInfo::default() },
                ..OpenRequest::default()
            })),
        );
    }

    /// Asks on the client's stream, or in a call.
    pub fn ask(&mut self, name: &str, request: Request) {
        let call = self.clients[name].calls.is_some().then(|| self.connect(name));
        let client = self.clients.get_mut(name).unwrap();
        let session = match (call, client.session) {
            (Some(_), Some((session, secret))) => SessionRef::Named(session, secret),
            _ => SessionRef::Attached,
        };
        client.calls.iter_mut().for_each(|calls| calls.extend(call));
        let connection = call.or(client.stream).expect("the client has no stream");
        let number = if matches!(request, Request::Resume(_)) { RESUME } else { 1 };
        let from = ReplyTo { connection, request: number };
        // A stream says once who it is of, and again when that changed.
        let says = call.is_some() || matches!(request, Request::Open(_) | Request::Resume(_));
        let told = client.told.replace(client.principal.clone());
        let principal = (says || told.as_ref() != Some(&client.principal)).then(|| Box::new(client.principal.clone()));
        let broker = client.broker.clone();
        self.input(&broker, Input::Request { from, session, principal, request });
    }

    /// Hears of its session from now on by a connection where it asks nothing else.
    pub fn listen(&mut self, name: &str) {
        let connection = self.connect(name);
        let client = self.clients.get_mut(name).unwrap();
        client.ear = Some(connection);
        let (session, secret) = client.session.expect("it has no session");
        let (broker, principal) = (client.broker.clone(), Box::new(client.principal.clone()));
        let (from, session) = (ReplyTo { connection, request: 1 }, SessionRef::Named(session, secret));
        self.input(&broker, Input::Request { from, session, principal: Some(principal), request: Request::Listen });
    }

    /// Resumes at this broker or another, on a new stream or by a call.
    pub fn resume(&mut self, name: &str, broker: &str, wait: Option<Duration>) {
        if self.clients[name].calls.is_none() {
            let stream = self.connect(name);
            self.clients.get_mut(name).unwrap().stream = Some(stream);
        }
        let client = self.clients.get_mut(name).unwrap();
        client.broker = broker.into();
        let resume = client.resume(wait);
        self.ask(name, Request::Resume(Box::new(resume)));
    }

    /// It does nothing any more, and its stream stays.
    pub fn freeze(&mut self, name: &str) {
        self.clients.get_mut(name).unwrap().keepalive_at = None;
    }

    /// It says at once that it lives.
    pub fn thaw(&mut self, name: &str) {
        self.clients.get_mut(name).unwrap().keepalive_at = Some(self.now);
        self.keep_alive();
    }

    /// The caller gives up its oldest call.
    pub fn hang_up(&mut self, name: &str) {
        let client = self.clients.get_mut(name).unwrap();
        let connection = client.calls.as_mut().expect("the client does not call").remove(0);
        let broker = client.broker.clone();
        self.input(&broker, Input::Disconnected { connection });
    }

    /// The stream is cut, and both ends notice.
    pub fn disconnect(&mut self, name: &str) {
        let client = self.clients.get_mut(name).unwrap();
        if let Some(connection) = client.stream.take().or(client.ear.take()) {
            let broker = client.broker.clone();
            self.input(&broker, Input::Disconnected { connection });
        }
    }

    pub fn die(&mut self, name: &str) {
        self.disconnect(name);
        self.clients.get_mut(name).unwrap().keepalive_at = None;
    }

    pub fn admin_asks(&mut self, broker: &str, request: AdminRequest) {
        let connection = self.connect(ADMIN);
        self.input(broker, Input::Admin { from: ReplyTo { connection, request: 1 }, request });
    }

    pub fn admin_looks(&mut self, broker: &str, query: Query) {
        let connection = self.connect(ADMIN);
        self.input(broker, Input::Query { from: ReplyTo { connection, request: 1 }, query });
    }

    fn connect(&mut self, who: &str) -> ConnectionId {
        let connection = ConnectionId(self.connections.len() as u64 + 1);
        self.connections.insert(connection, who.into());
        connection
    }

    pub fn input(&mut self, broker: &str, input: Input) {
        self.station(broker).inbox.push(input);
    }
}

/// What is put out.
impl World {
    pub fn say(&mut self, line: &str) {
        if self.shown != self.now {
            self.shown = self.now;
            let _ = writeln!(self.output, "at {}", words::seconds(self.now));
        }
        let _ = writeln!(self.output, "{line}");
    }

    /// What was put out since the last time, and whether a request was refused.
    pub fn take_output(&mut self) -> (String, bool) {
        (std::mem::take(&mut self.output), std::mem::take(&mut self.refused))
    }
}

impl Station {
    fn deadline(&self) -> Option<Duration> {
        Some(self.broker.deadline().filter(|_| self.is_awake())? + self.slept)
    }

    fn is_awake(&self) -> bool {
        self.alive && self.suspended.is_none()
    }
}
