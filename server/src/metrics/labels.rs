//! What tells the series of a metric apart, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sixpin_core::name::{Lockspace, ResourceName};

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

/// Classes of names that are configured, at most.
pub const CLASSES_MAX: usize = 100;

/// Classes within lockspaces that have series of their own, at most.
const OWN_CLASSES_MAX: usize = 1_000;

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

/// Classes of names: what begins so is counted together, within its lockspace.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Beginnings, the longest first, each with the class that it is of.
    beginnings: Vec<(String, String)>,
    /// Lockspaces that are configured: the operator says how many these are.
    configured: BTreeSet<String>,
    /// Which class in which other lockspace is counted apart.
    own: Mutex<BTreeSet<(String, usize)>>,
}

impl Classes {
    /// These, by how names begin; in these lockspaces each is counted apart.
    pub(super) fn new<'a>(
        classes: &BTreeMap<String, String>,
        lockspaces: impl IntoIterator<Item = &'a Lockspace>,
    ) -> Self {
        let configured = lockspaces.into_iter().map(ToString::to_string);
        let configured = configured.chain([Lockspace::default().to_string(), OTHER.to_owned()]).collect();
        let mut beginnings: Vec<_> =
            classes.iter().map(|(beginning, class)| (beginning.clone(), class.clone())).collect();
        beginnings.sort_by_key(|(beginning, _)| std::cmp::Reverse(beginning.len()));
        Self { beginnings, configured, own: Mutex::default() }
    }

    /// Names have classes.
    pub(super) fn are_there(&self) -> bool {
        !self.beginnings.is_empty()
    }

    /// The class of a name: that of the longest beginning.
    pub(super) fn of(&self, name: &ResourceName) -> Option<usize> {
        self.beginnings.iter().position(|(beginning, _)| name.as_str().starts_with(beginning.as_str()))
    }

    /// What a class is called in a lockspace. A client names both as it likes, so there is a bound for what is counted apart.
    pub(super) fn called(&self, class: Option<usize>, lockspace: &str) -> &str {
        let Some(place) = class else { return OTHER };
        if self.configured.contains(lockspace) {
            return &self.beginnings[place].1;
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (lockspace.to_owned(), place);
        let is_own = own.contains(&pair) || (own.len() < OWN_CLASSES_MAX && own.insert(pair));
        if is_own { &self.beginnings[place].1 } else { OTHER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_says_the_class_and_lockspaces_that_are_invented_make_no_series_without_bound() {
        let configured = [("invoice/", "invoices"), ("invoice/paid/", "paid"), ("j", "jobs")];
        let configured = configured.map(|(beginning, class)| (beginning.to_owned(), class.to_owned())).into();
        let classes = Classes::new(&configured, []);
        let called = |name: &str| classes.called(classes.of(&ResourceName::new(name).unwrap()), "a").to_owned();
        assert_eq!(
            ["invoice/1", "invoice/paid/1", "job", "invoice", "x"].map(called),
            ["invoices", "paid", "jobs", "other", "other"]
        );
        let own = (0..10_000).filter(|n| classes.called(Some(0), &format!("l{n}")) != OTHER).count();
        assert_eq!(own, OWN_CLASSES_MAX - 3);
        assert_eq!(classes.called(Some(0), "a"), "paid");
        let late: Vec<&str> = (0..3).map(|class| classes.called(Some(class), "default")).collect();
        assert_eq!(late, ["paid", "invoices", "jobs"]);
    }

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
