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
/// Longest TTL of sessions unless the operator allows more: for that long nothing is granted after the store lost its
/// memory.
pub const SESSION_TTL_LIMIT_DEFAULT: Duration = Duration::from_secs(60);
/// Default of a broker's own TTL: how long it may be silent before others may evict it.
pub const BROKER_TTL_DEFAULT: Duration = Duration::from_secs(5);
/// Claims of one session, whatever an operator allows: as many as any broker may have let it have, and so may bring along.
pub const CLAIMS_PER_SESSION_MAX: usize = 10_000;
/// Commands applied to one record by one write at most: the places that a fence can name.
pub const COMMANDS_PER_WRITE_MAX: usize = crate::name::FENCE_PLACES as usize;
/// Requests not yet answered that a moving session may declare void.
pub const VOID_CLAIMS_MAX: usize = 256;
/// How far a claim number may run ahead of the highest one its session used, and how far behind it one that was left out
/// can still be used.
pub const CLAIM_NUMBER_GAP_MAX: u64 = 65_536;
/// How often in a row a name is locked again soon after it was released, before its record is kept in between.
pub const REUSES_KEPT: u8 = 8;
/// A record that nobody asked about for this long is not in use.
pub const UNUSED_AFTER: Duration = Duration::from_secs(1);
/// Entries in one page of an inspection list.
pub const PAGE_MAX: usize = 1_000;
/// Longest wait that a request may ask for. Longer is refused; absent means for ever.
pub const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

// What connections may have at once. A client is an address (an IPv6 /64), as `server/src/frontend/client.rs` says.

/// Streams of one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Session streams of one connection that have no session yet; more wait their turn.
pub const OPENING_PER_CONNECTION_MAX: usize = 16;
/// The same of one client; more are refused.
pub const OPENING_PER_CLIENT_MAX: usize = 512;
/// Streams of one connection that watch something; more are refused.
pub const WATCHES_PER_CONNECTION_MAX: usize = 32;
/// The same of one client.
pub const WATCHES_PER_CLIENT_MAX: usize = 512;
/// Calls of one client that are not answered yet, streams without a session among them; more are refused.
pub const CALLS_PER_CLIENT_MAX: usize = 8_192;
/// Sessions that one client opens in a second by calls; more wait their turn, up to ten seconds. As many as of a quarter of a
/// second may come at once. Streams are not counted: sessions that move come on them, and all at once where a broker died.
pub const OPENS_PER_SECOND_MAX: u32 = 2_000;
/// Sessions of one principal at a broker, where there is access control.
pub const SESSIONS_PER_PRINCIPAL_MAX: usize = 10_000;
/// Claims of one principal at a broker, over all its sessions.
pub const CLAIMS_PER_PRINCIPAL_MAX: usize = 100_000;
/// Claims of one principal at a broker that wait, over all its sessions.
pub const WAITING_PER_PRINCIPAL_MAX: usize = 10_000;
/// Streams of one principal that watch at a broker.
pub const WATCHES_PER_PRINCIPAL_MAX: usize = 10_000;
/// Wrong credentials of one client that are answered in a second, however many connections it has; more wait, up to five seconds.
pub const WRONG_CREDENTIALS_PER_SECOND_MAX: u32 = 10;
/// Handshakes of TLS that one client begins in a second; more wait their turn, up to five seconds. Each costs the broker up to a
/// millisecond of a processor, and its client as good as nothing.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 200;
/// HTTP/2 frames of one client that are read in a second, or messages without HTTP/2; what comes faster stays in its sockets. A lock and its release on a
/// session stream are two frames, as calls about eight. Of a client that is trusted all are read.
pub const FRAMES_PER_SECOND_MAX: u32 = 50_000;
/// Requests of one client on session streams that the broker has not begun with; more are not read yet.
pub const TURNS_PER_CLIENT_MAX: usize = 1_024;
/// How many times as many of these a client has that is trusted.
pub const TRUSTED_FACTOR: usize = 8;
/// Inspections of one connection that are at work or whose answer is not read; more wait their turn.
pub const INSPECTIONS_PER_CONNECTION_MAX: usize = 8;
/// Inspections of one client at work or next in line; more wait their turn.
pub const INSPECTIONS_PER_CLIENT_MAX: usize = 4;
/// Inspections of all clients at work.
pub const INSPECTIONS_AT_ONCE_MAX: usize = 4;
/// Answers from this length on count as large.
pub const LARGE_ANSWER_BYTES: usize = 32 * 1024;
/// Bytes of one stream that were handed to HTTP/2 and are not written; the stream waits then.
pub const UNREAD_BYTES_PER_STREAM_MAX: usize = 64 * 1024;
/// The same of one connection: all its streams wait then.
pub const UNREAD_BYTES_PER_CONNECTION_MAX: usize = 1024 * 1024;
/// Bytes of large answers to one client that are not read; further inspections are refused then.
pub const UNREAD_BYTES_PER_CLIENT_MAX: usize = 32 * 1024 * 1024;
/// The same of all clients.
pub const UNREAD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// HTTP/2 frames without a request that a connection may send at once, and a second. Beyond that it is closed.
pub const FRAMES_IDLE_BURST_MAX: u32 = 1_000;
/// See [`FRAMES_IDLE_BURST_MAX`].
pub const FRAMES_IDLE_PER_SECOND_MAX: u32 = 100;

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
    /// Sessions of one client at one broker.
    pub sessions_per_client: usize,
    /// The same of a client that is trusted.
    pub sessions_per_trusted: usize,
    /// How long a session lives whose client is not heard again after it was opened. Its TTL if that is shorter.
    pub first_life: Duration,
    /// Bytes of one record.
    pub record_bytes: usize,
    /// Requests that wait inside the broker for the store, over all sessions.
    pub requests_per_broker: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            claims_per_session: CLAIMS_PER_SESSION_MAX,
            waiting_per_session: 1_000,
            queued_per_resource: 1_000,
            requests_per_stream: 256,
            sessions_per_broker: 200_000,
            sessions_per_client: 20_000,
            sessions_per_trusted: 150_000,
            first_life: Duration::from_secs(30),
            record_bytes: RECORD_BYTES_MAX,
            requests_per_broker: 100_000,
        }
    }
}

/// A client that is heard so often in its TTL misses two before its session is in danger.
pub const KEEPALIVES_PER_TTL: u32 = 3;

impl Limits {
    /// These, in the place of others that were in force: but what clients were told of those stays, because they go by it.
    #[must_use]
    pub fn in_place_of(self, former: &Self) -> Self {
        Self { requests_per_stream: former.requests_per_stream, first_life: former.first_life, ..self }
    }

    /// When the client of a session with this TTL should be heard for the first time after the opening; from then on a
    /// third of the TTL is enough.
    pub fn first_keepalive(&self, ttl: Duration) -> Duration {
        ttl.min(self.first_life) / KEEPALIVES_PER_TTL
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
