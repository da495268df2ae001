//! A resource as bytes.
//!
//! # The format
//!
//! All fixed-width numbers are little-endian; a *number* is a varint of seven bits per byte, lowest first, without
//! needless bytes; a *text* is its length in one byte and its UTF-8.
//!
//! | part | as |
//! |---|---|
//! | format | one byte: see [`crate::format`] |
//! | kind | one byte, 0, since format 2: what claims hold. Only modes so far |
//! | flags | one byte: 1 = the value block is invalid |
//! | value block | number: its length; number: how many bytes follow; these bytes. The rest is zero |
//! | value sequence | number |
//! | claims granted, converting, waiting | three numbers |
//! | claims | in that order, each queue from its head |
//! | checksum | four bytes, CRC-32C of everything before |
//!
//! A claim:
//!
//! | part | as |
//! |---|---|
//! | party | number: index of its session and owner, counted in order of first appearance. A new one follows at once: opener (8 bytes), serial (4), TTL in milliseconds (4), owner (text) |
//! | claim number, last operation | two numbers |
//! | state | four bytes of bits: see [`bits`] |
//! | since | six bytes, milliseconds |
//! | grant sequence number, fence | number and eight bytes, if it holds a mode |
//! | ticket | eight bytes, if it is queued |
//! | label | text, if it has one |
//! | former claim | opener, serial, TTL, number, if its last operation was an adoption |
//!
//! A fence or ticket of the very write that stores it is the index with the highest bit set: a reader, who knows the
//! version of the record, puts the number in its place.
//!
//! One state has one spelling: what decodes encodes to the same bytes again, apart from stamps that became known.
//!
//! # Caveats
//!
//! Decoding checks everything that a reader relies on and never guesses, but it can not tell a record that a correct
//! broker wrote from one that somebody else composed with care: a checksum is not a signature.

mod decode;
mod encode;

use crate::name::Version;

pub(crate) use decode::decode;
pub(crate) use encode::encode;

/// The first format that says what kind of resource it is.
const WITH_KIND: u8 = 2;
/// Its claims hold modes.
const KIND_MODES: u8 = 0;

/// The largest version whose fences keep the highest bit free.
pub const VERSION_MAX: Version = Version((1 << 53) - 1);

/// Set in a stored stamp of the write that stores it.
pub(crate) const THIS_WRITE: u64 = 1 << 63;

/// Largest `since` that is stored.
pub(crate) const SINCE_MAX: u64 = (1 << 48) - 1;

/// Why bytes are not a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a later program.
    #[error("the record has format {0}, which this broker does not read: it was written by a later version")]
    Format(u8),
    /// Damaged.
    #[error("the record's checksum does not match: it is damaged")]
    Checksum,
    /// The checksum is right, but what it covers cannot be a resource.
    #[error("the record makes no sense: {0}")]
    Malformed(&'static str),
}

/// The bits of a claim's state.
pub(crate) mod bits {
    /// Granted mode: 0 for none, else its number plus one. Three bits.
    pub(crate) const GRANTED: u32 = 0;
    /// Requested mode, likewise.
    pub(crate) const REQUESTED: u32 = 3;
    /// Level of the last blocking notification, likewise.
    pub(crate) const LEVEL: u32 = 6;
    /// Alternate mode: 0 none, 1 PR, 2 CW. Two bits.
    pub(crate) const ALTERNATE: u32 = 9;
    /// Last operation: 0 lock, 1 convert, 2 adopt. Two bits.
    pub(crate) const KIND: u32 = 11;
    /// How it ended: 0 granted or pending, 1 deadlock, 2 cancelled, 3 timed out. Two bits.
    pub(crate) const ENDED: u32 = 13;
    /// Wants blocking notifications.
    pub(crate) const BLOCKING: u32 = 1 << 15;
    /// Survives its session.
    pub(crate) const PERSISTENT: u32 = 1 << 16;
    /// Survived its session.
    pub(crate) const ORPHAN: u32 = 1 << 17;
    /// NOORDER, while pending.
    pub(crate) const NO_ORDER: u32 = 1 << 18;
    /// The last operation asked for the value block.
    pub(crate) const VALUE_WANTED: u32 = 1 << 19;
    /// And read it.
    pub(crate) const VALUE_READ: u32 = 1 << 20;
    /// Granted without queueing.
    pub(crate) const IMMEDIATE: u32 = 1 << 21;
    /// Demoted by the last operation.
    pub(crate) const DEMOTED: u32 = 1 << 22;
    /// Granted in the alternate mode.
    pub(crate) const ALTERNATE_TAKEN: u32 = 1 << 23;
    /// A label follows.
    pub(crate) const LABEL: u32 = 1 << 24;
    /// The former claim follows.
    pub(crate) const FORMER: u32 = 1 << 25;
    /// All bits that have a meaning.
    pub(crate) const ALL: u32 = (1 << 26) - 1;
}
