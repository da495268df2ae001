//! What can go wrong, sorted by what the caller does next.

use crate::mode::Mode;
use sixpin_proto::v1;

/// Why a call did not give what it asked for. Each variant says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lock, or the conversion, was not granted. Ordinary: go on without it, or ask again.
    #[error(transparent)]
    NotGranted(NotGranted),
    /// The claim, or its whole session, is lost. Stop using what it protects; open a new session or lock again.
    #[error("the lock is lost: {0}")]
    Lost(Loss),
    /// The request makes no sense as it is; nothing changed. Correct it.
    #[error("{0}")]
    Invalid(Refused),
    /// The broker does not know the request: it is older than this client, or this is not the listener that serves it.
    #[error("the broker does not know this request")]
    Unsupported,
    /// The broker does not know who asks, because the token or the certificate is missing, wrong or expired, or it does not let
    /// who asks do this; nothing changed. Correct the [`Credentials`](crate::Credentials), or ask an administrator.
    #[error("{0}")]
    Denied(Refused),
    /// There is no such claim, session, orphan or resource.
    #[error("{0}")]
    NotFound(Refused),
    /// The claim has an operation pending. Wait for it or cancel it.
    #[error("{0}")]
    Busy(Refused),
    /// A limit of the broker, named in the message; nothing changed. Hold or queue less.
    #[error("{0}")]
    Limit(Refused),
    /// The stored record of the resource cannot be understood; nothing happened. An administrator must remove it.
    #[error("{0}")]
    Damaged(Refused),
    /// More operations are waiting in this client than it queues; nothing was sent. Wait for some of them to end.
    #[error("{limit} operations already wait in this client: wait for some of them to end")]
    Backlog {
        /// How many it queues.
        limit: usize,
    },
    /// Nothing happened, and it may pass. Try again.
    #[error("{0}")]
    Unavailable(Refused),
    /// It may have happened. Only calls outside sessions end so: sessions repeat until they know.
    #[error("{0}")]
    Unknown(Refused),
    /// No broker took the request in time; nothing is held. Check the addresses, or try again.
    #[error("no broker answered at {}", listed(tried))]
    Unreachable {
        /// What was met at each address last.
        tried: Vec<Tried>,
    },
    /// This program closed the session before. Open a new one.
    #[error("the session was closed by this program: open a new one")]
    Closed,
    /// The broker inside this program could not start: its store is out of reach, refuses the login, or is not durable
    /// enough; or the process got no thread for it. Nothing is held. Look at the store, or try again.
    #[error("{0}")]
    Store(String),
    /// An address or a setting of this client is wrong. Correct it.
    #[error("{0}")]
    Setting(String),
}

impl Error {
    /// How the request ended, if it was simply not granted.
    pub fn not_granted(&self) -> Option<&NotGranted> {
        match self {
            Self::NotGranted(not_granted) => Some(not_granted),
            _ => None,
        }
    }

    /// The wait ended without a grant, whether somebody is known to be in the way or no broker could say so.
    pub fn is_timed_out(&self) -> bool {
        self.has(Refusal::TimedOut) || self.has(Refusal::Undecided)
    }

    /// A try that could not be granted at once.
    pub fn would_wait(&self) -> bool {
        self.has(Refusal::WouldWait)
    }

    /// A conversion was refused because it could never have been granted.
    pub fn is_deadlock(&self) -> bool {
        self.has(Refusal::Deadlock)
    }

    /// Something that was held is not held any more.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// Asking the same again may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::NotGranted(_) | Self::Backlog { .. } | Self::Unavailable(_) | Self::Unreachable { .. })
    }

    fn has(&self, why: Refusal) -> bool {
        self.not_granted().is_some_and(|not_granted| not_granted.why == why)
    }

    /// What a broker's refusal means to the caller.
    pub(crate) fn from_proto(error: v1::Error) -> Self {
        let reason = error.reason();
        let refused = Refused::from_proto(error);
        match reason {
            v1::Reason::NotFound => Self::NotFound(refused),
            v1::Reason::Busy => Self::Busy(refused),
            v1::Reason::Limit => Self::Limit(refused),
            v1::Reason::Damaged => Self::Damaged(refused),
            v1::Reason::SessionGone => Self::Lost(Loss::Expired),
            v1::Reason::Unavailable | v1::Reason::NotHere | v1::Reason::Draining => Self::Unavailable(refused),
            v1::Reason::Unknown => Self::Unknown(refused),
            v1::Reason::Unsupported => Self::Unsupported,
            v1::Reason::Unauthenticated | v1::Reason::Denied => Self::Denied(refused),
            v1::Reason::Unspecified
            | v1::Reason::Invalid
            | v1::Reason::StaleOperation
            | v1::Reason::StaleMove
            | v1::Reason::WrongToken => Self::Invalid(refused),
        }
    }
}

/// Whether a refusal is about who asks: on a stream it may come before anything was asked.
pub(crate) fn is_about_identity(reason: v1::Reason) -> bool {
    matches!(reason, v1::Reason::Unauthenticated | v1::Reason::Denied)
}

/// What was met at an address.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} ({what})")]
pub struct Tried {
    /// `host:port`.
    pub address: String,
    /// For people.
    pub what: String,
}

/// Begins what is said where TLS does not fit, so that it can be told from the rest: words are all that comes through gRPC.
pub(crate) const OF_TLS: &str = "TLS: ";

impl Tried {
    /// Something answered there, and TLS does not fit: somebody has to change certificates, settings or addresses first.
    pub fn is_about_tls(&self) -> bool {
        self.what.starts_with(OF_TLS)
    }
}

fn listed(tried: &[Tried]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a broker said when it refused a request.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Machine-readable.
    pub reason: v1::Reason,
    /// For people: what happened, to what, and what to do next.
    pub message: String,
    /// Where to go instead, `host:port`; empty if unknown.
    pub address: String,
}

impl Refused {
    /// The refusal that a message carries.
    pub fn from_proto(error: v1::Error) -> Self {
        Self { reason: error.reason(), message: error.message, address: error.address }
    }
}

/// A lock or a conversion that was not granted.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not granted: {why}{}", .blockers.first().map(|blocker| format!(" ({blocker})")).unwrap_or_default())]
pub struct NotGranted {
    /// How it ended.
    pub why: Refusal,
    /// A conversion that was not granted keeps this mode; absent for a new lock.
    pub mode: Option<Mode>,
    /// The claim was NL in between: drop everything cached under it.
    pub demoted: bool,
    /// Whom it met.
    pub blockers: Vec<Blocker>,
}

/// How a request ended that was not granted.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A try that could not be granted at once.
    WouldWait,
    /// The wait ended, and somebody was in the way.
    TimedOut,
    /// The wait ended before any broker could say whether it can be granted: brokers or their store do not answer.
    Undecided,
    /// It could never have been granted: another conversion waits for this claim's own mode.
    Deadlock,
    /// It was cancelled.
    Cancelled,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WouldWait => "it would have to wait",
            Self::TimedOut => "the wait timed out",
            Self::Undecided => "no broker could say in time whether it can be granted",
            Self::Deadlock => "it would deadlock with another conversion: release or convert down first",
            Self::Cancelled => "it was cancelled",
        })
    }
}

/// A claim that stood in the way.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Its session.
    pub session: String,
    /// Its number in that session.
    pub claim: u64,
    /// The mode that it holds.
    pub granted: Option<Mode>,
    /// The mode that it waits for.
    pub requested: Option<Mode>,
    /// Its owner.
    pub owner: String,
    /// Its label.
    pub label: String,
    /// It belongs to the session that asked: that one waits for itself, and is granted nothing before it lets go of this claim.
    pub own: bool,
}

impl Blocker {
    /// `asked` is the session that met it.
    pub(crate) fn from_proto(blocker: v1::Blocker, asked: &str) -> Self {
        Self {
            own: blocker.session == asked,
            granted: Mode::from_proto(blocker.granted),
            requested: Mode::from_proto(blocker.requested),
            session: blocker.session,
            claim: blocker.claim,
            owner: blocker.owner,
            label: blocker.label,
        }
    }
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.own {
            write!(f, "this session itself, by claim {},", self.claim)?;
        } else {
            write!(f, "session {}", self.session)?;
            if !self.label.is_empty() {
                write!(f, " `{}`", self.label)?;
            }
        }
        match (self.granted, self.requested) {
            (Some(granted), _) => write!(f, " holds {granted}"),
            (None, Some(requested)) => write!(f, " waits for {requested}"),
            (None, None) => Ok(()),
        }
    }
}

/// Why something that was held is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// This client's own deadline passed: no keepalive was acknowledged for too long. Found by the client itself.
    Deadline,
    /// The broker says that the session is over.
    Expired,
    /// An administrator took the claim away or ended the session.
    Forced,
    /// The store or the broker lost its memory.
    Amnesia,
    /// Somebody else who knows the secret moved the session.
    Moved,
    /// The session was closed.
    Closed,
    /// The connection of a connection-bound session ended.
    Disconnected,
    /// This program released it, together with others.
    Released,
}

impl Loss {
    /// What a broker's event says.
    pub(crate) fn from_proto(reason: v1::LostReason) -> Self {
        match reason {
            v1::LostReason::Forced => Self::Forced,
            v1::LostReason::Amnesia => Self::Amnesia,
            v1::LostReason::Moved => Self::Moved,
            v1::LostReason::Closed => Self::Closed,
            v1::LostReason::Unspecified | v1::LostReason::Expired => Self::Expired,
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deadline => "no broker acknowledged a keepalive in time",
            Self::Expired => "the broker says that the session is over",
            Self::Forced => "an administrator took it away",
            Self::Amnesia => "the store or the broker lost its memory",
            Self::Moved => "somebody else moved the session",
            Self::Closed => "the session was closed",
            Self::Released => "this program released it together with others",
            Self::Disconnected => "the connection that the session was bound to ended",
        })
    }
}
