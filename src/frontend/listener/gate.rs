//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Limits on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one address. Connections from this very host do not count: a sidecar has all its clients there.
    pub per_address: usize,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many in all.
    #[error("{0} connections are open, which is the limit `connections.total`")]
    Total(usize),
    /// Too many from one address.
    #[error("{0} connections from this address are open, which is the limit `connections.per_address`")]
    Address(usize),
}

/// Counts connections.
#[derive(Debug)]
pub struct Gate {
    limits: ConnectionLimits,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    addresses: HashMap<IpAddr, usize>,
}

/// The right of one connection to be open. Given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    /// Nobody is in yet.
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), left: Notify::new() })
    }

    /// Lets a connection in, or says why not.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Refused> {
        let mut state = self.lock();
        if state.total >= self.limits.total {
            return Err(Refused::Total(self.limits.total));
        }
        if !address.is_loopback() {
            let count = state.addresses.entry(address).or_default();
            if *count >= self.limits.per_address {
                return Err(Refused::Address(self.limits.per_address));
            }
            *count += 1;
        }
        state.total += 1;
        Ok(Pass { gate: self.clone(), address })
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

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.total -= 1;
        if let Some(count) = state.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                state.addresses.remove(&self.address);
            }
        }
        drop(state);
        self.gate.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits { total: 3, per_address: 2 };

    #[test]
    fn one_address_cannot_take_all_places_and_a_place_is_given_back() {
        let gate = Gate::new(LIMITS);
        let (a, b): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = gate.enter(a).unwrap();
        let _second = gate.enter(a).unwrap();
        assert_eq!(gate.enter(a).unwrap_err(), Refused::Address(2));
        let _third = gate.enter(b).unwrap();
        assert_eq!(gate.enter(b).unwrap_err(), Refused::Total(3));
        drop(first);
        assert!(gate.enter(a).is_ok());
    }

    #[test]
    fn this_host_is_limited_in_all_only() {
        let gate = Gate::new(LIMITS);
        let passes: Vec<_> = (0..3).map(|_| gate.enter([127, 0, 0, 1].into()).unwrap()).collect();
        assert_eq!(gate.enter([127, 0, 0, 1].into()).unwrap_err(), Refused::Total(3));
        drop(passes);
        assert_eq!(gate.count(), 0);
    }
}
