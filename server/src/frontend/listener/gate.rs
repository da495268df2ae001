//! How many connections there may be, in all and of one client, and what else a client has a share of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sixpin_core::broker::api::Client;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::share::{Lane, Share, UnreadTotal};
use crate::frontend::client::{self, Network};

/// How often it is looked who may be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Limits on connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// Of one client.
    pub per_address: usize,
    /// Of one client that is trusted.
    pub per_trusted: usize,
    /// Where trusted clients are.
    pub trusted: Vec<Network>,
    /// How long a connection may be open on which nothing goes on.
    pub idle: Duration,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many in all.
    #[error("{0} connections are open, and `connections.total` allows no more")]
    Total(usize),
    /// Too many of one client.
    #[error("{0} connections from this address are open, and `connections.per_address` allows no more")]
    Address(usize),
    /// Too many of one client that is trusted.
    #[error("{0} connections from this address are open, and `connections.per_trusted` allows no more")]
    Trusted(usize),
}

/// Counts connections.
pub struct Gate {
    lane: Lane,
    unread: Arc<UnreadTotal>,
    state: Mutex<State>,
    left: Notify,
}

struct State {
    limits: ConnectionLimits,
    total: usize,
    clients: HashMap<Client, Present>,
    /// When those were forgotten last who are gone and owe nothing any more.
    swept: Option<Instant>,
}

impl State {
    /// Whoever went away too fast is remembered until its paces have run out, or it would come back without them.
    fn sweep(&mut self) {
        let now = Instant::now();
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.clients.retain(|_, present| present.connections > 0 || !present.share.has_rested());
        }
    }
}

/// A client that has connections.
struct Present {
    connections: usize,
    share: Arc<Share>,
}

/// The right of one connection to be open. Given back when dropped.
pub struct Pass {
    gate: Arc<Gate>,
    client: Client,
    share: Arc<Share>,
}

impl Gate {
    /// Nobody is in yet. Who is let in inspects on `lane`.
    pub fn new(limits: ConnectionLimits, lane: Lane, unread: Arc<UnreadTotal>) -> Arc<Self> {
        let state = State { limits, total: 0, clients: HashMap::new(), swept: None };
        Arc::new(Self { lane, unread, state: Mutex::new(state), left: Notify::new() })
    }

    /// These limits hold for whoever comes from now on. Who is in stays, in whatever numbers, and is trusted or not as before.
    pub fn limit(&self, limits: ConnectionLimits) {
        self.lock().limits = limits;
    }

    /// Lets a connection in, or says why not.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Refused> {
        let mut state = self.lock();
        state.sweep();
        let limits = &state.limits;
        let client = client::at(address, &limits.trusted);
        if state.total >= limits.total {
            return Err(Refused::Total(state.total));
        }
        let open = state.clients.get(&client).map_or(0, |present| present.connections);
        if client.trusted && open >= limits.per_trusted {
            return Err(Refused::Trusted(open));
        }
        if !client.trusted && open >= limits.per_address {
            return Err(Refused::Address(open));
        }
        let present = state
            .clients
            .entry(client)
            .or_insert_with(|| Present { connections: 0, share: Arc::new(Share::new(client, self.unread.clone())) });
        present.connections += 1;
        let share = present.share.clone();
        state.total += 1;
        Ok(Pass { gate: self.clone(), client, share })
    }

    /// How many are in.
    pub fn count(&self) -> usize {
        self.lock().total
    }

    /// Returns when nobody is in, and at the latest after `at_most`.
    pub async fn empty(&self, at_most: Duration) {
        let emptied = async {
            loop {
                let left = self.left.notified();
                if self.count() == 0 {
                    return;
                }
                left.await;
            }
        };
        // Whoever has not gone by then is cut off by the end of the process.
        let _ = tokio::time::timeout(at_most, emptied).await;
    }

    /// Nothing here panics while the lock is held, so a poisoned lock still holds sound counts.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// What the connection's client has a share of.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Where it inspects.
    pub(super) fn lane(&self) -> &Lane {
        &self.gate.lane
    }

    /// How long it may be open while nothing goes on, as it is just now.
    pub(super) fn idle(&self) -> Duration {
        self.gate.lock().limits.idle
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.total -= 1;
        if let Some(present) = state.clients.get_mut(&self.client) {
            present.connections -= 1;
            if present.connections == 0 && present.share.has_rested() {
                state.clients.remove(&self.client);
            }
        }
        drop(state);
        self.gate.left.notify_waiters();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A gate with these limits.
    pub(in super::super) fn gate(total: usize, per_address: usize, per_trusted: usize) -> Arc<Gate> {
        let trusted = vec!["127.0.0.0/8".parse().unwrap()];
        let limits = ConnectionLimits { total, per_address, per_trusted, trusted, idle: Duration::from_secs(60) };
        Gate::new(limits, Lane::start().unwrap(), Arc::default())
    }

    fn enter(gate: &Arc<Gate>, address: &str) -> Result<Pass, Refused> {
        gate.enter(address.parse().unwrap())
    }

    #[test]
    fn one_client_cannot_take_all_places_and_a_place_is_given_back() {
        let gate = gate(3, 2, 3);
        let first = enter(&gate, "2001:db8::1").unwrap();
        let _second = enter(&gate, "2001:db8::2").unwrap();
        assert_eq!(enter(&gate, "2001:db8::3").err(), Some(Refused::Address(2)));
        let _third = enter(&gate, "192.0.2.1").unwrap();
        assert_eq!(enter(&gate, "192.0.2.1").err(), Some(Refused::Total(3)));
        drop(first);
        assert!(enter(&gate, "2001:db8::3").is_ok());
    }

    #[test]
    fn who_is_trusted_has_a_larger_share_but_not_all() {
        let gate = gate(4, 1, 3);
        let passes: Vec<_> = (0..3).map(|_| enter(&gate, "127.0.0.1").unwrap()).collect();
        assert_eq!(enter(&gate, "127.0.0.1").err(), Some(Refused::Trusted(3)));
        assert!(enter(&gate, "192.0.2.1").is_ok());
        drop(passes);
        assert_eq!(gate.count(), 0);
    }

    #[test]
    fn limits_that_are_lowered_turn_nobody_out_and_let_in_who_comes_once_there_is_room() {
        let gate = gate(10, 3, 10);
        let limits = |per_address| ConnectionLimits { per_address, ..gate.lock().limits.clone() };
        let mut passes: Vec<_> = (0..3).map(|_| enter(&gate, "192.0.2.1").unwrap()).collect();
        let (lower, higher) = (limits(1), limits(4));
        gate.limit(lower);
        assert_eq!(gate.count(), 3);
        assert_eq!(enter(&gate, "192.0.2.1").err(), Some(Refused::Address(3)));
        passes.truncate(1);
        assert_eq!(enter(&gate, "192.0.2.1").err(), Some(Refused::Address(1)));
        gate.limit(higher);
        passes.push(enter(&gate, "192.0.2.1").unwrap());
        // Who was let in without being trusted goes out as such.
        gate.limit(ConnectionLimits { trusted: vec!["192.0.2.1".parse().unwrap()], ..limits(1) });
        passes.push(enter(&gate, "192.0.2.1").unwrap());
        drop(passes);
        assert_eq!(gate.count(), 0);
        assert!(gate.lock().clients.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_at_once_still_owes_what_it_owed() {
        let gate = gate(4, 4, 4);
        let pass = enter(&gate, "192.0.2.1").unwrap();
        assert!(pass.share().handshakes.came(10_000) > Duration::from_secs(1));
        drop(pass);
        let again = enter(&gate, "192.0.2.1").unwrap();
        assert!(!again.share().has_rested());
        drop(again);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        drop(enter(&gate, "192.0.2.2").unwrap());
        assert!(gate.lock().clients.is_empty(), "who owes nothing is forgotten");
    }
}
