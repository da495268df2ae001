//! Rules left out on purpose. A check that cannot fail is worth nothing: for each of these the simulation must find a
//! schedule in which something does not hold.

use std::fmt;

use sixpin_client::logic::planted::Bug as ClientBug;
use sixpin_core::planted::Bug as BrokerBug;
use sixpin_memory::{Promise, Store};

use crate::world::World;

/// A rule that is left out: in the broker machine, in the client's logic, or by the store and the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// In every broker.
    Broker(BrokerBug),
    /// In every client.
    Client(ClientBug),
    /// Around them.
    World(WorldBug),
}

/// A promise of the store, or of the process around a machine, that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorldBug {
    /// The store takes commits of a lane's earlier generations.
    GenerationUnchecked,
    /// The store takes commits of brokers whose registration is gone, and their brokers do not check by time.
    RegistrationUnchecked,
    /// The store acknowledges beats of brokers that are gone.
    GoneBrokerBeats,
    /// A process reports a call that was not answered in time as one that did not happen.
    SilenceTakenForRefusal,
    /// A client reads a clock that stands still during suspend.
    ClientClockStops,
    /// A reader of frames keeps nothing of a message of which the rest is still to come.
    PieceForgotten,
    /// The door of a broker ends a call that waits although the copy was refused that was to take its place.
    PlaceGivenUp,
}

impl WorldBug {
    const ALL: &[Self] = &[
        Self::GenerationUnchecked,
        Self::RegistrationUnchecked,
        Self::GoneBrokerBeats,
        Self::SilenceTakenForRefusal,
        Self::ClientClockStops,
        Self::PieceForgotten,
        Self::PlaceGivenUp,
    ];
}

impl Planted {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let brokers = BrokerBug::ALL.iter().copied().map(Self::Broker);
        let clients = ClientBug::ALL.iter().copied().map(Self::Client);
        brokers.chain(clients).chain(WorldBug::ALL.iter().copied().map(Self::World))
    }

    /// A rule about clients without streams. All others are shown in schedules without such callers, which stay what they
    /// are when something changes in what callers do.
    pub fn is_about_callers(self) -> bool {
        matches!(
            self,
            Self::Broker(
                BrokerBug::EndInDoubtForgotten
                    | BrokerBug::CopyCreatesAgain
                    | BrokerBug::CopyTakenForFirst
                    | BrokerBug::UntoldGrantKept
                    | BrokerBug::RefusedCopyCreates
                    | BrokerBug::GivenBackTold
                    | BrokerBug::ListenerToldInDoubt
            )
        ) || self.is_about_places()
    }

    /// A rule about limits that are changed. All others are shown in schedules in which they are not.
    pub fn is_about_limits(self) -> bool {
        self == Self::Broker(BrokerBug::MoveWithinLimits)
    }

    /// A rule about callers who leave what they wait for at its place. All others are shown in schedules in which nobody does.
    pub fn is_about_places(self) -> bool {
        matches!(self, Self::Broker(BrokerBug::ReplacedCallWithdraws) | Self::World(WorldBug::PlaceGivenUp))
    }

    /// A rule about who listens, and about what holders are asked. All others are shown in schedules where nobody does.
    pub fn is_about_listeners(self) -> bool {
        let about = [
            BrokerBug::ListenerTakesStream,
            BrokerBug::ListenerToldInDoubt,
            BrokerBug::GivenBackTold,
            BrokerBug::WaiterToldToLetGo,
        ];
        about.into_iter().any(|bug| self == Self::Broker(bug))
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|planted| planted.to_string() == name)
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(bug) => write!(f, "{bug:?}"),
            Self::Client(bug) => write!(f, "{bug:?}"),
            Self::World(bug) => write!(f, "{bug:?}"),
        }
    }
}

/// The store of a schedule, with its promise broken if that is what is planted.
pub(crate) fn store(store: Store, planted: Option<Planted>) -> Store {
    match planted {
        Some(Planted::World(WorldBug::GenerationUnchecked)) => store.breaking(Promise::ChecksGeneration),
        Some(Planted::World(WorldBug::RegistrationUnchecked)) => store.breaking(Promise::ChecksRegistration),
        _ => store,
    }
}

impl World {
    pub(crate) fn has(&self, bug: WorldBug) -> bool {
        self.planted == Some(Planted::World(bug))
    }
}
