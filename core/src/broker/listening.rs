//! A client without a stream hears of its session by a connection on which it only listens.
//!
//! Such a connection takes the place of the stream as far as events go: they are said there, and nothing is asked there. What a call
//! is answered with is not said again.
//!
//! Invariants: who listens never ends a stream, because on a stream everything is said already and more depends on it; a stream ends the
//! listening, and whoever listens last is the one who does. Listening keeps no session alive: it counts as heard once, when it is asked
//! for, because a connection can outlive the program that opened it.

use super::Broker;
use super::api::{Effect, Reply, ReplyTo, RequestError};
use super::table::Life;
use crate::name::SessionId;
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
        let lost = session.taken_away();
        let waiting = session.claims.iter().filter(|(_, claim)| claim.pending.is_some());
        let waiting = waiting.map(|(number, _)| *number).collect();
        self.attach(id, from.connection);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.listens = true;
        }
        self.reply(from, Reply::Listening { lost, waiting });
        for event in self.blocking_again(id) {
            self.out.push(Effect::Event { connection: from.connection, event });
        }
        Ok(())
    }
}
