//! Which part an input, a request or a timer concerns. Nothing is decided here.

use super::api::{AdminRequest, Input, LogLevel, ReplyTo, Request, RequestError, SessionRef};
use super::phases::Phase;
use super::shard::Purpose;
use super::timers::Timer;
use super::{Broker, HOUSEKEEPING};
use crate::access::Principal;
use crate::backend::{Pulse, StoreError};
use crate::command::Command;
use crate::name::{ClaimId, SessionId, Version};

impl Broker {
    pub(super) fn input(&mut self, input: Input) {
        match input {
            Input::Request { from, session, principal, request } => self.request(from, session, principal, request),
            Input::Admin { from, request } => self.admin(from, request),
            Input::Query { from, query } => self.query(from, query),
            Input::Disconnected { connection } => self.disconnected(connection),
            Input::Committed { lane, batch, outcomes } => self.take_outcomes(lane, batch, outcomes),
            Input::Advanced { guard, result } => self.advanced(guard, result),
            Input::Slots { keys, result } => self.take_slots(keys, result),
            Input::Changed { key } => self.changed(&key),
            Input::Listed { result, .. } => self.listed(result),
            Input::Beaten { number, result } => self.beat_answered(number, result),
            Input::Left { .. } => self.left(),
            Input::EvictDone { target, outcome } => self.evict_done(target, &outcome),
            Input::ClearDone { target, outcome } => self.clear_done(target, &outcome),
            Input::Pulses { result } => self.pulses_answered(result),
            Input::History(history) => self.history(history),
            Input::Limits(limits) => self.config.limits = limits.in_place_of(&self.config.limits),
        }
    }

    fn beat_answered(&mut self, number: u64, result: Result<Version, StoreError>) {
        if !self.beaten(number, result) {
            return;
        }
        if self.phase == Phase::Starting {
            self.start_serving();
        }
        self.say_what_is_checked();
        self.look_whether_settled();
    }

    fn pulses_answered(&mut self, result: Result<Vec<Pulse>, StoreError>) {
        let Some(newcomers) = self.pulses(result) else { return };
        if newcomers > 0 {
            self.greet_newcomers();
        }
        self.consider_formats();
        self.others_read();
    }

    fn start_serving(&mut self) {
        self.phase = Phase::Serving;
        self.log(LogLevel::Info, "broker serves", self.config.incarnation.to_string(), String::new());
        let now = self.now.mono;
        self.timers.set(now + super::HOUSEKEEPING, Timer::Housekeeping);
        self.timers.set(now + self.config.broker_ttl, Timer::Round);
        if !self.config.profile.contract.is_shared() {
            self.writing.write_newest();
        }
        self.ask_for_pulses();
        self.begin_settling();
    }

    pub(super) fn timer(&mut self, timer: Timer) {
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

    /// Looks after strangers, dead marks and the sweep.
    fn housekeeping(&mut self) {
        if matches!(self.phase, Phase::Over | Phase::Leaving) {
            return;
        }
        let now = self.now.mono;
        self.timers.set(now + HOUSEKEEPING, Timer::Housekeeping);
        self.refuse_what_cannot_be_sent();
        self.look_after_entries();
        if self.config.profile.contract.is_shared() {
            self.look_after_strangers();
            self.clear_dead_marks();
        }
        self.begin_sweep();
    }

    fn request(&mut self, from: ReplyTo, session: SessionRef, principal: Option<Box<Principal>>, request: Request) {
        let result = match request {
            Request::Open(open) => somebody(principal).and_then(|principal| self.open(from, principal, *open)),
            Request::Resume(resume) => somebody(principal).and_then(|principal| self.resume(from, principal, *resume)),
            other => self
                .session_of(from.connection, session, principal.map(|principal| *principal))
                .and_then(|id| self.session_request(from, id, other)),
        };
        if let Err(error) = result {
            self.reply_error(from, error);
        }
    }

    fn session_request(&mut self, from: ReplyTo, id: SessionId, request: Request) -> Result<(), RequestError> {
        let now = self.now.mono;
        if let Some(session) = self.sessions.get_mut(&id).filter(|_| !matches!(request, Request::Listen)) {
            session.heard = now;
            session.came_back = true;
        }
        match request {
            Request::KeepAlive { move_number } => self.keep_alive(from, id, move_number),
            Request::Lock { lock, until_done } => {
                let on = self.facts.are_wanted().then(|| lock.resource.clone());
                let (asked, mode) = ((ClaimId { session: id, number: lock.claim }, lock.operation), lock.mode);
                let locked = self.lock(from, id, lock, until_done);
                locked.inspect_err(|error| self.refused_at_once(asked, on, mode, error))
            }
            Request::Convert { convert, until_done } => {
                let claim = ClaimId { session: id, number: convert.claim };
                let (asked, mode) = ((claim, convert.operation), convert.mode);
                let converted = self.convert(from, id, convert, until_done);
                converted.inspect_err(|error| self.refused_at_once(asked, self.resource_of(claim), mode, error))
            }
            Request::Unlock(unlock) => self.unlock(from, id, unlock),
            Request::UnlockAll { owner } => self.unlock_all(from, id, owner),
            Request::Cancel { claim, operation } => {
                self.cancel(from, id, claim, operation);
                Ok(())
            }
            Request::ConfirmLost { claims } => {
                self.confirm_lost(from, id, &claims);
                Ok(())
            }
            Request::Listen => self.listen(from, id),
            Request::Close => self.close(from, id),
            Request::Open(_) | Request::Resume(_) => Ok(()),
        }
    }

    fn admin(&mut self, from: ReplyTo, request: AdminRequest) {
        let result = match request {
            AdminRequest::ForceUnlock { resource, session, claim, now, no_wait } => {
                self.force_unlock(from, &resource, session, claim, now, no_wait)
            }
            AdminRequest::ExpireSession { session, now, no_wait } => self.force_expire(from, session, now, no_wait),
            AdminRequest::Notify { resource, session, claim } => self.notify_holder(from, &resource, session, claim),
            AdminRequest::Purge { resource, scope } => {
                self.push_command(&resource, Command::Purge { scope }, Purpose::Purge(Some(from)), None);
                Ok(())
            }
            AdminRequest::RemoveDamaged { resource, version, now } => {
                self.remove_damaged(from, &resource, version, now)
            }
            AdminRequest::Drain { timeout } => {
                self.drain(from, timeout);
                Ok(())
            }
        };
        if let Err(error) = result {
            self.reply_error(from, error);
        }
    }
}

/// Who asks, where only somebody can.
fn somebody(principal: Option<Box<Principal>>) -> Result<Principal, RequestError> {
    principal.map(|principal| *principal).ok_or(RequestError::Unauthenticated)
}
