//! The broker as a machine: one loop of drain, apply, commit, answer.
//!
//! [`Broker`] owns everything that one broker process decides for one store. The shell feeds it [`Input`]s with the
//! time, and carries out the [`Effect`]s that it returns. It never blocks, never reads a clock and never fails: what a
//! store or a client may do wrong has an input, and every input has an answer.
//!
//! # What it is, and what it is not
//!
//! It is not where locks are kept. They are kept in records, one per resource, in a store that several brokers write
//! to, and a broker may be killed at any moment without a word. It is not the lock logic either: that is
//! [`crate::resource`], which takes a record and a command and says what follows. And it elects no leader and agrees
//! with nobody: that a write happens only if the version is as expected is all the agreement there is.
//!
//! What is left is to know who asked what, to have it decided on a state that is true, and to tell those whom it
//! concerns. Three rules carry all of it:
//!
//! * **Nothing is told before it is stored.** An answer that changes nothing is confirmed by a compare first, because
//!   what is remembered or read may be old. (`b01_lock_and_release`, `b02_wait_and_grant`)
//! * **Whatever was not decided is decided again.** After a conflict, or no answer at all, commands go back to the head
//!   of their queue and meet the record as it is by then. Each has a number which the record remembers, so a second
//!   copy changes nothing. (`b03_conflict`, `b04_unknown_outcome`, `b18_calls`)
//! * **Only one broker answers for a session**, and each can tell from its own clock and its own writes when it no
//!   longer does. (`b06_two_moves`, `b15_broker_cut_off`, `b23_suspended_broker`)
//!
//! The names in parentheses are transcripts in `core/tests/broker_transcripts`: each shows step by step what brokers
//! write and say. The argument why all of it suffices is docs/liveness.md; its rules are cited in the parts.
//!
//! # A lock, step by step
//!
//! 1. The request is checked, the claim is noted in the table, and a command waits on its resource (`requests`:
//!    [`Broker::lock`], [`Broker::begin`]).
//! 2. When no more input waits, [`Broker::flush`] applies everything that does, and puts each changed record into the
//!    batch of its lane (`commit`: [`Broker::start_batches`], [`Broker::draft_resource`]). A lane has a few batches in
//!    flight at most, and no record is in two of them. The record may hold claims of clients whom only other brokers know:
//!    they are granted all the same.
//! 3. Committed: those who asked are answered, with a fence made from the write's version (`deliver`:
//!    [`Broker::answer`]; `claims`: [`Broker::complete`]). Where others are concerned the store sends a hint, and their brokers
//!    read the record.
//! 4. Conflict: what stands there is loaded, and step 2 comes again (`outcomes`: [`Broker::record_outcome`]; `reads`:
//!    [`Broker::load`]).
//! 5. A grant that another broker wrote is found by reading: after a hint, or when it is time to look again (`reads`:
//!    [`Broker::follow`], [`Broker::resource_timer`]). A compare confirms it, and then it is told (`reads`:
//!    [`Broker::confirm_news`]; `reconcile`: [`Broker::compare_claims`]).
//!
//! *Doubt* is when a write was sent and nobody knows whether it happened, or still may. The lane's generation moves
//! first, so that no copy can arrive later (`lanes`: [`Broker::settle_lane`], [`Broker::ask_generation`]). Then the
//! record is read and the commands are applied again. One that ended a claim in its first copy finds no claim in the
//! second, and knows by what it noted that it was itself (`shard`: [`shard::Pending::comes_into_doubt`],
//! [`shard::Pending::settle`]).
//!
//! What a broker knows of a record is an *entry* (`shard`). Usually commands make it busy, but not only they: an idle
//! record is to be deleted, or what was read must be confirmed before clients are told. That is its [`shard::Review`].
//! One kind is easily overlooked ([`shard::Review::OnceMore`]): a session comes here while a write of the entry is under
//! way. The write may have been done before the session's other broker changed the claim, so what it shows is not told;
//! another look follows it. (`b16_back_again`)
//!
//! # A move, step by step
//!
//! Of a session that stays where it was opened nothing is stored. What others have to know of one stands in its
//! [`mark`]: that it is dead, or which broker answers for it since which of its moves; its client numbers them. A mark
//! changes by compare-and-swap only, so of two moves that race one comes first, and the higher number stays. It also
//! names claims:
//!
//! * *void* ones the client gave up when it moved, because it had no answer: whether they exist nobody knows, and
//!   whoever meets one removes it (`strangers`: [`Broker::remove_void`]);
//! * *taken* ones an administrator takes away: the client is told with every answer, and they are freed when it
//!   confirmed that, or could not believe in them any more (`admin`: [`Broker::mark_taken`],
//!   [`Broker::taken_marked`]; `b09_forced_release`).
//!
//! 1. The client says what it has and what is void. The session is in the table before anything is written, and nothing
//!    is answered for it yet (`moves`: [`Broker::resume`], [`Broker::move_here`]).
//! 2. The mark is written, again and again until the outcome is definite (`moves`: [`Broker::write_move`]; `marks`:
//!    [`Broker::mark_outcome`]). On a conflict what stands there decides: the move is refused if the session is dead or
//!    a move with no lower number was written; otherwise it is written over that mark (`marks`:
//!    [`marks::decision::verdict`]).
//! 3. Now this broker vouches. What it does not know of the claims by writes of its own it reads and has confirmed, and
//!    answers with how they stand (`moves`: [`Broker::move_written`], [`Broker::settle_claims`], [`Broker::take_over`];
//!    `resumes`: [`Broker::answer_resume`]). If some were void, a sweep looks for them.
//! 4. The broker before finds out when it writes the session's mark itself, and drops the session then; never because
//!    it read something (`marks`: [`marks::decision::verdict`]; `ending`: [`Broker::moved_away`]). To the client its answers
//!    count no more since step 1.
//!
//! (`b05_move`, `b06_two_moves`; `b20_stream_cut`: to come back is a move too)
//!
//! # A death, step by step
//!
//! Of a client whose broker lives (`b07_dead_client`, `b21_frozen_client`):
//!
//! 1. Nothing was heard for the TTL and a tolerance. From here on the session is never answered again, and its mark is
//!    to say *dead* (`ending`: [`Broker::session_timer`], [`Broker::expire`]).
//! 2. The mark is written. Dead is final. Only now do the claims leave their records, and others get the locks
//!    (`ending`: [`Broker::own_buried`], [`Broker::bury_claims`]), where a lock-delay is set after that
//!    (`b22_lock_delay`; `b25_lost_and_withheld`: the same for what the store lost of a holder).
//! 3. The mark goes when nothing can be left that needs it (`strangers`: [`Broker::clear_dead_marks`]).
//!
//! Of a broker (`b08_dead_broker`):
//!
//! 1. Another one has not seen its beat change for its TTL and a tolerance, and turns its registration, exactly as it
//!    was seen, into `gone` (`liveness`: [`Broker::observe`], [`Broker::evict_done`]). The store takes nothing from it
//!    after that; where the store cannot check, it stops by its own clock (`vouching`: [`Broker::is_valid`];
//!    `b14_store_like_nats`).
//! 2. Its clients move, or they do not. Those that are met as *strangers* on a record that somebody waits for, or by
//!    the sweep, are buried when TTL and tolerance have passed since both `gone` and their mark were seen (`strangers`:
//!    [`Broker::look_after`], [`Broker::mark_slot`], [`Broker::stranger_buried`]).
//! 3. The sweep walks over everything that is stored until the registration is needed by nobody (`sweep`).
//!
//! A broker that stops in order tells its clients to move and writes `gone` itself (`phases`: [`Broker::drain`],
//! [`Broker::drain_on`]; `b10_drain`). When the store forgets, every broker on it is over, and its successors grant
//! nothing as long as somebody may believe in what was forgotten (`settling`; `b12_store_forgets`, `b19_lost_writes`,
//! `b26_move_before_settled`, `b27_wait_ends_before_settled`).
//!
//! # Layout, in reading order
//!
//! A part calls those that stand before it and none that stand after it, so each can be understood without what follows
//! (`core/tests/broker_parts.rs` checks it). Where two parts need each other, one of them answers with a value, and what is to
//! follow from it is done by a later part.
//!
//! What is kept:
//!
//! * [`api`]: the words between machine and shell;
//! * `table`: sessions of this broker, and what it knows of their claims; `secret`: how their clients prove who they are;
//!   `shares`: how many sessions each client has; `gatherings`: requests that have several parts; `takings`: administrators
//!   who wait;
//! * `shard`: resources and marks of one lane, and its batches; `entries`: how a resource is found in it; `state`: what an entry
//!   has of a record, in use and at rest; `timers`;
//!
//! what all parts use:
//!
//! * `lookup`: where things are; `vouching`: whether this broker may vouch and write now;
//! * `facts`: what happened is noted for whoever counts; `notes`: what is written down of locks; `answers`: what is said;
//!   `queue`: how commands are queued;
//! * `marks`: what is written into sessions' marks, and the one decision where something else stands there;
//! * `resumes`: how a resume is answered; `claims`: operations complete, claims end, and their clients are told;
//!
//! how sessions and brokers end:
//!
//! * `strangers`: sessions of other brokers, burial; `ending`: how sessions of this one end; `waits`: how waits end;
//! * `idle`: what becomes of what is not used any more; `phases`: the life of this incarnation; `liveness`: which brokers live;
//!
//! what others did:
//!
//! * `sweep`: the walk that clears up; `rounds`: what is held is looked at again;
//! * `replacing`: an administrator has a damaged record replaced; `refusals`: commands that never reach the store;
//! * `reconcile`: what a record says of claims of this broker; `damage`: records that cannot be understood; `reads`: what a
//!   look at the store says; `settling`: whether somebody may believe in what the store does not know of; `formats`: which stored format is written;
//!
//! what is asked, and what comes of it:
//!
//! * `sessions`: sessions open, are kept alive, and have a connection; `listening`: who only hears of one; `moves`: sessions that move
//!   here;
//! * `requests`: what clients ask becomes commands; `admin`, `notifying`, `views`: what administrators do, how they ask holders to let
//!   go, what people see;
//! * `deliver`: what a committed write means to whoever asked; `lanes`: what the outcomes of a batch mean for its lane;
//! * `marks::outcome`, `outcomes`: what they mean for marks and for records; `commit`: commands become a batch;
//! * `dispatch`: which part an input, a request or a timer concerns.

use std::collections::BTreeMap;
use std::time::Duration;

mod admin;
mod answers;
pub mod api;
mod claims;
mod commit;
mod damage;
mod deliver;
mod dispatch;
mod ending;
mod facts;
mod formats;
mod entries;
mod gatherings;
mod idle;
mod lanes;
mod listening;
mod liveness;
mod lookup;
mod marks;
mod moves;
mod notes;
mod notifying;
mod outcomes;
mod phases;
mod queue;
mod reads;
mod reconcile;
mod refusals;
mod replacing;
mod requests;
mod resumes;
mod rounds;
mod secret;
mod sessions;
mod settling;
mod shard;
mod shares;
mod state;
mod strangers;
mod sweep;
mod table;
mod takings;
mod timers;
mod views;
mod vouching;
mod waits;

pub use marks::mark;

use api::{BrokerConfig, ConnectionId, Effect, Input, Now, ReplyTo, StatusView};
use phases::Phase;
use shard::Shard;
use timers::{Timer, Timers};

use crate::backend::{Generation, Lane};
use crate::name::{ClaimId, SessionId};
use crate::planted::Planted;

/// Strangers, dead marks and idle entries are looked after this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Evictions and clearing up are compare-and-swaps on versions that never come back, so their lane needs no doubt.
const CONTROL_GENERATION: Generation = Generation(1);

/// One broker on one store.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    now: Now,
    phase: Phase,
    shards: Vec<Shard>,
    /// Boxed: a tree would move them about, and leave room for as many again.
    sessions: BTreeMap<SessionId, Box<table::Session>>,
    shares: shares::Shares,
    /// Streams that carry a session, and connections that only listen to one.
    connections: BTreeMap<ConnectionId, SessionId>,
    /// Unary calls that wait, and for which claim.
    calls: BTreeMap<ConnectionId, ClaimId>,
    gatherings: gatherings::Gatherings,
    takings: takings::Takings,
    drainers: Vec<ReplyTo>,
    /// Sessions that were told to move when the drain began.
    told: u32,
    liveness: liveness::Liveness,
    settling: settling::Settling,
    writing: formats::Writing,
    strangers: strangers::Strangers,
    sweeps: sweep::Sweeps,
    rounds: rounds::Rounds,
    timers: Timers,
    counters: StatusView,
    facts: facts::Facts,
    next_serial: u32,
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
        let (lanes, depth) = (config.lanes.max(1), config.depth.max(1));
        let key = config.root.secret_key.first_chunk().map_or(0, |key| u64::from_le_bytes(*key));
        let settling = settling::Settling::at(config.history);
        Self {
            config: BrokerConfig { lanes, depth, ..config },
            now: Now::default(),
            phase: Phase::Starting,
            shards: (0..lanes).map(|lane| Shard::new(Lane(lane), key)).collect(),
            sessions: BTreeMap::new(),
            shares: shares::Shares::default(),
            connections: BTreeMap::new(),
            calls: BTreeMap::new(),
            gatherings: gatherings::Gatherings::default(),
            takings: takings::Takings::default(),
            drainers: Vec::new(),
            told: 0,
            liveness: liveness::Liveness::default(),
            settling,
            writing: formats::Writing::up_to(config.format_max),
            strangers: strangers::Strangers::default(),
            sweeps: sweep::Sweeps::default(),
            rounds: rounds::Rounds::default(),
            timers: {
                let mut timers = Timers::default();
                timers.set(Duration::ZERO, Timer::Liveness);
                timers
            },
            counters: StatusView::default(),
            facts: facts::Facts::default(),
            next_serial: 0,
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
        self.input(input);
        std::mem::swap(&mut self.out, effects);
    }

    /// Applies what waits and starts batches on every lane that may have more. Call it when no more input waits.
    pub fn flush(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.now = now;
        if self.is_over() {
            return;
        }
        std::mem::swap(&mut self.out, effects);
        for lane in 0..self.shards.len() {
            self.start_batches(lane);
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
}
