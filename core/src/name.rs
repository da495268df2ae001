//! What things are called: lockspaces, resources, sessions, claims, versions and fences.
//!
//! Every type here can only be built from valid input, so that inner code has no checks. Names are cheap to clone.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::limits;

/// Why a name, an id or a number was refused. The text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A lockspace outside `[a-z0-9._-]{1,64}`.
    #[error("a lockspace is 1 to {max} characters of a-z, 0-9, '.', '_' and '-'", max = limits::LOCKSPACE_BYTES_MAX)]
    Lockspace,
    /// A resource name that is empty, too long or has control characters.
    #[error("a resource name is 1 to {max} bytes of text without control characters", max = limits::RESOURCE_NAME_BYTES_MAX)]
    Resource,
    /// An owner or label that is too long or has control characters.
    #[error("an owner or label is at most {max} bytes of text without control characters", max = limits::LABEL_BYTES_MAX)]
    Label,
    /// Text that is not a session id.
    #[error("a session id looks like 00f1a2b3c4d5e6f7-2a-10000 (broker, number, TTL in milliseconds)")]
    Session,
    /// Text that is not an incarnation.
    #[error("a broker incarnation is 16 hexadecimal digits")]
    Incarnation,
}

/// The lockspace of everything that names none.
const DEFAULT_LOCKSPACE: &str = "default";

/// A named set of resources with its own settings. `[a-z0-9._-]{1,64}`.
// The default one, which nearly all are, has no text of its own: names of resources are copied and compared all the time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Lockspace(Option<Arc<str>>);

impl Ord for Lockspace {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (None, None) => Ordering::Equal,
            (Some(own), Some(other)) if Arc::ptr_eq(own, other) => Ordering::Equal,
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialOrd for Lockspace {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Lockspace {
    /// Checks and keeps a lockspace name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > limits::LOCKSPACE_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(NameError::Lockspace);
        }
        Ok(Self((name != DEFAULT_LOCKSPACE).then(|| name.into())))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT_LOCKSPACE)
    }
}

impl fmt::Display for Lockspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name inside a lockspace: 1 to 1,024 bytes of UTF-8 without control characters, compared byte by byte.
#[derive(Debug, Clone, Eq)]
pub struct ResourceName {
    // First, so that names that differ are nearly always told apart by it.
    hash: u32,
    text: Arc<str>,
}

// Copies of one name are recognised without looking at the text.
impl PartialEq for ResourceName {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Hash for ResourceName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.hash);
    }
}

// By the text: the hash is only there to be quick.
impl Ord for ResourceName {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.text, &other.text) { Ordering::Equal } else { self.text.cmp(&other.text) }
    }
}

impl PartialOrd for ResourceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ResourceName {
    /// Checks and keeps a resource name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() || name.len() > limits::RESOURCE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(NameError::Resource);
        }
        Ok(Self { hash: crc32c::crc32c(name.as_bytes()), text: name.into() })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The CRC-32C of the text: the same everywhere and in every version. Whoever chooses names can make them collide.
    pub fn hash32(&self) -> u32 {
        self.hash
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is locked: a name inside a lockspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The lockspace.
    pub lockspace: Lockspace,
    /// The name inside it.
    pub name: ResourceName,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lockspace, self.name)
    }
}

/// A short text that a client attaches to a claim (owner or label). May be empty. At most 64 bytes.
// Most are empty, and those are no text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Option<Arc<str>>);

impl Label {
    /// Checks and keeps a label.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > limits::LABEL_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(NameError::Label);
        }
        Ok(Self((!text.is_empty()).then(|| text.into())))
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// True if no text was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// One run of one broker process. Random, chosen by the shell at start, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() != 16 {
            return Err(NameError::Incarnation);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NameError::Incarnation)
    }
}

/// A client's life. The identity says which broker opened it and how long its TTL is, for ever.
///
/// As text: `incarnation-serial-ttl`, the first two in hexadecimal, the TTL in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The incarnation of the broker that opened the session.
    pub opener: Incarnation,
    /// Counts the sessions of that incarnation.
    pub serial: u32,
    /// The session's TTL in milliseconds.
    pub ttl_ms: u32,
}

impl SessionId {
    /// The session's TTL.
    pub fn ttl(&self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::from(self.ttl_ms))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}-{}", self.opener, self.serial, self.ttl_ms)
    }
}

impl FromStr for SessionId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut parts = text.splitn(3, '-');
        let mut next = || parts.next().ok_or(NameError::Session);
        let (opener, serial, ttl) = (next()?, next()?, next()?);
        let id = Self {
            opener: opener.parse().map_err(|_| NameError::Session)?,
            serial: u32::from_str_radix(serial, 16).map_err(|_| NameError::Session)?,
            ttl_ms: ttl.parse().map_err(|_| NameError::Session)?,
        };
        // One session, one spelling: "+1", "01" and upper case are other texts, not other names of the same session.
        if id.to_string() == text { Ok(id) } else { Err(NameError::Session) }
    }
}

/// The number by which a client names one of its claims. Chosen by the client, rising within a session, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimNumber(pub u64);

impl fmt::Display for ClaimNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One lock of one session on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId {
    /// The session it belongs to.
    pub session: SessionId,
    /// Its number inside the session.
    pub number: ClaimNumber,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.session, self.number)
    }
}

/// The client's number of one operation on one claim. Rising within a claim, from 1; a repeat carries the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationNumber(pub u32);

/// The number that the store gives to each successful write of a record. It never repeats and never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// Nothing is stored, and the store keeps no marker of a deletion either.
    pub const ABSENT: Version = Version(0);

    /// True for [`Version::ABSENT`].
    pub fn is_absent(self) -> bool {
        self == Self::ABSENT
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How many commands one write may apply to one record: the places that a fence can name.
pub const FENCE_PLACES: u64 = 1024;

/// `version * 1024 + index`: larger than that of every earlier conflicting grant of the resource, for all time.
///
/// The version is that of the write that granted; the index is the place, in that write, of the command whose pass
/// granted. All grants of one pass coexist, so they may share a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

impl Fence {
    /// The fence of command `index` in the write that got `version`.
    pub fn new(version: Version, index: u16) -> Self {
        debug_assert!(u64::from(index) < FENCE_PLACES);
        Self(version.0 * FENCE_PLACES + u64::from(index))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A fence or ticket while its write may still be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stamp {
    /// Known: its write is committed.
    Known(Fence),
    /// Given by this very write, at this index; the number is known when the write's version is.
    ThisWrite(u16),
}

impl Stamp {
    /// The number, given the version of the write that is under way.
    pub fn resolve(self, version: Version) -> Fence {
        match self {
            Stamp::Known(fence) => fence,
            Stamp::ThisWrite(index) => Fence::new(version, index),
        }
    }
}
