//! What a seed decides once.

use std::time::Duration;

use sixpin_memory::StoreKind;

/// Microseconds of real (simulated) time.
pub type Time = u64;

/// One millisecond.
pub const MS: Time = 1_000;
/// One second.
pub const SECOND: Time = 1_000_000;

/// Which faults a schedule has. Swarm style: each schedule has some of them, so that rare combinations are met.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Messages to and from the store are lost.
    pub lost_calls: bool,
    /// Messages to and from the store take very long.
    pub slow_calls: bool,
    /// Commits arrive a second time, late.
    pub late_copies: bool,
    /// Reads show what was there before.
    pub stale_reads: bool,
    /// Change hints are lost.
    pub lost_hints: bool,
    /// The store is away for all.
    pub outages: bool,
    /// A broker and the store cannot reach each other.
    pub store_cuts: bool,
    /// A broker and a client cannot reach each other.
    pub client_cuts: bool,
    /// Brokers stand still.
    pub broker_pauses: bool,
    /// Brokers stand still, and their monotonic clock with them.
    pub broker_suspends: bool,
    /// Brokers are killed and come back as another incarnation.
    pub broker_kills: bool,
    /// Brokers drain.
    pub drains: bool,
    /// Clients stand still.
    pub client_pauses: bool,
    /// Clients die.
    pub client_kills: bool,
}

/// One schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Broker processes.
    pub brokers: usize,
    /// Client processes.
    pub clients: usize,
    /// Resources.
    pub resources: usize,
    /// The store's contract.
    pub kind: StoreKind,
    /// Session TTL.
    pub ttl: Duration,
    /// Broker TTL.
    pub broker_ttl: Duration,
    /// Lanes per broker.
    pub lanes: u16,
    /// Which faults.
    pub faults: Faults,
    /// When the faults stop.
    pub heal_at: Time,
    /// How long the programs work on without faults before they leave.
    pub calm: Time,
}

impl Plan {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51f1_5eed);
        let mut maybe = |percent: u32| rng.u32(..100) < percent;
        let faults = Faults {
            lost_calls: maybe(60),
            slow_calls: maybe(50),
            late_copies: maybe(40),
            stale_reads: maybe(50),
            lost_hints: maybe(50),
            outages: maybe(25),
            store_cuts: maybe(50),
            client_cuts: maybe(60),
            broker_pauses: maybe(50),
            broker_suspends: maybe(25),
            broker_kills: maybe(50),
            drains: maybe(30),
            client_pauses: maybe(40),
            client_kills: maybe(40),
        };
        let kind = if maybe(70) { StoreKind::CHECKING } else { StoreKind::MARKING };
        Self {
            seed,
            brokers: rng.usize(2..=4),
            clients: rng.usize(2..=8),
            resources: rng.usize(1..=4),
            kind,
            ttl: Duration::from_secs(1),
            broker_ttl: Duration::from_millis(rng.u64(400..=900)),
            lanes: rng.u16(1..=3),
            faults,
            heal_at: rng.u64(3..=8) * SECOND,
            calm: 2 * SECOND,
        }
    }
}
