//! What can be asked of one resource, and what it answers.
//!
//! These are the words between the broker and the resource machine. A [`Command`] goes in; [`Outcome`]s come out, in
//! the order in which they happened. Commands carry no time except the wall clock for display; deadlines are kept by
//! the broker, which sends a [`Command::Cancel`] when one passes.

use bitflags::bitflags;
use bytes::Bytes;

use crate::mode::Mode;
use crate::name::{ClaimId, Label, OperationNumber, SessionId, Stamp};

bitflags! {
    /// Options of a lock or convert command. Rule names are those of the lock rules (A1-A6, G1-G10, F1-F9).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Options: u16 {
        /// NOQUEUE: answer `would_wait` instead of queueing.
        const TRY = 1 << 0;
        /// NOQUEUEBAST: a refused try notifies the blockers (B6). Only with `TRY`.
        const NOTIFY_ON_REFUSAL = 1 << 1;
        /// QUECVT: a conversion waits behind other converters (C4).
        const QUEUE_CONVERSION = 1 << 2;
        /// EXPEDITE: a new NL claim is granted whatever is queued (F1).
        const EXPEDITE = 1 << 3;
        /// HEADQUE: queue at the head (F3).
        const HEAD_OF_QUEUE = 1 << 4;
        /// NOORDER: granted as soon as compatible, from any place in its queue (F2).
        const NO_ORDER = 1 << 5;
        /// ALTPR: would also take PR (F4).
        const ALTERNATE_PR = 1 << 6;
        /// ALTCW: would also take CW (F4).
        const ALTERNATE_CW = 1 << 7;
        /// VALBLK: the value block moves as the table says (section 12).
        const VALUE_BLOCK = 1 << 8;
        /// IVVALBLK: where the table says write, mark the value block invalid instead (V5).
        const INVALIDATE_VALUE = 1 << 9;
        /// PERSISTENT: the claim survives its session as an orphan (F6).
        const PERSISTENT = 1 << 10;
    }
}

/// What to do when a conversion would be queued and is in conversion deadlock (D4-D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConversionDeadlock {
    /// Refuse it; the claim keeps its old mode (the default).
    #[default]
    Error,
    /// Drop to NL at once, then queue (CONVDEADLK).
    Demote,
    /// Queue it all the same and notify the claim itself.
    Wait,
}

/// A new request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockCommand {
    /// The claim, as the client named it.
    pub claim: ClaimId,
    /// The client's number of this operation.
    pub operation: OperationNumber,
    /// The mode asked for.
    pub mode: Mode,
    /// Options.
    pub options: Options,
    /// The caller asked for a conversion-deadlock behaviour, which a new request cannot have (A1).
    pub conversion_deadlock: Option<ConversionDeadlock>,
    /// Wants blocking notifications.
    pub blocking: bool,
    /// Task or transaction inside the session. May be empty.
    pub owner: Label,
    /// Free text for people who look. May be empty.
    pub label: Label,
}

/// A conversion of a granted claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvertCommand {
    /// The claim.
    pub claim: ClaimId,
    /// The client's number of this operation.
    pub operation: OperationNumber,
    /// The mode asked for.
    pub mode: Mode,
    /// Options. `PERSISTENT` only ever adds persistence: a conversion that does not mention it keeps it.
    pub options: Options,
    /// What to do in conversion deadlock; absent means `Error`.
    pub conversion_deadlock: Option<ConversionDeadlock>,
    /// Absent: keep (B9).
    pub blocking: Option<bool>,
    /// The bytes to write where the table says so; shorter is padded with zeroes. Empty is "no bytes".
    pub value: Option<Bytes>,
}

/// Why a queued operation ends without a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CancelReason {
    /// The client asked.
    Cancelled,
    /// Its deadline passed (R5).
    TimedOut,
}

/// Which orphans to purge (F8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeScope {
    /// All orphans of the resource.
    All,
    /// Those of one former session.
    Session(SessionId),
    /// Those of one owner.
    Owner(Label),
    /// One orphan, by its claim.
    Claim(ClaimId),
}

/// One thing that is asked of one resource. Each is atomic, its regrant pass included (Q1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A new request.
    Lock(LockCommand),
    /// A conversion.
    Convert(ConvertCommand),
    /// Release (R2). `value` and options as for a write from PW or EX; only `VALUE_BLOCK` and `INVALIDATE_VALUE` count.
    Unlock {
        /// The claim.
        claim: ClaimId,
        /// The client's number of this operation.
        operation: OperationNumber,
        /// `VALUE_BLOCK`, `INVALIDATE_VALUE`.
        options: Options,
        /// The bytes to write.
        value: Option<Bytes>,
        /// FORCEUNLOCK: from any queue, an operation pending on it completes `cancelled`.
        force: bool,
    },
    /// Withdraw the pending operation `operation` of a claim (R3). On a granted claim: no effect. Without an operation
    /// number: whatever is pending.
    Cancel {
        /// The claim.
        claim: ClaimId,
        /// The pending operation that is meant.
        operation: Option<OperationNumber>,
        /// What the completion will say.
        reason: CancelReason,
    },
    /// `Lock` with `orphan` (F7): takes over the oldest orphan granted in exactly `mode`.
    Adopt {
        /// The adopter's own claim.
        claim: ClaimId,
        /// The adopter's operation number.
        operation: OperationNumber,
        /// The mode that must match exactly.
        mode: Mode,
        /// `VALUE_BLOCK`, `PERSISTENT`.
        options: Options,
        /// Wants blocking notifications.
        blocking: bool,
        /// The adopter's owner.
        owner: Label,
        /// The adopter's label.
        label: Label,
    },
    /// The end of a session: all its claims leave all queues, value blocks are invalidated (V9), one regrant pass (H2).
    Bury {
        /// The session.
        session: SessionId,
    },
    /// Claims that count as if their session were dead: the void claims of a move, or claims taken away by an
    /// administrator. Invalidates as V9; persistence does not protect them.
    Remove {
        /// The claims.
        claims: Vec<ClaimId>,
    },
    /// Removes all claims of a session with this owner as releases (R6); no value bytes move.
    UnlockAll {
        /// The session.
        session: SessionId,
        /// Only this owner's; absent: all of the session.
        owner: Option<Label>,
    },
    /// Removes orphans (F8).
    Purge {
        /// All of them, those of an owner, or those of a former session.
        scope: PurgeScope,
    },
}

impl Command {
    /// It asks for something and does not want to wait for it.
    pub fn is_try(&self) -> bool {
        match self {
            Self::Lock(lock) => lock.options.contains(Options::TRY),
            Self::Convert(convert) => convert.options.contains(Options::TRY),
            _ => false,
        }
    }
}

/// Why a command was refused at once; nothing changed (section 6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A1-A6: options that contradict each other or the mode. The text names the rule's content.
    #[error("{0}")]
    Invalid(&'static str),
    /// A8: the claim is queued; cancel first, or release with force.
    #[error("the claim has an operation pending: cancel it first, or release with force")]
    Busy,
    /// A9: no such claim.
    #[error("no such claim on this resource")]
    NotFound,
    /// The operation number is lower than one already seen on the claim: a late copy of an earlier request.
    #[error("the operation number is lower than one already used on this claim")]
    StaleOperation,
    /// A7: the resource's queue is full, or its record would be too large.
    #[error("limit reached: {0}")]
    Limit(&'static str),
}

/// How an accepted operation ended (section 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// OK: granted; for a conversion, in the new mode.
    Granted,
    /// AGAIN: a try that is not grantable. A conversion keeps its old mode.
    WouldWait,
    /// DEADLK: conversion deadlock; the claim keeps its old mode.
    Deadlock,
    /// CANCELED: a cancel took effect. A conversion keeps its old mode (NL if demoted).
    Cancelled,
    /// TIMEOUT: as `Cancelled`, by its deadline.
    TimedOut,
    /// RELEASED.
    Released,
}

/// The value block as a completion reports it (V6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes, where the table says read.
    pub bytes: Option<Bytes>,
    /// LVB sequence number: counts the writes.
    pub seq: u64,
    /// VALNOTVALID.
    pub invalid: bool,
}

/// The one final answer to an accepted operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The claim.
    pub claim: ClaimId,
    /// Which of its operations.
    pub operation: OperationNumber,
    /// How it ended.
    pub status: Status,
    /// The mode now held; absent if the claim is gone or was never granted.
    pub mode: Option<Mode>,
    /// The fence of the newest grant, while a mode is held.
    pub fence: Option<Stamp>,
    /// Counts the grants of this claim; 0 if never granted.
    pub grant_seq: u32,
    /// SYNCSTS: granted without queueing.
    pub immediate: bool,
    /// DEMOTED: the claim was NL in between; drop everything cached.
    pub demoted: bool,
    /// ALTMODE: granted in the alternate mode.
    pub alternate: bool,
    /// What few have.
    pub extras: Extras,
    /// This is a repeat of an operation that was completed before; nothing changed.
    pub repeated: bool,
}

/// What few completions have. It stands apart, so that all others are small: they are moved about a lot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras(Option<Box<Extra>>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extra {
    value: Option<Value>,
    blockers: Vec<Blocker>,
    adopted: Option<ClaimId>,
}

impl Extras {
    /// Nothing, unless one of them is something.
    pub fn new(value: Option<Value>, blockers: Vec<Blocker>, adopted: Option<ClaimId>) -> Self {
        let some = value.is_some() || !blockers.is_empty() || adopted.is_some();
        Self(some.then(|| Box::new(Extra { value, blockers, adopted })))
    }

    /// Blockers alone.
    pub fn of_blockers(blockers: Vec<Blocker>) -> Self {
        Self::new(None, blockers, None)
    }

    /// The same for who may not know of others: whom it met, and whose the claim was.
    #[must_use]
    pub fn without_others(self) -> Self {
        let Some(extra) = self.0 else { return self };
        Self::new(extra.value, Vec::new(), None)
    }

    /// The value block, if the operation had `VALUE_BLOCK` and was successful.
    pub fn value(&self) -> Option<&Value> {
        self.0.as_ref()?.value.as_ref()
    }

    /// Whom it met, on `WouldWait`, `TimedOut` and `Deadlock`; at most [`BLOCKERS_MAX`].
    pub fn blockers(&self) -> &[Blocker] {
        self.0.as_ref().map_or(&[], |extra| &extra.blockers)
    }

    /// Adoption: the claim that the orphan was before.
    pub fn adopted(&self) -> Option<ClaimId> {
        self.0.as_ref()?.adopted
    }
}

/// Blockers reported with one completion at most.
pub const BLOCKERS_MAX: usize = 8;

/// A claim that stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The claim.
    pub claim: ClaimId,
    /// Its granted mode, if it holds one.
    pub granted: Option<Mode>,
    /// The mode it waits for, if it waits.
    pub requested: Option<Mode>,
    /// Its owner.
    pub owner: Label,
    /// Its label.
    pub label: Label,
}

/// Something that happened while a command was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command was refused; nothing changed.
    Refused {
        /// The rule that it breaks.
        refusal: Refusal,
    },
    /// The claim's operation was queued, or (`repeated`) still is.
    Queued {
        /// The claim.
        claim: ClaimId,
        /// Its operation.
        operation: OperationNumber,
        /// How many queued claims are ahead of it.
        position: u32,
        /// Made like a fence, so that the order of the queue can be compared from outside.
        ticket: Stamp,
        /// A repeat of an operation that is queued already.
        repeated: bool,
    },
    /// An operation ended: that of the command, or one that the regrant pass granted, or one that was cancelled.
    Completed(Completion),
    /// A blocking notification (section 13).
    Blocking {
        /// Who is told.
        claim: ClaimId,
        /// The grant it refers to; the client drops it after a newer grant (B8).
        grant_seq: u32,
        /// The mode that is wanted.
        wanted: Mode,
        /// D6: the claim blocks itself.
        own: bool,
    },
    /// A claim left without a completion: its session ended, it was removed or purged, or it became another's.
    Removed {
        /// The claim.
        claim: ClaimId,
        /// It held a mode.
        held: bool,
    },
    /// `Cancel` found the claim granted: its grant stands (R4).
    AlreadyGranted {
        /// The claim.
        claim: ClaimId,
    },
    /// `Cancel`, `Unlock` or `UnlockAll` found nothing to do: the claim is not on this resource.
    Gone {
        /// The claim.
        claim: ClaimId,
    },
    /// A claim stays behind as an orphan (F6).
    Orphaned {
        /// The claim.
        claim: ClaimId,
    },
}
