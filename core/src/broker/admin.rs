//! What administrators do: take claims away, end sessions, purge orphans, drain.
//!
//! Invariants (rule 8 of the liveness rules): what is taken away is written into the session's mark first, so that it
//! stays taken if the session moves, and freed when the holder has confirmed the loss, or TTL plus tolerance have passed
//! since that write; `now` is the one exception. Until then no keepalive lets the holder believe that it still has what
//! was taken.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::api::{Effect, Event, LogLevel, LostReason, Reply, ReplyTo, RequestError};
use super::marks::{MarkJob, MarkPurpose};
use super::shard::Purpose;
use super::table::{Claim, Life, Session};
use super::timers::Timer;
use crate::command::Command;
use crate::limits::with_tolerance;
use crate::name::{ClaimId, ClaimNumber, ResourceId, SessionId};
use crate::planted::Bug;

impl Broker {
    pub(super) fn force_unlock(
        &mut self,
        from: ReplyTo,
        resource: &ResourceId,
        id: SessionId,
        claim: Option<ClaimNumber>,
        now: bool,
        no_wait: bool,
    ) -> Result<(), RequestError> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return self.force_stranger(from, resource, id, claim, now);
        };
        let claims = take_away(session, id, resource, claim)?;
        self.log(
            LogLevel::Warn,
            "claims taken away",
            format!("{id} on {resource}"),
            format!("{} claims", claims.len()),
        );
        let left: BTreeSet<ClaimId> = claims.iter().map(|number| ClaimId { session: id, number: *number }).collect();
        if let Some(first) = left.first() {
            self.tell(*first, Event::Lost { reason: LostReason::Forced, claims: claims.clone() });
        }
        let at_once = now || self.planted.has(Bug::ForcedFreeAtOnce);
        if at_once {
            for claim in &left {
                self.remove_claims(resource, vec![*claim]);
            }
        }
        match (at_once, no_wait) {
            (true, true) => self.reply(from, Reply::Forced { claims, free_in: Duration::ZERO }),
            (false, true) => self.takings.await_mark(from, id, claims),
            (_, false) => self.takings.await_free(from, claims, left),
        }
        if !at_once {
            self.mark_taken(id);
        }
        Ok(())
    }

    /// Writes into the session's mark what is taken from it, so that a broker to which it moves knows. The holder's time
    /// counts from when that is written: no later answer to it, by whatever broker, leaves it unsaid.
    fn mark_taken(&mut self, id: SessionId) {
        if !self.config.profile.contract.is_shared() || self.planted.has(Bug::ForcedWithoutMark) {
            self.taken_marked(id);
            return;
        }
        let Some(session) = self.sessions.get(&id) else { return };
        let (expected, mark) = (session.mark, self.own_mark(id));
        self.push_mark(MarkJob { session: id, purpose: MarkPurpose::TakeAway, expected, mark });
    }

    /// The mark says what is taken: the holder's time begins.
    pub(super) fn taken_marked(&mut self, id: SessionId) {
        let free_in = with_tolerance(id.ttl());
        let at = self.now.mono + free_in;
        if let Some(session) = self.sessions.get(&id) {
            for number in session.taken_away() {
                self.timers.set(at, Timer::Forced(ClaimId { session: id, number }));
            }
            if session.life == Life::Ending {
                self.timers.set(at, Timer::Expired(id));
            }
        }
        let told = self.takings.marked(id, free_in);
        self.reply_all(told);
    }

    /// The session is at another broker, which must be asked so that the holder is told first; unless it is `now`.
    fn force_stranger(
        &mut self,
        from: ReplyTo,
        resource: &ResourceId,
        id: SessionId,
        claim: Option<ClaimNumber>,
        now: bool,
    ) -> Result<(), RequestError> {
        if !now {
            return Err(self.not_here_for_admin(id));
        }
        self.log(LogLevel::Warn, "claims taken away at once", format!("{id} on {resource}"), String::new());
        match claim {
            Some(number) => {
                let claim = ClaimId { session: id, number };
                self.remove_claims(resource, vec![claim]);
                self.takings.await_free(from, vec![number], BTreeSet::from([claim]));
            }
            None => {
                self.push_command(resource, Command::Bury { session: id }, Purpose::Bury(id), None);
                self.reply(from, Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO });
            }
        }
        Ok(())
    }

    /// The holder had its time.
    pub(super) fn forced_timer(&mut self, claim: ClaimId) {
        let Some(known) = self.claim_mut(claim).filter(|known| known.forced) else { return };
        let resource = known.resource.clone();
        self.remove_claims(&resource, vec![claim]);
    }

    pub(super) fn force_expire(
        &mut self,
        from: ReplyTo,
        id: SessionId,
        now: bool,
        no_wait: bool,
    ) -> Result<(), RequestError> {
        let Some(session) = self.sessions.get_mut(&id) else { return Err(self.not_here_for_admin(id)) };
        if !session.life.is_vouched_for() {
            return Err(RequestError::SessionGone(id));
        }
        if now {
            self.expire(id, LostReason::Forced);
        } else if session.life == Life::Vouching {
            session.life = Life::Ending;
            if let Some(connection) = session.connection {
                let event = Event::Lost { reason: LostReason::Forced, claims: Vec::new() };
                self.out.push(Effect::Event { connection, event });
            }
            if no_wait {
                self.takings.await_mark(from, id, Vec::new());
            }
            self.mark_taken(id);
        } else if no_wait {
            self.reply(from, Reply::Forced { claims: Vec::new(), free_in: with_tolerance(id.ttl()) });
        }
        if now && (no_wait || !self.sessions.contains_key(&id)) {
            self.reply(from, Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO });
        } else if !no_wait {
            self.takings.await_end(from, id);
        }
        Ok(())
    }

    /// A session ended by an administrator had its time.
    pub(super) fn expired_timer(&mut self, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|session| session.life == Life::Ending) {
            self.expire(id, LostReason::Forced);
        }
    }

    /// The client has stopped using what was taken away.
    pub(super) fn confirm_lost(&mut self, from: ReplyTo, id: SessionId, claims: &[ClaimNumber]) {
        self.reply(from, Reply::Confirmed);
        if claims.is_empty() {
            self.expired_timer(id);
        }
        // Whatever this broker knows of it: the loss may have been told by another one, before the session moved here.
        for number in claims {
            let claim = ClaimId { session: id, number: *number };
            if let Some(resource) = self.claim_mut(claim).map(|known| known.resource.clone()) {
                self.remove_claims(&resource, vec![claim]);
            }
        }
    }
}

/// Takes the session's claims on a resource away, or one of them: which they are.
fn take_away(
    session: &mut Session,
    id: SessionId,
    resource: &ResourceId,
    claim: Option<ClaimNumber>,
) -> Result<Vec<ClaimNumber>, RequestError> {
    match session.life {
        Life::Vouching | Life::Ending => {}
        Life::Moving => {
            return Err(RequestError::Unavailable(format!("session {id} is still moving here: try again")));
        }
        Life::Burying { .. } | Life::Closing => return Err(RequestError::SessionGone(id)),
    }
    let is_meant =
        |number: ClaimNumber, known: &Claim| known.resource == *resource && claim.is_none_or(|claim| claim == number);
    let mut taken = Vec::new();
    session.claims.for_each_mut(|number, known| {
        if is_meant(*number, known) {
            known.forced = true;
            taken.push(*number);
        }
    });
    if taken.is_empty() {
        return Err(RequestError::NotFound(format!("session {id} has no such claim on `{resource}`")));
    }
    session.taken.extend(&taken);
    Ok(taken)
}
