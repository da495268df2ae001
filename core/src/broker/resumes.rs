//! Whoever resumes is answered once nothing of what it has is to be read any more.
//!
//! Invariants: a resume is answered once; what happened before the answer is told after it.

use std::collections::BTreeSet;

use super::Broker;
use super::api::{ClaimState, Done, DoneStatus, Effect, Event, LiveClaim, Reply, RequestError};
use super::phases::Phase;
use super::table::Claim;
use crate::name::{ClaimId, ClaimNumber, SessionId};

impl Broker {
    /// The resource of these claims was confirmed and compared with them: whoever resumes with them may be told.
    pub(super) fn resumed_claims_read(&mut self, compared: &BTreeSet<ClaimId>) {
        for id in compared {
            let Some(claim) = self.claim_mut(*id) else { continue };
            claim.unread = false;
        }
        let sessions: BTreeSet<SessionId> = compared.iter().map(|claim| claim.session).collect();
        for session in sessions {
            let Some(state) = self.sessions.get_mut(&session) else { continue };
            let Some(resuming) = &mut state.resuming else { continue };
            let first = ClaimId { session, number: ClaimNumber(0) };
            for claim in compared.range(first..).take_while(|claim| claim.session == session) {
                resuming.unread.remove(&claim.number);
            }
            self.answer_resume(session);
        }
    }

    /// Answers a resume once nothing of it is to be read any more.
    pub(super) fn answer_resume(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.life.is_vouched_for() {
            return;
        }
        let Some(resuming) = session.resuming.take_if(|resuming| resuming.unread.is_empty()) else { return };
        let claims = resuming.claims.iter().map(|live| self.claim_state(id, live)).collect();
        if !self.is_valid() || self.phase == Phase::Leaving {
            let error = RequestError::Unavailable("the broker cannot vouch any more: try another".into());
            self.reply_error(resuming.to, error);
            return;
        }
        let move_number = self.sessions.get(&id).map_or(0, |session| session.move_number);
        self.reply(resuming.to, Reply::Resumed { session: id, move_number, claims });
        let held_back = self.sessions.get_mut(&id).map(|session| std::mem::take(&mut session.held_back));
        for event in held_back.into_iter().flatten().chain(self.blocking_again(id)) {
            if let Some(connection) = self.sessions.get(&id).and_then(|session| session.connection) {
                self.out.push(Effect::Event { connection, event });
            }
        }
    }

    /// A session whose resume waits for nothing any more, and is never answered. There must be none; the simulation looks after
    /// each step, because clients help themselves: they go elsewhere in the end, and nothing else shows it.
    #[cfg(feature = "planted")]
    pub fn forgotten_resume(&self) -> Option<SessionId> {
        let is_looked_at = |session: &super::table::Session, number: &ClaimNumber| {
            let claim = session.claims.get(number);
            let entry = claim.and_then(|claim| self.shards[self.lane_of(&claim.resource)].entries.get(&claim.resource));
            entry.is_some_and(|entry| entry.has_work() || entry.in_flight || entry.reading)
        };
        let is_forgotten = |session: &super::table::Session| {
            let waits_for =
                |resuming: &super::table::Resuming| resuming.unread.iter().any(|number| is_looked_at(session, number));
            session.life.is_vouched_for() && session.resuming.as_deref().is_some_and(|resuming| !waits_for(resuming))
        };
        let over = matches!(self.phase, Phase::Over | Phase::Leaving);
        self.sessions.iter().find(|(_, session)| !over && is_forgotten(session)).map(|(id, _)| *id)
    }

    /// Whom the session's claims block: a notification may have been lost with the stream before.
    fn blocking_again(&self, id: SessionId) -> Vec<Event> {
        let Some(session) = self.sessions.get(&id) else { return Vec::new() };
        let blocking = |number: ClaimNumber, claim: &Claim| {
            let at = self.lane_of(&claim.resource);
            let entry = self.shards[at].entries.get(&claim.resource)?;
            let resource = entry.state.view();
            let view = resource.claim(ClaimId { session: id, number })?;
            let wanted = view.blocking_level?;
            Some(Event::Blocking { claim: number, grant_seq: view.grant_seq, wanted, own: false })
        };
        session.claims.iter().filter_map(|(number, claim)| blocking(*number, claim)).collect()
    }

    fn claim_state(&self, id: SessionId, live: &LiveClaim) -> ClaimState {
        let lost = || {
            let done = Done::empty(live.claim, live.last_operation, DoneStatus::Lost);
            ClaimState { claim: live.claim, mode: None, waiting: false, done: Some(done) }
        };
        let Some(session) = self.sessions.get(&id) else { return lost() };
        let Some(claim) = session.claims.get(&live.claim) else {
            let done = session.finished(live.claim).cloned();
            return done.map_or_else(lost, |done| ClaimState {
                claim: live.claim,
                mode: None,
                waiting: false,
                done: Some(done),
            });
        };
        if claim.forced {
            return lost();
        }
        let done = claim.done.clone();
        ClaimState { claim: live.claim, mode: claim.granted, waiting: claim.pending.is_some(), done }
    }
}
