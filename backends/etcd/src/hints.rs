//! Who waits for a change of what.
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
use tokio::sync::watch;

/// Changes that are remembered.
const LATEST_MAX: usize = 4_096;

/// The callers that wait for changes.
pub(crate) struct Hints {
    state: Mutex<State>,
    hasher: RandomState,
    // Counts the times at which nobody could say what had changed.
    doubts: watch::Sender<u64>,
}

struct State {
    waiting: HashMap<Bytes, Waiting>,
    latest: Box<[Latest]>,
}

struct Waiting {
    version: watch::Sender<Version>,
    callers: usize,
}

/// A key's hash and the version of its last change. A later change of another key may take its place.
#[derive(Clone, Copy, Default)]
struct Latest {
    hash: u64,
    version: Version,
}

impl Default for Hints {
    fn default() -> Self {
        let latest = vec![Latest::default(); LATEST_MAX].into();
        let state = Mutex::new(State { waiting: HashMap::new(), latest });
        Self { state, hasher: RandomState::new(), doubts: watch::Sender::new(0) }
    }
}

impl Hints {
    /// Returns when the key changed after the version seen, or nobody can say whether it did.
    pub(crate) async fn changed(&self, key: Vec<u8>, seen: Version) {
        let mut doubts = self.doubts.subscribe();
        let Some(mut call) = self.call(key.into(), seen) else { return };
        tokio::select! {
            _ = call.version.wait_for(|&version| version > seen) => {}
            _ = doubts.changed() => {}
        }
    }

    /// A key changed.
    pub(crate) fn ring(&self, key: &[u8], version: Version) {
        let hash = self.hasher.hash_one(key);
        let mut state = self.state();
        let latest = &mut state.latest[place(hash)];
        if latest.hash != hash || latest.version < version {
            *latest = Latest { hash, version };
        }
        if let Some(waiting) = state.waiting.get(key) {
            waiting.version.send_if_modified(|known| {
                let newer = version > *known;
                *known = version.max(*known);
                newer
            });
        }
    }

    /// Something may have changed, and nobody can say what.
    pub(crate) fn ring_all(&self) {
        self.doubts.send_modify(|doubts| *doubts += 1);
    }

    /// Begins to wait; none if there is nothing to wait for.
    fn call(&self, key: Bytes, seen: Version) -> Option<Call<'_>> {
        let hash = self.hasher.hash_one(&key[..]);
        let mut state = self.state();
        let latest = state.latest[place(hash)];
        if latest.hash == hash && latest.version > seen {
            return None;
        }
        let waiting = state
            .waiting
            .entry(key.clone())
            .or_insert_with(|| Waiting { version: watch::Sender::new(Version::ABSENT), callers: 0 });
        waiting.callers += 1;
        let version = waiting.version.subscribe();
        drop(state);
        Some(Call { hints: self, key, version })
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
    version: watch::Receiver<Version>,
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
        hints.changed(key.into(), Version(seen)).now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_lost() {
        let hints = Hints::default();
        hints.ring(b"k", Version(7));
        assert!(returns(&hints, "k", 6));
        assert!(!returns(&hints, "k", 7), "the caller knows of that change");
        hints.ring(b"k", Version(5));
        assert!(returns(&hints, "k", 6), "an old change says nothing about a newer one");
        assert!(!returns(&hints, "other", 0));
    }

    #[tokio::test]
    async fn all_who_wait_for_a_key_are_woken_and_nobody_else() {
        let hints = Hints::default();
        let both = futures::future::join(hints.changed("k".into(), Version(1)), hints.changed("k".into(), Version(3)));
        let mut both = Box::pin(both);
        let mut other = Box::pin(hints.changed("other".into(), Version(1)));
        assert!(both.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        hints.ring(b"k", Version(4));
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
        assert!(hints.state().waiting.is_empty());
    }
}
