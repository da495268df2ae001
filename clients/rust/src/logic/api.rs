//! The words between a session's logic and the shell that runs it: what comes in, what goes out.

use std::time::Duration;

use bytes::Bytes;
use sixpin_proto::v1;

use crate::error::{Error, Loss};
use crate::mode::Mode;

/// How one session is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Brokers, `host:port`, in the order in which they are tried. At least one.
    pub endpoints: Vec<String>,
    /// TTL in milliseconds; absent: the broker's default.
    pub ttl_ms: Option<u32>,
    /// The lockspace whose store the session lives in; empty: `default`.
    pub lockspace: String,
    /// Free text for people who look; at most 64 bytes.
    pub label: String,
    /// The program and this library, for people who look; at most 64 bytes.
    pub program: String,
    /// The session ends with its connection and is never resumed.
    pub connection_bound: bool,
    /// Operations that may wait in this client before they are sent.
    pub queued_max: usize,
    /// How long to wait, from the first tick, before the first broker is tried.
    pub open_pause: Duration,
    /// How long opening may take before it fails, from the first tick.
    pub open_timeout: Duration,
    /// How long one endpoint may take to answer an open before it is given up. The next one is tried long before that,
    /// beside it.
    pub attempt_timeout: Duration,
    /// Spreads the retries of many clients. Any number; the same seed gives the same run.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: vec!["127.0.0.1:6616".to_owned()],
            ttl_ms: None,
            lockspace: String::new(),
            label: String::new(),
            program: String::new(),
            connection_bound: false,
            queued_max: 100_000,
            open_pause: Duration::ZERO,
            open_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(3),
            seed: 0,
        }
    }
}

/// One operation of the program, as the shell numbers it. Never reused within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One attempt at a connection, as the logic numbers it. Never reused within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Everything that can happen to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The program wants a lock. Claim and operation number are filled in by the logic; `timeout_ms` counts from now.
    /// Ends in [`Output::Complete`].
    Lock {
        /// The operation.
        id: OperationId,
        /// What is wanted.
        request: Box<v1::Lock>,
    },
    /// The program wants another mode for a claim. The operation number is filled in by the logic. Waits behind earlier
    /// operations on the claim. Ends in [`Output::Complete`].
    Convert {
        /// The operation.
        id: OperationId,
        /// What is wanted, with the claim's number.
        request: Box<v1::Convert>,
        /// Whether to wait behind other converters; absent: if the mode then held is NL.
        queue: Option<bool>,
    },
    /// The program lets go of a claim, for good: no other operation on it may follow. Overtakes a conversion that
    /// waits. Of a claim that was lost, this is the acknowledgement. Ends in [`Output::Complete`] if it has an id.
    Unlock {
        /// The operation; absent if nobody waits for the answer.
        id: Option<OperationId>,
        /// What is released, with the claim's number.
        request: Box<v1::Unlock>,
    },
    /// The program lets go of everything, or of everything of one owner; locks that wait are cancelled. Ends in
    /// [`Output::Complete`] when all of it is released.
    UnlockAll {
        /// The operation.
        id: OperationId,
        /// Absent: of all owners.
        owner: Option<String>,
    },
    /// The program lets go of its handle, but not of the claim: it stays until the session ends.
    Leave {
        /// The claim's number.
        claim: u64,
    },
    /// Nobody waits for a lock or conversion any more: withdraw it, and release it if it turns out to be granted. The
    /// operation is not completed any more.
    Abandon {
        /// The operation.
        id: OperationId,
    },
    /// The program wants a pending lock or conversion to end. It completes as cancelled, or as granted if that came
    /// first.
    Cancel {
        /// The operation.
        id: OperationId,
    },
    /// The program is done with the session: it is closed when pending releases are answered. Ends in
    /// [`Output::Over`].
    Close,
    /// The shell found, at a validity check, that the deadline had passed. Final like the deadline itself.
    Expired,
    /// [`Output::Connect`] succeeded: the stream is open, and a broker has answered on it. That a connection was accepted
    /// is not enough, because a process that hangs accepts connections too.
    Connected {
        /// That of the [`Output::Connect`].
        link: LinkId,
    },
    /// A message came on a link.
    Received {
        /// On which it came.
        link: LinkId,
        /// The message.
        message: Box<v1::SessionResponse>,
    },
    /// A link could not be opened, or ended.
    Disconnected {
        /// It is not used again.
        link: LinkId,
        /// For people.
        detail: String,
    },
}

/// What the shell is to do. Outputs of one call are carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Open a session stream at an address. Ends in [`Input::Connected`] or [`Input::Disconnected`].
    Connect {
        /// The new link.
        link: LinkId,
        /// `host:port`.
        address: String,
    },
    /// Send a message on a link.
    Send {
        /// On which it leaves.
        link: LinkId,
        /// The message.
        message: Box<v1::SessionRequest>,
    },
    /// Drop a link. Nothing that comes on it matters any more.
    Disconnect {
        /// It is not used again.
        link: LinkId,
    },
    /// The session is open. At most once.
    Opened(Opened),
    /// The session could not be opened. Final: [`Output::Over`] follows.
    OpenFailed(Error),
    /// The session and everything it holds is valid until then (exclusive), on the clock of the inputs. Only ever
    /// rises.
    ValidUntil(Duration),
    /// How sure the session is of its life has changed.
    State(State),
    /// An operation ended.
    Complete {
        /// That of the request.
        id: OperationId,
        /// What it brought, or why it ended.
        result: Result<Done, Error>,
    },
    /// What a claim holds changed although nobody waits for it: a conversion that was abandoned had been granted, or
    /// had demoted the claim.
    Changed(Box<Grant>),
    /// Something happened to a claim that the program holds.
    ClaimEvent {
        /// The claim's number.
        claim: u64,
        /// What the program is told of it.
        event: ClaimEvent,
    },
    /// The session lives on at another broker, or again at the same one.
    Resumed {
        /// Its address.
        address: String,
        /// Its name.
        broker: String,
        /// Counts the moves.
        move_number: u32,
    },
    /// The logic has ended; no further input matters.
    Over,
}

/// A session that was opened.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its name.
    pub session: String,
    /// Its TTL.
    pub ttl: Duration,
    /// The broker that answered, by name.
    pub broker: String,
    /// The broker that answered, by address.
    pub address: String,
    /// Length of a value block in the session's lockspace, in bytes.
    pub value_block_bytes: u32,
}

/// How sure a session is of its life.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not open yet.
    Opening,
    /// A broker acknowledges keepalives.
    Safe,
    /// Still valid, but a keepalive was not answered for a third of the TTL, or there is no connection.
    Uncertain,
    /// Lost: nothing is held any more. A new session is being opened on the same handle, because
    /// [`SessionBuilder::reopen`](crate::SessionBuilder::reopen) asked for that. Guards never see it: theirs is lost.
    Reopening(Loss),
    /// Over: nothing is held any more. Final.
    Lost(Loss),
    /// Closed by the program. Final.
    Closed,
}

impl State {
    /// Whether it is one of those that are final.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Lost(_) | Self::Closed)
    }
}

/// What a successful operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A lock or a conversion.
    Granted(Box<Grant>),
    /// A release.
    Released,
    /// A release of many.
    ReleasedAll {
        /// How many claims.
        released: u32,
    },
}

/// A lock or a conversion that was granted.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The claim's number within the session.
    pub claim: u64,
    /// The mode now held. Not always the one asked for: see `alternate`.
    pub mode: Mode,
    /// Larger than that of every earlier conflicting grant of the resource: hand it to what the lock protects.
    pub fence: u64,
    /// Counts the grants of the claim.
    pub grant_seq: u32,
    /// Granted without queueing.
    pub immediate: bool,
    /// The claim was NL in between: drop everything cached under it.
    pub demoted: bool,
    /// Granted in the alternate mode.
    pub alternate: bool,
    /// The value block, if it was asked for.
    pub value: Option<ValueBlock>,
    /// Of an adopted orphan: its former session and claim.
    pub adopted: Option<(String, u64)>,
}

/// A value block as a completion reports it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueBlock {
    /// The bytes; absent where the operation does not read them.
    pub bytes: Option<Bytes>,
    /// Counts the writes.
    pub seq: u64,
    /// A holder of PW or EX died without writing: the bytes are the last known ones.
    pub invalid: bool,
}

/// What happens to a claim that the program holds.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimEvent {
    /// It blocks somebody. Advice, and not repeated: release or convert down when it suits.
    Blocking {
        /// The mode that is wanted.
        wanted: Mode,
        /// It blocks itself: a conversion that waits although it can never be granted.
        own: bool,
    },
    /// It is lost: stop using what it protects. Letting go of it tells the broker that this is done.
    Lost(Loss),
}
