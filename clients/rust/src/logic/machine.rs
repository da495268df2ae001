//! The machine itself: its state, and the order in which things are looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::api::{Config, Input, OperationId, Output, State};
use super::claim::{Claim, Job, Place};
use super::life::Life;
use super::links::Links;
use super::planted::Planted;
use super::route::Route;
use super::send::Flight;
use super::waits::Waits;
use crate::error::{Error, Loss, Tried};

/// One session on the client's side.
///
/// Feed it every [`Input`] with the time of now, carry out the [`Output`]s in order, and call [`Machine::tick`] first
/// and whenever [`Machine::deadline`] has passed. Time never goes back.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) phase: Phase,
    pub(super) route: Route,
    pub(super) links: Links,
    /// Name and token, once open.
    pub(super) identity: Option<Identity>,
    /// Of the newest move sent; 0 before the first.
    pub(super) move_number: u32,

    /// By number.
    pub(super) claims: BTreeMap<u64, Claim>,
    /// The lowest claim number never used.
    pub(super) next_claim: u64,
    /// Locks and conversions that somebody waits for.
    pub(super) operations: BTreeMap<OperationId, Place>,
    /// Releases of many: how many are to come, and how many came.
    pub(super) groups: BTreeMap<OperationId, Group>,
    /// Numbers of lock requests that were given up in a move. `true` once a broker took note.
    pub(super) void: BTreeMap<u64, bool>,

    /// To be sent first: what lets go.
    pub(super) urgent: VecDeque<Job>,
    /// To be sent then: what asks.
    pub(super) normal: VecDeque<Job>,
    /// Entries of `normal` whose operation was abandoned before it was sent.
    pub(super) stale: usize,
    /// To be sent later, in order of time.
    pub(super) retries: BTreeMap<(Duration, u64), Job>,
    pub(super) retries_made: u64,
    /// Losses that the program has acknowledged, to be told to the next broker.
    pub(super) confirmations: Vec<u64>,
    /// Requests on the attached link that are not answered.
    pub(super) flights: BTreeMap<u64, Flight>,
    /// How many there may be.
    pub(super) window: usize,
    /// Claims that are asked for and not answered.
    pub(super) asked: usize,
    /// When the waits for locks and conversions end.
    pub(super) waits: Waits,

    /// The program is done with the session.
    pub(super) closing: bool,
    pub(super) told: State,
    pub(super) over: bool,
    pub(super) planted: Planted,
}

/// Where in its life a session is.
#[derive(Debug)]
pub(super) enum Phase {
    /// `until` is set by the first tick.
    Opening {
        until: Option<Duration>,
        /// What a broker said that is full.
        full: Option<Error>,
        /// What was met at each address last.
        tried: Vec<Tried>,
    },
    Live(Life),
    /// Close is sent: everything was given up before.
    Closing {
        give_up: Duration,
    },
    /// Lost. Guards that the program has not let go of yet.
    Lost {
        loss: Loss,
        unconfirmed: BTreeSet<u64>,
        farewell: Farewell,
    },
    Closed,
}

/// What a broker hears when the program has let go of everything that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The broker waits for it.
    ConfirmLost,
    /// The broker may not know yet.
    Close,
    /// The session is somewhere else, or nowhere.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) session: String,
    pub(super) token: String,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) missing: u32,
    pub(super) released: u32,
}

impl Machine {
    /// A session that is not open yet. Call [`Machine::tick`] next.
    pub fn new(config: Config) -> Self {
        Self {
            route: Route::new(config.endpoints.clone(), config.seed),
            config,
            phase: Phase::Opening { until: None, full: None, tried: Vec::new() },
            links: Links::default(),
            identity: None,
            move_number: 0,
            claims: BTreeMap::new(),
            next_claim: 1,
            operations: BTreeMap::new(),
            groups: BTreeMap::new(),
            void: BTreeMap::new(),
            urgent: VecDeque::new(),
            normal: VecDeque::new(),
            stale: 0,
            retries: BTreeMap::new(),
            retries_made: 0,
            confirmations: Vec::new(),
            flights: BTreeMap::new(),
            window: 0,
            asked: 0,
            waits: Waits::default(),
            closing: false,
            told: State::Opening,
            over: false,
            planted: Planted::default(),
        }
    }

    /// Leaves out one rule from now on.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: super::planted::Bug) {
        self.planted = Planted::of(bug);
    }

    /// Takes one input. The time is looked at before the input: what is lost by then stays lost, whatever it says.
    pub fn handle(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        if self.over {
            self.refuse(&input, out);
            return;
        }
        self.check_deadline(now, out);
        match input {
            Input::Lock { id, request } => self.ask_lock(now, id, request, out),
            Input::Convert { id, request, queue } => self.ask_convert(now, id, request, queue, out),
            Input::Unlock { id, request } => self.ask_unlock(id, request, out),
            Input::UnlockAll { id, owner } => self.ask_unlock_all(id, owner.as_deref(), out),
            Input::Leave { claim } => self.leave_claim(claim, out),
            Input::Abandon { id } => self.abandon(id),
            Input::Cancel { id } => self.cancel(id, out),
            Input::Close => self.close(out),
            Input::Expired => self.expire(out),
            Input::Connected { link } => self.connected(now, link, out),
            Input::Received { link, message } => self.received(now, link, *message, out),
            Input::Disconnected { link, detail } => self.disconnected(now, link, &detail, out),
        }
        self.settle(now, out);
    }

    /// Does what the passing of time asks for. Call it at [`Machine::deadline`] or later.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.over {
            return;
        }
        self.check_deadline(now, out);
        self.settle(now, out);
    }

    /// When [`Machine::tick`] wants to be called next; absent if only an input can change anything.
    pub fn deadline(&self) -> Option<Duration> {
        if self.over {
            return None;
        }
        let phase = match &self.phase {
            // The first tick starts it.
            Phase::Opening { until, .. } => Some(until.unwrap_or(Duration::ZERO)),
            Phase::Live(life) => Some(life.valid_until),
            Phase::Closing { give_up } => Some(*give_up),
            Phase::Lost { .. } | Phase::Closed => None,
        };
        let wait = self.wait_due();
        [phase, self.keepalive_due(), self.links.attempts.due(), self.retry_due(), wait].into_iter().flatten().min()
    }

    /// How sure the session is of its life, as last told.
    pub fn state(&self) -> State {
        self.told
    }

    /// How many claims it knows: granted, waiting, or being let go of.
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// The exclusive end of its validity, as things stand; absent unless it is open.
    pub fn valid_until(&self) -> Option<Duration> {
        self.life().map(|life| life.valid_until)
    }

    /// The claim's mode, if the session is live and holds it.
    pub fn holds(&self, claim: u64) -> Option<crate::mode::Mode> {
        self.life()?;
        let claim = self.claims.get(&claim).filter(|claim| claim.lost.is_none() && claim.release.is_none())?;
        claim.granted.map(|granted| granted.mode)
    }

    /// What is left to do after every input and tick.
    fn settle(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.end_waits(now, out);
        self.drive_links(now, out);
        self.drive_keepalive(now, out);
        self.take_retries(now);
        self.pump(now, out);
        self.drive_close(now, out);
        self.tell_state(now, out);
    }

    pub(super) fn life(&self) -> Option<&Life> {
        match &self.phase {
            Phase::Live(life) => Some(life),
            _ => None,
        }
    }

    pub(super) fn life_mut(&mut self) -> Option<&mut Life> {
        match &mut self.phase {
            Phase::Live(life) => Some(life),
            _ => None,
        }
    }

    /// The TTL, or what is likely to become it.
    pub(super) fn ttl(&self) -> Duration {
        self.life()
            .map_or_else(|| Duration::from_millis(u64::from(self.config.ttl_ms.unwrap_or(10_000))), |life| life.ttl)
    }

    /// Since when a keepalive is not acknowledged; absent if none is on its way.
    pub fn unanswered_since(&self) -> Option<Duration> {
        self.life().and_then(|life| life.unanswered_since)
    }

    fn tell_state(&mut self, now: Duration, out: &mut Vec<Output>) {
        let state = match &self.phase {
            Phase::Opening { .. } => State::Opening,
            Phase::Live(life) if self.links.attached.is_some() && !life.is_overdue(now) => State::Safe,
            Phase::Live(_) => State::Uncertain,
            Phase::Lost { loss, .. } => State::Lost(*loss),
            Phase::Closing { .. } | Phase::Closed => State::Closed,
        };
        if state != self.told {
            self.told = state;
            out.push(Output::State(state));
        }
    }
}
