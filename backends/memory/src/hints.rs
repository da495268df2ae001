//! Who is told that a key may have changed.
//!
//! A fixed number of bells; a key always rings the same one. Two keys may share a bell: whoever is woken looks at its
//! own key and goes back to sleep if nothing happened. So memory is bounded whatever is watched, and nothing needs to be
//! cleaned up when a watcher goes away.

use std::hash::{DefaultHasher, Hash, Hasher};

use sixpin_core::backend::Key;
use tokio::sync::Notify;

const BELLS: usize = 1_024;

/// The bells of one store.
#[derive(Debug)]
pub struct Hints {
    bells: Box<[Notify]>,
}

impl Default for Hints {
    fn default() -> Self {
        Self { bells: (0..BELLS).map(|_| Notify::new()).collect() }
    }
}

impl Hints {
    /// The bell of a key.
    pub fn bell(&self, key: &Key) -> &Notify {
        &self.bells[place(key)]
    }

    /// Rings all the bells collected.
    pub fn ring(&self, changes: &Changes) {
        for (word, &bits) in changes.bits.iter().enumerate() {
            let mut rest = bits;
            while rest != 0 {
                self.bells[word * 64 + rest.trailing_zeros() as usize].notify_waiters();
                rest &= rest - 1;
            }
        }
    }
}

/// Bells to ring once the store's lock is released. Collecting allocates nothing.
#[derive(Debug)]
pub struct Changes {
    bits: [u64; BELLS / 64],
}

impl Default for Changes {
    fn default() -> Self {
        Self { bits: [0; BELLS / 64] }
    }
}

impl Changes {
    /// One more key that changed.
    pub fn add(&mut self, key: &Key) {
        let place = place(key);
        self.bits[place / 64] |= 1 << (place % 64);
    }
}

fn place(key: &Key) -> usize {
    // The hash has no secret, so it is the same in every run. Nothing depends on it but who is woken in vain.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % BELLS as u64).unwrap_or_default()
}
