//! Every limit, in one place.
//!
//! The constants are what sixpin can do at most; [`Limits`] holds those that an operator may set lower. Each limit is
//! checked before it is reached, and its error names it.

use std::time::Duration;

/// Longest lockspace name in bytes.
pub const LOCKSPACE_BYTES_MAX: usize = 64;
/// Longest resource name in bytes.
pub const RESOURCE_NAME_BYTES_MAX: usize = 1024;
/// Longest owner or label in bytes.
pub const LABEL_BYTES_MAX: usize = 64;
/// Longest value block in bytes.
pub const VALUE_BLOCK_BYTES_MAX: usize = 1024;
/// Value block length of a lockspace unless it sets another.
pub const VALUE_BLOCK_BYTES_DEFAULT: usize = 32;
/// Longest record in bytes. A backend may allow less.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Longest message of a client in bytes. A resume with more claims than fit into one comes in several.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Shortest session TTL.
pub const SESSION_TTL_MIN: Duration = Duration::from_secs(1);
/// Longest session TTL.
pub const SESSION_TTL_MAX: Duration = Duration::from_secs(3600);
/// Session TTL unless the client asks for another.
pub const SESSION_TTL_DEFAULT: Duration = Duration::from_secs(10);
/// Default of a broker's own TTL: how long it may be silent before others may evict it.
pub const BROKER_TTL_DEFAULT: Duration = Duration::from_secs(5);
/// Commands applied to one record by one write at most: the places that a fence can name.
pub const COMMANDS_PER_WRITE_MAX: usize = crate::name::FENCE_PLACES as usize;
/// Requests not yet answered that a moving session may declare void.
pub const VOID_CLAIMS_MAX: usize = 256;
/// How far a claim number may run ahead of the highest one its session used, and how far behind it one that was left out
/// can still be used.
pub const CLAIM_NUMBER_GAP_MAX: u64 = 65_536;
/// Entries in one page of an inspection list.
pub const PAGE_MAX: usize = 1_000;
/// Longest wait that a request may ask for. Longer is refused; absent means for ever.
pub const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The limits that an operator may lower. Raising one beyond its default is refused at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Claims per session, granted or waiting.
    pub claims_per_session: usize,
    /// Waiting claims (new requests and conversions) per session.
    pub waiting_per_session: usize,
    /// Queued claims (waiters and converters) per resource.
    pub queued_per_resource: usize,
    /// Requests in flight per stream.
    pub requests_per_stream: usize,
    /// Sessions per broker.
    pub sessions_per_broker: usize,
    /// Bytes of one record.
    pub record_bytes: usize,
    /// Requests that wait inside the broker for the store, over all sessions.
    pub requests_per_broker: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claims_per_session: 10_000,
            waiting_per_session: 1_000,
            queued_per_resource: 1_000,
            requests_per_stream: 256,
            sessions_per_broker: 200_000,
            record_bytes: RECORD_BYTES_MAX,
            requests_per_broker: 100_000,
        }
    }
}

/// Added to every time that one party waits for another: 4 %, at least 100 ms, because two clocks may differ by 1 %
/// each way.
pub fn tolerance(time: Duration) -> Duration {
    (time / 25).max(Duration::from_millis(100))
}

/// `time` plus its [`tolerance`].
pub fn with_tolerance(time: Duration) -> Duration {
    time + tolerance(time)
}
