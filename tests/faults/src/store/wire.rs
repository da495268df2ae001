//! The contract's words in the form in which they travel. The core has no serialization of its own for them, because no
//! real store needs one.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sixpin_core::backend as core;
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, SessionId, Version};

/// See [`core::Key`]. A name that breaks the rules of names is read as none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Key {
    /// Lockspace and name.
    Resource(String, String),
    /// As text.
    Session(String),
}

impl From<&core::Key> for Key {
    fn from(key: &core::Key) -> Self {
        match key {
            core::Key::Resource(id) => Self::Resource(id.lockspace.to_string(), id.name.to_string()),
            core::Key::Session(id) => Self::Session(id.to_string()),
        }
    }
}

impl Key {
    /// The key, unless it is misspelt.
    pub fn to_core(&self) -> Option<core::Key> {
        match self {
            Self::Resource(lockspace, name) => {
                let lockspace = Lockspace::new(lockspace).ok()?;
                Some(core::Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).ok()? }))
            }
            Self::Session(id) => id.parse::<SessionId>().ok().map(core::Key::Session),
        }
    }
}

/// Version and record.
pub type Slot = (u64, Option<Bytes>);

/// The slot as it travels.
pub fn slot_from(slot: core::Slot) -> Slot {
    (slot.version.0, slot.bytes)
}

/// The slot as the contract has it.
pub fn slot_to((version, bytes): Slot) -> core::Slot {
    core::Slot { version: Version(version), bytes }
}

/// Broker, lane and generation.
pub type Guard = (u64, u16, u64);

/// The guard as it travels.
pub fn guard_from(guard: core::Guard) -> Guard {
    (guard.broker.0, guard.lane.0, guard.generation.0)
}

/// The guard as the contract has it.
pub fn guard_to((broker, lane, generation): Guard) -> core::Guard {
    let (lane, generation) = (core::Lane(lane), core::Generation(generation));
    core::Guard { broker: Incarnation(broker), lane, generation }
}

/// See [`core::Change`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Change {
    /// Store.
    Put(Bytes),
    /// Delete.
    Delete,
    /// Only confirm.
    Compare,
}

/// See [`core::Write`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Write {
    key: Key,
    expected: u64,
    change: Change,
    notify: bool,
}

impl From<core::Write> for Write {
    fn from(write: core::Write) -> Self {
        let change = match write.change {
            core::Change::Put(bytes) => Change::Put(bytes),
            core::Change::Delete => Change::Delete,
            core::Change::Compare => Change::Compare,
        };
        Self { key: (&write.key).into(), expected: write.expected.0, change, notify: write.notify }
    }
}

impl Write {
    /// The write, unless its key is misspelt.
    pub fn to_core(&self) -> Option<core::Write> {
        let change = match &self.change {
            Change::Put(bytes) => core::Change::Put(bytes.clone()),
            Change::Delete => core::Change::Delete,
            Change::Compare => core::Change::Compare,
        };
        let (key, expected) = (self.key.to_core()?, Version(self.expected));
        Some(core::Write { key, expected, change, notify: self.notify })
    }
}

/// See [`core::WriteOutcome`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "one for one those of the contract")]
pub enum WriteOutcome {
    Committed(u64),
    Conflict(Slot),
    ConflictUnread,
    Stale,
    Unavailable(String),
    Unknown(String),
    Evicted,
}

impl From<core::WriteOutcome> for WriteOutcome {
    fn from(outcome: core::WriteOutcome) -> Self {
        match outcome {
            core::WriteOutcome::Committed(version) => Self::Committed(version.0),
            core::WriteOutcome::Conflict(slot) => Self::Conflict(slot_from(slot)),
            core::WriteOutcome::ConflictUnread => Self::ConflictUnread,
            core::WriteOutcome::Stale => Self::Stale,
            core::WriteOutcome::Unavailable(text) => Self::Unavailable(text),
            core::WriteOutcome::Unknown(text) => Self::Unknown(text),
            core::WriteOutcome::Evicted => Self::Evicted,
        }
    }
}

impl From<WriteOutcome> for core::WriteOutcome {
    fn from(outcome: WriteOutcome) -> Self {
        match outcome {
            WriteOutcome::Committed(version) => Self::Committed(Version(version)),
            WriteOutcome::Conflict(slot) => Self::Conflict(slot_to(slot)),
            WriteOutcome::ConflictUnread => Self::ConflictUnread,
            WriteOutcome::Stale => Self::Stale,
            WriteOutcome::Unavailable(text) => Self::Unavailable(text),
            WriteOutcome::Unknown(text) => Self::Unknown(text),
            WriteOutcome::Evicted => Self::Evicted,
        }
    }
}

/// See [`core::StoreError`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "one for one those of the contract")]
pub enum StoreError {
    Unavailable(String),
    Unknown(String),
    Evicted,
    Corrupt(String),
    Amnesia(String),
    NoSuchPlace,
}

impl From<core::StoreError> for StoreError {
    fn from(error: core::StoreError) -> Self {
        match error {
            core::StoreError::Unavailable(text) => Self::Unavailable(text),
            core::StoreError::Unknown(text) => Self::Unknown(text),
            core::StoreError::Evicted => Self::Evicted,
            core::StoreError::Corrupt(text) => Self::Corrupt(text),
            core::StoreError::Amnesia(text) => Self::Amnesia(text),
            core::StoreError::NoSuchPlace => Self::NoSuchPlace,
        }
    }
}

impl From<StoreError> for core::StoreError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) => Self::Unavailable(text),
            StoreError::Unknown(text) => Self::Unknown(text),
            StoreError::Evicted => Self::Evicted,
            StoreError::Corrupt(text) => Self::Corrupt(text),
            StoreError::Amnesia(text) => Self::Amnesia(text),
            StoreError::NoSuchPlace => Self::NoSuchPlace,
        }
    }
}

/// See [`core::Family`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Family {
    /// Lockspace and prefix.
    Resources(String, String),
    /// All resources.
    AllResources,
    /// Session marks.
    Sessions,
}

impl From<&core::Family> for Family {
    fn from(family: &core::Family) -> Self {
        match family {
            core::Family::Resources { lockspace, prefix } => Self::Resources(lockspace.to_string(), prefix.clone()),
            core::Family::AllResources => Self::AllResources,
            core::Family::Sessions => Self::Sessions,
        }
    }
}

impl Family {
    /// The family, unless its lockspace is misspelt.
    pub fn to_core(&self) -> Option<core::Family> {
        Some(match self {
            Self::Resources(lockspace, prefix) => {
                core::Family::Resources { lockspace: Lockspace::new(lockspace).ok()?, prefix: prefix.clone() }
            }
            Self::AllResources => core::Family::AllResources,
            Self::Sessions => core::Family::Sessions,
        })
    }
}

/// Keys with versions, and where to go on.
pub type Page = (Vec<(Key, u64)>, Option<String>);

/// The page as it travels.
pub fn page_from(page: core::Page) -> Page {
    (page.keys.iter().map(|(key, version)| (key.into(), version.0)).collect(), page.next)
}

/// The page as the contract has it.
pub fn page_to((keys, next): Page) -> core::Page {
    let keys = keys.into_iter().filter_map(|(key, version)| Some((key.to_core()?, Version(version)))).collect();
    core::Page { keys, next }
}

/// Name, address, address for administrators and program.
type Info = [String; 4];

fn info_from(info: core::BrokerInfo) -> Info {
    [info.name, info.address, info.admin_address, info.program]
}

fn info_to([name, address, admin_address, program]: Info) -> core::BrokerInfo {
    core::BrokerInfo { name, address, admin_address, program }
}

/// See [`core::Beat`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Beat {
    broker: u64,
    expected: u64,
    number: u64,
    broker_ttl: Duration,
    round_trip: Duration,
    standing: String,
    info: Info,
}

impl From<core::Beat> for Beat {
    fn from(beat: core::Beat) -> Self {
        Self {
            broker: beat.broker.0,
            expected: beat.expected.0,
            number: beat.number,
            broker_ttl: beat.broker_ttl,
            round_trip: beat.round_trip,
            standing: beat.standing.to_string(),
            info: info_from(beat.info),
        }
    }
}

impl From<Beat> for core::Beat {
    fn from(beat: Beat) -> Self {
        Self {
            broker: Incarnation(beat.broker),
            expected: Version(beat.expected),
            number: beat.number,
            broker_ttl: beat.broker_ttl,
            round_trip: beat.round_trip,
            standing: beat.standing.parse().unwrap_or_default(),
            info: info_to(beat.info),
        }
    }
}

/// See [`core::Pulse`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pulse {
    broker: u64,
    version: u64,
    gone: bool,
    beat: u64,
    broker_ttl: Duration,
    round_trip: Duration,
    standing: String,
    info: Info,
}

impl From<core::Pulse> for Pulse {
    fn from(pulse: core::Pulse) -> Self {
        Self {
            broker: pulse.broker.0,
            version: pulse.version.0,
            gone: pulse.gone,
            beat: pulse.beat,
            broker_ttl: pulse.broker_ttl,
            round_trip: pulse.round_trip,
            standing: pulse.standing.to_string(),
            info: info_from(pulse.info),
        }
    }
}

impl From<Pulse> for core::Pulse {
    fn from(pulse: Pulse) -> Self {
        Self {
            broker: Incarnation(pulse.broker),
            version: Version(pulse.version),
            gone: pulse.gone,
            beat: pulse.beat,
            broker_ttl: pulse.broker_ttl,
            round_trip: pulse.round_trip,
            standing: pulse.standing.parse().unwrap_or_default(),
            info: info_to(pulse.info),
        }
    }
}

/// Key of secrets, and identity.
pub type Root = ([u8; 32], u64);

/// The root record as it travels.
pub fn root_from(root: &core::Root) -> Root {
    (root.secret_key, root.identity)
}

/// The root record as the contract has it.
pub fn root_to((secret_key, identity): Root) -> core::Root {
    core::Root { secret_key, identity }
}

/// Which kind of store is played: whether it leaves markers as JetStream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// See [`core::Contract::Marking`].
    pub marking: bool,
}

impl Kind {
    /// The contract that it keeps.
    pub fn contract(self) -> core::Contract {
        if self.marking { core::Contract::Marking } else { core::Contract::Checking }
    }
}
