//! What this process has seen of the store, to notice when the store remembers less.
//!
//! Four signs, each found where it costs nothing more:
//!
//! * the root record is missing or another one;
//! * the highest version of a tag is lower than one that was seen;
//! * a registration's version is lower than its owner knows;
//! * the last version that a lane wrote, kept in the registration, is lower than the last that was acknowledged to us.
//!
//! The first two are looked at with every read and whenever a connection is made; the last two, which show the loss of
//! our own writes whatever others have written since, with every commit and beat. Once noticed, amnesia stays: the
//! broker has to start anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redis::Value;
use sixpin_core::backend::{Guard, Lane, StoreError};
use sixpin_core::name::{Incarnation, Version};

use crate::keys::{Tag, version_of};
use crate::scripts::bytes_of;

/// Lanes remembered at most. One broker has a few; this bounds a process that starts incarnations again and again.
const LANES_MAX: usize = 16_384;

/// See the module.
#[derive(Debug)]
pub(crate) struct Witness {
    // What the root record of each tag begins with; known once the store is open.
    identity: OnceLock<String>,
    high: Vec<AtomicU64>,
    acknowledged: Mutex<BTreeMap<(Incarnation, Lane, Tag), Version>>,
    amnesia: OnceLock<String>,
    trusted: RwLock<BTreeSet<u64>>,
    // The last check of the server found it unsafe. Unlike amnesia this can pass.
    unsafe_now: RwLock<Option<String>>,
}

impl Witness {
    /// Nothing seen yet of a store with this many tags.
    pub(crate) fn new(tags: u8) -> Self {
        Self {
            identity: OnceLock::new(),
            high: (0..tags).map(|_| AtomicU64::new(0)).collect(),
            acknowledged: Mutex::default(),
            amnesia: OnceLock::new(),
            trusted: RwLock::default(),
            unsafe_now: RwLock::default(),
        }
    }

    /// The store is open: this is what its root records begin with.
    pub(crate) fn opened(&self, identity: String) {
        // Set once; a second store is never opened through the same witness.
        let _ = self.identity.set(identity);
    }

    /// What the root records begin with.
    pub(crate) fn identity(&self) -> &str {
        self.identity.get().map_or("", String::as_str)
    }

    /// The store is not fit to be used. The text says why.
    pub(crate) fn unfit(&self) -> Option<String> {
        if let Some(text) = self.amnesia.get() {
            return Some(format!("the store lost its memory: {text}"));
        }
        self.unsafe_now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses everything after amnesia.
    pub(crate) fn remembers(&self) -> Result<(), StoreError> {
        self.amnesia.get().map_or(Ok(()), |text| Err(StoreError::Amnesia(text.clone())))
    }

    /// The store was found to have lost its memory.
    pub(crate) fn lost(&self, text: &str) -> StoreError {
        if self.amnesia.set(text.to_owned()).is_ok() && !self.identity().is_empty() {
            tracing::error!(reason = text, "the Redis store lost its memory: nothing more is written to it");
        }
        StoreError::Amnesia(self.amnesia.get().cloned().unwrap_or_default())
    }

    /// What the last check of the server found; commits are refused while it is unsafe.
    pub(crate) fn checked(&self, refusal: Option<String>) {
        *self.unsafe_now.write().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// The highest version seen under a tag. To be taken before a request is sent, because replies may overtake each
    /// other.
    pub(crate) fn high(&self, tag: Tag) -> Version {
        Version(self.high[usize::from(tag.0)].load(Ordering::SeqCst))
    }

    /// A version was seen.
    pub(crate) fn saw(&self, tag: Tag, version: Version) {
        self.high[usize::from(tag.0)].fetch_max(version.0, Ordering::SeqCst);
    }

    /// Checks a root record and a highest version that were read after `before` was taken with [`Witness::high`].
    pub(crate) fn check(&self, tag: Tag, root: &Value, high: &Value, before: Version) -> Result<(), StoreError> {
        self.remembers()?;
        let identity = self.identity();
        match bytes_of(root) {
            _ if identity.is_empty() => {}
            Some(root) if root.starts_with(identity.as_bytes()) => {}
            Some(_) => return Err(self.lost("the root record changed")),
            None => return Err(self.lost("the root record is missing")),
        }
        let high = match high {
            Value::Nil => Version::ABSENT,
            value => bytes_of(value)
                .and_then(version_of)
                .ok_or_else(|| StoreError::Corrupt("the key of the highest version holds something else".into()))?,
        };
        if high < before {
            return Err(self.lost(&format!("the highest version fell from {before} to {high}")));
        }
        self.saw(tag, high);
        Ok(())
    }

    /// The last version of a lane that was acknowledged to us.
    pub(crate) fn acknowledged(&self, guard: Guard, tag: Tag) -> Version {
        self.lanes().get(&(guard.broker, guard.lane, tag)).copied().unwrap_or_default()
    }

    /// A write of a lane was acknowledged.
    pub(crate) fn acknowledge(&self, guard: Guard, tag: Tag, version: Version) {
        let mut lanes = self.lanes();
        if lanes.len() >= LANES_MAX {
            // Forgetting only makes the next check weaker.
            lanes.clear();
        }
        let known = lanes.entry((guard.broker, guard.lane, tag)).or_default();
        *known = version.max(*known);
    }

    /// The same for all lanes of a broker that wrote.
    pub(crate) fn acknowledged_by(&self, broker: Incarnation, tag: Tag) -> Vec<(Lane, Version)> {
        let first = (broker, Lane(0), Tag(0));
        let own = |(key, _): &(&(Incarnation, Lane, Tag), &Version)| key.0 == broker;
        let lanes = self.lanes();
        let own = lanes.range(first..).take_while(own).filter(|((_, _, at), _)| *at == tag);
        own.map(|((_, lane, _), version)| (*lane, *version)).collect()
    }

    /// Commits are taken from servers with these histories.
    pub(crate) fn trust(&self, histories: BTreeSet<u64>) {
        *self.trusted.write().unwrap_or_else(PoisonError::into_inner) = histories;
    }

    /// Whether commits are taken from a server with this history.
    pub(crate) fn trusts(&self, history: u64) -> bool {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).contains(&history)
    }

    /// A broker left: nothing more is expected of its lanes.
    pub(crate) fn left(&self, broker: Incarnation) {
        self.lanes().retain(|(owner, _, _), _| *owner != broker);
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<(Incarnation, Lane, Tag), Version>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_changed_root_and_a_fallen_version_are_amnesia_for_ever() {
        let good = || {
            let witness = Witness::new(1);
            witness.opened("me ".into());
            witness.check(Tag(0), &text("me and more"), &text("0000000000000005"), Version(0)).unwrap();
            assert_eq!(witness.high(Tag(0)), Version(5));
            witness
        };
        for (root, high) in [
            (text("you"), text("0000000000000005")),
            (Value::Nil, text("0000000000000005")),
            (text("me "), text("0000000000000004")),
            (text("me "), Value::Nil),
        ] {
            let witness = good();
            let before = witness.high(Tag(0));
            assert!(matches!(witness.check(Tag(0), &root, &high, before), Err(StoreError::Amnesia(_))));
            let again = witness.check(Tag(0), &text("me "), &text("0000000000000009"), before);
            assert!(matches!(again, Err(StoreError::Amnesia(_))));
            assert!(witness.unfit().is_some());
        }
    }

    #[test]
    fn a_reply_that_was_overtaken_is_no_amnesia() {
        let witness = Witness::new(1);
        witness.opened("me ".into());
        let before = witness.high(Tag(0));
        witness.saw(Tag(0), Version(9));
        witness.check(Tag(0), &text("me "), &text("0000000000000005"), before).unwrap();
        assert_eq!(witness.high(Tag(0)), Version(9));
    }
}
