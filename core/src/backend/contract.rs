//! The contracts: what stores promise about writes that come late and about brokers that are over.

/// Which promises a store keeps, and so what a broker must do itself. docs/liveness.md argues why each suffices.
///
/// Every one of them shuts late copies of a write out: by the version, where a delete leaves a marker that the next create
/// expects, or by the generation of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contract {
    /// The memory of one broker, which nobody else uses: as [`Contract::Checking`] otherwise.
    Alone,
    /// Redis and etcd: "absent" can become true twice, so each write is checked against its sender's registration and its
    /// lane's generation in the same atomic step.
    Checking,
    /// JetStream: a delete leaves a marker with a version, and nothing but the version is checked. An unknown outcome drops
    /// the connection's queue, so that versions alone protect. A broker knows by its own clock whether it may still write.
    Marking,
    /// No store's, but simulated: a delete leaves a marker, and everything is checked as well.
    MarkingAndChecking,
    /// No store's, but simulated: "absent" can become true twice, and only generations are checked. They outlive the
    /// registration of their broker, because nothing else tells a late copy from a write. A broker knows by its own clock
    /// whether it may still write.
    KeepingGenerations,
}

impl Contract {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Alone, Self::Checking, Self::Marking, Self::MarkingAndChecking, Self::KeepingGenerations];

    /// Other brokers may use the same store: cached records are hints, and waiters need change hints and re-reads.
    pub fn is_shared(self) -> bool {
        self != Self::Alone
    }

    /// [`Change::Compare`](super::Change::Compare) is understood. Otherwise the broker writes again what stands there.
    pub fn compares(self) -> bool {
        self != Self::Marking
    }

    /// A delete leaves a marker with a version, which the next create must expect. Otherwise that one expects
    /// [`Version::ABSENT`](crate::name::Version::ABSENT).
    pub fn leaves_markers(self) -> bool {
        matches!(self, Self::Marking | Self::MarkingAndChecking)
    }

    /// The registration is checked in the same atomic step as each write. Otherwise the broker must check by time that it
    /// is still valid, before it sends and before it answers.
    pub fn checks_registration(self) -> bool {
        !matches!(self, Self::Marking | Self::KeepingGenerations)
    }

    /// Generations are checked: [`Backend::advance`](super::Backend::advance) is needed after an unknown outcome.
    pub fn checks_generation(self) -> bool {
        self != Self::Marking
    }

    /// Generations outlive the registration of their broker.
    pub fn keeps_generations(self) -> bool {
        self == Self::KeepingGenerations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_shuts_late_creates_out() {
        for contract in Contract::ALL {
            let by_generation =
                contract.checks_generation() && (contract.checks_registration() || contract.keeps_generations());
            assert!(by_generation || contract.leaves_markers(), "{contract:?}");
        }
    }
}
