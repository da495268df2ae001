//! How sessions end: by silence, by closing, by an administrator.
//!
//! Invariants: a session is buried only by a compare-and-swap on its mark, and is never answered again once that write
//! may have been sent; its claims are removed only after the mark is known to be written; a session leaves the table only
//! when its last claim has left its resource, or when a compare-and-swap showed it elsewhere.

use std::time::Duration;

use super::Broker;
use super::api::{Effect, Event, LogLevel, LostReason, Reply, ReplyTo, RequestError};
use super::mark::Mark;
use super::marks::{MarkJob, MarkPurpose};
use super::table::{Life, Session};
use super::timers::Timer;
use crate::limits::with_tolerance;
use crate::name::{ClaimId, ClaimNumber, Incarnation, ResourceId, SessionId, Version};
use crate::planted::Bug;

impl Broker {
    /// Sets the timer that looks whether the session was silent for its TTL.
    pub(super) fn arm_session(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            self.timers.set(session.heard + self.silence_allowed(id, session), Timer::Session(id));
        }
    }

    /// How long the client may be silent. Until it came back after the opening that is not long, so that who opens
    /// sessions and leaves them does not fill the table for their TTL. Such a session has never held anything.
    fn silence_allowed(&self, id: SessionId, session: &Session) -> Duration {
        with_tolerance(if session.came_back { id.ttl() } else { id.ttl().min(self.config.limits.first_life) })
    }

    pub(super) fn session_timer(&mut self, id: SessionId) {
        let now = self.now.mono;
        let Some(session) = self.sessions.get(&id) else { return };
        let due = session.heard + self.silence_allowed(id, session);
        if session.is_abandoned() {
            self.end_abandoned(id);
            return;
        }
        match session.life {
            Life::Vouching | Life::Ending if due <= now => self.expire(id, LostReason::Expired),
            Life::Vouching | Life::Ending => self.timers.set(due, Timer::Session(id)),
            // The move is being written; look again when it may have gone through.
            Life::Moving => self.timers.set(now + id.ttl(), Timer::Session(id)),
            Life::Burying { .. } | Life::Closing => {}
        }
    }

    /// What a client is told of its session while this broker buries it. The session may have moved without this broker
    /// having heard of it; only the mark can tell.
    pub(super) fn being_buried(id: SessionId, definite: bool) -> RequestError {
        if definite {
            return RequestError::SessionGone(id);
        }
        RequestError::Unavailable(format!("session {id} was silent and is being buried here: try another broker"))
    }

    /// Ends a session that this broker vouches for, against its client's will.
    pub(super) fn expire(&mut self, id: SessionId, reason: LostReason) {
        let shared = self.config.profile.contract.is_shared();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.life.is_vouched_for() {
            return;
        }
        // Who was ended by an administrator has been told.
        let told = session.life == Life::Ending;
        let reason = if told { LostReason::Forced } else { reason };
        session.life = Life::Burying { decided: told || !shared };
        // Counted when the mark has not shown it elsewhere.
        session.lost = Some(reason);
        let answers = self.planted.has(Bug::AnsweredDuringBurial);
        let connection = session.connection.take_if(|_| !answers);
        // A client that only listens may have moved by calls, and still listen here.
        let is_heard = !session.listens || !shared || self.planted.has(Bug::ListenerToldInDoubt);
        let mark = session.mark;
        // A session that holds and waits for nothing needs no mark; but it may have moved, so that it must have none.
        let unmarked = session.claims.is_empty() && mark.is_absent() && self.config.profile.contract.compares();
        if let Some(connection) = connection {
            if !told && is_heard {
                self.out.push(Effect::Event { connection, event: Event::Lost { reason, claims: Vec::new() } });
            }
            self.connections.remove(&connection);
            self.out.push(Effect::Disconnect { connection });
        }
        self.log(LogLevel::Info, "session ends", id.to_string(), format!("{reason:?}"));
        if !shared || self.planted.has(Bug::OwnBurialWithoutMark) {
            self.bury_claims(id);
        } else {
            let purpose = MarkPurpose::BuryOwn;
            let dead = (!unmarked).then_some(Mark::Dead);
            self.push_mark(MarkJob { session: id, purpose, expected: mark, mark: dead });
        }
    }

    /// The client closes its session: what it holds goes as if it had died (H1).
    pub(super) fn close(&mut self, from: ReplyTo, id: SessionId) -> Result<(), RequestError> {
        let Some(session) = self.sessions.get_mut(&id) else { return Err(self.not_here(id)) };
        session.closers.push(from);
        session.life = Life::Closing;
        self.bury_claims(id);
        Ok(())
    }

    /// Ends a session as if its client had closed it: nobody can hear of it, or that was asked for.
    pub(super) fn end_abandoned(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.life = Life::Closing;
        self.bury_claims(id);
    }

    /// Removes all claims of an ended session, one step per resource (H2).
    pub(super) fn bury_claims(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(reason) = session.lost.take() {
            self.facts.lost(reason, id, &session.client.label);
        }
        let abnormal = session.life.is_burying();
        let resources = session.resources();
        if resources.is_empty() {
            self.session_over(id);
        }
        for resource in resources {
            self.bury_on(id, &resource, abnormal);
        }
    }

    /// The claims of a session left one resource.
    pub(super) fn claims_buried(&mut self, id: SessionId, resource: &ResourceId) {
        self.strangers.left(id, resource);
        let Some(session) = self.sessions.get(&id) else { return };
        if !session.life.is_burying() && session.life != Life::Closing {
            return;
        }
        let here = |claim: &super::table::Claim| claim.resource == *resource;
        let left: Vec<ClaimNumber> =
            session.claims.iter().filter(|(_, claim)| here(claim)).map(|(number, _)| *number).collect();
        for number in left {
            self.lose_claim(ClaimId { session: id, number }, None);
        }
        if self.sessions.get(&id).is_some_and(|session| session.claims.is_empty()) {
            self.session_over(id);
        }
    }

    /// The session has no claim left: it leaves the table.
    fn session_over(&mut self, id: SessionId) {
        let Some(session) = self.remove_session(id) else { return };
        let dead = session.life.is_burying();
        self.let_go(id, &session);
        for to in session.closers {
            self.reply(to, Reply::Closed);
        }
        let told = self.takings.ended(id);
        self.reply_all(told);
        if session.mark.is_absent() || !self.config.profile.contract.is_shared() {
            return;
        }
        if dead {
            // What another broker wrote for it, late, is in no table: only a sweep finds it.
            self.note_dead(id, session.mark, !session.from_elsewhere);
        } else if session.void.is_empty() {
            self.push_mark(MarkJob { session: id, purpose: MarkPurpose::Clear, expected: session.mark, mark: None });
        } else {
            self.close_dead(id, session.mark);
        }
    }

    /// A closed session leaves a dead mark, until a sweep has found the claims that it gave up and that are in no table.
    pub(super) fn close_dead(&mut self, id: SessionId, expected: Version) {
        self.push_mark(MarkJob { session: id, purpose: MarkPurpose::CloseDead, expected, mark: Some(Mark::Dead) });
    }

    /// The mark shows that others buried the session.
    pub(super) fn buried_by_others(&mut self, id: SessionId, version: Version) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.life.is_vouched_for()) {
            let forced = session.life == Life::Ending;
            session.life = Life::Burying { decided: true };
            session.lost = Some(if forced { LostReason::Forced } else { LostReason::Expired });
            self.own_buried(id, version);
        }
    }

    /// A session left the table: whoever waits for an answer gets one.
    fn let_go(&mut self, id: SessionId, session: &Session) {
        if let Some(resuming) = &session.resuming {
            self.reply_error(resuming.to, RequestError::SessionGone(id));
        }
        if let Some(connection) = session.connection {
            self.connections.remove(&connection);
            // A stream that asked for the end is told of it, and ends by that.
            if session.closers.iter().all(|to| to.connection != connection) {
                self.out.push(Effect::Disconnect { connection });
            }
        }
    }

    /// A compare-and-swap showed the session at another broker: it is not this one's any more.
    pub(super) fn moved_away(&mut self, id: SessionId, to: Incarnation, void: &[ClaimNumber]) {
        self.strangers.note_moved_away(id, to);
        let Some(session) = self.sessions.get(&id) else { return };
        let claims: Vec<ClaimNumber> = session.claims.keys().copied().collect();
        for number in claims {
            let claim = ClaimId { session: id, number };
            // What the client gave up when it moved may have been created here since: nobody else knows where.
            if void.contains(&number)
                && let Some(resource) = self.claim_mut(claim).map(|claim| claim.resource.clone())
            {
                self.remove_claims(&resource, vec![claim]);
            }
            // It goes on there, and is held there.
            let pending = self.claim_mut(claim).and_then(|claim| {
                claim.held_since = None;
                claim.pending.take()
            });
            let reply = pending.and_then(|pending| pending.reply);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.counts.waiting(-1);
            }
            if let Some(to) = reply {
                let error = self.not_here(id);
                self.reply_error(to, error);
            }
            self.drop_claim(claim, None);
        }
        let Some(session) = self.remove_session(id) else { return };
        // Whoever only listens moves the session by a call.
        if let Some(connection) = session.connection.filter(|_| !session.listens) {
            self.facts.lost(LostReason::Moved, id, &session.client.label);
            let event = Event::Lost { reason: LostReason::Moved, claims: Vec::new() };
            self.out.push(Effect::Event { connection, event });
        }
        self.log(LogLevel::Info, "session moved away", id.to_string(), format!("to broker {to}"));
        self.let_go(id, &session);
        for to in session.closers {
            let error = self.not_here(id);
            self.reply_error(to, error);
        }
        self.taken_from_moved(id);
    }

    pub(super) fn own_buried(&mut self, id: SessionId, version: Version) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.mark = version;
            if session.life.is_burying() {
                session.life = Life::Burying { decided: true };
            }
        }
        self.log(LogLevel::Info, "session buried", id.to_string(), String::new());
        self.bury_claims(id);
    }
}
