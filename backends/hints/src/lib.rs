//! Who waits for a change of what, for stores that tell of every change (etcd's watch, a consumer of JetStream).
//!
//! Hints are never needed for safety: whoever waits reads again after a while. A deletion leaves nothing in one store and a
//! marker with a version in another; here both are a change at a version that deleted the key.
//!
//! Memory: one entry per key that is waited for, removed when nobody waits any more, and a table of fixed size with the
//! latest changes. The table is for a change that comes between a caller's read and its wait: without it such a change
//! would be found only by the next read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sixpin_core::name::Version;
use tokio::sync::{Notify, watch};

/// Changes that are remembered.
const LATEST_MAX: usize = 4_096;

/// The callers that wait for changes.
#[derive(Debug)]
pub struct Hints {
    state: Mutex<State>,
    hasher: RandomState,
    // Rung when somebody begins to wait.
    wanted: Notify,
    // Counts the times at which nobody could say what had changed.
    doubts: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    waiting: HashMap<Bytes, Waiting>,
    latest: Box<[Latest]>,
}

#[derive(Debug)]
struct Waiting {
    change: watch::Sender<Change>,
    callers: usize,
}

/// A key's hash and its last change. A later change of another key may take its place.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    hash: u64,
    change: Change,
}

/// The last change of a key.
#[derive(Debug, Clone, Copy)]
struct Change {
    version: Version,
    /// It deleted the key.
    deleted: bool,
}

impl Default for Change {
    fn default() -> Self {
        Self { version: Version::ABSENT, deleted: true }
    }
}

impl Change {
    /// Whether the key may differ from the version seen. What is absent has no version that a deletion could be compared
    /// with: it is absent after every deletion.
    fn is_news(self, seen: Version) -> bool {
        if seen.is_absent() { !self.deleted } else { self.version > seen }
    }
}

impl Default for Hints {
    fn default() -> Self {
        let latest = vec![Latest::default(); LATEST_MAX].into();
        let state = Mutex::new(State { waiting: HashMap::new(), latest });
        Self { state, hasher: RandomState::new(), wanted: Notify::new(), doubts: watch::Sender::new(0) }
    }
}

impl Hints {
    /// Returns when the key changed after the version seen, or nobody can say whether it did.
    pub async fn changed(&self, key: impl Into<Bytes>, seen: Version) {
        let mut doubts = self.doubts.subscribe();
        let Some(mut call) = self.call(key.into(), seen) else { return };
        self.wanted.notify_one();
        tokio::select! {
            _ = call.change.wait_for(|change| change.is_news(seen)) => {}
            _ = doubts.changed() => {}
        }
    }

    /// A key changed, or was deleted.
    pub fn ring(&self, key: &[u8], version: Version, deleted: bool) {
        let hash = self.hasher.hash_one(key);
        let change = Change { version, deleted };
        let mut state = self.state();
        let latest = &mut state.latest[place(hash)];
        if latest.hash != hash || latest.change.version < version {
            *latest = Latest { hash, change };
        }
        if let Some(waiting) = state.waiting.get(key) {
            waiting.change.send_if_modified(|known| {
                let newer = version > known.version;
                if newer {
                    *known = change;
                }
                newer
            });
        }
    }

    /// Something may have changed, and nobody can say what.
    pub fn ring_all(&self) {
        self.doubts.send_modify(|doubts| *doubts += 1);
    }

    /// Somebody waits.
    pub fn is_wanted(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Returns once somebody waits.
    pub async fn wanted(&self) {
        while !self.is_wanted() {
            self.wanted.notified().await;
        }
    }

    /// Begins to wait; none if there is nothing to wait for.
    fn call(&self, key: Bytes, seen: Version) -> Option<Call<'_>> {
        let hash = self.hasher.hash_one(&key[..]);
        let mut state = self.state();
        let latest = state.latest[place(hash)];
        if latest.hash == hash && latest.change.is_news(seen) {
            return None;
        }
        let waiting = state
            .waiting
            .entry(key.clone())
            .or_insert_with(|| Waiting { change: watch::Sender::new(Change::default()), callers: 0 });
        waiting.callers += 1;
        let change = waiting.change.subscribe();
        drop(state);
        Some(Call { hints: self, key, change })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way, so a poisoned lock still guards good data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller that waits. Leaves nothing behind when it is dropped.
struct Call<'a> {
    hints: &'a Hints,
    key: Bytes,
    change: watch::Receiver<Change>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.hints.state();
        if let Entry::Occupied(mut entry) = state.waiting.entry(self.key.clone()) {
            entry.get_mut().callers -= 1;
            if entry.get().callers == 0 {
                entry.remove();
            }
        }
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % LATEST_MAX as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn returns(hints: &Hints, key: &str, seen: u64) -> bool {
        hints.changed(key.to_owned(), Version(seen)).now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_lost() {
        let hints = Hints::default();
        hints.ring(b"k", Version(7), false);
        assert!(returns(&hints, "k", 6));
        assert!(!returns(&hints, "k", 7), "the caller knows of that change");
        hints.ring(b"k", Version(5), false);
        assert!(returns(&hints, "k", 6), "an old change says nothing about a newer one");
        assert!(!returns(&hints, "other", 0));
    }

    #[tokio::test]
    async fn a_deletion_is_told_once() {
        let hints = Hints::default();
        hints.ring(b"k", Version(7), true);
        assert!(returns(&hints, "k", 6), "it was there");
        assert!(!returns(&hints, "k", 0), "that it is absent is known");
        let mut created = Box::pin(hints.changed("k", Version::ABSENT));
        hints.ring(b"k", Version(8), true);
        assert!(created.as_mut().now_or_never().is_none(), "absent before and after");
        hints.ring(b"k", Version(9), false);
        tokio::time::timeout(Duration::from_secs(10), created).await.expect("it is there");
        assert!(returns(&hints, "k", 0));
    }

    #[tokio::test]
    async fn all_who_wait_for_a_key_are_woken_and_nobody_else() {
        let hints = Hints::default();
        let both = futures::future::join(hints.changed("k", Version(1)), hints.changed("k", Version(3)));
        let mut both = Box::pin(both);
        let mut other = Box::pin(hints.changed("other", Version(1)));
        assert!(both.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        hints.ring(b"k", Version(4), false);
        tokio::time::timeout(Duration::from_secs(10), both).await.expect("both are woken");
        assert!(other.as_mut().now_or_never().is_none());
        hints.ring_all();
        tokio::time::timeout(Duration::from_secs(10), other).await.expect("a doubt wakes everybody");
    }

    #[tokio::test]
    async fn a_wait_that_is_over_leaves_nothing_behind() {
        let hints = Hints::default();
        for number in 0..10_000 {
            assert!(!returns(&hints, &format!("k{number}"), 1));
        }
        assert!(!hints.is_wanted());
    }

    #[tokio::test]
    async fn whoever_tells_of_changes_hears_that_somebody_waits() {
        let hints = Hints::default();
        assert!(hints.wanted().now_or_never().is_none());
        let mut waits = Box::pin(hints.changed("k", Version(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(hints.wanted().now_or_never().is_some());
        drop(waits);
        assert!(hints.wanted().now_or_never().is_none());
    }
}
