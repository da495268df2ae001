//! What is done to the processes while they are under load.

use std::time::Duration;

use sixpin_testkit::ServerProcess;
use sixpin_testkit::proxy::Mode;
use tokio::time::sleep;

use crate::members;
use crate::run::Running;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL to a broker, and its restart.
    KillBroker,
    /// SIGSTOP to a broker, for less than its `broker_ttl`.
    FreezeBrokerShortly,
    /// SIGSTOP to a broker, until it has been declared dead.
    FreezeBroker,
    /// A broker is cut off from the store: connections break.
    CutStore,
    /// A broker is cut off from the store: nothing arrives, nothing breaks.
    HoldStore,
    /// Clients are cut off from a broker: connections break.
    CutClients,
    /// Clients are cut off from a broker: nothing arrives, nothing breaks.
    HoldClients,
    /// A broker drains, ends and is started again.
    DrainBroker,
    /// SIGKILL to a client.
    KillClient,
    /// SIGSTOP to a client, for longer than its TTL.
    FreezeClient,
    /// SIGKILL to the store, and its restart.
    KillStore,
    /// SIGSTOP to the store.
    FreezeStore,
    /// SIGKILL to the member that leads the store, and its restart.
    KillLeader,
    /// SIGSTOP to it.
    FreezeLeader,
    /// It is cut off from the other members.
    CutLeader,
    /// SIGKILL to another member, and its restart.
    KillMember,
    /// SIGSTOP to another member.
    FreezeMember,
    /// Another member is cut off from the others.
    CutMember,
    /// SIGKILL to so many members that the others can do nothing, and their restart.
    KillMajority,
    /// SIGSTOP to them.
    FreezeMajority,
    /// They are cut off from each other and from the rest.
    CutMajority,
}

impl Fault {
    /// What troubles one member at a time.
    pub const OF_A_MEMBER: [Self; 6] =
        [Self::KillLeader, Self::FreezeLeader, Self::CutLeader, Self::KillMember, Self::FreezeMember, Self::CutMember];
    /// What no store with several members works through.
    pub const OF_A_MAJORITY: [Self; 3] = [Self::KillMajority, Self::FreezeMajority, Self::CutMajority];
}

/// Long enough for brokers with a `broker_ttl` of a second to declare each other dead.
const LONG: Duration = Duration::from_millis(2_500);
/// Too short for that.
const SHORT: Duration = Duration::from_millis(400);

/// Does it, and undoes it. `number` says to which of several processes.
pub async fn strike(running: &mut Running, fault: Fault, number: usize) {
    let brokers = running.world.brokers.len();
    let broker = &running.world.brokers[number % brokers];
    match fault {
        Fault::KillBroker => {
            broker.process.kill();
            sleep(SHORT).await;
            broker.process.restart().await.expect("a broker starts again");
        }
        Fault::FreezeBrokerShortly | Fault::FreezeBroker => {
            broker.process.freeze();
            sleep(if fault == Fault::FreezeBroker { LONG } else { SHORT }).await;
            broker.process.resume();
        }
        Fault::CutStore | Fault::HoldStore => {
            let mode = if fault == Fault::CutStore { Mode::Cut } else { Mode::BlackHole };
            running.world.set_way_to_store(number % brokers, mode);
            sleep(LONG).await;
            running.world.set_way_to_store(number % brokers, Mode::Pass);
        }
        Fault::CutClients | Fault::HoldClients => {
            broker.to_clients.set(if fault == Fault::CutClients { Mode::Cut } else { Mode::BlackHole });
            sleep(LONG).await;
            broker.to_clients.set(Mode::Pass);
        }
        Fault::DrainBroker => {
            broker.end_cleanly().await;
            broker.process.restart().await.expect("a broker starts again");
        }
        Fault::KillClient => {
            running.take_process(0).kill().await;
            running.start_process();
        }
        Fault::FreezeClient => {
            running.process(0).freeze();
            sleep(LONG).await;
            running.process(0).resume();
        }
        Fault::KillStore => {
            let servers = running.world.store.processes();
            for server in &servers {
                server.kill();
            }
            sleep(SHORT).await;
            // Together, because members are ready only when most are.
            let restarts = futures::future::join_all(servers.into_iter().map(ServerProcess::restart)).await;
            for restart in restarts {
                restart.expect("the store starts again");
            }
        }
        Fault::FreezeStore => {
            let servers = running.world.store.processes();
            for server in &servers {
                server.freeze();
            }
            sleep(LONG).await;
            for server in &servers {
                server.resume();
            }
        }
        Fault::KillLeader
        | Fault::FreezeLeader
        | Fault::CutLeader
        | Fault::KillMember
        | Fault::FreezeMember
        | Fault::CutMember
        | Fault::KillMajority
        | Fault::FreezeMajority
        | Fault::CutMajority => members::strike(running, fault, number).await,
    }
}
