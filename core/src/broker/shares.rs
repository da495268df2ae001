//! How many sessions each client has at this broker.
//!
//! Invariant: a session is in the table and in its client's count, or in neither.

use std::collections::BTreeMap;

use super::Broker;
use super::api::{Client, RequestError};
use super::table::Session;
use crate::name::SessionId;

/// Sessions by client. Who has none is not in here.
#[derive(Debug, Default)]
pub(super) struct Shares {
    sessions: BTreeMap<Client, usize>,
}

impl Shares {
    fn of(&self, client: Client) -> usize {
        self.sessions.get(&client).copied().unwrap_or_default()
    }

    fn leave(&mut self, client: Client) {
        if let Some(count) = self.sessions.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(&client);
            }
        }
    }
}

impl Broker {
    /// Refuses one more session of this client, if the broker is full or its share is used up.
    pub(super) fn check_room(&self, client: Client) -> Result<(), RequestError> {
        let limits = &self.config.limits;
        if self.sessions.len() >= limits.sessions_per_broker {
            return Err(RequestError::Limit(format!("{} sessions at this broker", self.sessions.len())));
        }
        let (share, setting) = if client.trusted {
            (limits.sessions_per_trusted, "limits.sessions_per_trusted")
        } else {
            (limits.sessions_per_client, "limits.sessions_per_client")
        };
        if self.shares.of(client) >= share {
            return Err(RequestError::Limit(format!("{share} sessions of one client at this broker, `{setting}`")));
        }
        Ok(())
    }

    pub(super) fn insert_session(&mut self, id: SessionId, session: Session) {
        *self.shares.sessions.entry(session.client.shares).or_default() += 1;
        if let Some(old) = self.sessions.insert(id, Box::new(session)) {
            self.shares.leave(old.client.shares);
        }
    }

    pub(super) fn remove_session(&mut self, id: SessionId) -> Option<Box<Session>> {
        let session = self.sessions.remove(&id)?;
        self.shares.leave(session.client.shares);
        Some(session)
    }
}
