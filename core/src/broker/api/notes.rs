//! What became of locks, for a shell that writes it down.

use crate::mode::Mode;
use crate::name::{ClaimId, Fence, Label, ResourceId};

/// Something that became of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub happened: Happened,
    /// To which claim.
    pub claim: ClaimId,
    /// On what.
    pub resource: ResourceId,
    /// Absent: its broker died, and nobody else knows whose it was.
    pub whose: Option<Whose>,
    /// The mode held from then on.
    pub mode: Option<Mode>,
    /// The fence of a grant.
    pub fence: Option<Fence>,
}

/// Whose a claim is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The principal's name.
    pub principal: String,
    /// See [`super::ClientInfo::address`].
    pub address: Label,
}

/// What can become of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A mode was granted, also by a conversion.
    Granted,
    /// Its client let go of it.
    Released,
    /// It was taken away: its session ended, an administrator took it, or the store lost it.
    Lost,
    /// Its session ended, and it stays behind.
    Orphaned,
}
