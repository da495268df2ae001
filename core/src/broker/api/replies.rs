//! What clients and administrators are told.

use std::time::Duration;

use super::{BrokerView, Secret, SessionView, StatusView, Tally, WaitView};
use crate::access::Denied;
use crate::command::{Extras, Refusal};
use crate::mode::Mode;
use crate::name::{ClaimNumber, Fence, OperationNumber, ResourceId, SessionId};

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
    /// What few have.
    pub extras: Extras,
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
    pub done: Option<Done>,
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
    #[error("the token is not that of session {0}: send the one that the session was opened with, as it is")]
    WrongToken(SessionId),
    /// A later version may have it; nothing changed.
    #[error("{0}")]
    Unsupported(String),
    /// Nobody is known who asks; nothing changed. Says no more, so that nobody learns what was wrong with a credential.
    #[error("no valid credential: show a token or a certificate that this broker knows; its log says what was wrong")]
    Unauthenticated,
    /// Who asks may not do this; nothing changed. Names the verb, the lockspace and the resource, and nothing of what is there.
    #[error("{0}")]
    Denied(Box<Denied>),
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
    /// Events are said on this connection from now on.
    Listening {
        /// Claims that were taken away and not confirmed yet.
        lost: Vec<ClaimNumber>,
        /// Claims of which something waits. How others ended may have been said to nobody.
        waiting: Vec<ClaimNumber>,
    },
    /// An operation ended.
    Done(Done),
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
    /// Holders were asked to let go.
    Notified {
        /// Claims of which that was said, by number.
        told: Vec<ClaimNumber>,
        /// Claims whose clients do not want to hear of it.
        deaf: Vec<ClaimNumber>,
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
    /// Waits, those of a session together.
    Waits {
        /// Those of one part of the table.
        waits: Vec<WaitView>,
        /// After which session the next part begins; absent: this was the last.
        next: Option<SessionId>,
    },
    /// How many claims there are.
    Tally(Box<Tally>),
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

/// Something a client is told without having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A queued operation ended.
    Done(Done),
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
