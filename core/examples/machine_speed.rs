//! How many locks the broker machine alone decides, without network and without a store.
//!
//! ```text
//! cargo run --release -p sixpin-core --example machine_speed
//! ```
//!
//! A few sessions lock and unlock resources of their own, so many requests at a time. Every write is answered at once as
//! committed. Each line gives the processor time per request (elapsed time where the system does not tell it), half of which are locks and half unlocks, the requests that shared a
//! batch, and the writes that a pair of lock and unlock took.

// An example measures and prints, which the core itself never does.
#![allow(clippy::disallowed_types, clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sixpin_core::backend::{BrokerInfo, Contract, Durability, Profile, Root, WriteOutcome};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{
    BrokerConfig, ConnectionId, Effect, Input, LockRequest, Now, OpenRequest, Reply, ReplyTo, Request, SessionRef,
    UnlockRequest,
};
use sixpin_core::command::Options;
use sixpin_core::limits::{self, Limits};
use sixpin_core::mode::Mode;
use sixpin_core::name::{
    ClaimNumber, Incarnation, Label, Lockspace, OperationNumber, ResourceId, ResourceName, Version,
};
use sixpin_core::standing::History;

const IN_FLIGHT: [usize; 4] = [1, 64, 512, 1_024];
const SESSIONS: usize = 4;
const REQUESTS: usize = 100_000;
const ROUNDS: usize = 7;

/// A machine whose store commits everything at once.
struct Machine {
    broker: Broker,
    effects: Vec<Effect>,
    version: u64,
    batches: u64,
    writes: u64,
    answers: usize,
}

impl Machine {
    fn new() -> Self {
        let mut machine =
            Self { broker: Broker::new(config()), effects: Vec::new(), version: 1, batches: 0, writes: 0, answers: 0 };
        machine.broker.tick(NOW, &mut machine.effects);
        machine.settle();
        machine
    }

    fn ask(&mut self, connection: u64, request: Request) {
        let from = ReplyTo { connection: ConnectionId(connection), request: 1 };
        let input = Input::Request { from, session: SessionRef::Attached, principal: Some(Box::default()), request };
        self.broker.handle(NOW, input, &mut self.effects);
    }

    /// Flushes until nothing follows.
    fn settle(&mut self) {
        loop {
            self.broker.flush(NOW, &mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            let outcomes: Vec<Input> =
                std::mem::take(&mut self.effects).into_iter().filter_map(|effect| self.carry_out(effect)).collect();
            for outcome in outcomes {
                self.broker.handle(NOW, outcome, &mut self.effects);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Commit { guard, batch, writes } => {
                self.batches += 1;
                self.writes += writes.len() as u64;
                self.version += 1;
                let outcomes = vec![WriteOutcome::Committed(Version(self.version)); writes.len()];
                Some(Input::Committed { lane: guard.lane, batch, outcomes })
            }
            Effect::Beat(beat) => Some(Input::Beaten { number: beat.number, result: Ok(Version(1)) }),
            Effect::Reply { reply, .. } => {
                assert!(!matches!(reply, Reply::Error(_)), "{reply:?}");
                self.answers += 1;
                None
            }
            _ => None,
        }
    }
}

const NOW: Now = Now { mono: Duration::from_secs(1), boot: Duration::from_secs(1), wall_ms: 1_700_000_000_000 };

fn config() -> BrokerConfig {
    BrokerConfig {
        incarnation: Incarnation(7),
        info: BrokerInfo::default(),
        broker_ttl: limits::BROKER_TTL_DEFAULT,
        session_ttl: limits::SESSION_TTL_DEFAULT,
        session_ttl_max: limits::SESSION_TTL_LIMIT_DEFAULT,
        limits: Limits::default(),
        lanes: 1,
        depth: 4,
        reuses_kept: limits::REUSES_KEPT,
        unused_after: limits::UNUSED_AFTER,
        lockspaces: BTreeMap::new(),
        profile: Profile {
            name: "none",
            durability: Durability::Volatile,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: 1_024,
            batch_bytes_max: 64 * 1024 * 1024,
            contract: Contract::Alone,
            commit_timeout: Duration::from_secs(5),
        },
        root: Root { secret_key: [1; 32], identity: 1 },
        store_patience: Duration::from_secs(1),
        history: History::LASTING,
        format_max: sixpin_core::format::NEWEST,
        first_start_grace: None,
        hold_back: Duration::ZERO,
        drain_timeout: Duration::from_secs(1),
        notes: false,
    }
}

fn lock(claim: u64, resource: &str) -> Request {
    // A name of its own each time, as it comes from a client.
    let resource = ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(resource).unwrap() };
    let lock = LockRequest {
        claim: ClaimNumber(claim),
        operation: OperationNumber(1),
        resource,
        mode: Mode::EX,
        options: Options::empty(),
        conversion_deadlock: None,
        wait: None,
        blocking: false,
        owner: Label::default(),
        label: Label::default(),
        orphan: false,
    };
    Request::Lock { lock, until_done: false }
}

fn unlock(claim: u64) -> Request {
    Request::Unlock(UnlockRequest {
        claim: ClaimNumber(claim),
        operation: OperationNumber(2),
        options: Options::empty(),
        value: None,
        force: false,
    })
}

/// Processor time of this process, which others on the machine do not disturb; or else the time that passes.
struct Clock {
    begun: Instant,
}

impl Clock {
    fn now(&self) -> Duration {
        // Linux: nanoseconds on a processor, of this one thread.
        let told = std::fs::read_to_string("/proc/self/schedstat").ok();
        let nanoseconds = told.and_then(|told| told.split(' ').next().and_then(|first| first.parse().ok()));
        nanoseconds.map_or_else(|| self.begun.elapsed(), Duration::from_nanos)
    }
}

/// One round: nanoseconds per request.
fn round(clock: &Clock, machine: &mut Machine, in_flight: usize, next_claim: &mut u64) -> f64 {
    let sessions = SESSIONS.min(in_flight);
    let names: Vec<String> = (0..in_flight).map(|place| format!("bench/machine/resource/{place:06}")).collect();
    let pairs = (REQUESTS / in_flight / 2).max(1);
    let begun = clock.now();
    for _ in 0..pairs {
        let first = *next_claim;
        *next_claim += in_flight as u64;
        for (place, name) in names.iter().enumerate() {
            machine.ask((place % sessions) as u64 + 1, lock(first + (place / sessions) as u64, name));
        }
        machine.settle();
        for place in 0..in_flight {
            machine.ask((place % sessions) as u64 + 1, unlock(first + (place / sessions) as u64));
        }
        machine.settle();
        *next_claim = first + in_flight.div_ceil(sessions) as u64;
    }
    clock.now().saturating_sub(begun).as_secs_f64() * 1e9 / (pairs * 2 * in_flight) as f64
}

fn main() {
    let clock = Clock { begun: Instant::now() };
    println!(
        "{:>10} {:>12} {:>12} {:>14} {:>12}",
        "in flight", "ns/request", "requests/s", "requests/batch", "writes/pair"
    );
    for in_flight in IN_FLIGHT {
        let mut machine = Machine::new();
        for connection in 1..=SESSIONS as u64 {
            machine.ask(connection, Request::Open(Box::new(OpenRequest { attach: true, ..OpenRequest::default() })));
        }
        machine.settle();
        let mut next_claim = 1;
        round(&clock, &mut machine, in_flight, &mut next_claim);
        (machine.batches, machine.writes, machine.answers) = (0, 0, 0);
        let mut times: Vec<f64> =
            (0..ROUNDS).map(|_| round(&clock, &mut machine, in_flight, &mut next_claim)).collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        let answers = machine.answers as f64;
        println!(
            "{in_flight:>10} {median:>12.0} {:>12.0} {:>14.1} {:>12.2}",
            1e9 / median,
            answers / machine.batches as f64,
            machine.writes as f64 / answers * 2.0
        );
    }
}
