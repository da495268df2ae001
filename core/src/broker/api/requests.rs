//! What clients, administrators and people ask.

use std::time::Duration;

use bytes::Bytes;

use crate::command::{ConversionDeadlock, Options, PurgeScope};
use crate::mode::Mode;
use crate::name::{ClaimNumber, Label, OperationNumber, ResourceId, SessionId, Version};

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
    /// Refused if it is set: only conversions may have it (A1).
    pub conversion_deadlock: Option<ConversionDeadlock>,
    /// Absent: wait for ever; zero: try.
    pub wait: Option<Duration>,
    /// Wants blocking notifications.
    pub blocking: bool,
    /// A task inside the session, by which `unlock_all` selects.
    pub owner: Label,
    /// Text for people.
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
    /// Releases the claim also while it waits or converts.
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
    /// For people. An empty label or program changes nothing.
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

/// What is known of a session's client. By label, program and address nothing is decided: people are told of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// What it calls itself. Claims without a label of their own have it.
    pub label: Label,
    /// Its program and library, as it says.
    pub program: Label,
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
    Open(Box<OpenRequest>),
    /// Resume or move.
    Resume(Box<ResumeRequest>),
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
    /// Events of the session go to the connection that this comes from, where nothing else is asked. For clients without a stream: one
    /// that has a stream hears everything there.
    Listen,
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
    /// Ask whoever holds a resource once more to let go of it.
    Notify {
        /// What is held.
        resource: ResourceId,
        /// Whose claims. It may be vouched for elsewhere; then the answer says where.
        session: SessionId,
        /// Which; absent: all of the session on the resource.
        claim: Option<ClaimNumber>,
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
    /// Waits of sessions that this broker vouches for: those of a part of its table, so that nothing else has to wait for long
    /// while the whole of a large one is looked through.
    Waits {
        /// Of sessions after this one.
        after: Option<SessionId>,
        /// When so many sessions and claims of those that wait were looked at, the part ends with the session.
        looks: usize,
    },
    /// How many claims of its sessions there are, and for how long they wait: a part of that, so that it takes no long time.
    Tally {
        /// Of the sessions after this one.
        after: Option<SessionId>,
        /// No further session is looked at once there were so many claims.
        claims: usize,
    },
    /// Brokers on this store.
    Brokers,
    /// Counters and state.
    Status,
}
