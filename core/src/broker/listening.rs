//! A client without a stream hears of its session by a connection on which it only listens.
//!
//! Such a connection takes the place of the stream as far as events go: they are said there, and nothing is asked there. What a call
//! is answered with is not said again. A client that moves its session by a call leaves what it listened by, as it would leave a stream:
//! what is said there afterwards is from before.
//!
//! Invariants: who listens never ends a stream, because on a stream everything is said already and more depends on it; a stream ends the
//! listening, and whoever listens last is the one who does. Listening keeps no session alive, because a connection, and whatever opens it
//! again, can outlive the program that wanted the locks. While it is not certain that a session ended here, nobody who listens is told so.

use super::Broker;
#[cfg(feature = "planted")]
use super::api::ConnectionId;
use super::api::{Effect, Event, Reply, ReplyTo, RequestError};
use super::table::{Claim, Life};
use crate::name::{ClaimNumber, SessionId};
use crate::planted::Bug;

impl Broker {
    /// Events of the session go to this connection from now on. The answer says what a client may have missed that listened before;
    /// whom its claims block is said again after it.
    pub(super) fn listen(&mut self, from: ReplyTo, id: SessionId) -> Result<(), RequestError> {
        self.check_may_vouch()?;
        self.check_free(from.connection, true)?;
        let Some(session) = self.sessions.get(&id) else { return Err(self.not_here(id)) };
        if session.life == Life::Ending {
            return Err(RequestError::SessionGone(id));
        }
        if session.bound {
            let text =
                format!("session {id} is bound to its stream, where its events are said: nobody else can listen");
            return Err(RequestError::Invalid(text));
        }
        if session.connection.is_some() && !session.listens && !self.planted.has(Bug::ListenerTakesStream) {
            return Err(RequestError::Busy(format!(
                "session {id} has a stream, where its events are said: read them there"
            )));
        }
        if session.resuming.is_some() {
            return Err(RequestError::Unavailable(format!(
                "session {id} is being resumed: listen when that is answered"
            )));
        }
        let lost = session.taken_away();
        // What was given up is over, though its end is not written yet.
        let waits = |claim: &Claim| claim.pending.as_ref().is_some_and(|operation| !operation.given_up);
        let waiting = session.claims.iter().filter(|(_, claim)| waits(claim)).map(|(number, _)| *number).collect();
        let blocking: Vec<Event> = session.claims.iter().filter_map(|(number, claim)| blocks(*number, claim)).collect();
        self.attach(id, from.connection);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.listens = true;
        }
        self.reply(from, Reply::Listening { lost, waiting });
        for event in blocking {
            self.out.push(Effect::Event { connection: from.connection, event });
        }
        Ok(())
    }

    /// A connection of which its session knows nothing, or the other way round. There must be none; the simulation looks.
    #[cfg(feature = "planted")]
    pub fn stray_connection(&self) -> Option<ConnectionId> {
        let of = |id: &SessionId| self.sessions.get(id).and_then(|session| session.connection);
        let unknown = self.connections.iter().find(|(connection, id)| of(id) != Some(**connection));
        let known = |(id, connection): &(SessionId, ConnectionId)| self.connections.get(connection) == Some(id);
        let mut all = self.sessions.iter().filter_map(|(id, session)| Some((*id, session.connection?)));
        unknown.map(|(connection, _)| *connection).or_else(|| all.find(|of| !known(of)).map(|of| of.1))
    }
}

/// What was said of a claim that is in somebody's way, if it may still be. What is said from memory is said of what was told, never of
/// what is only on its way to the store.
fn blocks(number: ClaimNumber, claim: &Claim) -> Option<Event> {
    let wanted = claim.blocking_told.filter(|_| claim.granted.is_some() && !claim.forced && !claim.leaving)?;
    Some(Event::Blocking { claim: number, grant_seq: claim.grant_seq, wanted, own: false })
}
