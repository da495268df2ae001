//! What a seed decides once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sixpin_core::backend::Contract;
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::limits::Limits;
use sixpin_core::name::{Lockspace, ResourceId, ResourceName};

/// Microseconds of real (simulated) time.
pub type Time = u64;

/// One millisecond.
pub const MS: Time = 1_000;
/// One second.
pub const SECOND: Time = 1_000_000;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Messages to and from the store are lost.
    LostCalls,
    /// Messages to and from the store take very long.
    SlowCalls,
    /// Writes arrive a second time, late.
    LateCopies,
    /// Registrations arrive a second time, very late: when their broker may have been forgotten.
    LateRegistrations,
    /// Reads show what was there before.
    StaleReads,
    /// Change hints are lost.
    LostHints,
    /// The store is away for all.
    Outages,
    /// A broker and the store cannot reach each other.
    StoreCuts,
    /// A broker and a client cannot reach each other.
    ClientCuts,
    /// A stream ends, and its two sides learn of it at different times.
    StreamBreaks,
    /// Brokers stand still.
    BrokerPauses,
    /// Brokers stand still, and their monotonic clock with them.
    BrokerSuspends,
    /// Brokers are killed and come back as another incarnation.
    BrokerKills,
    /// Brokers drain.
    Drains,
    /// Clients stand still.
    ClientPauses,
    /// Clients die.
    ClientKills,
    /// Administrators take claims away and end sessions.
    Administrators,
    /// The store loses everything.
    Wipes,
    /// Another copy of the store takes over, which lacks the last writes.
    LostWrites,
    /// Somebody deletes records by hand.
    DeletedRecords,
    /// Somebody damages records by hand, and an administrator has them removed.
    DamagedRecords,
    /// Brokers have small limits, and refuse.
    SmallLimits,
    /// The store refuses batches at once: they were not written.
    RefusedBatches,
    /// Operators change the limits of brokers that run.
    ChangedLimits,
    /// Callers go away and leave what they wait for at its place in the queue.
    PlacesLeft,
    /// Callers listen to their sessions, others try it where there is a stream, and holders are asked to let go.
    Listeners,
}

impl Fault {
    /// Each with its name and in how many of a hundred schedules it occurs.
    pub const ALL: &[(Self, &str, u32)] = &[
        (Self::LostCalls, "lost-calls", 60),
        (Self::SlowCalls, "slow-calls", 50),
        (Self::LateCopies, "late-copies", 40),
        (Self::LateRegistrations, "late-registrations", 15),
        (Self::StaleReads, "stale-reads", 50),
        (Self::LostHints, "lost-hints", 50),
        (Self::Outages, "outages", 25),
        (Self::StoreCuts, "store-cuts", 50),
        (Self::ClientCuts, "client-cuts", 60),
        (Self::StreamBreaks, "stream-breaks", 40),
        (Self::BrokerPauses, "broker-pauses", 50),
        (Self::BrokerSuspends, "broker-suspends", 25),
        (Self::BrokerKills, "broker-kills", 50),
        (Self::Drains, "drains", 30),
        (Self::ClientPauses, "client-pauses", 40),
        (Self::ClientKills, "client-kills", 40),
        (Self::Administrators, "administrators", 35),
        (Self::Wipes, "wipes", 6),
        (Self::LostWrites, "lost-writes", 9),
        (Self::DeletedRecords, "deleted-records", 8),
        (Self::DamagedRecords, "damaged-records", 8),
        (Self::SmallLimits, "small-limits", 12),
        (Self::RefusedBatches, "refused-batches", 30),
        (Self::ChangedLimits, "changed-limits", 8),
        (Self::PlacesLeft, "places-left", 50),
        (Self::Listeners, "listeners", 30),
    ];

    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(fault, ..)| *fault)
    }
}

/// Which faults a schedule has. Swarm style: each schedule has some of them, so that rare combinations are met.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults(u32);

impl Faults {
    /// Whether it has this one.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }

    /// With this one.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    /// Without this one.
    #[must_use]
    pub fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    /// Those it has.
    pub fn each(self) -> impl Iterator<Item = (Fault, &'static str)> {
        Fault::ALL.iter().filter(move |(fault, ..)| self.has(*fault)).map(|(fault, name, _)| (*fault, *name))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.each().map(|(_, name)| name)).finish()
    }
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
    /// How many of the clients, the first ones, have sessions that are bound to their connection.
    pub bound: usize,
    /// Callers: clients without streams.
    pub callers: usize,
    /// Resources. Every second one is in a lockspace with a lock-delay, if there is one.
    pub resources: usize,
    /// The lock-delay of that lockspace.
    pub lock_delay: Duration,
    /// What the store promises.
    pub contract: Contract,
    /// Session TTL.
    pub ttl: Duration,
    /// Broker TTL.
    pub broker_ttl: Duration,
    /// Lanes per broker.
    pub lanes: u16,
    /// Batches of a lane in flight at once at most.
    pub depth: u16,
    /// How often a name is locked again before its record is kept.
    pub reuses_kept: u8,
    /// After what time a record is not in use.
    pub unused_after: Duration,
    /// Which faults.
    pub faults: Faults,
    /// The limits of brokers, if they are small.
    pub limits: Limits,
    /// When the faults stop.
    pub heal_at: Time,
    /// How long the programs work on without faults before they leave.
    pub calm: Time,
    /// How long a program pauses between two things at most.
    pub pause_max: Time,
}

/// Limits that some schedules reach.
fn small_limits(rng: &mut fastrand::Rng) -> Limits {
    let whole = Limits::default();
    Limits {
        queued_per_resource: if rng.bool() { rng.usize(0..=2) } else { whole.queued_per_resource },
        waiting_per_session: if rng.bool() { rng.usize(1..=2) } else { whole.waiting_per_session },
        claims_per_session: if rng.u32(..4) == 0 { rng.usize(2..=3) } else { whole.claims_per_session },
        requests_per_broker: if rng.u32(..4) == 0 { rng.usize(1..=4) } else { whole.requests_per_broker },
        ..whole
    }
}

/// What an operator may change limits to: some of a broker that has none that matter, and all those again.
pub(crate) fn other_limits(rng: &mut fastrand::Rng) -> Limits {
    let limits = if rng.bool() { small_limits(rng) } else { Limits::default() };
    // Fewer than many sessions have.
    Limits { claims_per_session: if rng.bool() { 1 } else { limits.claims_per_session }, ..limits }
}

/// What is taken away from a plan to make it smaller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Faults that do not occur.
    pub without: Vec<Fault>,
    /// Clients, if not as planned.
    pub clients: Option<usize>,
    /// Callers, if not as planned.
    pub callers: Option<usize>,
    /// Brokers, if not as planned.
    pub brokers: Option<usize>,
    /// Resources, if not as planned.
    pub resources: Option<usize>,
    /// When the faults stop, if not as planned.
    pub heal_ms: Option<u64>,
}

/// As arguments of the command.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if !self.without.is_empty() {
            let name = |fault: &Fault| Fault::ALL.iter().find(|(known, ..)| known == fault).map_or("", |known| known.1);
            let names: Vec<&str> = self.without.iter().map(name).collect();
            words.push(format!("--without {}", names.join(",")));
        }
        words.extend(self.clients.map(|clients| format!("--clients {clients}")));
        words.extend(self.callers.map(|callers| format!("--callers {callers}")));
        words.extend(self.brokers.map(|brokers| format!("--brokers {brokers}")));
        words.extend(self.resources.map(|resources| format!("--resources {resources}")));
        words.extend(self.heal_ms.map(|heal_ms| format!("--heal-ms {heal_ms}")));
        f.write_str(&words.join(" "))
    }
}

impl Plan {
    /// With something taken away.
    #[must_use]
    pub fn changed(mut self, changes: &Changes) -> Self {
        self.faults = changes.without.iter().fold(self.faults, |faults, fault| faults.without(*fault));
        self.clients = changes.clients.unwrap_or(self.clients).max(1);
        self.callers = changes.callers.unwrap_or(self.callers);
        self.bound = self.bound.min(self.clients);
        self.brokers = changes.brokers.unwrap_or(self.brokers).max(1);
        self.resources = changes.resources.unwrap_or(self.resources).max(1);
        self.heal_at = changes.heal_ms.map_or(self.heal_at, |heal_ms| heal_ms * MS);
        self
    }

    /// The lockspace of a resource, as clients name it.
    pub fn lockspace(&self, resource: usize) -> &'static str {
        if resource % 2 == 1 && !self.lock_delay.is_zero() { "slow" } else { "default" }
    }

    /// The resource of a number.
    pub fn resource(&self, resource: usize) -> ResourceId {
        let lockspace = Lockspace::new(self.lockspace(resource)).unwrap_or_default();
        let name = ResourceName::new(&format!("r{resource}")).expect("a short name without control characters");
        ResourceId { lockspace, name }
    }

    /// Settings of the lockspaces.
    pub fn lockspaces(&self) -> BTreeMap<Lockspace, LockspaceConfig> {
        let slow = LockspaceConfig { lock_delay: self.lock_delay, ..LockspaceConfig::default() };
        Lockspace::new("slow").map(|name| (name, slow)).into_iter().collect()
    }

    /// The schedule of a seed. Most are short, some are long: what is rare needs many, what is slow needs long ones.
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51f1_5eed);
        // What the store loses is chosen apart, so that the other faults of a seed do not depend on it; and so is what people
        // do by hand, what brokers refuse, what operators change, what callers leave, and who listens.
        let mut losses = fastrand::Rng::with_seed(seed ^ 0x1055_5eed);
        let mut later = fastrand::Rng::with_seed(seed ^ 0x4a2d_5eed);
        let mut speed = fastrand::Rng::with_seed(seed ^ 0xdee9_5eed);
        let mut operators = fastrand::Rng::with_seed(seed ^ 0x0be7_5eed);
        // Drawn from randomness of their own: schedules without callers stay what they were before there were any.
        let mut calls = fastrand::Rng::with_seed(seed ^ 0xca11_5eed);
        let mut ears = fastrand::Rng::with_seed(seed ^ 0x0ea2_5eed);
        let callers = if calls.u32(..100) < 40 { calls.usize(1..=3) } else { 0 };
        let faults = Fault::ALL.iter().fold(Faults::default(), |faults, (fault, _, percent)| {
            let rng = match fault {
                Fault::Wipes | Fault::LostWrites => &mut losses,
                Fault::DeletedRecords | Fault::DamagedRecords | Fault::SmallLimits => &mut later,
                Fault::RefusedBatches => &mut speed,
                Fault::ChangedLimits => &mut operators,
                Fault::PlacesLeft => &mut calls,
                Fault::Listeners => &mut ears,
                _ => &mut rng,
            };
            if rng.u32(..100) < *percent { faults.with(*fault) } else { faults }
        });
        let contract = match rng.u32(..100) {
            0..45 => Contract::Checking,
            45..75 => Contract::Marking,
            75..88 => Contract::MarkingAndChecking,
            _ => Contract::KeepingGenerations,
        };
        let (clients, heal_ms, pause_max_ms) = match rng.u32(..100) {
            0..80 => (2..=4, 1_200..=3_000, 60..=300),
            80..95 => (2..=8, 2_500..=5_000, 40..=200),
            _ => (4..=12, 4_000..=9_000, 30..=150),
        };
        let clients = rng.usize(clients);
        let bound = if rng.u32(..100) < 30 { rng.usize(1..=clients) } else { 0 };
        let lock_delay = if rng.u32(..100) < 30 { Duration::from_millis(rng.u64(100..=900)) } else { Duration::ZERO };
        Self {
            seed,
            callers,
            brokers: if rng.u32(..100) < 60 { 2 } else { rng.usize(3..=4) },
            clients,
            bound,
            resources: rng.usize(1..=4),
            lock_delay,
            contract,
            ttl: Duration::from_secs(1),
            broker_ttl: Duration::from_millis(rng.u64(400..=900)),
            lanes: rng.u16(1..=3),
            depth: speed.u16(1..=4),
            reuses_kept: [0, 1, 2, 8][speed.usize(..4)],
            unused_after: Duration::from_millis([0, 100, 1_000][speed.usize(..3)]),
            faults,
            heal_at: rng.u64(heal_ms) * MS,
            limits: small_limits(&mut later),
            calm: rng.u64(100..=1_500) * MS,
            pause_max: rng.u64(pause_max_ms) * MS,
        }
    }
}
