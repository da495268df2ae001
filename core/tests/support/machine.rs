//! One broker machine against a store of a few lines, which applies each batch and says so, or does not say so.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::access::Principal;
use sixpin_core::backend::{
    BrokerInfo, Change, Contract, Durability, Key, Profile, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{
    AdminRequest, BrokerConfig, ConnectionId, DoneStatus, Effect, Event, Input, LockRequest, LogLevel, Now,
    OpenRequest, Reply, ReplyTo, Request, RequestError, Secret, SessionRef, UnlockRequest,
};
use sixpin_core::command::Options;
use sixpin_core::limits::{self, Limits};
use sixpin_core::mode::Mode;
use sixpin_core::name::{
    ClaimNumber, Incarnation, Label, Lockspace, OperationNumber, ResourceId, ResourceName, SessionId, Version,
};
use sixpin_core::resource::Resource;
use sixpin_core::standing::History;

pub const HOLDER: u64 = 1;
pub const WAITER: u64 = 2;

pub struct World {
    pub broker: Broker,
    pub ms: u64,
    pub stored: BTreeMap<Key, Slot>,
    pub version: u64,
    pub effects: Vec<Effect>,
    /// The next batch is applied, and nobody says so.
    pub doubt: bool,
    /// The store takes no batch and no beat.
    pub away: bool,
    /// Answers of the store that were kept back, while it gives none.
    pub kept_back: Option<Vec<Input>>,
    /// Lines of the log that say that something is wrong.
    pub warned: Vec<String>,
    /// What was refused, to whom.
    pub errors: Vec<(u64, RequestError)>,
    /// How many records were read.
    pub read: usize,
    /// What was said, to whom.
    pub said: Vec<(u64, String)>,
    pub sessions: BTreeMap<u64, (SessionId, Secret)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    /// A broker with a session on each of two streams; the first one holds the resource.
    pub fn with(limits: Limits) -> Self {
        Self::of(BrokerConfig { limits, ..config() })
    }

    /// The same with any settings. While nothing is granted the first session waits.
    pub fn of(config: BrokerConfig) -> Self {
        let mut world = Self {
            broker: Broker::new(config),
            ms: 1_000,
            stored: BTreeMap::new(),
            version: 1,
            effects: Vec::new(),
            doubt: false,
            away: false,
            kept_back: None,
            warned: Vec::new(),
            errors: Vec::new(),
            read: 0,
            said: Vec::new(),
            sessions: BTreeMap::new(),
        };
        world.tick();
        for connection in [HOLDER, WAITER] {
            world.send(
                connection,
                SessionRef::Attached,
                Request::Open(Box::new(OpenRequest { attach: true, ..Default::default() })),
            );
        }
        world.settle();
        world.ask(HOLDER, lock(1, None));
        world.settle();
        world.said.clear();
        world
    }

    pub fn now(&self) -> Now {
        let time = Duration::from_millis(self.ms);
        Now { mono: time, boot: time, wall_ms: 1_700_000_000_000 + self.ms }
    }

    pub fn send(&mut self, connection: u64, session: SessionRef, request: Request) {
        self.send_as(connection, session, Some(Principal::default()), request);
    }

    /// By somebody, or on a stream by whoever it was before.
    pub fn send_as(&mut self, connection: u64, session: SessionRef, principal: Option<Principal>, request: Request) {
        let from = ReplyTo { connection: ConnectionId(connection), request: 1 };
        let input = Input::Request { from, session, principal: principal.map(Box::new), request };
        self.broker.handle(self.now(), input, &mut self.effects);
    }

    /// On the session's stream.
    pub fn ask(&mut self, connection: u64, request: Request) {
        self.send(connection, SessionRef::Attached, request);
    }

    /// In a call for the session of the waiter.
    pub fn call(&mut self, call: u64, request: Request) {
        let (session, secret) = self.sessions[&WAITER];
        self.send(call, SessionRef::Named(session, secret), request);
    }

    /// As an administrator.
    pub fn administer(&mut self, call: u64, request: AdminRequest) {
        let from = ReplyTo { connection: ConnectionId(call), request: 1 };
        self.broker.handle(self.now(), Input::Admin { from, request }, &mut self.effects);
    }

    pub fn cut(&mut self, call: u64) {
        let input = Input::Disconnected { connection: ConnectionId(call) };
        self.broker.handle(self.now(), input, &mut self.effects);
    }

    pub fn tick(&mut self) {
        self.broker.tick(self.now(), &mut self.effects);
        self.settle();
    }

    pub fn wait(&mut self, ms: u64) {
        self.ms += ms;
        self.tick();
    }

    pub fn settle(&mut self) {
        loop {
            self.broker.flush(self.now(), &mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            self.settle_once();
        }
    }

    /// Carries out what the broker wants by now.
    pub fn settle_once(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match (self.carry_out(effect), &mut self.kept_back) {
                (Some(input), Some(kept)) => kept.push(input),
                (Some(input), None) => self.broker.handle(self.now(), input, &mut self.effects),
                (None, _) => {}
            }
        }
    }

    pub fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Commit { guard, batch, writes } if self.away => {
                let outcomes = vec![WriteOutcome::Unavailable("away".into()); writes.len()];
                Some(Input::Committed { lane: guard.lane, batch, outcomes })
            }
            Effect::Commit { guard, batch, writes } => {
                self.version += 1;
                let mut outcomes: Vec<WriteOutcome> = writes.into_iter().map(|write| self.write(write)).collect();
                if std::mem::take(&mut self.doubt) {
                    outcomes.fill(WriteOutcome::Unknown("no answer".into()));
                }
                Some(Input::Committed { lane: guard.lane, batch, outcomes })
            }
            Effect::Advance { guard } => Some(Input::Advanced { guard, result: Ok(()) }),
            Effect::Read { keys } => {
                self.read += keys.len();
                let slots = keys.iter().map(|key| self.stored.get(key).cloned().unwrap_or_default()).collect();
                Some(Input::Slots { keys, result: Ok(slots) })
            }
            Effect::Beat(beat) => {
                let result = if self.away { Err(StoreError::Unavailable("away".into())) } else { Ok(Version(1)) };
                Some(Input::Beaten { number: beat.number, result })
            }
            Effect::Pulses => Some(Input::Pulses { result: Ok(Vec::new()) }),
            Effect::Reply { to, reply } => {
                match &reply {
                    Reply::Opened { session, secret } => {
                        self.sessions.insert(to.connection.0, (*session, *secret));
                    }
                    Reply::Done(done) => self.said.push((to.connection.0, word(done.status))),
                    Reply::Resumed { claims, .. } => {
                        let done = claims.iter().filter_map(|state| state.done.as_ref()).map(|done| word(done.status));
                        self.said.push((to.connection.0, format!("Resumed {}", done.collect::<Vec<_>>().join(" "))));
                    }
                    Reply::Cancelled { result, .. } => self.said.push((to.connection.0, format!("{result:?}"))),
                    Reply::Error(error) => self.errors.push((to.connection.0, error.clone())),
                    Reply::KeptAlive { lost, .. } => self.said.push((to.connection.0, format!("lost {lost:?}"))),
                    Reply::DamagedRemoved { free_in } => {
                        self.said.push((to.connection.0, format!("free in {} ms", free_in.as_millis())));
                    }
                    Reply::UnlockedAll { released } => {
                        self.said.push((to.connection.0, format!("{released} released")));
                    }
                    _ => {}
                }
                None
            }
            Effect::Event { connection, event } => {
                match event {
                    Event::Done(done) => self.said.push((connection.0, word(done.status))),
                    Event::Lost { reason, .. } => self.said.push((connection.0, format!("{reason:?}"))),
                    _ => {}
                }
                None
            }
            Effect::Log(line) => {
                if line.level >= LogLevel::Warn {
                    self.warned.push(format!("{}: {}", line.step, line.subject));
                }
                None
            }
            _ => None,
        }
    }

    pub fn write(&mut self, write: Write) -> WriteOutcome {
        let known = self.stored.entry(write.key).or_default();
        if known.version != write.expected {
            return WriteOutcome::Conflict(known.clone());
        }
        let version = Version(self.version);
        *known = match write.change {
            Change::Put(bytes) => Slot { version, bytes: Some(bytes) },
            Change::Delete => Slot::default(),
            Change::Compare => known.clone(),
        };
        WriteOutcome::Committed(if known.version.is_absent() { version } else { known.version })
    }

    /// The store answers again, also what it was asked before.
    pub fn answers(&mut self) {
        for input in self.kept_back.take().unwrap_or_default() {
            self.broker.handle(self.now(), input, &mut self.effects);
        }
        self.settle();
    }

    /// How many claims a session has on the resource, as it is stored.
    pub fn stored_claims(&self, connection: u64) -> usize {
        let Some(slot) = self.stored.get(&Key::Resource(resource())) else { return 0 };
        let Some(bytes) = &slot.bytes else { return 0 };
        let stored = Resource::decode(bytes, slot.version).expect("the broker wrote it");
        stored.claims_of(self.sessions[&connection].0).count()
    }

    pub fn said(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.said)
    }
}

pub fn word(status: DoneStatus) -> String {
    match status {
        DoneStatus::Is(status) => format!("{status:?}"),
        other => format!("{other:?}"),
    }
}

pub fn resource() -> ResourceId {
    ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("r").expect("a good name") }
}

pub fn lock(claim: u64, wait_ms: Option<u64>) -> Request {
    let lock = LockRequest {
        claim: ClaimNumber(claim),
        operation: OperationNumber(1),
        resource: resource(),
        mode: Mode::EX,
        options: Options::empty(),
        conversion_deadlock: None,
        wait: wait_ms.map(Duration::from_millis),
        blocking: false,
        owner: Label::default(),
        label: Label::default(),
        orphan: false,
    };
    Request::Lock { lock, until_done: false }
}

/// As a call without a stream asks.
pub fn lock_call(claim: u64, wait_ms: Option<u64>) -> Request {
    let Request::Lock { lock, .. } = lock(claim, wait_ms) else { unreachable!("it is a lock") };
    Request::Lock { lock, until_done: true }
}

pub fn unlock(claim: u64) -> Request {
    Request::Unlock(UnlockRequest {
        claim: ClaimNumber(claim),
        operation: OperationNumber(2),
        options: Options::empty(),
        value: None,
        force: true,
    })
}

pub fn config() -> BrokerConfig {
    BrokerConfig {
        incarnation: Incarnation(7),
        info: BrokerInfo::default(),
        broker_ttl: limits::BROKER_TTL_DEFAULT,
        session_ttl: limits::SESSION_TTL_LIMIT_DEFAULT,
        session_ttl_max: limits::SESSION_TTL_LIMIT_DEFAULT,
        limits: Limits::default(),
        lanes: 1,
        depth: 1,
        reuses_kept: limits::REUSES_KEPT,
        unused_after: limits::UNUSED_AFTER,
        lockspaces: BTreeMap::new(),
        profile: Profile {
            name: "test",
            durability: Durability::Volatile,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: 1_024,
            batch_bytes_max: 64 * 1024 * 1024,
            contract: Contract::Checking,
            commit_timeout: Duration::from_secs(5),
        },
        root: Root { secret_key: [1; 32], identity: 1 },
        store_patience: Duration::from_secs(1),
        history: History::LASTING,
        format_max: sixpin_core::format::NEWEST,
        first_start_grace: Some(Duration::ZERO),
        hold_back: Duration::ZERO,
        drain_timeout: Duration::from_secs(1),
        notes: false,
    }
}
