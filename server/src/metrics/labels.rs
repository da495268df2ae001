//! What tells the series of a metric apart, and how many there may be.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sixpin_core::name::Lockspace;

use super::histogram::Histogram;

/// Names and values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Counters that are told apart by labels.
pub(super) type Counters = Family<Labels, Counter>;

/// Histograms that are told apart by labels.
pub(super) type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// One name and its value.
pub(super) fn label(name: &'static str, value: impl ToString) -> Labels {
    vec![(name, value.to_string())]
}

/// Lockspaces that have series of their own, at most. A client names lockspaces as it likes, and each costs some dozens of series.
pub const LOCKSPACES_MAX: usize = 256;

/// What the rest of them is called together.
pub const OTHER: &str = "other";

/// The lockspaces that have series of their own: the configured ones, and of others those that came first.
#[derive(Debug)]
pub struct Lockspaces(Mutex<BTreeSet<Lockspace>>);

impl Lockspaces {
    /// These are configured. The default one always is.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a Lockspace>) -> Self {
        let all = std::iter::once(Lockspace::default()).chain(configured.into_iter().cloned());
        Self(Mutex::new(all.take(LOCKSPACES_MAX).collect()))
    }

    /// Whether this one has its own, which it may get now.
    pub fn has_own(&self, lockspace: &Lockspace) -> bool {
        let mut own = self.lock();
        own.contains(lockspace) || (own.len() < LOCKSPACES_MAX && own.insert(lockspace.clone()))
    }

    /// Those that have their own.
    pub fn own(&self) -> Vec<Lockspace> {
        self.lock().iter().cloned().collect()
    }

    /// Nothing here panics while the lock is held, so a poisoned lock still holds a sound set.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Lockspace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_invents_lockspaces_makes_no_series_without_bound_and_takes_none_from_those_that_are_configured() {
        let lockspace = |name: String| Lockspace::new(&name).unwrap();
        let configured = [lockspace("orders".into())];
        let lockspaces = Lockspaces::new(&configured);
        let own = (0..10_000).filter(|n| lockspaces.has_own(&lockspace(format!("invented-{n}")))).count();
        assert_eq!(own, LOCKSPACES_MAX - 2);
        assert!(lockspaces.has_own(&configured[0]) && lockspaces.has_own(&Lockspace::default()));
        assert!(lockspaces.has_own(&lockspace("invented-0".into())));
        assert_eq!(lockspaces.own().len(), LOCKSPACES_MAX);
    }
}
