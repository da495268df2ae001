//! The words between the broker machine and its shell: what comes in, what goes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{
    Beat, BrokerInfo, Family, Guard, Key, Lane, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use crate::command::{Blocker, ConversionDeadlock, Options, PurgeScope, Refusal, Value};
use crate::limits::Limits;
use crate::mode::Mode;
use crate::name::{
    ClaimId, ClaimNumber, Fence, Incarnation, Label, Lockspace, OperationNumber, ResourceId, SessionId, Version,
};
use crate::standing::History;

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
    /// Lanes: batches that may be in flight at once. At least 1.
    pub lanes: u16,
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
    /// How long nothing is granted after the start on a store that no broker has called settled; absent: until nobody
    /// can believe in a lock that such a store may have forgotten.
    pub first_start_grace: Option<Duration>,
    /// Nothing is granted for this long after the start, whatever others say: what [`Ending::Amnesia`] of the incarnation
    /// before said.
    pub hold_back: Duration,
    /// How long a drain on a store that no other broker shares waits for holders.
    pub drain_timeout: Duration,
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

/// Proves that a caller is a session's client.
pub type Secret = [u8; 16];

/// Which session a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRef {
    /// The session that this stream opened or resumed.
    Attached,
    /// Named, with its secret: unary calls.
    Named(SessionId, Secret),
}

/// A request to lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// The operation's number.
    pub operation: OperationNumber,
    /// What to lock.
    pub resource: ResourceId,
    /// The mode.
    pub mode: Mode,
    /// Options. `TRY` is set by a wait of zero.
    pub options: Options,
    /// Given, although a new request cannot have it (A1).
    pub conversion_deadlock: Option<ConversionDeadlock>,
    /// Absent: wait for ever; zero: try.
    pub wait: Option<Duration>,
    /// Wants blocking notifications.
    pub blocking: bool,
    /// Owner.
    pub owner: Label,
    /// Label.
    pub label: Label,
    /// Adopt an orphan instead (F7).
    pub orphan: bool,
}

/// A request to convert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertRequest {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// The operation's number.
    pub operation: OperationNumber,
    /// The mode.
    pub mode: Mode,
    /// Options. `TRY` is set by a wait of zero.
    pub options: Options,
    /// What to do in conversion deadlock.
    pub conversion_deadlock: Option<ConversionDeadlock>,
    /// Absent: wait for ever; zero: try.
    pub wait: Option<Duration>,
    /// Absent: keep.
    pub blocking: Option<bool>,
    /// Bytes to write.
    pub value: Option<Bytes>,
}

/// A request to release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlockRequest {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// The operation's number.
    pub operation: OperationNumber,
    /// `VALUE_BLOCK`, `INVALIDATE_VALUE`.
    pub options: Options,
    /// Bytes to write.
    pub value: Option<Bytes>,
    /// From any queue.
    pub force: bool,
}

/// A live claim of a session that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveClaim {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// Where it is.
    pub resource: ResourceId,
    /// The newest operation that the client used on it.
    pub last_operation: OperationNumber,
    /// The newest grant that the client was told; 0 if none.
    pub grant_seq: u32,
    /// The operation that still waits, with what is left of its wait (absent: for ever).
    pub waiting: Option<(OperationNumber, Option<Duration>)>,
}

/// A request to resume, which moves the session here if it is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeRequest {
    /// The session.
    pub session: SessionId,
    /// Its secret.
    pub secret: Secret,
    /// Counts the moves, from 1.
    pub move_number: u32,
    /// The lowest claim number never used.
    pub next_claim: ClaimNumber,
    /// What the client still has.
    pub claims: Vec<LiveClaim>,
    /// Lock requests given up; at most [`crate::limits::VOID_CLAIMS_MAX`].
    pub void: Vec<ClaimNumber>,
    /// For people. An empty label changes nothing.
    pub client: ClientInfo,
    /// Answers and events go to this connection from now on. False for unary clients.
    pub attach: bool,
}

/// Who asks, as far as shares are concerned. Which requests come from the same client is the shell's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Client {
    /// Tells it from others.
    pub id: u128,
    /// It has a larger share.
    pub trusted: bool,
}

/// What is known of a session's client. By label and address nothing is decided: people are told of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// What it calls itself. Claims without a label of their own have it.
    pub label: Label,
    /// Where it is, as far as the shell knows: that of a balancer in between.
    pub address: Label,
    /// In whose share its sessions count.
    pub shares: Client,
}

/// A new session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenRequest {
    /// Absent: the configured default. Checked against the limits.
    pub ttl: Option<Duration>,
    /// For people.
    pub client: ClientInfo,
    /// The session ends with its connection, and cannot move.
    pub bound: bool,
    /// A bound session is released as soon as its connection ends, whatever ended it. Without it only what was not granted
    /// yet goes then, and the rest when the TTL has passed.
    pub release_on_end: bool,
    /// Events go to this connection. False for unary clients.
    pub attach: bool,
}

/// What a client or an administrator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Open a session.
    Open(OpenRequest),
    /// Resume or move.
    Resume(ResumeRequest),
    /// The client lives.
    KeepAlive {
        /// Its newest move number; 0 before the first.
        move_number: u32,
    },
    /// Lock.
    Lock {
        /// The claim to create, and how.
        lock: LockRequest,
        /// Answer only when it is done (unary); otherwise `Queued` is an answer.
        until_done: bool,
    },
    /// Convert.
    Convert {
        /// The claim to convert, and how.
        convert: ConvertRequest,
        /// As for `Lock`.
        until_done: bool,
    },
    /// Release.
    Unlock(UnlockRequest),
    /// Release all claims of the session, or of one owner in it.
    UnlockAll {
        /// Only this owner's.
        owner: Option<Label>,
    },
    /// Withdraw a pending operation.
    Cancel {
        /// The claim's number.
        claim: ClaimNumber,
        /// Absent: whatever is pending.
        operation: Option<OperationNumber>,
    },
    /// The client has stopped using what was taken away. Empty: the whole session.
    ConfirmLost {
        /// The claims.
        claims: Vec<ClaimNumber>,
    },
    /// End the session.
    Close,
}

/// What an administrator asks. Answers go to the same kinds of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRequest {
    /// Take claims away from a session.
    ForceUnlock {
        /// On which the claims stand.
        resource: ResourceId,
        /// Whose claims are taken; all of them on that resource unless one is named.
        session: SessionId,
        /// Which; absent: all of the session on the resource.
        claim: Option<ClaimNumber>,
        /// Do not wait for the holder.
        now: bool,
        /// Answer before it is free.
        no_wait: bool,
    },
    /// End a session.
    ExpireSession {
        /// It may be vouched for elsewhere; then the answer says where.
        session: SessionId,
        /// Do not wait for the client.
        now: bool,
        /// Answer before it is free.
        no_wait: bool,
    },
    /// Remove orphans.
    Purge {
        /// On which the orphans stand.
        resource: ResourceId,
        /// All orphans of the resource, those of an owner, or those of a former session.
        scope: PurgeScope,
    },
    /// Remove a record that cannot be understood. Nothing is granted there until nobody can believe in what it said.
    RemoveDamaged {
        /// Whose record is removed.
        resource: ResourceId,
        /// The version that was seen damaged.
        version: Version,
        /// Nobody holds anything there: it is free at once.
        now: bool,
    },
    /// Begin to drain. Answered when the broker has left.
    Drain {
        /// How long holders may take.
        timeout: Duration,
    },
}

/// What people want to see. Answered from memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Sessions that this broker vouches for, in order.
    Sessions {
        /// Those after this one.
        after: Option<SessionId>,
        /// At most this many.
        limit: usize,
    },
    /// Those of these sessions that this broker vouches for: [`crate::limits::PAGE_MAX`] at most.
    SessionsNamed {
        /// At most [`crate::limits::PAGE_MAX`] of them.
        sessions: Vec<SessionId>,
    },
    /// Claims of one session that this broker knows.
    Claims {
        /// The session.
        session: SessionId,
        /// Those with larger numbers than this.
        after: ClaimNumber,
        /// At most this many.
        limit: usize,
    },
    /// Brokers on this store.
    Brokers,
    /// Counters and state.
    Status,
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

/// What a completion says to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoneStatus {
    /// As the machine of the resource said.
    Is(crate::command::Status),
    /// The claim was taken away.
    Lost,
    /// A repeat for a claim that ended before.
    Gone,
}

/// The final answer to an operation, with its fence resolved. Shared: it is told, and remembered for repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// The operation's number.
    pub operation: OperationNumber,
    /// How it ended.
    pub status: DoneStatus,
    /// The mode held now.
    pub mode: Option<Mode>,
    /// The newest fence, while a mode is held.
    pub fence: Option<Fence>,
    /// Counts the grants.
    pub grant_seq: u32,
    /// Granted without queueing.
    pub immediate: bool,
    /// Was NL in between.
    pub demoted: bool,
    /// Granted in the alternate mode.
    pub alternate: bool,
    /// The value block.
    pub value: Option<Value>,
    /// Who stood in the way.
    pub blockers: Vec<Blocker>,
    /// Adoption: the former claim.
    pub adopted: Option<ClaimId>,
}

/// What stands behind a live claim after a resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimState {
    /// The claim's number.
    pub claim: ClaimNumber,
    /// The mode held.
    pub mode: Option<Mode>,
    /// An operation still waits.
    pub waiting: bool,
    /// The last completion.
    pub done: Option<Arc<Done>>,
}

/// Why a request was refused, in kinds that tell the caller what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Makes no sense; nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// An operation is pending on the claim.
    #[error("{0}")]
    Busy(String),
    /// A limit, named.
    #[error("limit reached: {0}")]
    Limit(String),
    /// The session is over.
    #[error("session {0} is over: everything that it held is lost; open a new one")]
    SessionGone(SessionId),
    /// Another broker vouches for the session.
    #[error("session {session} is not at this broker: go there, or resume it here")]
    NotHere {
        /// The session.
        session: SessionId,
        /// Where it is, if known.
        address: String,
    },
    /// The stored record of the resource cannot be understood; nothing happened, and an administrator must remove it.
    #[error("{0}")]
    Damaged(String),
    /// Nothing happened; it may pass.
    #[error("{0}")]
    Unavailable(String),
    /// It may have happened: repeat it.
    #[error("{0}")]
    Unknown(String),
    /// The broker is going.
    #[error("the broker is draining and takes nothing new: use another one")]
    Draining {
        /// Where to go, if known.
        address: String,
    },
    /// A lower operation number than one already used.
    #[error("the operation number is lower than one already used on claim {0}")]
    StaleOperation(ClaimNumber),
    /// A move number that is not larger.
    #[error("the move number is not larger than that of an earlier move of session {0}")]
    StaleMove(SessionId),
    /// Wrong secret.
    #[error("the secret does not belong to session {0}")]
    WrongSecret(SessionId),
}

impl RequestError {
    /// What a resource machine's refusal means to a client.
    pub fn from_refusal(refusal: Refusal, claim: ClaimNumber, resource: &ResourceId) -> Self {
        match refusal {
            Refusal::Invalid(text) => Self::Invalid(text.into()),
            Refusal::Busy => Self::Busy(format!("claim {claim} on `{resource}`: {refusal}")),
            Refusal::NotFound => Self::NotFound(format!("no claim {claim} on `{resource}`")),
            Refusal::StaleOperation => Self::StaleOperation(claim),
            Refusal::Limit(text) => Self::Limit(format!("{text} of `{resource}`")),
        }
    }
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A session is open.
    Opened {
        /// Its name.
        session: SessionId,
        /// Its secret.
        secret: Secret,
    },
    /// A session is here.
    Resumed {
        /// The session.
        session: SessionId,
        /// The move number that counts now.
        move_number: u32,
        /// Its claims.
        claims: Vec<ClaimState>,
    },
    /// The session lives.
    KeptAlive {
        /// The move number asked for.
        move_number: u32,
        /// Its TTL.
        ttl: Duration,
        /// Claims that were taken away and not confirmed yet.
        lost: Vec<ClaimNumber>,
    },
    /// An operation ended.
    Done(Arc<Done>),
    /// An operation waits.
    Queued {
        /// The claim's number.
        claim: ClaimNumber,
        /// The operation's number.
        operation: OperationNumber,
        /// Queued claims ahead.
        position: u32,
        /// Order of the queue.
        ticket: Fence,
    },
    /// Claims were released.
    UnlockedAll {
        /// Those that were held and those that waited.
        released: u32,
    },
    /// What a cancel did.
    Cancelled {
        /// The claim's number.
        claim: ClaimNumber,
        /// Whether the operation was withdrawn, or something came before.
        result: CancelResult,
    },
    /// Noted.
    Confirmed,
    /// The session is closed.
    Closed,
    /// Refused.
    Error(RequestError),
    /// Claims were taken away; `free_in` is zero once they are free.
    Forced {
        /// What was taken, by number.
        claims: Vec<ClaimNumber>,
        /// When they are free at the latest.
        free_in: Duration,
    },
    /// Orphans were removed.
    Purged {
        /// Claims that were removed.
        purged: u32,
    },
    /// A damaged record was removed.
    DamagedRemoved {
        /// For how long nothing is granted there yet.
        free_in: Duration,
    },
    /// The broker has left.
    Drained {
        /// Sessions that were told to move.
        sessions: u32,
    },
    /// Sessions.
    Sessions {
        /// One page.
        sessions: Vec<SessionView>,
        /// There are more.
        more: bool,
        /// In all.
        total: usize,
    },
    /// Claims of a session: where they are.
    Claims(Vec<(ClaimNumber, ResourceId)>),
    /// Brokers.
    Brokers(Vec<BrokerView>),
    /// State and counters.
    Status(StatusView),
}

/// What a cancel did (R3, R4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelResult {
    /// Withdrawn.
    Cancelled,
    /// Too late: it is granted.
    AlreadyGranted,
    /// No such claim.
    Gone,
}

/// A session, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its name.
    pub session: SessionId,
    /// Its client.
    pub client: ClientInfo,
    /// Since it was opened or came to this broker.
    pub age: Duration,
    /// Since the client was heard.
    pub silence: Duration,
    /// Claims granted.
    pub held: usize,
    /// Claims waiting or converting.
    pub waiting: usize,
    /// `vouching`, `moving`, `burying`, `closing`.
    pub state: &'static str,
    /// Ends with its connection.
    pub bound: bool,
    /// Has a connection.
    pub connected: bool,
    /// Moves so far.
    pub move_number: u32,
}

/// A broker, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// As last seen.
    pub pulse: Pulse,
    /// `alive`, `silent`, `gone`; of the broker that was asked also `draining`.
    pub state: &'static str,
    /// Since its beat changed.
    pub silence: Duration,
    /// It is the one asked.
    pub own: bool,
    /// Its sessions that wait for burial.
    pub burying: usize,
}

/// State and counters, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusView {
    /// `starting`, `settling` (nothing is granted, because the store may have forgotten locks), `serving`, `silent`,
    /// `draining`, `over`.
    pub state: &'static str,
    /// Sessions in the table.
    pub sessions: usize,
    /// Claims of these sessions.
    pub claims: usize,
    /// Those that wait.
    pub waiting: usize,
    /// Batches sent.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Writes that conflicted.
    pub conflicts: u64,
    /// Writes with unknown outcome.
    pub unknowns: u64,
}

/// Something a client is told without having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A queued operation ended.
    Done(Arc<Done>),
    /// A claim blocks somebody.
    Blocking {
        /// The claim's number.
        claim: ClaimNumber,
        /// The grant it refers to.
        grant_seq: u32,
        /// The mode wanted.
        wanted: Mode,
        /// It blocks itself.
        own: bool,
    },
    /// Claims are lost; empty: the whole session.
    Lost {
        /// Who or what took them.
        reason: LostReason,
        /// By number.
        claims: Vec<ClaimNumber>,
    },
    /// Resume elsewhere.
    Move {
        /// Where, best first; may be empty.
        addresses: Vec<String>,
    },
}

/// Why something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// The client was not heard for the TTL.
    Expired,
    /// An administrator.
    Forced,
    /// The store or the broker lost its memory.
    Amnesia,
    /// Somebody moved the session to another broker.
    Moved,
    /// The client closed it.
    Closed,
}

/// Why this incarnation is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Left cleanly.
    Left,
    /// Others declared it dead, or may have while its registration was in doubt. The shell starts a new incarnation.
    Evicted,
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
        /// That of the session concerned.
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
    Beat(Beat),
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
    /// A line for the log.
    Log(LogLine),
    /// This machine is over; no further input is needed.
    Over(Ending),
}
