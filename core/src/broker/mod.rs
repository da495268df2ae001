//! The broker as a machine: one loop of drain, apply, commit, answer.
//!
//! [`Broker`] owns everything that one broker process decides for one store. The shell feeds it [`Input`]s with the
//! time, and carries out the [`Effect`]s that it returns. It never blocks, never reads a clock and never fails: what a
//! store or a client may do wrong has an input, and every input has an answer.
//!
//! A request is checked against the table of sessions and becomes a command in the queue of its resource. `flush` applies
//! what waits on each resource to the record that the broker believes current, and puts all changed records into one
//! batch of independent compare-and-swaps per lane. When the store has answered, those who asked are answered; where it
//! said "conflict" or nothing at all, the commands are decided again on fresh state, which their numbers make harmless.
//!
//! # Layout, in reading order
//!
//! * [`api`]: the words between machine and shell;
//! * `table`: sessions of this broker, and what it knows of their claims; `shares`: how many each client has;
//! * `shard`: resources and marks of one lane, and its batch; `entries`: how a resource is found in it;
//! * `requests`: what clients ask becomes commands;
//! * `commit`: commands become a batch, and what its outcomes mean;
//! * `deliver`: what a committed write means to clients;
//! * `rounds`: what is held is looked at again; `damage`: records that cannot be understood;
//! * `ending`: how sessions end;
//! * [`mark`]: what the store says about a session;
//! * `moves`: sessions that move here;
//! * `liveness`: which brokers live; `settling`: whether somebody may believe in what the store does not know of;
//! * `strangers`: sessions of other brokers, burial; `sweep`: the walk that clears up;
//! * `admin`, `views`: what administrators do, what people see;
//! * `secret`, `timers`: small parts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod admin;
pub mod api;
mod commit;
mod damage;
mod deliver;
mod ending;
mod entries;
mod liveness;
pub mod mark;
mod moves;
mod requests;
mod rounds;
mod secret;
mod settling;
mod shard;
mod shares;
mod strangers;
mod sweep;
mod table;
mod timers;
mod views;

use api::{BrokerConfig, ConnectionId, Effect, Input, LockspaceConfig, LogLevel, LogLine, Now, ReplyTo, StatusView};
use shard::Shard;
use timers::{Timer, Timers};

use crate::backend::{Generation, Key, Lane};
use crate::name::{ClaimId, Lockspace, ResourceId, SessionId};
use crate::planted::Planted;

/// A resource on which somebody waits is read again after this, in case every hint was lost.
const POLL_WAITING: Duration = Duration::from_secs(1);
/// The same where somebody only wants to hear whom it blocks.
const POLL_LISTENING: Duration = Duration::from_secs(5);
/// Strangers, dead marks and idle entries are looked after this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// An entry that nobody needs is forgotten after this.
const ENTRY_IDLE: Duration = Duration::from_secs(10);
/// Evictions and clearing up are compare-and-swaps on versions that never come back, so their lane needs no doubt.
const CONTROL_GENERATION: Generation = Generation(1);

/// Where this incarnation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not registered yet.
    Starting,
    Serving,
    /// Clients were told to move.
    Draining {
        told: u32,
    },
    /// The goodbye is on its way: nothing is vouched for any more.
    Leaving,
    Over,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    /// A stream that carries a session.
    Session(SessionId),
}

/// One broker on one store.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    now: Now,
    phase: Phase,
    shards: Vec<Shard>,
    sessions: BTreeMap<SessionId, table::Session>,
    shares: shares::Shares,
    connections: BTreeMap<ConnectionId, Attached>,
    /// Unary calls that wait, and for which claim.
    calls: BTreeMap<ConnectionId, ClaimId>,
    gatherings: BTreeMap<u64, requests::Gathering>,
    forcing: Vec<admin::Forcing>,
    marking: Vec<admin::Marking>,
    expiring: BTreeMap<SessionId, Vec<ReplyTo>>,
    drainers: Vec<ReplyTo>,
    /// Sessions that were told to move when the drain began.
    told: u32,
    /// Sessions with void claims.
    void_sessions: BTreeSet<SessionId>,
    liveness: liveness::Liveness,
    settling: settling::Settling,
    strangers: strangers::Strangers,
    sweeps: sweep::Sweeps,
    rounds: rounds::Rounds,
    timers: Timers,
    counters: StatusView,
    next_serial: u32,
    next_part: u64,
    /// Commands of clients that wait for the store.
    queued: usize,
    /// Answers are withheld: this broker may have been declared dead.
    muted: bool,
    planted: Planted,
    out: Vec<Effect>,
}

impl Broker {
    /// A broker that has not registered yet. Call [`Broker::tick`] next.
    pub fn new(config: BrokerConfig) -> Self {
        let lanes = config.lanes.max(1);
        let settling = settling::Settling::at(config.history);
        Self {
            config: BrokerConfig { lanes, ..config },
            now: Now::default(),
            phase: Phase::Starting,
            shards: (0..lanes).map(|lane| Shard::new(Lane(lane))).collect(),
            sessions: BTreeMap::new(),
            shares: shares::Shares::default(),
            connections: BTreeMap::new(),
            calls: BTreeMap::new(),
            gatherings: BTreeMap::new(),
            forcing: Vec::new(),
            marking: Vec::new(),
            expiring: BTreeMap::new(),
            drainers: Vec::new(),
            told: 0,
            void_sessions: BTreeSet::new(),
            liveness: liveness::Liveness::default(),
            settling,
            strangers: strangers::Strangers::default(),
            sweeps: sweep::Sweeps::default(),
            rounds: rounds::Rounds::default(),
            timers: {
                let mut timers = Timers::default();
                timers.set(Duration::ZERO, Timer::Liveness);
                timers
            },
            counters: StatusView::default(),
            next_serial: 0,
            next_part: 0,
            queued: 0,
            muted: false,
            planted: Planted::default(),
            out: Vec::new(),
        }
    }

    /// Leaves out one rule from now on.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: crate::planted::Bug) {
        self.planted = Planted::of(bug);
    }

    /// Takes one input. Requests are only queued: [`Broker::flush`] applies them, so that everything that waits goes
    /// into one batch.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.now = now;
        if self.is_over() {
            return;
        }
        // What is said goes straight into the caller's list.
        std::mem::swap(&mut self.out, effects);
        match input {
            Input::Request { from, session, request } => self.request(from, session, request),
            Input::Admin { from, request } => self.admin(from, request),
            Input::Query { from, query } => self.query(from, query),
            Input::Disconnected { connection } => self.disconnected(connection),
            Input::Committed { .. } | Input::Advanced { .. } | Input::Slots { .. } => self.lane_input(input),
            Input::Changed { key } => self.changed(&key),
            Input::Listed { result, .. } => self.listed(result),
            Input::Beaten { number, result } => self.beaten(number, result),
            Input::Left { .. } => self.left(),
            Input::EvictDone { target, outcome } => self.evict_done(target, &outcome),
            Input::ForgetDone { target, outcome } => self.forget_done(target, &outcome),
            Input::Pulses { result } => self.pulses(result),
            Input::History(history) => self.history(history),
        }
        std::mem::swap(&mut self.out, effects);
    }

    /// Applies what waits and starts a batch on every idle lane. Call it when no more input waits.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.now = now;
        if self.is_over() {
            return;
        }
        std::mem::swap(&mut self.out, effects);
        for lane in 0..self.shards.len() {
            self.start_batch(lane);
        }
        self.drain_on(false);
        std::mem::swap(&mut self.out, effects);
    }

    /// Does what the passing of time asks for. Call it at [`Broker::deadline`] or later.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.now = now;
        std::mem::swap(&mut self.out, effects);
        while !self.is_over()
            && let Some(timer) = self.timers.pop_due(now.mono)
        {
            self.timer(timer);
        }
        std::mem::swap(&mut self.out, effects);
    }

    /// The monotonic time at which [`Broker::tick`] wants to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        if self.is_over() { None } else { self.timers.next() }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Wait(claim, operation) => self.wait_ended(claim, operation),
            Timer::Session(id) => self.session_timer(id),
            Timer::Resource(id) => self.resource_timer(&id),
            Timer::Forced(claim) => self.forced_timer(claim),
            Timer::Expired(id) => self.expired_timer(id),
            Timer::Delayed(session, resource) => self.bury_now(session, &resource),
            Timer::Lane(lane) => self.wake_lane(usize::from(lane)),
            Timer::Liveness => self.liveness_timer(),
            Timer::Strangers => self.look_after_strangers(),
            Timer::Housekeeping => self.housekeeping(),
            Timer::Round => self.go_round(),
            Timer::Settling => self.look_whether_settled(),
            Timer::Drain => self.drain_on(true),
        }
    }

    fn lane(&self, key: &Key) -> usize {
        shard::lane_of(key, self.config.lanes)
    }

    fn lane_of(&self, id: &ResourceId) -> usize {
        shard::lane_of_resource(id, self.config.lanes)
    }

    fn lockspace(&self, lockspace: &Lockspace) -> LockspaceConfig {
        self.config.lockspaces.get(lockspace).cloned().unwrap_or_default()
    }

    /// May anything be written now?
    fn may_send(&self) -> bool {
        if matches!(self.phase, Phase::Starting | Phase::Over) || !self.trusts_store() {
            return false;
        }
        self.config.profile.checks_registration || self.is_valid()
    }

    /// Entries that nobody needs go: what they knew can be read again.
    fn forget_idle_entries(&mut self) {
        let now = self.now.mono;
        for shard in &mut self.shards {
            shard.entries.retain(|entry| {
                let fresh = now.saturating_sub(entry.touched) < ENTRY_IDLE || entry.damage.is_remembered(now);
                !entry.is_forgettable() || fresh
            });
        }
    }

    fn log(&mut self, level: LogLevel, step: &'static str, subject: String, detail: String) {
        self.out.push(Effect::Log(LogLine { level, step, subject, detail }));
    }
}
