//! A store in memory. It decides one thing: whether a conditional write happened.
//!
//! Small numbers instead of a clock: every batch that writes something gets the next version, and a registration counts
//! its beats. What a real store has to do is in `sixpin_core::backend`.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::backend::{
    Beat, BrokerInfo, Change, Contract, Durability, Family, Generation, Guard, Key, Lane, Page, Profile, Pulse, Root,
    Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::limits;
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::{History, Standing};

/// Whose contract the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Like {
    /// Registration and generation are checked with every write; "absent" can become true twice. Redis is the same.
    Etcd,
    /// A delete leaves a marker with a version; nothing else is checked, and there is no write that only compares.
    Nats,
    /// As etcd, for one broker alone.
    Memory,
    /// As etcd, but a replica takes over that may lack the last writes.
    Redis,
}

impl Like {
    fn contract(self) -> Contract {
        match self {
            Self::Etcd | Self::Redis => Contract::Checking,
            Self::Nats => Contract::Marking,
            Self::Memory => Contract::Alone,
        }
    }
}

/// Everything that is stored.
#[derive(Debug)]
pub struct Store {
    pub like: Like,
    root: u64,
    version: u64,
    data: Data,
    /// What the replica has.
    replica: Data,
    history: History,
    /// What each broker was told of: the backend in its process remembers that, not the store.
    acknowledged: BTreeMap<Incarnation, BTreeMap<Key, Version>>,
}

/// What one copy holds.
#[derive(Debug, Clone, Default)]
struct Data {
    slots: BTreeMap<Key, Slot>,
    /// When something was deleted without leaving a marker.
    deleted: BTreeMap<Key, Version>,
    registrations: BTreeMap<Incarnation, Registration>,
}

#[derive(Debug, Clone)]
struct Registration {
    pulse: Pulse,
    lanes: BTreeMap<Lane, Generation>,
}

impl Store {
    pub fn new(like: Like) -> Self {
        Self {
            like,
            root: 1,
            version: 0,
            data: Data::default(),
            replica: Data::default(),
            history: if like == Like::Redis { History(1) } else { History::LASTING },
            acknowledged: BTreeMap::new(),
        }
    }

    /// Everything is gone, and the next root record is another one. Versions go on higher, as from a clock.
    pub fn forget_everything(&mut self) {
        *self = Self { root: self.root + 1, version: self.version + 100, ..Self::new(self.like) };
    }

    /// The replica has everything now. What is written from now on reaches it too late.
    pub fn copy_to_replica(&mut self) {
        self.replica = self.data.clone();
    }

    /// The replica takes over with what it has. Versions go on higher, as from a clock.
    pub fn fail_over(&mut self) {
        self.data = self.replica.clone();
        self.history = History(self.history.0 + 1);
        self.version += 100;
    }

    /// Which history answers.
    pub fn history(&self) -> History {
        self.history
    }

    pub fn root(&self) -> Root {
        Root { secret_key: [1; 32], identity: self.root }
    }

    pub fn profile(&self) -> Profile {
        Profile {
            name: "transcript",
            durability: Durability::Volatile,
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: 1_000,
            batch_bytes_max: 1 << 20,
            contract: self.like.contract(),
            commit_timeout: Duration::from_secs(5),
        }
    }

    pub fn slot(&self, key: &Key) -> Slot {
        self.data.slots.get(key).cloned().unwrap_or_default()
    }

    pub fn commit(&mut self, guard: Guard, writes: &[Write]) -> Vec<WriteOutcome> {
        if let Some(refusal) = self.refusal(guard) {
            return vec![refusal; writes.len()];
        }
        let next = Version(self.version + 1);
        let outcomes: Vec<WriteOutcome> = writes.iter().map(|write| self.write(write, next)).collect();
        if outcomes.contains(&WriteOutcome::Committed(next)) {
            self.version = next.0;
        }
        for (write, outcome) in writes.iter().zip(&outcomes) {
            if matches!(outcome, WriteOutcome::Committed(_)) {
                let place = self.place(&write.key);
                self.acknowledged.entry(guard.broker).or_default().insert(write.key.clone(), place);
            }
        }
        outcomes
    }

    /// Why this sender may write nothing.
    fn refusal(&self, guard: Guard) -> Option<WriteOutcome> {
        if self.like == Like::Nats {
            return None;
        }
        match self.living(guard.broker) {
            None => Some(WriteOutcome::Evicted),
            Some(known) if known.lanes.get(&guard.lane).is_some_and(|newest| guard.generation < *newest) => {
                Some(WriteOutcome::Stale)
            }
            Some(_) => None,
        }
    }

    fn write(&mut self, write: &Write, next: Version) -> WriteOutcome {
        let known = self.slot(&write.key);
        if known.version != write.expected {
            return WriteOutcome::Conflict(known);
        }
        let nothing_to_delete = write.change == Change::Delete && known.version.is_absent();
        match &write.change {
            Change::Compare => return WriteOutcome::Committed(known.version),
            Change::Delete if nothing_to_delete => return WriteOutcome::Committed(known.version),
            Change::Put(bytes) => {
                self.data.slots.insert(write.key.clone(), Slot { version: next, bytes: Some(bytes.clone()) });
            }
            Change::Delete if self.like == Like::Nats => {
                self.data.slots.insert(write.key.clone(), Slot { version: next, bytes: None });
            }
            Change::Delete => {
                self.data.slots.remove(&write.key);
                self.data.deleted.insert(write.key.clone(), next);
            }
        }
        WriteOutcome::Committed(next)
    }

    /// The version of what last happened at a key.
    fn place(&self, key: &Key) -> Version {
        let deleted = self.data.deleted.get(key).copied().unwrap_or_default();
        self.slot(key).version.max(deleted)
    }

    /// Is everything there that this broker was told of, or something later?
    fn misses_nothing_of(&self, broker: Incarnation) -> bool {
        self.acknowledged.get(&broker).into_iter().flatten().all(|(key, version)| self.place(key) >= *version)
    }

    pub fn advance(&mut self, guard: Guard) -> Result<(), StoreError> {
        let known = self.data.registrations.get_mut(&guard.broker).filter(|known| !known.pulse.gone);
        let lanes = &mut known.ok_or(StoreError::Evicted)?.lanes;
        let newest = lanes.entry(guard.lane).or_insert(guard.generation);
        *newest = guard.generation.max(*newest);
        Ok(())
    }

    /// All keys of a family that have a record, in one page.
    pub fn list(&self, family: &Family) -> Page {
        let belongs = |key: &Key| matches!(key, Key::Session(_)) == (*family == Family::Sessions);
        let live = self.data.slots.iter().filter(|(key, slot)| belongs(key) && slot.bytes.is_some());
        Page { keys: live.map(|(key, slot)| (key.clone(), slot.version)).collect(), next: None }
    }

    pub fn beat(&mut self, beat: Beat) -> Result<Version, StoreError> {
        if beat.standing.checked == Some(self.history) && !self.misses_nothing_of(beat.broker) {
            return Err(StoreError::Amnesia("what this broker was told of is not there".into()));
        }
        let known = self.data.registrations.remove(&beat.broker);
        let lanes = match known {
            None if beat.number == 0 => BTreeMap::new(),
            None => return Err(StoreError::Evicted),
            Some(known) if known.pulse.gone => {
                self.data.registrations.insert(beat.broker, known);
                return Err(StoreError::Evicted);
            }
            Some(known) => known.lanes,
        };
        let pulse = Pulse {
            broker: beat.broker,
            version: Version(beat.number + 1),
            gone: false,
            beat: beat.number,
            broker_ttl: beat.broker_ttl,
            round_trip: beat.round_trip,
            standing: beat.standing,
            info: beat.info,
        };
        let version = pulse.version;
        self.data.registrations.insert(beat.broker, Registration { pulse, lanes });
        Ok(version)
    }

    pub fn leave(&mut self, broker: Incarnation) {
        if let Some(known) = self.data.registrations.get_mut(&broker).filter(|known| !known.pulse.gone) {
            known.bury();
        }
    }

    pub fn evict(&mut self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        if let Some(refusal) = self.refusal(guard) {
            return refusal;
        }
        let known = self.data.registrations.entry(target).or_insert_with(|| Registration::never_seen(target));
        if known.pulse.version != seen {
            return WriteOutcome::Conflict(Slot { version: known.pulse.version, bytes: None });
        }
        known.bury();
        WriteOutcome::Committed(known.pulse.version)
    }

    pub fn clear(&mut self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        if let Some(refusal) = self.refusal(guard) {
            return refusal;
        }
        let version = self.data.registrations.get(&target).map_or(Version::ABSENT, |known| known.pulse.version);
        if version != seen {
            return WriteOutcome::Conflict(Slot { version, bytes: None });
        }
        self.data.registrations.remove(&target);
        WriteOutcome::Committed(Version::ABSENT)
    }

    pub fn pulses(&self) -> Vec<Pulse> {
        self.data.registrations.values().map(|known| known.pulse.clone()).collect()
    }

    fn living(&self, broker: Incarnation) -> Option<&Registration> {
        self.data.registrations.get(&broker).filter(|known| !known.pulse.gone)
    }
}

impl Registration {
    fn never_seen(broker: Incarnation) -> Self {
        let pulse = Pulse {
            broker,
            version: Version::ABSENT,
            gone: false,
            beat: 0,
            broker_ttl: Duration::ZERO,
            round_trip: Duration::ZERO,
            standing: Standing::default(),
            info: BrokerInfo::default(),
        };
        Self { pulse, lanes: BTreeMap::new() }
    }

    fn bury(&mut self) {
        self.pulse.gone = true;
        self.pulse.version = Version(self.pulse.version.0 + 1);
    }
}
