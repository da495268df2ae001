//! The contract of a store.
//!
//! A backend keeps versioned records and decides one thing only: whether a conditional write happened. It holds no lock
//! logic and no retry policy beyond its connection, and its memory is bounded. Reads, lists and change hints say where
//! to look; only [`Backend::commit`] says what is true.
//!
//! # The rules that every backend keeps
//!
//! 1. **Versions never repeat or fall**, not after a delete, a restart or a wipe: base + revision, or a hybrid clock in
//!    units of 10 µs whose last value is stored. All writes of one request may share a version.
//! 2. **Each write is an independent compare-and-swap.** One that conflicts does not disturb the others of its batch.
//! 3. **A write that timed out cannot strike later.** Commits carry a lane and its generation; where "absent" can become
//!    true twice, the store checks the generation in the same atomic step, and after [`Backend::advance`] to a larger one
//!    nothing that was sent under a smaller one can apply. Where deletes leave a marker with a version, the marker is
//!    what the next create expects.
//! 4. **A broker whose registration is `gone` is evicted for ever**: its commits are refused from that moment on, in the
//!    same atomic step where the store can, by the broker's own time where it cannot ([`Contract::checks_registration`]).
//! 5. **Every answer of the store maps to exactly one [`WriteOutcome`].** "I do not know" is an answer; "failed" after a
//!    timeout is not.
//! 6. **A store that lost its memory says so.** Once the root record is another one or gone, every method fails with
//!    [`StoreError::Amnesia`], or as if nothing could be written. Where acknowledged writes can be lost while the root
//!    record stays (a replica takes over, a server comes back without its last second), the store has a [`History`] that
//!    is another one whenever that may have happened, and takes no commit until the broker has said that it knows of it
//!    ([`Backend::trust`]).

mod contract;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::name::{Incarnation, ResourceId, SessionId, Version};
use crate::standing::{History, Standing};

pub use contract::Contract;

/// Where a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A resource that somebody has a claim on.
    Resource(ResourceId),
    /// The mark of a session that moved or died. A session that did neither has none.
    Session(SessionId),
}

/// Which family of records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Family {
    /// Resources of one lockspace whose names begin with `prefix` (may be empty).
    Resources {
        /// The lockspace.
        lockspace: crate::name::Lockspace,
        /// The beginning of the name.
        prefix: String,
    },
    /// All resources of all lockspaces, for sweeps.
    AllResources,
    /// Session marks.
    Sessions,
}

/// What stands at a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slot {
    /// The version to expect in the next write: of the record, of the marker that a delete left, or
    /// [`Version::ABSENT`].
    pub version: Version,
    /// The record; absent if there is none.
    pub bytes: Option<Bytes>,
}

/// What a write does if its expected version holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store these bytes.
    Put(Bytes),
    /// Delete the record.
    Delete,
    /// Change nothing: only confirm the version. Sent only if [`Contract::compares`].
    Compare,
}

/// One conditional write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The record or mark that is written.
    pub key: Key,
    /// The version that must stand there.
    pub expected: Version,
    /// What to do.
    pub change: Change,
    /// Somebody at another broker may be waiting for this: send a change hint with it.
    pub notify: bool,
}

/// A lane: the broker keeps a few batches in flight per lane, and no key in two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u16);

/// Counts the doubts of a lane: it moves on after an unknown outcome of what was sent under it. Starts at 1 with the registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Who sends a batch, and under which lane and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The sending broker. Its registration must exist and not be `gone`.
    pub broker: Incarnation,
    /// The lane.
    pub lane: Lane,
    /// The lane's generation. The batch is stale if the store knows a larger one.
    pub generation: Generation,
}

/// How one write ended. Exactly one of these; see rule 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Stored (or, for [`Change::Compare`], true) at this version. After a delete this is the marker's version if
    /// [`Contract::leaves_markers`]; otherwise the next writer expects [`Version::ABSENT`].
    Committed(Version),
    /// *This request* was refused because the version differs; with what is there now. Not stored.
    Conflict(Slot),
    /// Refused because the version differs, and the store did not say what is there: read. Not stored.
    ConflictUnread,
    /// Not stored: the lane's generation moved on. Send again under the new one.
    Stale,
    /// Not stored, for a reason that may pass. The text is for the log.
    Unavailable(String),
    /// May have been stored, and until the lane's generation moves may still be.
    Unknown(String),
    /// Not stored: the sender's registration is `gone` or absent. Final.
    Evicted,
}

/// Why a store was not opened. The text is one sentence that says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL or a setting makes no sense.
    #[error("{0}")]
    BadUrl(String),
    /// The store cannot be reached, or not now.
    #[error("{0}")]
    Unreachable(String),
    /// The store refuses the login, or what its user must be able to do.
    #[error("{0}")]
    Login(String),
    /// The store could lose or repeat what it acknowledged, or holds what is not ours to interpret.
    #[error("{0}")]
    Unsafe(String),
}

/// Why a read, a list or a liveness call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing happened; it may pass.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It may have happened.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The registration is `gone`, or absent although the root record is the same: this incarnation is over.
    #[error("this broker was evicted from the store")]
    Evicted,
    /// What the store holds is not ours to interpret: wrong format, wrong checksum. Nothing is cleaned up.
    #[error("the store holds data that cannot be understood: {0}")]
    Corrupt(String),
    /// The store lost its memory: the root record changed or a version fell.
    #[error("the store lost its memory: {0}")]
    Amnesia(String),
    /// A list was to go on from a place that no page of its family can have named. Nothing is wrong with the store.
    #[error("no list was ever continued from there")]
    NoSuchPlace,
}

/// How much an acknowledged write survives. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Volatile,
    /// Kill of the store's process.
    CrashSafe,
    /// Operating-system crash or power cut.
    PowerSafe,
    /// Loss of a node.
    FailoverSafe,
}

/// Facts about an opened store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Backend name: `memory`, `redis`, `etcd`, `nats`.
    pub name: &'static str,
    /// How durable an acknowledged write is.
    pub durability: Durability,
    /// Largest record in bytes.
    pub record_bytes_max: usize,
    /// Most writes in one batch.
    pub batch_writes_max: usize,
    /// Most bytes of records in one batch.
    pub batch_bytes_max: usize,
    /// What it promises.
    pub contract: Contract,
    /// How long the broker may wait for one batch before it counts as unknown.
    pub commit_timeout: Duration,
}

/// The root record: created once per store.
#[derive(Clone, PartialEq, Eq)]
pub struct Root {
    /// Keys the authentication codes of session secrets. Random, made by whoever created the store's root.
    pub secret_key: [u8; 32],
    /// Names the store, so that one that was wiped is recognised. Random.
    pub identity: u64,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("identity", &format_args!("{:016x}", self.identity)).finish_non_exhaustive()
    }
}

/// What a broker tells the others about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerInfo {
    /// A name for people.
    pub name: String,
    /// Where clients reach it, `host:port`.
    pub address: String,
    /// Where its admin service listens, `host:port`; empty if nowhere.
    pub admin_address: String,
    /// Program version.
    pub program: String,
}

/// A broker's registration as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// Which broker.
    pub broker: Incarnation,
    /// The version of its registration: changes with every beat.
    pub version: Version,
    /// The registration is `gone`. Final.
    pub gone: bool,
    /// Its beat number.
    pub beat: u64,
    /// Its `broker_ttl`.
    pub broker_ttl: Duration,
    /// Its round trip to the store, as of that beat.
    pub round_trip: Duration,
    /// What it says of the store's memory.
    pub standing: Standing,
    /// Who it is.
    pub info: BrokerInfo,
}

/// One sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Who lives.
    pub broker: Incarnation,
    /// The version of the registration that it replaces; [`Version::ABSENT`] registers.
    pub expected: Version,
    /// Counts up; 0 registers. A repeat of an unanswered beat carries the same number.
    pub number: u64,
    /// The broker's TTL.
    pub broker_ttl: Duration,
    /// Its round trip to the store.
    pub round_trip: Duration,
    /// What it says of the store's memory.
    pub standing: Standing,
    /// Who it is.
    pub info: BrokerInfo,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys and their versions, in the order of the store.
    pub keys: Vec<(Key, Version)>,
    /// Pass it as `after` to go on; absent at the end.
    pub next: Option<String>,
}

/// A store of versioned records.
///
/// Implementations are shared by reference between tasks, and chosen by URL at run time: `async-trait` boxes their futures.
/// Nothing happens before a future is polled. Dropping a future may leave its request under way: the broker
/// treats that as unknown. No method panics on anything that a store may answer.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Facts. Constant for the life of the backend.
    fn profile(&self) -> Profile;

    /// The root record, read or created when the backend was opened.
    fn root(&self) -> Root;

    /// What the store has, as a hint, one slot per key in the order asked.
    ///
    /// To ensure correctness: never invent a version; a slot may be old but must have been true once. Detects a changed
    /// root and answers [`StoreError::Amnesia`].
    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError>;

    /// One round trip of independent compare-and-swaps; one outcome per write, in order.
    ///
    /// To ensure correctness:
    /// * a write is applied only if the version at its key is exactly `expected`, the guard's registration exists and is
    ///   not `gone`, and the guard's generation is not smaller than the store's for that lane;
    /// * an acknowledged write is as durable as [`Profile::durability`] says before the answer is given;
    /// * a timeout, a cut connection or an answer that is not understood is `Unknown`, never `Unavailable`;
    /// * keys in one batch are distinct; a batch over the profile's limits is a bug of the caller and is `Unavailable`.
    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome>;

    /// Moves a lane to a generation, so that nothing sent under a smaller one can apply. Idempotent.
    ///
    /// To ensure correctness: when it answers Ok, every commit of this lane under a smaller generation that has not been
    /// applied never will be. Must not re-create a registration.
    async fn advance(&self, guard: Guard) -> Result<(), StoreError>;

    /// Returns when the key may differ from the version seen. May return early; may be late; may never return if the
    /// hint was lost. Never needed for safety.
    async fn changed(&self, key: Key, seen: Version);

    /// A page of keys and versions, `limit` at most, in a stable order; a hint like a read. Only keys that have a record:
    /// a marker is not listed. A key that stands through the whole listing comes exactly once, whatever else is written.
    ///
    /// `after` is the `next` of an earlier page, and comes from whoever asked: what cannot be one is
    /// [`StoreError::NoSuchPlace`].
    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Registers (number 0) or renews, by compare-and-swap on the registration; answers its new version.
    ///
    /// To ensure correctness: never re-creates a registration that existed, and never revives one that is `gone`: both
    /// are `Evicted`. A repeat that finds its own number already stored is a success at the stored version. Another version
    /// under another number changes nothing: `Amnesia` if the version fell, otherwise `Unavailable`. One that says of the
    /// history that answers that it is checked is stored only if every write that was acknowledged to this broker through
    /// this backend is still there, or something later is at its place: otherwise `Amnesia`.
    async fn beat(&self, beat: Beat) -> Result<Version, StoreError>;

    /// Turns the own registration into `gone`, whatever its version: a clean goodbye. Idempotent. Afterwards commits of
    /// this broker are refused.
    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError>;

    /// Turns another broker's registration into `gone`, if it still has exactly the version `seen`
    /// ([`Version::ABSENT`]: if it does not exist, and then it can never register). The guard is checked as in a commit. A
    /// conflict tells the registration's version and no bytes.
    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome;

    /// Deletes a registration that is `gone` and no longer needed, with its lanes' generations, at exactly that version.
    /// Commits of that incarnation stay refused: an absent registration is no registration.
    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome;

    /// Which history answers, as of the newest connection.
    fn history(&self) -> History {
        History::LASTING
    }

    /// The broker knows that this history answers, and has nothing under way that it decided before. From now on commits
    /// are taken there; under any other history they are `Unavailable`. The one that answered when the backend was opened
    /// is trusted from the beginning.
    fn trust(&self, history: History) {
        let _ = history;
    }

    /// What was last seen of all brokers, own registration included; a hint like a read.
    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError>;
}
