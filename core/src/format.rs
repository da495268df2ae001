//! Stored formats: how records were and are written, and how brokers of several versions share a store.
//!
//! A program reads every format up to the newest that it knows, and a broker says so in its registration. It writes the highest
//! that *all* brokers on the store read, and so a store is upgraded one broker at a time, while it is in use:
//!
//! 1. A broker begins with the oldest format, which everybody reads.
//! 2. Once all that are registered read a later one, its beats announce that it is going to write that.
//! 3. When such a beat is acknowledged it reads the registrations once more. If still all read it, it writes it.
//!
//! A broker of an older version that comes meanwhile either registers before the last look, and is seen, or reads the
//! announcement when it looks itself, and ends: it could not read what it is going to meet. It ends too when it meets such a
//! record. Nothing can be granted wrongly in either case, because what cannot be read is not granted; the announcement only
//! keeps brokers that serve from being put out of service.
//!
//! Every format ends with a CRC-32C of everything before, so that a later format can be told from damage.

/// The format that every program reads.
pub const OLDEST: u8 = 1;
/// The highest that this program reads and writes.
pub const NEWEST: u8 = 2;

/// What one broker says of formats in its registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// The highest that it reads.
    pub reads: u8,
    /// The highest that it writes, or is going to.
    pub writes: u8,
}

/// Of a broker that was declared dead before it registered: nothing needs to be considered.
impl Default for Formats {
    fn default() -> Self {
        Self { reads: NEWEST, writes: OLDEST }
    }
}
