//! The store as a state machine.
//!
//! No clock: whatever writes takes the time, in units of 10 µs since the Unix epoch, as an argument. No order that
//! depends on a hash. So the simulator runs exactly this store, and the same inputs give the same answers.
//!
//! A version is the larger of the time and of the version that stood at the key + 1; where nothing stands, of the highest
//! version that was ever deleted anywhere + 1. So versions rise per key over delete and re-create without a memory of
//! every key, and they run ahead of the time only if one key changes more than 100,000 times a second, not if the whole
//! store does. That matters after a restart, when the time is all there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use sixpin_core::backend::{
    Change, Contract, Durability, Family, Guard, Key, Page, Profile, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::limits;
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, SessionId, Version};

use crate::liveness::Registration;

/// Most writes in one batch: enough to make the lock's cost small, few enough that nobody waits long for it.
const BATCH_WRITES_MAX: usize = 1_024;
/// Most bytes of records in one batch.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the marker of a delete is kept: a day, in units of 10 µs. Longer than any request can be on its way.
const MARKER_LIFE_10US: u64 = 24 * 3600 * 100_000;
/// Markers collected by one write at most, so that no write pays for a whole day.
const MARKERS_COLLECTED_MAX: usize = 4;

/// A promise of its contract that a store may be made to break, so that a simulation shows what depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// A commit is refused if the sender's registration is gone or absent.
    ChecksRegistration,
    /// A commit is refused if its lane moved to a larger generation.
    ChecksGeneration,
}

/// Everything that is stored.
#[derive(Debug, Clone)]
pub struct Store {
    contract: Contract,
    broken: Option<Promise>,
    root: Root,
    // The highest version at which anything was deleted without leaving a marker.
    floor: Version,
    // Records, and markers (without bytes).
    slots: BTreeMap<Key, Slot>,
    // The markers among them, in the order of their versions, which is the order in which they fall due.
    markers: BTreeSet<(Version, Key)>,
    pub(crate) registrations: BTreeMap<Incarnation, Registration>,
}

impl Store {
    /// An empty store with this root record.
    pub fn new(contract: Contract, root: Root) -> Self {
        Self {
            contract,
            broken: None,
            root,
            floor: Version::ABSENT,
            slots: BTreeMap::new(),
            markers: BTreeSet::new(),
            registrations: BTreeMap::new(),
        }
    }

    /// The same store, which does not keep this promise.
    #[must_use]
    pub fn breaking(self, promise: Promise) -> Self {
        Self { broken: Some(promise), ..self }
    }

    /// The same store, when everything was lost and somebody made a new root record.
    #[must_use]
    pub fn wiped(&self, root: Root) -> Self {
        Self { broken: self.broken, ..Self::new(self.contract, root) }
    }

    /// What it promises, whether or not it keeps that.
    pub fn contract(&self) -> Contract {
        self.contract
    }

    pub(crate) fn checks_registration(&self) -> bool {
        self.contract.checks_registration() && self.broken != Some(Promise::ChecksRegistration)
    }

    pub(crate) fn checks_generation(&self) -> bool {
        self.contract.checks_generation() && self.broken != Some(Promise::ChecksGeneration)
    }

    /// The root record.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Facts, as a backend tells them. `shared`: other brokers may use the same store.
    pub fn profile(&self, shared: bool) -> Profile {
        Profile {
            name: "memory",
            durability: Durability::Volatile,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: BATCH_WRITES_MAX,
            batch_bytes_max: BATCH_BYTES_MAX,
            contract: if shared { self.contract } else { Contract::Alone },
            commit_timeout: Duration::from_secs(5),
        }
    }

    /// What stands at each key.
    pub fn read(&self, keys: &[Key]) -> Vec<Slot> {
        keys.iter().map(|key| self.slots.get(key).cloned().unwrap_or_default()).collect()
    }

    /// The version that stands at a key.
    pub fn version(&self, key: &Key) -> Version {
        self.slots.get(key).map_or(Version::ABSENT, |slot| slot.version)
    }

    /// How many records there are; markers are not counted.
    pub fn len(&self) -> usize {
        self.slots.len() - self.markers.len()
    }

    /// True if there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Independent compare-and-swaps.
    pub fn commit(&mut self, now_10us: u64, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        if let Err(refusal) = self.admit(guard) {
            return writes.iter().map(|_| refusal.clone()).collect();
        }
        if let Some(reason) = over_the_limits(&writes) {
            return writes.iter().map(|_| WriteOutcome::Unavailable(reason.into())).collect();
        }
        let outcomes = writes.into_iter().map(|write| self.write(now_10us, write)).collect();
        self.collect_markers(now_10us);
        outcomes
    }

    /// What somebody does who goes past the brokers: deletes a record.
    pub fn delete_by_hand(&mut self, now_10us: u64, key: &Key) {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.bytes.is_some()) else { return };
        let version = self.version_after(slot.version, now_10us);
        if self.contract.leaves_markers() {
            self.markers.insert((version, key.clone()));
            self.slots.insert(key.clone(), Slot { version, bytes: None });
        } else {
            self.slots.remove(key);
            self.dropped(version);
        }
    }

    /// The same: writes other bytes where a record stands.
    pub fn write_by_hand(&mut self, now_10us: u64, key: &Key, bytes: Bytes) {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.bytes.is_some()) else { return };
        let version = self.version_after(slot.version, now_10us);
        self.slots.insert(key.clone(), Slot { version, bytes: Some(bytes) });
    }

    /// A page of the keys that have a record, in the order of the keys.
    pub fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let limit = limit.max(1);
        let Some(first) = first_key(family) else { return Ok(Page::default()) };
        let start = match after {
            None => Bound::Included(first),
            Some(after) => Bound::Excluded(key_of_cursor(family, after)?),
        };
        let mut live = self
            .slots
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| belongs(family, key))
            .filter(|(_, slot)| slot.bytes.is_some());
        let keys: Vec<(Key, Version)> =
            live.by_ref().take(limit).map(|(key, slot)| (key.clone(), slot.version)).collect();
        let next = live.next().and(keys.last()).map(|(key, _)| cursor_of(key));
        Ok(Page { keys, next })
    }

    /// The version of a write at this time to a place where `previous` stands.
    pub(crate) fn version_after(&self, previous: Version, now_10us: u64) -> Version {
        let previous = if previous.is_absent() { self.floor } else { previous };
        Version(now_10us.max(previous.0 + 1))
    }

    /// Notes that a version is no longer stored anywhere, so that none like it is given again.
    pub(crate) fn dropped(&mut self, version: Version) {
        self.floor = self.floor.max(version);
    }

    fn write(&mut self, now_10us: u64, write: Write) -> WriteOutcome {
        use std::collections::btree_map::Entry;

        if let Change::Put(bytes) = &write.change
            && bytes.len() > limits::RECORD_BYTES_MAX
        {
            return WriteOutcome::Unavailable(format!("a record has at most {} bytes", limits::RECORD_BYTES_MAX));
        }
        if write.change == Change::Compare && !self.contract.compares() {
            return WriteOutcome::Unavailable("this store does not compare".into());
        }
        let version = self.version_after(write.expected, now_10us);
        let mut entry = match self.slots.entry(write.key) {
            Entry::Vacant(_) if !write.expected.is_absent() => return WriteOutcome::Conflict(Slot::default()),
            Entry::Vacant(entry) => {
                return match write.change {
                    Change::Compare => WriteOutcome::Committed(write.expected),
                    // Nothing is there, and nothing is what was asked for.
                    Change::Delete => WriteOutcome::Committed(Version::ABSENT),
                    Change::Put(bytes) => {
                        entry.insert(Slot { version, bytes: Some(bytes) });
                        WriteOutcome::Committed(version)
                    }
                };
            }
            Entry::Occupied(entry) => entry,
        };
        if entry.get().version != write.expected {
            return WriteOutcome::Conflict(entry.get().clone());
        }
        if entry.get().bytes.is_none() && write.change != Change::Compare {
            self.markers.remove(&(write.expected, entry.key().clone()));
        }
        match write.change {
            Change::Compare => return WriteOutcome::Committed(write.expected),
            Change::Put(bytes) => *entry.get_mut() = Slot { version, bytes: Some(bytes) },
            Change::Delete if self.contract.leaves_markers() => {
                self.markers.insert((version, entry.key().clone()));
                *entry.get_mut() = Slot { version, bytes: None };
            }
            Change::Delete => {
                entry.remove();
                self.dropped(version);
            }
        }
        WriteOutcome::Committed(version)
    }

    /// Forgets markers older than their life, a few at a time.
    fn collect_markers(&mut self, now_10us: u64) {
        for _ in 0..MARKERS_COLLECTED_MAX {
            match self.markers.first() {
                Some((version, _)) if version.0.saturating_add(MARKER_LIFE_10US) <= now_10us => {}
                _ => return,
            }
            if let Some((version, key)) = self.markers.pop_first() {
                self.slots.remove(&key);
                self.dropped(version);
            }
        }
    }
}

fn over_the_limits(writes: &[Write]) -> Option<&'static str> {
    let bytes_of = |write: &Write| match &write.change {
        Change::Put(bytes) => bytes.len(),
        Change::Delete | Change::Compare => 0,
    };
    if writes.len() > BATCH_WRITES_MAX {
        return Some("the batch has too many writes");
    }
    (writes.iter().map(bytes_of).sum::<usize>() > BATCH_BYTES_MAX).then_some("the batch has too many bytes")
}

/// The first key that could belong to a family; none if nothing could.
fn first_key(family: &Family) -> Option<Key> {
    let resource = |lockspace: Lockspace, beginning: &str| {
        // A name is not empty and has no control characters, so none sorts before a single space.
        let beginning = if beginning.is_empty() { " " } else { beginning };
        Some(Key::Resource(ResourceId { lockspace, name: ResourceName::new(beginning).ok()? }))
    };
    match family {
        Family::Resources { lockspace, prefix } => resource(lockspace.clone(), prefix),
        // Of the characters that a lockspace may have, the hyphen sorts first.
        Family::AllResources => resource(Lockspace::new("-").ok()?, ""),
        Family::Sessions => Some(Key::Session(SessionId { opener: Incarnation(0), serial: 0, ttl_ms: 0 })),
    }
}

fn belongs(family: &Family, key: &Key) -> bool {
    match (family, key) {
        (Family::Resources { lockspace, prefix }, Key::Resource(id)) => {
            id.lockspace == *lockspace && id.name.as_str().starts_with(prefix.as_str())
        }
        (Family::AllResources, Key::Resource(_)) | (Family::Sessions, Key::Session(_)) => true,
        _ => false,
    }
}

/// The key as text, to go on after it. A lockspace has no slash, so the first one ends it.
fn cursor_of(key: &Key) -> String {
    match key {
        Key::Resource(id) => id.to_string(),
        Key::Session(id) => id.to_string(),
    }
}

fn key_of_cursor(family: &Family, cursor: &str) -> Result<Key, StoreError> {
    let key = match family {
        Family::Sessions => cursor.parse().ok().map(Key::Session),
        Family::Resources { .. } | Family::AllResources => cursor.split_once('/').and_then(|(lockspace, name)| {
            let lockspace = Lockspace::new(lockspace).ok()?;
            Some(Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).ok()? }))
        }),
    };
    key.ok_or(StoreError::NoSuchPlace)
}
