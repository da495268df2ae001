//! Sessions open, are kept alive, and have a connection.
//!
//! Invariants: nobody is answered for a session that this broker does not vouch for; a keepalive never lets a client believe
//! that it has what was taken from it; a connection carries one session, and a session has one connection.

use super::Broker;
use super::api::{ConnectionId, Effect, OpenRequest, Reply, ReplyTo, RequestError, SessionRef};
use super::secret::{is_secret_of, secret_of};
use super::table::{Life, Session};
use crate::access::{Denied, Principal};
use crate::limits::SESSION_TTL_MIN;
use crate::name::SessionId;
use crate::planted::Bug;

impl Broker {
    /// The session that a request is about, if this broker vouches for it. What it asks for is asked for by the principal that it names;
    /// on a stream by the one that was named there last, also where that request was refused.
    pub(super) fn session_of(
        &mut self,
        connection: ConnectionId,
        session: SessionRef,
        principal: Option<Principal>,
    ) -> Result<SessionId, RequestError> {
        let on_stream = matches!(session, SessionRef::Attached);
        let id = match session {
            SessionRef::Attached => match self.connections.get(&connection) {
                Some(id) => *id,
                None => return Err(RequestError::Invalid("no session is open on this stream".into())),
            },
            SessionRef::Named(id, secret) => {
                let who = principal.as_ref().ok_or(RequestError::Unauthenticated)?;
                if !is_secret_of(&self.config.root, id, who, &secret) {
                    return Err(RequestError::WrongToken(id));
                }
                id
            }
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            if on_stream {
                if let Some(principal) = principal {
                    session.attached = principal;
                }
                session.principal = session.attached.clone();
            } else if let Some(principal) = principal {
                session.principal = principal;
            }
        }
        match self.sessions.get(&id).map(|session| session.life) {
            Some(Life::Vouching | Life::Ending) => Ok(id),
            Some(Life::Burying { .. }) if self.planted.has(Bug::AnsweredDuringBurial) => Ok(id),
            Some(Life::Moving) => {
                Err(RequestError::Unavailable(format!("session {id} is still moving here: try again")))
            }
            Some(Life::Burying { decided }) => Err(Self::being_buried(id, decided)),
            Some(Life::Closing) => Err(RequestError::SessionGone(id)),
            None => Err(self.not_here(id)),
        }
    }

    pub(super) fn open(&mut self, from: ReplyTo, principal: Principal, open: OpenRequest) -> Result<(), RequestError> {
        if !principal.may_lock_something() {
            return Err(Denied::no_lock().into());
        }
        let OpenRequest { ttl, client, bound, release_on_end, attach } = open;
        let ttl = ttl.unwrap_or(self.config.session_ttl);
        let max = self.config.session_ttl_max;
        if !(SESSION_TTL_MIN..=max).contains(&ttl) {
            let text = format!(
                "a session's TTL is {SESSION_TTL_MIN:?} to {max:?} (`session_ttl_max` of this broker), not {ttl:?}"
            );
            return Err(RequestError::Invalid(text));
        }
        self.check_may_vouch()?;
        self.check_room(client.shares, &principal)?;
        self.check_free(from.connection, attach)?;
        self.next_serial += 1;
        let id =
            SessionId { opener: self.config.incarnation, serial: self.next_serial, ttl_ms: ttl.as_millis() as u32 };
        let mut session = Session::new(client, bound, Life::Vouching, self.now.mono);
        session.release_on_end = bound && release_on_end;
        let secret = secret_of(&self.config.root, id, &principal);
        session.principal = principal;
        self.insert_session(id, session);
        self.arm_session(id);
        if attach {
            self.attach(id, from.connection);
        }
        self.reply(from, Reply::Opened { session: id, secret });
        Ok(())
    }

    /// A stream carries one session.
    pub(super) fn check_free(&self, connection: ConnectionId, attach: bool) -> Result<(), RequestError> {
        if attach && self.connections.contains_key(&connection) {
            return Err(RequestError::Invalid("a session is open on this stream already".into()));
        }
        Ok(())
    }

    /// Answers and events of a session go to this connection from now on; another one that it had is ended.
    pub(super) fn attach(&mut self, id: SessionId, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.attached = session.principal.clone();
        session.listens = false;
        if let Some(old) = session.connection.replace(connection)
            && old != connection
        {
            self.connections.remove(&old);
            self.out.push(Effect::Disconnect { connection: old });
        }
        self.connections.insert(connection, id);
    }

    pub(super) fn keep_alive(&mut self, from: ReplyTo, id: SessionId, move_number: u32) -> Result<(), RequestError> {
        self.check_still_vouches()?;
        let Some(session) = self.sessions.get(&id) else { return Err(self.not_here(id)) };
        if session.move_number != move_number {
            return Err(RequestError::StaleMove(id));
        }
        // Its end has been decided: no keepalive may let the client believe otherwise.
        if session.life == Life::Ending {
            return Err(RequestError::SessionGone(id));
        }
        let lost = session.taken_away();
        self.reply(from, Reply::KeptAlive { move_number, ttl: id.ttl(), lost });
        Ok(())
    }
}
