//! An administrator asks a holder once more to let go.
//!
//! That is the notification which a holder gets when somebody begins to wait, also if nobody waits. It is said and changes nothing: no
//! record is written, and what the client does with it is its own affair.
//!
//! Invariant: it names a grant that stands, and goes only to clients that want to hear of such things.

use super::Broker;
use super::api::{Event, Reply, ReplyTo, RequestError};
use super::table::{Claim, Session};
use crate::mode::Mode;
use crate::name::{ClaimId, ClaimNumber, ResourceId, SessionId};
use crate::planted::Bug;

/// Claims of a session on one resource that are asked at once: each is a message to one client.
const AT_ONCE_MAX: usize = 64;

/// A claim that holds.
struct Held {
    claim: ClaimNumber,
    grant_seq: u32,
    /// The client wants to hear that it is in somebody's way.
    hears: bool,
    /// The mode for which somebody waits who was in its way before.
    wanted: Option<Mode>,
}

impl Broker {
    /// Says to the client of a session that what it holds is wanted.
    pub(super) fn notify_holder(
        &mut self,
        from: ReplyTo,
        resource: &ResourceId,
        id: SessionId,
        claim: Option<ClaimNumber>,
    ) -> Result<(), RequestError> {
        self.check_still_vouches()?;
        let Some(session) = self.sessions.get(&id) else { return Err(self.not_here_for_admin(id)) };
        if !session.life.is_vouched_for() {
            return Err(RequestError::SessionGone(id));
        }
        let held = self.held_on(resource, id, session, claim);
        check_asked(id, session, resource, &held)?;
        let (told, deaf): (Vec<Held>, _) = held.into_iter().partition(|held| held.hears);
        let numbers = |of: &[Held]| of.iter().map(|held| held.claim).collect();
        let answer = Reply::Notified { told: numbers(&told), deaf: numbers(&deaf) };
        for Held { claim, grant_seq, wanted, .. } in told {
            let wanted = wanted.unwrap_or(Mode::EX);
            self.tell(ClaimId { session: id, number: claim }, Event::Blocking { claim, grant_seq, wanted, own: false });
        }
        self.reply(from, answer);
        Ok(())
    }

    /// The claims of a session that hold a resource, as their client was told. The record says who wants to hear, and of what; it may be
    /// read anew at this moment, and be behind or ahead of that.
    fn held_on(
        &self,
        resource: &ResourceId,
        id: SessionId,
        session: &Session,
        claim: Option<ClaimNumber>,
    ) -> Vec<Held> {
        let Some(entry) = self.shards[self.lane_of(resource)].entries.get(resource) else { return Vec::new() };
        let record = entry.state.view();
        let waiters_too = self.planted.has(Bug::WaiterToldToLetGo);
        let is_asked = |number: &ClaimNumber| claim.is_none_or(|asked| asked == *number);
        let own = session.claims.iter().filter(|(number, known)| known.resource == *resource && is_asked(number));
        let holds = own.filter(|(_, known)| {
            let stands = !known.forced && !known.leaving && !known.unread;
            let holds = stands && known.grant_seq > 0 && known.granted.is_some_and(|mode| mode > Mode::NL);
            holds || waiters_too
        });
        let held = |number: ClaimNumber, known: &Claim| {
            let view = record.claim(ClaimId { session: id, number })?;
            let (grant_seq, hears, wanted) = (known.grant_seq, view.blocking, view.blocking_level);
            Some(Held { claim: number, grant_seq, hears, wanted })
        };
        holds.filter_map(|(number, known)| held(*number, known)).collect()
    }
}

/// Refuses what nobody would hear, or what would be too much to say.
fn check_asked(id: SessionId, session: &Session, resource: &ResourceId, held: &[Held]) -> Result<(), RequestError> {
    if held.is_empty() {
        let text = format!("session {id} holds nothing of that on `{resource}`: nothing changed");
        return Err(RequestError::NotFound(text));
    }
    if held.len() > AT_ONCE_MAX {
        return Err(RequestError::Limit(format!("{AT_ONCE_MAX} claims asked to let go at once: name one of them")));
    }
    if session.connection.is_none() {
        let open = "neither a stream nor its events are open";
        let text = format!("the client of session {id} hears nothing at the moment, {open}: nothing changed");
        return Err(RequestError::Busy(text));
    }
    Ok(())
}
