//! One claim as it is kept, and as it is shown.

use crate::mode::Mode;
use crate::name::{ClaimId, Label, OperationNumber, SessionId, Stamp};

use super::order::Place;

/// The three queues of a resource (section 5). A claim is on exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Granted; the order has no meaning, except that the oldest orphan is adopted first.
    Granted,
    /// Granted in one mode and waiting for another.
    Converting,
    /// New requests that wait.
    Waiting,
}

/// Which kind of operation a claim saw last. A repeat must be of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// A new request.
    Lock,
    /// A conversion.
    Convert,
    /// An adoption.
    Adopt,
}

/// How the last operation of a granted claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// Granted.
    Granted,
    /// Refused for a conversion deadlock.
    Deadlock,
    /// Cancelled.
    Cancelled,
    /// Timed out.
    TimedOut,
}

/// The alternate mode of a pending request (N2). Only PR and CW can be alternates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alternate {
    /// ALTPR.
    Pr,
    /// ALTCW.
    Cw,
}

impl Alternate {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Alternate::Pr => Mode::PR,
            Alternate::Cw => Mode::CW,
        }
    }
}

/// How the last operation was granted, for the completion and for those who repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Grant {
    /// SYNCSTS: without queueing.
    pub(crate) immediate: bool,
    /// ALTMODE.
    pub(crate) alternate: bool,
    /// The value block was read (with [`Claim::value_wanted`]).
    pub(crate) value_read: bool,
}

/// Index of a claim in the table.
pub(crate) type Slot = u32;

/// Everything that is known of one claim. What the table indexes may be changed only while the claim is unlinked.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) id: ClaimId,
    /// Index of (session, owner).
    pub(crate) party: u32,
    pub(crate) label: Label,

    /// Which queue the claim is on, if it is linked.
    pub(crate) queue: Queue,
    /// Its place on that queue.
    pub(crate) place: Place,
    pub(crate) linked: bool,

    pub(crate) granted: Option<Mode>,
    pub(crate) requested: Option<Mode>,
    /// The alternate mode of the pending request.
    pub(crate) alternate: Option<Alternate>,
    /// NOORDER, of the pending request.
    pub(crate) no_order: bool,

    pub(crate) operation: OperationNumber,
    pub(crate) kind: OperationKind,
    pub(crate) ended: Ended,
    pub(crate) grant: Grant,
    /// VALBLK, of the last operation.
    pub(crate) value_wanted: bool,
    /// DEMOTED, in the last operation.
    pub(crate) demoted: bool,

    pub(crate) grant_seq: u32,
    pub(crate) fence: Option<Stamp>,
    pub(crate) ticket: Option<Stamp>,

    /// Wants blocking notifications.
    pub(crate) blocking: bool,
    /// The last level sent since the last grant (B4).
    pub(crate) level: Option<Mode>,
    pub(crate) persistent: bool,
    pub(crate) orphan: bool,
    /// The orphan that this claim was, if adoption was its last operation.
    pub(crate) former: Option<Box<ClaimId>>,
    /// Since when the claim has been on its queue in its mode; for people only.
    pub(crate) since_ms: u64,
}

impl Claim {
    /// A claim that holds and waits for nothing yet.
    pub(crate) fn new(id: ClaimId, operation: OperationNumber, kind: OperationKind) -> Self {
        Self {
            id,
            party: 0,
            label: Label::default(),
            queue: Queue::Waiting,
            place: 0,
            linked: false,
            granted: None,
            requested: None,
            alternate: None,
            no_order: false,
            operation,
            kind,
            ended: Ended::Granted,
            grant: Grant::default(),
            value_wanted: false,
            demoted: false,
            grant_seq: 0,
            fence: None,
            ticket: None,
            blocking: false,
            level: None,
            persistent: false,
            orphan: false,
            former: None,
            since_ms: 0,
        }
    }

    /// Forgets what belonged to the operation that was pending.
    pub(crate) fn settle(&mut self) {
        self.requested = None;
        self.alternate = None;
        self.no_order = false;
        self.ticket = None;
    }
}

/// One claim, as inspection and the broker see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimView<'a> {
    /// The claim. For an orphan: the one it was when its session ended.
    pub id: ClaimId,
    /// Which queue it is on.
    pub queue: Queue,
    /// The mode it holds; absent while it waits for its first grant.
    pub granted: Option<Mode>,
    /// The mode it waits for; absent if it waits for nothing.
    pub requested: Option<Mode>,
    /// The alternate mode that it would also take.
    pub alternate: Option<Mode>,
    /// NOORDER: it may be granted from any place in its queue.
    pub no_order: bool,
    /// Its last operation: the pending one if it is queued.
    pub operation: OperationNumber,
    /// What kind of operation that was.
    pub kind: OperationKind,
    /// How that operation ended; absent while it is pending.
    pub ended: Option<Ended>,
    /// That operation asked for the value block.
    pub value_wanted: bool,
    /// Fence of its newest grant, while it holds a mode.
    pub fence: Option<Stamp>,
    /// Counts its grants; 0 if never granted.
    pub grant_seq: u32,
    /// When it was queued, while it is.
    pub ticket: Option<Stamp>,
    /// It wants blocking notifications.
    pub blocking: bool,
    /// The last level sent to it since its last grant (B4).
    pub blocking_level: Option<Mode>,
    /// Its owner.
    pub owner: &'a Label,
    /// Its label.
    pub label: &'a Label,
    /// Wall clock of the step that put it where it is, in milliseconds. For people only.
    pub since_ms: u64,
    /// It was demoted to NL by its last operation (D5).
    pub demoted: bool,
    /// It survives its session as an orphan (F6).
    pub persistent: bool,
    /// Its session has ended (F6).
    pub orphan: bool,
    /// The orphan that it was, if its last operation was an adoption (F7).
    pub adopted: Option<ClaimId>,
}

impl<'a> ClaimView<'a> {
    pub(crate) fn new(claim: &'a Claim, owner: &'a Label) -> Self {
        Self {
            id: claim.id,
            queue: claim.queue,
            granted: claim.granted,
            requested: claim.requested,
            alternate: claim.alternate.map(Alternate::mode),
            no_order: claim.no_order,
            operation: claim.operation,
            kind: claim.kind,
            ended: (claim.queue == Queue::Granted).then_some(claim.ended),
            value_wanted: claim.value_wanted,
            fence: claim.fence,
            grant_seq: claim.grant_seq,
            ticket: claim.ticket,
            blocking: claim.blocking,
            blocking_level: claim.level,
            owner,
            label: &claim.label,
            since_ms: claim.since_ms,
            demoted: claim.demoted,
            persistent: claim.persistent,
            orphan: claim.orphan,
            adopted: claim.former.as_deref().copied(),
        }
    }

    /// The session that it belongs to, or, if it is an orphan, belonged to.
    pub fn session(&self) -> SessionId {
        self.id.session
    }
}
