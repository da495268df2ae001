//! What administrators do: take claims away, end sessions, purge orphans, drain.
//!
//! Invariants (rule 8 of the liveness rules): what is taken away is written into the session's mark first, so that it
//! stays taken if the session moves, and freed when the holder has confirmed the loss, or TTL plus tolerance have passed
//! since that write; `now` is the one exception. Until then no keepalive lets the holder believe that it still has what
//! was taken.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::api::{AdminRequest, DoneStatus, Effect, Event, LogLevel, LostReason, Reply, ReplyTo, RequestError};
use super::marks::{MarkJob, MarkPurpose};
use super::shard::Purpose;
use super::table::Life;
use super::timers::Timer;
use crate::command::Command;
use crate::limits::with_tolerance;
use crate::name::{ClaimId, ClaimNumber, ResourceId, SessionId};
use crate::planted::Bug;

/// Claims that are being taken away, and who wants to know when they are free.
#[derive(Debug)]
pub(super) struct Forcing {
    to: ReplyTo,
    claims: Vec<ClaimNumber>,
    left: BTreeSet<ClaimId>,
}

/// An administrator who wants no more than to know that it will happen: answered when the session's mark says so.
#[derive(Debug)]
pub(super) struct Marking {
    session: SessionId,
    to: ReplyTo,
    claims: Vec<ClaimNumber>,
}

impl Broker {
    pub(super) fn admin(&mut self, from: ReplyTo, request: AdminRequest) {
        let result = match request {
            AdminRequest::ForceUnlock { resource, session, claim, now, no_wait } => {
                self.force_unlock(from, &resource, session, claim, now, no_wait)
            }
            AdminRequest::ExpireSession { session, now, no_wait } => self.force_expire(from, session, now, no_wait),
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

    fn force_unlock(
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
        match session.life {
            Life::Vouching | Life::Ending => {}
            Life::Moving => {
                return Err(RequestError::Unavailable(format!("session {id} is still moving here: try again")));
            }
            Life::Burying { .. } | Life::Closing => return Err(RequestError::SessionGone(id)),
        }
        let claims: Vec<ClaimNumber> = session
            .claims
            .iter_mut()
            .filter(|(number, known)| known.resource == *resource && claim.is_none_or(|claim| claim == **number))
            .map(|(number, known)| {
                known.forced = true;
                *number
            })
            .collect();
        if claims.is_empty() {
            return Err(RequestError::NotFound(format!("session {id} has no such claim on `{resource}`")));
        }
        self.log(
            LogLevel::Warn,
            "claims taken away",
            format!("{id} on {resource}"),
            format!("{} claims", claims.len()),
        );
        if let Some(session) = self.sessions.get_mut(&id) {
            session.taken.extend(&claims);
        }
        let left: BTreeSet<ClaimId> = claims.iter().map(|number| ClaimId { session: id, number: *number }).collect();
        if let Some(first) = left.first() {
            self.tell(*first, Event::Lost { reason: LostReason::Forced, claims: claims.clone() });
        }
        if now || self.planted.has(Bug::ForcedFreeAtOnce) {
            for claim in &left {
                self.remove_claims(resource, vec![*claim]);
            }
            if no_wait {
                self.reply(from, Reply::Forced { claims, free_in: Duration::ZERO });
                return Ok(());
            }
        } else if no_wait {
            self.marking.push(Marking { session: id, to: from, claims: claims.clone() });
            self.mark_taken(id);
            return Ok(());
        } else {
            self.mark_taken(id);
        }
        self.forcing.push(Forcing { to: from, claims, left });
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
        for number in self.forced_numbers(id) {
            self.timers.set(at, Timer::Forced(ClaimId { session: id, number }));
        }
        if self.sessions.get(&id).is_some_and(|session| session.life == Life::Ending) {
            self.timers.set(at, Timer::Expired(id));
        }
        for Marking { to, claims, .. } in
            self.marking.extract_if(.., |marking| marking.session == id).collect::<Vec<_>>()
        {
            self.reply(to, Reply::Forced { claims, free_in });
        }
    }

    /// The session is over: nothing is left to take from it.
    pub(super) fn taken_from_ended(&mut self, id: SessionId) {
        for Marking { to, claims, .. } in
            self.marking.extract_if(.., |marking| marking.session == id).collect::<Vec<_>>()
        {
            self.reply(to, Reply::Forced { claims, free_in: Duration::ZERO });
        }
        for forcing in &mut self.forcing {
            forcing.left.retain(|claim| claim.session != id);
        }
        self.answer_forced();
        for to in self.expiring.remove(&id).unwrap_or_default() {
            self.reply(to, Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO });
        }
    }

    /// The session moved before the mark said anything: its new broker must be asked.
    pub(super) fn taken_from_moved(&mut self, id: SessionId) {
        let marking = self.marking.extract_if(.., |marking| marking.session == id).map(|marking| marking.to);
        let mut askers: Vec<ReplyTo> = marking.collect();
        let of_session = |forcing: &mut Forcing| forcing.left.iter().any(|claim| claim.session == id);
        askers.extend(self.forcing.extract_if(.., of_session).map(|forcing| forcing.to));
        askers.extend(self.expiring.remove(&id).unwrap_or_default());
        for to in askers {
            let error = self.not_here_for_admin(id);
            self.reply_error(to, error);
        }
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
                self.forcing.push(Forcing { to: from, claims: vec![number], left: BTreeSet::from([claim]) });
            }
            None => {
                self.push_command(resource, Command::Bury { session: id }, Purpose::Bury(id), None);
                self.reply(from, Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO });
            }
        }
        Ok(())
    }

    fn not_here_for_admin(&self, id: SessionId) -> RequestError {
        if self.buried_here(id) {
            return RequestError::SessionGone(id);
        }
        let voucher = self.strangers.voucher_of(id);
        let address = self.liveness.others.get(&voucher).map(|known| known.pulse.info.admin_address.clone());
        RequestError::NotHere { session: id, address: address.unwrap_or_default() }
    }

    /// The holder had its time.
    pub(super) fn forced_timer(&mut self, claim: ClaimId) {
        let Some(known) = self.claim_mut(claim).filter(|known| known.forced) else { return };
        let resource = known.resource.clone();
        self.remove_claims(&resource, vec![claim]);
    }

    /// A claim that was to be removed is no more.
    pub(super) fn removal_done(&mut self, claim: ClaimId) {
        let lost = self.sessions.get_mut(&claim.session).is_some_and(|session| {
            let granted = session.claims.get(&claim.number).is_some_and(|known| known.granted.is_some());
            session.taken.remove(&claim.number) || granted
        });
        // A wait that ended through another broker was taken from nobody.
        self.end_claim(claim, if lost { DoneStatus::Lost } else { DoneStatus::Gone }, None);
        for forcing in &mut self.forcing {
            forcing.left.remove(&claim);
        }
        self.answer_forced();
    }

    fn answer_forced(&mut self) {
        let done: Vec<Forcing> = self.forcing.extract_if(.., |forcing| forcing.left.is_empty()).collect();
        for forcing in done {
            self.reply(forcing.to, Reply::Forced { claims: forcing.claims, free_in: Duration::ZERO });
        }
    }

    fn force_expire(&mut self, from: ReplyTo, id: SessionId, now: bool, no_wait: bool) -> Result<(), RequestError> {
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
                self.marking.push(Marking { session: id, to: from, claims: Vec::new() });
            }
            self.mark_taken(id);
        } else if no_wait {
            self.reply(from, Reply::Forced { claims: Vec::new(), free_in: with_tolerance(id.ttl()) });
        }
        if now && (no_wait || !self.sessions.contains_key(&id)) {
            self.reply(from, Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO });
        } else if !no_wait {
            self.expiring.entry(id).or_default().push(from);
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

    /// Claims of a session that were taken away and not confirmed yet: told again with every keepalive, because a client
    /// without a stream hears of it in no other way.
    pub(super) fn forced_claims(&self, id: SessionId) -> Vec<ClaimNumber> {
        self.forced_numbers(id)
    }

    fn forced_numbers(&self, id: SessionId) -> Vec<ClaimNumber> {
        let claims = self.sessions.get(&id).into_iter().flat_map(|session| &session.claims);
        claims.filter(|(_, claim)| claim.forced).map(|(number, _)| *number).collect()
    }
}
