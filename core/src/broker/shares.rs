//! How many sessions each client has at this broker, and how many claims, where there is a quota of these.
//!
//! Invariants: a session is in the table and in its client's count, or in neither; the claims of a session are counted for as long
//! as they are in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Broker;
use super::api::{Client, RequestError};
use super::table::Session;
use crate::access::Principal;
use crate::name::SessionId;

/// What each client has. Who has no session is not in here.
#[derive(Debug, Default)]
pub(super) struct Shares {
    clients: BTreeMap<Client, Share>,
}

#[derive(Debug, Default)]
struct Share {
    sessions: usize,
    usage: Arc<Usage>,
}

/// What the sessions of one client have together.
#[derive(Debug, Default)]
struct Usage {
    claims: AtomicUsize,
    waiting: AtomicUsize,
}

/// How many claims a session has, and how many of them wait. Where there is a quota, they are counted for the client as well, for
/// as long as the session is there.
#[derive(Debug, Default)]
pub(super) struct Counts {
    claims: usize,
    waiting: usize,
    shared: Option<Arc<Usage>>,
}

impl Counts {
    /// How many wait.
    pub(super) fn that_wait(&self) -> usize {
        self.waiting
    }

    /// So many claims more, or fewer.
    pub(super) fn claims(&mut self, more: isize) {
        count(&mut self.claims, more, self.shared.as_ref().map(|shared| &shared.claims));
    }

    /// So many more wait, or fewer.
    pub(super) fn waiting(&mut self, more: isize) {
        count(&mut self.waiting, more, self.shared.as_ref().map(|shared| &shared.waiting));
    }

    fn share(&mut self, usage: Arc<Usage>) {
        usage.claims.fetch_add(self.claims, Ordering::Relaxed);
        usage.waiting.fetch_add(self.waiting, Ordering::Relaxed);
        self.shared = Some(usage);
    }
}

/// Counts for the session, and by as much for its client.
fn count(own: &mut usize, more: isize, shared: Option<&AtomicUsize>) {
    let before = *own;
    *own = before.saturating_add_signed(more);
    if let Some(shared) = shared {
        shared.fetch_add(own.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.claims.fetch_sub(self.claims, Ordering::Relaxed);
            shared.waiting.fetch_sub(self.waiting, Ordering::Relaxed);
        }
    }
}

impl Shares {
    fn of(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |share| share.sessions)
    }

    fn leave(&mut self, client: Client) {
        if let Some(share) = self.clients.get_mut(&client) {
            share.sessions -= 1;
            if share.sessions == 0 {
                self.clients.remove(&client);
            }
        }
    }
}

/// One more claim, or one more that waits, is beyond the quota of whoever has the session.
pub(super) fn check_quotas(session: &Session, waits: bool) -> Result<(), RequestError> {
    let (Some(quotas), Some(usage)) = (session.principal.quotas(), &session.counts.shared) else { return Ok(()) };
    let (used, quota, what, setting) = if waits {
        (&usage.waiting, quotas.waiting, "waiting claims", "access.quotas.waiting")
    } else {
        (&usage.claims, quotas.claims, "claims", "access.quotas.claims")
    };
    if used.load(Ordering::Relaxed) >= quota {
        return Err(RequestError::Limit(format!("{quota} {what} of one principal at this broker, `{setting}`")));
    }
    Ok(())
}

impl Broker {
    /// A client of which more or fewer claims are counted than its sessions have. There must be none; the simulation looks.
    #[cfg(feature = "planted")]
    pub fn miscounted(&self) -> Option<Client> {
        let mut found: BTreeMap<Client, (usize, usize)> = BTreeMap::new();
        for session in self.sessions.values().filter(|session| session.counts.shared.is_some()) {
            let counts = found.entry(session.client.shares).or_default();
            let waiting = session.claims.values().filter(|claim| claim.pending.is_some()).count();
            *counts = (counts.0 + session.claims.len(), counts.1 + waiting);
        }
        let is_right = |client: &Client, usage: &Usage| {
            let (claims, waiting) = found.get(client).copied().unwrap_or_default();
            usage.claims.load(Ordering::Relaxed) == claims && usage.waiting.load(Ordering::Relaxed) == waiting
        };
        self.shares.clients.iter().find(|(client, share)| !is_right(client, &share.usage)).map(|(client, _)| *client)
    }

    /// Refuses one more session of this client, if the broker is full or its share is used up.
    pub(super) fn check_room(&self, client: Client, principal: &Principal) -> Result<(), RequestError> {
        let limits = &self.config.limits;
        if self.sessions.len() >= limits.sessions_per_broker {
            return Err(RequestError::Limit(format!("{} sessions at this broker", self.sessions.len())));
        }
        let (share, setting) = if let Some(quotas) = principal.quotas() {
            (quotas.sessions, "access.quotas.sessions")
        } else if client.trusted {
            (limits.sessions_per_trusted, "limits.sessions_per_trusted")
        } else {
            (limits.sessions_per_client, "limits.sessions_per_client")
        };
        if self.shares.of(client) >= share {
            return Err(RequestError::Limit(format!("{share} sessions of one client at this broker, `{setting}`")));
        }
        Ok(())
    }

    pub(super) fn insert_session(&mut self, id: SessionId, mut session: Session) {
        let share = self.shares.clients.entry(session.client.shares).or_default();
        share.sessions += 1;
        if session.principal.quotas().is_some() {
            session.counts.share(share.usage.clone());
        }
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
