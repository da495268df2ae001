//! Copies of requests, ends in doubt, callers that leave: what a broker says of a claim is what the store says of it.
//!
//! The broker machine runs against a store of a few lines, which applies each batch and says so, or does not say so.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::backend::{BrokerInfo, Change, Durability, Key, Profile, Root, Slot, Write, WriteOutcome};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{
    BrokerConfig, ConnectionId, DoneStatus, Effect, Event, Input, LockRequest, Now, OpenRequest, Reply, ReplyTo,
    Request, Secret, SessionRef, UnlockRequest,
};
use sixpin_core::command::Options;
use sixpin_core::limits::{self, Limits};
use sixpin_core::mode::Mode;
use sixpin_core::name::{
    ClaimNumber, Incarnation, Label, Lockspace, OperationNumber, ResourceId, ResourceName, SessionId, Version,
};
use sixpin_core::resource::Resource;
use sixpin_core::standing::History;

const HOLDER: u64 = 1;
const WAITER: u64 = 2;

struct World {
    broker: Broker,
    ms: u64,
    stored: BTreeMap<Key, Slot>,
    version: u64,
    effects: Vec<Effect>,
    /// The next batch is applied, and nobody says so.
    doubt: bool,
    /// Answers of the store that were kept back, while it gives none.
    kept_back: Option<Vec<Input>>,
    /// What was said, to whom.
    said: Vec<(u64, String)>,
    sessions: BTreeMap<u64, (SessionId, Secret)>,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    /// A broker with a session on each of two streams; the first one holds the resource.
    fn with(limits: Limits) -> Self {
        let mut world = Self {
            broker: Broker::new(BrokerConfig { limits, ..config() }),
            ms: 1_000,
            stored: BTreeMap::new(),
            version: 1,
            effects: Vec::new(),
            doubt: false,
            kept_back: None,
            said: Vec::new(),
            sessions: BTreeMap::new(),
        };
        world.tick();
        for connection in [HOLDER, WAITER] {
            world.send(
                connection,
                SessionRef::Attached,
                Request::Open(OpenRequest { attach: true, ..Default::default() }),
            );
        }
        world.settle();
        world.ask(HOLDER, lock(1, None));
        world.settle();
        world.said.clear();
        world
    }

    fn now(&self) -> Now {
        let time = Duration::from_millis(self.ms);
        Now { mono: time, boot: time, wall_ms: 1_700_000_000_000 + self.ms }
    }

    fn send(&mut self, connection: u64, session: SessionRef, request: Request) {
        let from = ReplyTo { connection: ConnectionId(connection), request: 1 };
        self.broker.handle(self.now(), Input::Request { from, session, request }, &mut self.effects);
    }

    /// On the session's stream.
    fn ask(&mut self, connection: u64, request: Request) {
        self.send(connection, SessionRef::Attached, request);
    }

    /// In a call for the session of the waiter.
    fn call(&mut self, call: u64, request: Request) {
        let (session, secret) = self.sessions[&WAITER];
        self.send(call, SessionRef::Named(session, secret), request);
    }

    fn cut(&mut self, call: u64) {
        let input = Input::Disconnected { connection: ConnectionId(call) };
        self.broker.handle(self.now(), input, &mut self.effects);
    }

    fn tick(&mut self) {
        self.broker.tick(self.now(), &mut self.effects);
        self.settle();
    }

    fn wait(&mut self, ms: u64) {
        self.ms += ms;
        self.tick();
    }

    fn settle(&mut self) {
        loop {
            self.broker.flush(self.now(), &mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            self.settle_once();
        }
    }

    /// Carries out what the broker wants by now.
    fn settle_once(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match (self.carry_out(effect), &mut self.kept_back) {
                (Some(input), Some(kept)) => kept.push(input),
                (Some(input), None) => self.broker.handle(self.now(), input, &mut self.effects),
                (None, _) => {}
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Commit { guard, writes } => {
                self.version += 1;
                let mut outcomes: Vec<WriteOutcome> = writes.into_iter().map(|write| self.write(write)).collect();
                if std::mem::take(&mut self.doubt) {
                    outcomes.fill(WriteOutcome::Unknown("no answer".into()));
                }
                Some(Input::Committed { lane: guard.lane, outcomes })
            }
            Effect::Advance { guard } => Some(Input::Advanced { guard, result: Ok(()) }),
            Effect::Read { keys } => {
                let slots = keys.iter().map(|key| self.stored.get(key).cloned().unwrap_or_default()).collect();
                Some(Input::Slots { keys, result: Ok(slots) })
            }
            Effect::Beat(beat) => Some(Input::Beaten { number: beat.number, result: Ok(Version(1)) }),
            Effect::Pulses => Some(Input::Pulses { result: Ok(Vec::new()) }),
            Effect::Reply { to, reply } => {
                match &reply {
                    Reply::Opened { session, secret } => {
                        self.sessions.insert(to.connection.0, (*session, *secret));
                    }
                    Reply::Done(done) => self.said.push((to.connection.0, word(done.status))),
                    Reply::Cancelled { result, .. } => self.said.push((to.connection.0, format!("{result:?}"))),
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
            _ => None,
        }
    }

    fn write(&mut self, write: Write) -> WriteOutcome {
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
    fn answers(&mut self) {
        for input in self.kept_back.take().unwrap_or_default() {
            self.broker.handle(self.now(), input, &mut self.effects);
        }
        self.settle();
    }

    /// How many claims a session has on the resource, as it is stored.
    fn stored_claims(&self, connection: u64) -> usize {
        let Some(slot) = self.stored.get(&Key::Resource(resource())) else { return 0 };
        let Some(bytes) = &slot.bytes else { return 0 };
        let stored = Resource::decode(bytes, slot.version).expect("the broker wrote it");
        stored.claims_of(self.sessions[&connection].0).count()
    }

    fn said(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.said)
    }
}

fn word(status: DoneStatus) -> String {
    match status {
        DoneStatus::Is(status) => format!("{status:?}"),
        other => format!("{other:?}"),
    }
}

fn resource() -> ResourceId {
    ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("r").expect("a good name") }
}

fn lock(claim: u64, wait_ms: Option<u64>) -> Request {
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
fn lock_call(claim: u64, wait_ms: Option<u64>) -> Request {
    let Request::Lock { lock, .. } = lock(claim, wait_ms) else { unreachable!("it is a lock") };
    Request::Lock { lock, until_done: true }
}

fn unlock(claim: u64) -> Request {
    Request::Unlock(UnlockRequest {
        claim: ClaimNumber(claim),
        operation: OperationNumber(2),
        options: Options::empty(),
        value: None,
        force: true,
    })
}

fn config() -> BrokerConfig {
    BrokerConfig {
        incarnation: Incarnation(7),
        info: BrokerInfo::default(),
        broker_ttl: limits::BROKER_TTL_DEFAULT,
        session_ttl: limits::SESSION_TTL_LIMIT_DEFAULT,
        session_ttl_max: limits::SESSION_TTL_LIMIT_DEFAULT,
        limits: Limits::default(),
        lanes: 1,
        lockspaces: BTreeMap::new(),
        profile: Profile {
            name: "test",
            durability: Durability::Volatile,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: 1_024,
            batch_bytes_max: 64 * 1024 * 1024,
            shared: true,
            compares: true,
            markers: false,
            checks_registration: true,
            checks_generation: true,
            commit_timeout: Duration::from_secs(5),
        },
        root: Root { secret_key: [1; 32], identity: 1 },
        store_patience: Duration::from_secs(1),
        history: History::LASTING,
        first_start_grace: Some(Duration::ZERO),
        hold_back: Duration::ZERO,
        drain_timeout: Duration::from_secs(1),
    }
}

#[test]
fn a_wait_that_ends_in_doubt_timed_out() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, Some(100)));
    world.settle();
    world.doubt = true;
    world.wait(200);
    assert_eq!(world.said(), [(WAITER, "TimedOut".to_owned())]);
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_cancel_in_doubt_cancelled() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, None));
    world.settle();
    world.doubt = true;
    world.ask(WAITER, Request::Cancel { claim: ClaimNumber(1), operation: None });
    world.settle();
    let said = world.said();
    assert_eq!(said, [(WAITER, "Cancelled".to_owned()), (WAITER, "Cancelled".to_owned())], "the lock and the cancel");
}

#[test]
fn a_release_of_everything_in_doubt_released() {
    let mut world = World::new();
    world.doubt = true;
    world.ask(HOLDER, Request::UnlockAll { owner: None });
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "1 released".to_owned())], "and nothing is lost");
}

/// A call is cut while it waits and comes again before its withdrawal was written.
fn a_copy_behind_a_cut(doubt: bool) {
    let mut world = World::new();
    world.call(10, lock_call(1, None));
    world.settle();
    world.doubt = doubt;
    world.cut(10);
    world.call(11, lock_call(1, None));
    world.ask(HOLDER, unlock(1));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(11, "Cancelled".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_copy_behind_a_cut_creates_nothing() {
    a_copy_behind_a_cut(false);
}

#[test]
fn a_copy_behind_a_cut_in_doubt_creates_nothing() {
    a_copy_behind_a_cut(true);
}

#[test]
fn a_copy_behind_a_release_creates_nothing() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    world.call(10, lock_call(1, None));
    world.settle();
    world.call(11, unlock(1));
    world.call(12, lock_call(1, None));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(12, "Gone".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

/// The first copy is refused while the end of it is on its way.
fn a_copy_behind_the_end_of_what_was_refused(end: Request) {
    let mut world = World::with(Limits { queued_per_resource: 0, ..Limits::default() });
    world.call(10, lock_call(1, None));
    world.call(11, end);
    world.settle();
    let said = world.said();
    assert!(said.iter().any(|(call, _)| *call == 11), "{said:?}");
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.call(12, lock_call(1, None));
    world.settle();
    let said = world.said();
    assert!(said.contains(&(12, "Gone".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_copy_behind_the_cancel_of_what_was_refused_creates_nothing() {
    a_copy_behind_the_end_of_what_was_refused(Request::Cancel { claim: ClaimNumber(1), operation: None });
}

#[test]
fn a_copy_behind_the_release_of_what_was_refused_creates_nothing() {
    a_copy_behind_the_end_of_what_was_refused(unlock(1));
}

#[test]
fn a_copy_that_meets_the_end_of_the_wait_does_not_hide_the_claim() {
    let mut world = World::new();
    world.call(10, lock_call(1, Some(100)));
    world.settle();
    world.ms += 200;
    world.call(11, lock_call(1, Some(100)));
    // The wait ends before the copy was sent.
    world.tick();
    let said = world.said();
    assert!(said.contains(&(11, "TimedOut".to_owned())), "{said:?}");
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_grant_that_nobody_can_be_told_of_is_given_back() {
    let mut world = World::new();
    world.call(10, lock_call(1, None));
    world.settle();
    // The release is under way when the caller leaves.
    world.ask(HOLDER, unlock(1));
    world.broker.flush(world.now(), &mut world.effects);
    world.cut(10);
    world.settle();
    assert_eq!(world.stored_claims(WAITER), 0);
    world.ask(HOLDER, lock(2, Some(0)));
    world.settle();
    assert!(world.said().contains(&(HOLDER, "Granted".to_owned())));
}

#[test]
fn a_try_in_doubt_is_given_back_although_its_copies_wait_for_a_store_that_is_not_settled() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.doubt = true;
    world.call(10, lock_call(1, Some(0)));
    world.broker.flush(world.now(), &mut world.effects);
    world.settle_once();
    // Its outcome is unknown, and what the store is asked then is not answered.
    world.kept_back = Some(Vec::new());
    world.settle();
    world.call(11, lock_call(1, Some(0)));
    world.cut(11);
    world.broker.handle(world.now(), Input::History(History(1)), &mut world.effects);
    world.wait(1_100);
    world.wait(1_100);
    assert_eq!(world.stored_claims(WAITER), 1, "what was in doubt had happened");
    world.answers();
    assert_eq!(world.stored_claims(WAITER), 0);
}

#[test]
fn a_bound_session_leaves_the_queue_with_its_stream() {
    let mut world = World::new();
    let open = OpenRequest { attach: true, bound: true, ..Default::default() };
    world.send(3, SessionRef::Attached, Request::Open(open));
    world.ask(3, lock(1, None));
    world.settle();
    assert_eq!(world.stored_claims(3), 1);
    world.cut(3);
    world.settle();
    assert_eq!(world.stored_claims(3), 0);
    world.tick();
    let (session, secret) = world.sessions[&3];
    world.send(4, SessionRef::Named(session, secret), Request::KeepAlive { move_number: 0 });
    world.ask(HOLDER, unlock(1));
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "Released".to_owned())]);
}

#[test]
fn a_bound_session_releases_with_its_stream_if_it_said_so() {
    let mut world = World::new();
    world.ask(HOLDER, unlock(1));
    for release_on_end in [false, true] {
        let connection = 3 + u64::from(release_on_end);
        let open = OpenRequest { attach: true, bound: true, release_on_end, ..Default::default() };
        world.send(connection, SessionRef::Attached, Request::Open(open));
        world.ask(connection, lock(1, None));
        world.settle();
        if release_on_end {
            let (session, secret) = world.sessions[&3];
            world.send(9, SessionRef::Named(session, secret), unlock(1));
            world.settle();
        }
        world.cut(connection);
        world.settle();
        assert_eq!(world.stored_claims(connection), usize::from(!release_on_end));
    }
}
