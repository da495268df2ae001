//! The words between the broker machine and its shell: what comes in, what goes out.
//!
//! * `requests`: what clients, administrators and people ask;
//! * `replies`: what they are told;
//! * `views`: what people see of a broker; `notes`: what became of locks; `facts`: what happened, for whoever counts;
//! * here: how a machine is set up, its inputs and its effects.

mod facts;
mod notes;
mod replies;
mod requests;
mod views;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::Principal;
use crate::backend::{
    Beat, BrokerInfo, Family, Guard, Key, Lane, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use crate::limits::Limits;
use crate::name::{Incarnation, Lockspace, Version};
use crate::standing::History;

pub use facts::{Ended, Fact};
pub use notes::{Happened, Note, Whose};
pub use replies::{CancelResult, ClaimState, Done, DoneStatus, Event, LostReason, Reply, RequestError};
pub use requests::{
    AdminRequest, Client, ClientInfo, ConvertRequest, LiveClaim, LockRequest, OpenRequest, Query, Request,
    ResumeRequest, Secret, SessionRef, UnlockRequest,
};
pub use views::{
    BrokerState, BrokerView, LockspaceTally, SessionState, SessionView, StatusView, StoreState, Tally, WaitView,
};

/// The time, as the shell reads it before each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// A monotonic clock that may stop during suspend (observing others: late is safe).
    pub mono: Duration,
    /// A monotonic clock that goes on during suspend (own validity: late is not safe).
    pub boot: Duration,
    /// Wall clock in milliseconds since 1970, for display only.
    pub wall_ms: u64,
}

/// How one broker machine is set up.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// This run. Random, from the shell.
    pub incarnation: Incarnation,
    /// What others are told about this broker.
    pub info: BrokerInfo,
    /// How long this broker may be silent before others may evict it.
    pub broker_ttl: Duration,
    /// TTL of sessions that ask for none.
    pub session_ttl: Duration,
    /// The longest TTL that a session may have. All brokers on a store have the same.
    pub session_ttl_max: Duration,
    /// Limits.
    pub limits: Limits,
    /// Lanes. At least 1. Each resource belongs to one.
    pub lanes: u16,
    /// Batches of one lane that may be in flight at once. At least 1.
    pub depth: u16,
    /// A record that becomes idle is kept for a moment if it was used again so often in a row soon after it had become idle.
    pub reuses_kept: u8,
    /// A record that was not used for this long, or with many records up to about ten seconds longer, is deleted if nobody has
    /// a claim on it, and else takes less memory.
    pub unused_after: Duration,
    /// Settings of lockspaces; others have the default settings.
    pub lockspaces: BTreeMap<Lockspace, LockspaceConfig>,
    /// The store.
    pub profile: Profile,
    /// The store's root record.
    pub root: Root,
    /// How long a request may wait inside the broker for a store that is away, before it is refused.
    pub store_patience: Duration,
    /// The history of the store that answered when it was opened.
    pub history: History,
    /// The highest stored format that it reads and writes.
    pub format_max: u8,
    /// How long nothing is granted after the start on a store that no broker has called settled; absent: until nobody
    /// can believe in a lock that such a store may have forgotten.
    pub first_start_grace: Option<Duration>,
    /// Nothing is granted for this long after the start, whatever others say: what [`Ending::Amnesia`] of the incarnation
    /// before said.
    pub hold_back: Duration,
    /// How long a drain on a store that no other broker shares waits for holders.
    pub drain_timeout: Duration,
    /// Grants and ends of claims are told to the shell ([`Effect::Note`]).
    pub notes: bool,
}

impl BrokerConfig {
    /// How long what a dead session held is withheld in a lockspace.
    pub fn lock_delay(&self, lockspace: &Lockspace) -> Duration {
        self.lockspaces.get(lockspace).map_or(Duration::ZERO, |settings| settings.lock_delay)
    }
}

/// Settings of one lockspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockspaceConfig {
    /// Length of the value block: a multiple of 8, at most 1,024.
    pub value_block_bytes: usize,
    /// Orphans older than this are purged (F9); absent: kept.
    pub orphan_ttl: Option<Duration>,
    /// Withholds what a dead session held for this long; zero: not.
    pub lock_delay: Duration,
}

impl Default for LockspaceConfig {
    fn default() -> Self {
        Self {
            value_block_bytes: crate::limits::VALUE_BLOCK_BYTES_DEFAULT,
            orphan_ttl: None,
            lock_delay: Duration::ZERO,
        }
    }
}

/// One stream or one unary call, as the shell numbers them. Never reused within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo {
    /// The stream or call.
    pub connection: ConnectionId,
    /// The request's number within it.
    pub request: u64,
}

/// Everything that can happen to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client asks.
    Request {
        /// Where the answer goes.
        from: ReplyTo,
        /// The session attached to the connection, or one named with its secret.
        session: SessionRef,
        /// Who asks. On a stream it may be absent once a request said so: it is the same with the same rules.
        principal: Option<Box<Principal>>,
        /// Answered once.
        request: Request,
    },
    /// An administrator asks.
    Admin {
        /// Where the answer goes.
        from: ReplyTo,
        /// Answered once.
        request: AdminRequest,
    },
    /// Somebody looks.
    Query {
        /// Where the answer goes.
        from: ReplyTo,
        /// Answered at once, from what the broker knows.
        query: Query,
    },
    /// A stream or call ended. A unary call that waits is given up with it; its claim is cancelled.
    Disconnected {
        /// Nothing is sent to it any more.
        connection: ConnectionId,
    },
    /// A batch ended; outcomes in the order of its writes.
    Committed {
        /// Its lane.
        lane: Lane,
        /// Its number in the lane.
        batch: u64,
        /// One per write. The shell answers `Unknown` for all when the profile's timeout passes.
        outcomes: Vec<WriteOutcome>,
    },
    /// [`Effect::Advance`] ended.
    Advanced {
        /// The lane and generation asked for.
        guard: Guard,
        /// On an error the lane stays in doubt, and asks again.
        result: Result<(), StoreError>,
    },
    /// [`Effect::Read`] ended.
    Slots {
        /// As asked.
        keys: Vec<Key>,
        /// One slot per key.
        result: Result<Vec<Slot>, StoreError>,
    },
    /// Another history of the store answers.
    History(History),
    /// These limits hold for what is asked from now on; see [`Limits::in_place_of`]. What clients have stays.
    Limits(Limits),
    /// [`Effect::Watch`] returned.
    Changed {
        /// The key.
        key: Key,
    },
    /// [`Effect::List`] ended.
    Listed {
        /// As asked.
        family: Family,
        /// As asked.
        after: Option<String>,
        /// The page.
        result: Result<Page, StoreError>,
    },
    /// [`Effect::Beat`] ended.
    Beaten {
        /// The beat's number.
        number: u64,
        /// The registration's new version, or why nothing is proven.
        result: Result<Version, StoreError>,
    },
    /// [`Effect::Leave`] ended.
    Left {
        /// On an error the registration stays until others evict it.
        result: Result<(), StoreError>,
    },
    /// [`Effect::Evict`] ended.
    EvictDone {
        /// The broker that was silent.
        target: Incarnation,
        /// Only a write that was committed makes it gone.
        outcome: WriteOutcome,
    },
    /// [`Effect::Clear`] ended.
    ClearDone {
        /// The broker that is gone.
        target: Incarnation,
        /// Only a write that was committed clears it.
        outcome: WriteOutcome,
    },
    /// [`Effect::Pulses`] ended.
    Pulses {
        /// What was seen.
        result: Result<Vec<Pulse>, StoreError>,
    },
}

/// What the shell is to do. Effects of one call are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer a request.
    Reply {
        /// Whoever asked.
        to: ReplyTo,
        /// The one answer.
        reply: Reply,
    },
    /// Tell a connection.
    Event {
        /// The connection of the session that the event is about.
        connection: ConnectionId,
        /// Not asked for, and told once.
        event: Event,
    },
    /// End a stream: its session is over or elsewhere, or another stream took its place.
    Disconnect {
        /// Nothing is sent to it any more.
        connection: ConnectionId,
    },
    /// [`crate::backend::Backend::commit`]; ends in [`Input::Committed`].
    Commit {
        /// Lane and generation.
        guard: Guard,
        /// The number of the batch in its lane.
        batch: u64,
        /// The batch.
        writes: Vec<Write>,
    },
    /// [`crate::backend::Backend::advance`]; ends in [`Input::Advanced`].
    Advance {
        /// Lane and the new generation.
        guard: Guard,
    },
    /// [`crate::backend::Backend::read`]; ends in [`Input::Slots`].
    Read {
        /// Of records and marks.
        keys: Vec<Key>,
    },
    /// [`crate::backend::Backend::changed`]; may end in [`Input::Changed`]. Replaces an earlier watch of the key.
    Watch {
        /// The record to watch.
        key: Key,
        /// The version known.
        seen: Version,
    },
    /// Give up the watch of a key.
    Unwatch {
        /// That of an earlier [`Effect::Watch`].
        key: Key,
    },
    /// [`crate::backend::Backend::list`]; ends in [`Input::Listed`].
    List {
        /// The kind of keys.
        family: Family,
        /// Where to go on.
        after: Option<String>,
        /// Page size.
        limit: usize,
    },
    /// [`crate::backend::Backend::beat`]; ends in [`Input::Beaten`].
    Beat(Box<Beat>),
    /// [`crate::backend::Backend::leave`]; ends in [`Input::Left`].
    Leave,
    /// [`crate::backend::Backend::evict`]; ends in [`Input::EvictDone`].
    Evict {
        /// Lane and generation.
        guard: Guard,
        /// The broker that was silent.
        target: Incarnation,
        /// The version whose silence was measured.
        seen: Version,
    },
    /// [`crate::backend::Backend::clear`]; ends in [`Input::ClearDone`].
    Clear {
        /// Lane and generation.
        guard: Guard,
        /// The broker that is gone.
        target: Incarnation,
        /// The version seen `gone`.
        seen: Version,
    },
    /// [`crate::backend::Backend::pulses`]; ends in [`Input::Pulses`].
    Pulses,
    /// [`crate::backend::Backend::trust`].
    Trust(History),
    /// Something became of a lock. Only where [`BrokerConfig::notes`] is set.
    Note(Box<Note>),
    /// A line for the log.
    Log(LogLine),
    /// This machine is over; no further input is needed.
    Over(Ending),
}

/// Why this incarnation is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Left cleanly.
    Left,
    /// Others declared it dead, or may have while its registration was in doubt. The shell starts a new incarnation.
    Evicted,
    /// Others write records in a later format than it reads.
    Outdated {
        /// Which one.
        format: u8,
    },
    /// The store lost its memory; the text says how it showed. A new incarnation must hold back grants for `hold_back`.
    Amnesia {
        /// What was seen.
        text: String,
        /// How long somebody may still believe in a lock that was forgotten.
        hold_back: Duration,
    },
}

/// A step worth a line in the log. The shell renders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The step, a fixed text such as `session buried`.
    pub step: &'static str,
    /// About whom or what.
    pub subject: String,
    /// More.
    pub detail: String,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For developers.
    Debug,
    /// A step that an operator may want to follow.
    Info,
    /// Something that should not last.
    Warn,
    /// Something that somebody must look at.
    Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They are moved about with every request: what is large and rare stands in boxes.
    #[test]
    fn what_is_moved_about_is_small() {
        let sizes = [
            ("Input", size_of::<Input>(), 184),
            ("Request", size_of::<Request>(), 120),
            ("Effect", size_of::<Effect>(), 80),
            ("Reply", size_of::<Reply>(), 64),
            ("Outcome", size_of::<crate::command::Outcome>(), 64),
        ];
        for (name, size, max) in sizes {
            assert!(size <= max, "{name} has {size} bytes, and had {max}");
        }
    }
}
