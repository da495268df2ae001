//! Upper estimates of what things take in a record, so that a record that would be too large is refused before it is.
//!
//! The estimate of a claim covers every state that it can reach without becoming another claim: conversions, cancels and
//! releases never need more than was set aside, so they are never refused for size.

use super::claim::Claim;
use crate::name::Label;

/// Format, kind, flags, value lengths, value sequence number, three counts, checksum.
pub(crate) const HEADER: usize = 1 + 1 + 1 + 2 + 2 + 10 + 3 * 5 + 4;

/// Party index, claim number, operation number, state bits, time, grant sequence number, fence, ticket, label length.
const CLAIM: usize = 4 + 10 + 5 + 4 + 6 + 5 + 8 + 8 + 1;

/// The claim that an adopted orphan was.
pub(crate) const FORMER: usize = 16 + 10;

/// Session identity and owner length.
const PARTY: usize = 16 + 1;

/// A claim with this label.
pub(crate) fn claim(label: &Label) -> usize {
    CLAIM + label.as_str().len()
}

/// What the former identity of a claim adds.
pub(crate) fn former(claim: &Claim) -> usize {
    if claim.former.is_some() { FORMER } else { 0 }
}

/// A session with this owner.
pub(crate) fn party(owner: &Label) -> usize {
    PARTY + owner.as_str().len()
}
