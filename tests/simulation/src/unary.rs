//! Callers: clients without streams. They cut calls, send them again under the same numbers, send copies that race each
//! other and the end of their wait, walk away from what they asked for, and move to other brokers.
//!
//! A caller keeps to what the API asks of it: it acts on a lock only while its own clock allows, lets go of a lock before
//! it says so, gives up what was not answered when it moves, and goes on releasing until it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixpin_client::Mode;
use sixpin_core::broker::api::{
    CancelResult, ClientInfo, Done, DoneStatus, LiveClaim, LockRequest, OpenRequest, Reply, Request, RequestError,
    ResumeRequest, Secret, SessionRef, UnlockRequest,
};
use sixpin_core::command::{Options, Status};
use sixpin_core::name::{ClaimNumber, Label, OperationNumber, SessionId};

use crate::calls::Call;
use crate::check;
use crate::listeners::hears_of_blocking;
use crate::places::Patience;
use crate::plan::{MS, Time};
use crate::world::{Event, World};

/// Claims that a caller has or wants at once.
const CLAIMS_MAX: usize = 2;
/// How long a caller waits for an answer that should come at once.
const PATIENCE: Time = 120 * MS;

/// What a call asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Open,
    KeepAlive,
    Resume,
    Close,
    Lock(u64),
    /// The same, answered at once: what waits is told its place.
    Look(u64),
    Unlock(u64),
    UnlockAll,
    Cancel(u64),
}

/// How far a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The lock was asked for.
    Asking,
    /// It was granted.
    Held { mode: Mode },
    /// It is being released, whether or not it was granted.
    LettingGo {
        /// The answer to an earlier copy of the release never came.
        doubt: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) resource: usize,
    pub(crate) request: LockRequest,
    pub(crate) stage: Stage,
    granted: bool,
    /// The newest grant that it was told.
    grant_seq: u32,
    pub(crate) asked_at: Time,
    /// Whether it is left at its place, and how far that is.
    pub(crate) patience: Patience,
}

/// One caller, which may begin anew.
pub(crate) struct Caller {
    number: usize,
    pub(crate) life: u32,
    rate: u64,
    pub(crate) slot: usize,
    pub(crate) identity: Option<(SessionId, Secret)>,
    move_number: u32,
    moving: bool,
    valid_until: Duration,
    keepalive_at: Duration,
    heard: Duration,
    next_claim: u64,
    pub(crate) wanted: BTreeMap<u64, Wanted>,
    void: BTreeSet<u64>,
    closing: bool,
    left: bool,
}

impl Caller {
    pub(crate) fn new(number: usize, rng: &mut fastrand::Rng) -> Self {
        Self {
            number,
            life: 0,
            rate: [990, 1_000, 1_010][rng.usize(..3)],
            slot: 0,
            identity: None,
            move_number: 0,
            moving: false,
            valid_until: Duration::ZERO,
            keepalive_at: Duration::ZERO,
            heard: Duration::ZERO,
            next_claim: 1,
            wanted: BTreeMap::new(),
            void: BTreeSet::new(),
            closing: false,
            left: false,
        }
    }

    pub(crate) fn clock(&self, now: Time) -> Duration {
        Duration::from_secs(900 + self.number as u64) + Duration::from_nanos(now * self.rate)
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.identity.map(|(session, _)| session)
    }

    pub(crate) fn is_moving(&self) -> bool {
        self.moving
    }

    /// It goes to another broker, or comes to the same one again.
    pub(crate) fn must_move(&mut self) {
        self.moving = true;
    }

    pub(crate) fn is_valid(&self, now: Time) -> bool {
        self.identity.is_some() && !self.closing && self.clock(now) < self.valid_until
    }

    /// What it may act on at this moment: claim, resource and mode.
    pub(crate) fn believes(&self, now: Time) -> impl Iterator<Item = (u64, usize, Mode)> {
        let valid = self.is_valid(now);
        self.wanted.iter().filter(move |_| valid).filter_map(|(number, wanted)| match wanted.stage {
            Stage::Held { mode } => Some((*number, wanted.resource, mode)),
            _ => None,
        })
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "u{} {:?} wants {:?}, closing {}",
            self.number,
            self.identity.map(|own| own.0),
            self.wanted,
            self.closing
        )
    }

    fn begin_anew(&mut self) {
        self.life += 1;
        self.identity = None;
        (self.move_number, self.moving, self.closing) = (0, false, false);
        self.next_claim = 1;
        self.wanted.clear();
        self.void.clear();
    }
}

/// How long a session is valid after a keepalive was sent (rule 7).
fn validity(ttl: Duration) -> Duration {
    (ttl * 99 / 100).saturating_sub((ttl / 20).max(Duration::from_millis(100)))
}

impl World {
    /// A caller does one thing, and the next one later.
    pub(crate) fn caller_acts(&mut self, caller: usize) {
        if self.callers[caller].left {
            return;
        }
        self.live_on(caller);
        if self.callers[caller].identity.is_some() && !self.callers[caller].moving {
            if self.leaving {
                self.caller_leaves(caller);
            } else {
                self.caller_wants(caller);
            }
            self.go_on(caller);
        }
        let pause = self.call_rng.u64(2 * MS..80 * MS);
        self.after(pause, Event::CallerActs { caller });
    }

    /// Opens, keeps alive and moves the session, and notices that it is over.
    fn live_on(&mut self, caller: usize) {
        let now = self.callers[caller].clock(self.now);
        let ttl = self.plan.ttl;
        let slots = self.plan.brokers;
        self.give_up_old_calls(caller);
        let node = &mut self.callers[caller];
        if node.identity.is_none() {
            if self.leaving {
                node.left = true;
            } else if !self.asks(caller, Ask::Open) {
                let slot = self.call_rng.usize(..slots);
                self.callers[caller].slot = slot;
                let open = OpenRequest { ttl: Some(ttl), ..OpenRequest::default() };
                self.send_call(caller, slot, Ask::Open, SessionRef::Attached, Request::Open(Box::new(open)));
            }
            return;
        }
        if now >= node.valid_until {
            self.caller_is_lost(caller);
            return;
        }
        let silent = now.saturating_sub(node.heard) > ttl / 2;
        if node.moving || silent {
            if self.asks(caller, Ask::UnlockAll) {
                // It has no number: it might release what comes after it.
                self.caller_is_lost(caller);
            } else if !self.asks(caller, Ask::Resume) {
                self.caller_moves(caller);
            }
        } else if now >= node.keepalive_at {
            node.keepalive_at = now + ttl / 5;
            let move_number = node.move_number;
            self.ask(caller, Ask::KeepAlive, Request::KeepAlive { move_number });
        }
    }

    pub(crate) fn caller_is_lost(&mut self, caller: usize) {
        self.trace(|| format!("u{caller} is lost or begins anew"));
        self.cut_all(caller);
        self.callers[caller].begin_anew();
    }

    fn cut_all(&mut self, caller: usize) {
        self.stop_listening(caller);
        let calls: Vec<u64> = self.calls.iter().filter(|(_, call)| call.caller == caller).map(|(id, _)| *id).collect();
        for id in calls {
            self.cut_call(id);
        }
    }

    pub(crate) fn cut_calls(&mut self, calls: &[u64]) {
        for id in calls {
            self.cut_call(*id);
        }
    }

    /// Calls that are answered at once or not at all.
    fn give_up_old_calls(&mut self, caller: usize) {
        let now = self.callers[caller].clock(self.now);
        let patience = Duration::from_micros(PATIENCE);
        let old = |call: &Call| {
            call.caller == caller
                && !matches!(call.ask, Ask::Lock(_) | Ask::UnlockAll)
                && now.saturating_sub(call.sent) > patience
        };
        let old: Vec<u64> = self.calls.iter().filter(|(_, call)| !call.cut && old(call)).map(|(id, _)| *id).collect();
        for id in old {
            if let Some(Ask::Unlock(number)) = self.calls.get(&id).map(|call| call.ask) {
                self.release_in_doubt(caller, number);
            }
            self.cut_call(id);
        }
    }

    fn releases_in_doubt(&mut self, caller: usize) {
        for number in self.callers[caller].wanted.keys().copied().collect::<Vec<u64>>() {
            self.release_in_doubt(caller, number);
        }
    }

    fn release_in_doubt(&mut self, caller: usize, number: u64) {
        if let Some(wanted) = self.callers[caller].wanted.get_mut(&number)
            && matches!(wanted.stage, Stage::LettingGo { .. })
        {
            wanted.stage = Stage::LettingGo { doubt: true };
        }
    }

    fn asks(&self, caller: usize, ask: Ask) -> bool {
        self.calls.values().any(|call| call.caller == caller && call.ask == ask && !call.cut)
    }

    pub(crate) fn ask(&mut self, caller: usize, ask: Ask, request: Request) {
        let node = &self.callers[caller];
        let Some((session, secret)) = node.identity else { return };
        let slot = node.slot;
        self.send_call(caller, slot, ask, SessionRef::Named(session, secret), request);
    }

    fn caller_moves(&mut self, caller: usize) {
        self.leave_places(caller);
        self.cut_all(caller);
        let slot = self.call_rng.usize(..self.plan.brokers);
        let node = &mut self.callers[caller];
        let Some((session, secret)) = node.identity else { return };
        (node.slot, node.moving) = (slot, true);
        node.move_number += 1;
        let unanswered: Vec<u64> = node
            .wanted
            .iter()
            .filter(|(_, wanted)| !wanted.granted && !wanted.is_queued())
            .map(|(number, _)| *number)
            .collect();
        for number in unanswered {
            node.wanted.remove(&number);
            node.void.insert(number);
        }
        let now = self.now;
        let live = |(number, wanted): (&u64, &Wanted)| LiveClaim {
            claim: ClaimNumber(*number),
            resource: wanted.request.resource.clone(),
            last_operation: OperationNumber(if matches!(wanted.stage, Stage::LettingGo { .. }) { 2 } else { 1 }),
            grant_seq: wanted.grant_seq,
            waiting: wanted.waiting(now),
        };
        let resume = ResumeRequest {
            session,
            secret,
            move_number: node.move_number,
            next_claim: ClaimNumber(node.next_claim),
            claims: node.wanted.iter().map(live).collect(),
            void: node.void.iter().copied().map(ClaimNumber).collect(),
            client: ClientInfo::default(),
            attach: false,
        };
        for number in resume.void.clone() {
            self.check.give_up(session, number.0);
        }
        self.releases_in_doubt(caller);
        self.send_call(caller, slot, Ask::Resume, SessionRef::Attached, Request::Resume(Box::new(resume)));
    }

    /// The program wants something.
    fn caller_wants(&mut self, caller: usize) {
        let held: Vec<u64> = self.callers[caller].believes(self.now).map(|(number, ..)| number).collect();
        match self.call_rng.u32(..100) {
            0..25 if self.callers[caller].wanted.len() < CLAIMS_MAX && !self.asks(caller, Ask::UnlockAll) => {
                self.caller_locks(caller);
            }
            25..55 if !held.is_empty() => {
                let number = held[self.call_rng.usize(..held.len())];
                // A copy that is on its way may come behind the release.
                if self.call_rng.u32(..4) == 0 {
                    self.ask_for(caller, number);
                }
                self.let_go_of(caller, number);
            }
            55..58 if !held.is_empty() && held.len() == self.callers[caller].wanted.len() => {
                self.let_go_of_all(caller);
            }
            58 => {
                // The process dies without a word.
                self.caller_is_lost(caller);
            }
            _ => {}
        }
    }

    fn caller_locks(&mut self, caller: usize) {
        let resource = self.call_rng.usize(..self.plan.resources);
        let wait = match self.call_rng.u32(..4) {
            0 => Some(Duration::ZERO),
            1 | 2 => Some(Duration::from_millis(self.call_rng.u64(5..250))),
            _ => None,
        };
        let patience = self.draw_patience();
        let wait = wait.filter(|_| patience == Patience::Waits || self.call_rng.u32(..4) == 0);
        let mode = [Mode::EX, Mode::EX, Mode::PW, Mode::PR, Mode::CR][self.call_rng.usize(..5)];
        let blocking = hears_of_blocking(self);
        let node = &mut self.callers[caller];
        let number = node.next_claim;
        node.next_claim += 1;
        let request = LockRequest {
            claim: ClaimNumber(number),
            operation: OperationNumber(1),
            resource: self.plan.resource(resource),
            mode: check::core(mode),
            options: Options::empty(),
            conversion_deadlock: None,
            wait,
            blocking,
            owner: Label::default(),
            label: Label::default(),
            orphan: false,
        };
        let stage = Stage::Asking;
        let wanted = Wanted { resource, request, stage, granted: false, grant_seq: 0, asked_at: self.now, patience };
        self.note_place(caller, &wanted);
        self.callers[caller].wanted.insert(number, wanted);
        if patience == Patience::Waits { self.ask_for(caller, number) } else { self.look(caller, number) }
    }

    /// Sends a copy of a lock request.
    pub(crate) fn ask_for(&mut self, caller: usize, number: u64) {
        let Some(wanted) = self.callers[caller].wanted.get(&number) else { return };
        let lock = wanted.request.clone();
        self.ask(caller, Ask::Lock(number), Request::Lock { lock, until_done: true });
    }

    /// Something happens to what was asked for.
    fn go_on(&mut self, caller: usize) {
        let wanted: Vec<(u64, Wanted)> =
            self.callers[caller].wanted.iter().map(|(number, wanted)| (*number, wanted.clone())).collect();
        for (number, wanted) in wanted {
            match wanted.stage {
                Stage::Asking if wanted.patience == Patience::Waits => self.go_on_asking(caller, number, &wanted),
                Stage::Asking => self.go_on_queueing(caller, number, &wanted),
                Stage::LettingGo { .. }
                    if !self.asks(caller, Ask::Unlock(number)) && !self.asks(caller, Ask::UnlockAll) =>
                {
                    self.send_release(caller, number);
                }
                Stage::LettingGo { .. } | Stage::Held { .. } => {}
            }
        }
    }

    fn go_on_asking(&mut self, caller: usize, number: u64, wanted: &Wanted) {
        let age = self.now - wanted.asked_at;
        let about_over = wanted.request.wait.is_some_and(|wait| age * 10 > wait.as_micros() as Time * 8);
        let out: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.caller == caller && call.ask == Ask::Lock(number) && !call.cut)
            .map(|(id, _)| *id)
            .collect();
        let restless = self.leaving || about_over || age > 200 * MS;
        match self.call_rng.u32(..if restless { 60 } else { 200 }) {
            // Cut, and sent again under the same number, at once or a little later.
            0..12 => {
                self.cut_calls(&out);
                if self.call_rng.bool() {
                    self.ask_for(caller, number);
                }
            }
            // A copy races the others.
            12..18 => self.ask_for(caller, number),
            18..21 => {
                self.ask(caller, Ask::Cancel(number), Request::Cancel { claim: ClaimNumber(number), operation: None });
            }
            21..30 => {
                self.cut_calls(&out);
                self.let_go_of(caller, number);
            }
            // Walks away. Nobody was told of a grant, so none may stay.
            30..34 if !out.is_empty() => {
                self.cut_calls(&out);
                self.callers[caller].wanted.remove(&number);
                self.callers[caller].void.insert(number);
                self.walks_away(caller, number);
            }
            _ if out.is_empty() => self.ask_for(caller, number),
            _ => {}
        }
    }

    pub(crate) fn let_go_of(&mut self, caller: usize, number: u64) {
        let Some(wanted) = self.callers[caller].wanted.get_mut(&number) else { return };
        wanted.stage = Stage::LettingGo { doubt: false };
        self.send_release(caller, number);
    }

    fn let_go_of_all(&mut self, caller: usize) {
        let node = &mut self.callers[caller];
        let session = node.session();
        for (number, wanted) in &mut node.wanted {
            wanted.stage = Stage::LettingGo { doubt: false };
            if let Some(session) = session {
                self.check.let_go(session, *number);
            }
        }
        self.ask(caller, Ask::UnlockAll, Request::UnlockAll { owner: None });
    }

    fn send_release(&mut self, caller: usize, number: u64) {
        let unlock = UnlockRequest {
            claim: ClaimNumber(number),
            operation: OperationNumber(2),
            options: Options::empty(),
            value: None,
            force: true,
        };
        if let Some(session) = self.callers[caller].session() {
            self.check.let_go(session, number);
        }
        self.ask(caller, Ask::Unlock(number), Request::Unlock(unlock));
    }

    fn caller_leaves(&mut self, caller: usize) {
        let held: Vec<u64> = self.callers[caller].believes(self.now).map(|(number, ..)| number).collect();
        for number in held {
            self.let_go_of(caller, number);
        }
        if !self.callers[caller].wanted.is_empty() || self.asks(caller, Ask::Close) || !self.nothing_stays(caller) {
            return;
        }
        self.callers[caller].closing = true;
        if let Some(session) = self.callers[caller].session() {
            self.check.close(session);
        }
        self.ask(caller, Ask::Close, Request::Close);
    }

    pub(crate) fn call_answered_to(&mut self, id: u64, call: &Call, reply: Option<Reply>) {
        let caller = call.caller;
        if self.callers[caller].life != call.life {
            return;
        }
        self.trace(|| format!("u{caller} hears call {id}: {reply:?}"));
        let now = self.callers[caller].clock(self.now);
        if reply.is_some() && !matches!(reply, Some(Reply::Error(_))) {
            self.callers[caller].heard = now;
        }
        match (call.ask, reply) {
            (Ask::Open, Some(Reply::Opened { session, secret })) => self.caller_opened(caller, call, session, secret),
            (Ask::KeepAlive, Some(Reply::KeptAlive { move_number, ttl, lost })) => {
                let node = &mut self.callers[caller];
                if move_number == node.move_number {
                    node.valid_until = node.valid_until.max(call.sent + validity(ttl));
                    for number in lost {
                        self.hears_of_loss(caller, number.0);
                    }
                }
            }
            (Ask::Resume, Some(Reply::Resumed { move_number, claims, .. })) => {
                let node = &mut self.callers[caller];
                if move_number == node.move_number {
                    node.moving = false;
                    node.valid_until = node.valid_until.max(call.sent + validity(self.plan.ttl));
                    for state in claims.iter().filter(|state| state.mode.is_none()) {
                        self.hears_of_end(caller, state);
                    }
                }
            }
            (Ask::Close, Some(Reply::Closed)) => self.caller_is_lost(caller),
            (Ask::Lock(number) | Ask::Look(number), Some(Reply::Done(done))) => {
                self.lock_answered(caller, number, &done);
            }
            (Ask::Look(number), Some(Reply::Queued { .. })) => self.is_told_its_place(caller, number),
            (Ask::Unlock(number), Some(Reply::Done(done))) => self.unlock_answered(caller, number, &done),
            (Ask::Unlock(number), Some(Reply::Error(RequestError::NotFound(_)))) => {
                self.is_over_for(caller, number, "there is no such claim");
            }
            (Ask::UnlockAll, Some(Reply::UnlockedAll { .. })) => {
                let letting_go = |(number, wanted): (&u64, &Wanted)| {
                    matches!(wanted.stage, Stage::LettingGo { .. }).then_some(*number)
                };
                let over: Vec<u64> = self.callers[caller].wanted.iter().filter_map(letting_go).collect();
                for number in over {
                    self.is_over_for(caller, number, "released with all");
                }
            }
            (Ask::UnlockAll, None | Some(Reply::Error(_))) => self.caller_is_lost(caller),
            (Ask::Unlock(number), None) => self.release_in_doubt(caller, number),
            (Ask::Cancel(number), Some(Reply::Cancelled { result, .. })) => match result {
                CancelResult::Cancelled => self.is_over_for(caller, number, "cancelled"),
                CancelResult::Gone => self.is_over_for(caller, number, "nothing to cancel"),
                CancelResult::AlreadyGranted => {}
            },
            (_, Some(Reply::Error(error))) => self.call_refused(caller, call, &error),
            _ => {}
        }
    }

    fn caller_opened(&mut self, caller: usize, call: &Call, session: SessionId, secret: Secret) {
        let node = &mut self.callers[caller];
        if node.identity.is_none() {
            node.identity = Some((session, secret));
            node.valid_until = call.sent + validity(session.ttl());
            self.check.tally.sessions += 1;
        }
    }

    fn call_refused(&mut self, caller: usize, call: &Call, error: &RequestError) {
        match error {
            RequestError::SessionGone(_) | RequestError::WrongToken(_) => self.caller_is_told_over(caller),
            RequestError::NotHere { .. } | RequestError::Draining { .. } if !matches!(call.ask, Ask::Open) => {
                self.callers[caller].moving = true;
            }
            RequestError::StaleMove(_) if matches!(call.ask, Ask::Resume) => {
                self.check.fail(format!("u{caller} was told that somebody else moved its session"));
            }
            _ => {
                if let Ask::Unlock(number) = call.ask
                    && matches!(error, RequestError::Unknown(_))
                {
                    self.release_in_doubt(caller, number);
                }
            }
        }
    }

    pub(crate) fn caller_is_told_over(&mut self, caller: usize) {
        let node = &self.callers[caller];
        if node.is_valid(self.now) && !node.closing && !self.may_miss() {
            self.check.fail(format!("u{caller} was told that its session is over before its deadline"));
        }
        self.caller_is_lost(caller);
    }

    pub(crate) fn lock_answered(&mut self, caller: usize, number: u64, done: &Done) {
        self.check_end_of_wait(caller, number, done);
        let Some(wanted) = self.callers[caller].wanted.get_mut(&number) else { return };
        match (done.status, done.mode) {
            (DoneStatus::Is(Status::Granted), Some(mode)) => {
                wanted.granted = true;
                wanted.grant_seq = wanted.grant_seq.max(done.grant_seq);
                if wanted.stage != Stage::Asking {
                    return;
                }
                let mode = check::mode(i32::from(mode.number()) + 1);
                wanted.stage = Stage::Held { mode };
                let resource = wanted.resource;
                self.check.tally.caller_grants += 1;
                let session = self.callers[caller].session();
                let deleted = session.is_some_and(|session| self.is_deleted(session, number));
                if self.callers[caller].is_valid(self.now) && !deleted {
                    let fence = done.fence.map_or(0, |fence| fence.0);
                    self.check.fence(resource, mode, fence, || format!("u{caller} claim {number}"));
                    self.check_caller(caller, number, resource, mode);
                }
            }
            (DoneStatus::Lost, _) => {
                self.hears_of_loss(caller, number);
                self.is_over_for(caller, number, "lost");
            }
            (status, _) => self.is_over_for(caller, number, &format!("{status:?}")),
        }
    }

    fn unlock_answered(&mut self, caller: usize, number: u64, done: &Done) {
        let doubt = self.callers[caller].wanted.get(&number).map(|wanted| wanted.stage);
        if done.status == DoneStatus::Lost && doubt == Some(Stage::LettingGo { doubt: false }) {
            self.hears_of_loss(caller, number);
        }
        self.is_over_for(caller, number, "released");
    }

    /// The caller is told that nothing is held under a number.
    pub(crate) fn is_over_for(&mut self, caller: usize, number: u64, why: &str) {
        let Some(session) = self.callers[caller].session() else { return };
        self.callers[caller].wanted.remove(&number);
        self.told_over(&format!("u{caller}"), session, number, why);
    }

    pub(crate) fn hears_of_loss(&mut self, caller: usize, number: u64) {
        let doubt = |wanted: &Wanted| matches!(wanted.stage, Stage::LettingGo { doubt: true });
        let expected = self.callers[caller].wanted.remove(&number).is_none_or(|wanted| doubt(&wanted));
        if let Some(session) = self.callers[caller].session().filter(|_| !expected) {
            self.told_lost(&format!("u{caller}"), session, number);
        }
    }

    /// Nothing waits longer than this when nothing is wrong any more.
    pub(crate) fn check_callers_left(&self) -> Result<(), String> {
        let stuck = self.callers.iter().find(|caller| !caller.left);
        stuck.map_or(Ok(()), |caller| Err(format!("a caller could not leave: {}", caller.describe())))
    }
}
