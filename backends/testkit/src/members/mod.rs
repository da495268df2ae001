//! A store of several members, each of which can be killed, frozen and cut off from the others.
//!
//! Everybody reaches a member through its doors, which are proxies: clients through the first, other members through
//! both. Members tell each other, and clients, the addresses of these doors. A door knows which process comes to it, so
//! members can be cut off from each other while clients reach them all, and a client from all members; without rights
//! that an ordinary user lacks.
//!
//! * `etcd`, `nats`, `redis`: how each kind is started, who leads it, and whether it is whole.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::proxy::{Mode, Proxy};
use crate::server::{ServerPlan, ServerProcess, StartError};

mod etcd;
mod nats;
mod redis;

/// How long a store may take until all its members work together.
const WHOLE_WITHIN: Duration = Duration::from_secs(90);

/// A kind of store with several members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// etcd with three members.
    Etcd,
    /// NATS with three servers, for a stream with three replicas.
    Nats,
    /// Redis with a master and two replicas (members 0 to 2 in the beginning) and three Sentinels (3 to 5).
    Sentinel,
    /// A Redis Cluster of three masters (members 0 to 2 in the beginning) and three replicas.
    Cluster,
}

/// The members and the network between them. They end when this is dropped.
pub struct Members {
    kind: Kind,
    members: Vec<Member>,
}

struct Member {
    process: ServerProcess,
    doors: [Proxy; 2],
}

/// A member that is not started yet: its doors must be known before.
type Doors = Vec<[Proxy; 2]>;

async fn doors(count: usize) -> io::Result<Doors> {
    // Where they lead is known when the member has its ports.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut doors = Vec::new();
    for _ in 0..count {
        doors.push([Proxy::start(nowhere).await?, Proxy::start(nowhere).await?]);
    }
    Ok(doors)
}

/// The plan of a member, from its number and everybody's doors.
type Plan = fn(usize, &[[Proxy; 2]]) -> ServerPlan;

impl Members {
    /// Starts all members and waits until they work together.
    pub async fn start(kind: Kind) -> Result<Self, StartError> {
        let (program, count, plan): (_, _, Plan) = match kind {
            Kind::Etcd => ("etcd", 3, etcd::plan),
            Kind::Nats => ("nats-server", 3, nats::plan),
            Kind::Sentinel => ("redis-server", 6, redis::plan_with_sentinels),
            Kind::Cluster => ("redis-server", 6, redis::plan_of_cluster),
        };
        let doors = doors(count).await.map_err(|source| StartError::System { program, source })?;
        // Together, because some are ready only when they have found each other.
        let mut starting = tokio::task::JoinSet::new();
        let plans: Vec<ServerPlan> = (0..count).map(|number| plan(number, &doors)).collect();
        for (number, (plan, doors)) in plans.into_iter().zip(doors).enumerate() {
            starting.spawn(async move {
                let process = plan.start_behind(&doors).await?;
                Ok((number, Member { process, doors }))
            });
        }
        let mut members = starting.join_all().await.into_iter().collect::<Result<Vec<_>, StartError>>()?;
        members.sort_by_key(|(number, _)| *number);
        let members = Self { kind, members: members.into_iter().map(|(_, member)| member).collect() };
        if kind == Kind::Cluster {
            redis::make_cluster(&members).await;
        }
        if kind == Kind::Nats && !soon(async || nats::can_replicate(&members).await).await {
            return Err(members.members[0].process.not_ready("the servers did not find each other".into()));
        }
        members.become_whole().await?;
        Ok(members)
    }

    /// What a broker opens.
    pub fn url(&self) -> String {
        let door = |member: &Member| member.doors[0].address().to_string();
        let doors = |members: &[Member]| members.iter().map(door).collect::<Vec<_>>().join(",");
        match self.kind {
            Kind::Etcd => format!("etcd://{}", doors(&self.members)),
            Kind::Nats => format!("nats://{}", doors(&self.members)),
            Kind::Sentinel => format!("redis+sentinel://{}/{}", doors(&self.members[3..]), redis::MASTER),
            Kind::Cluster => format!("redis+cluster://{}", doors(&self.members)),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// A member's process.
    pub fn process(&self, member: usize) -> &ServerProcess {
        &self.members[member].process
    }

    /// SIGKILL.
    pub fn kill(&self, member: usize) {
        self.process(member).kill();
    }

    /// Starts one again that was killed, and waits until it answers.
    pub async fn restart(&self, member: usize) -> Result<(), StartError> {
        self.process(member).restart().await
    }

    /// SIGSTOP.
    pub fn freeze(&self, member: usize) {
        self.process(member).freeze();
    }

    /// SIGCONT.
    pub fn resume(&self, member: usize) {
        self.process(member).resume();
    }

    /// Cuts a member off from all others, until [`Members::heal`]. Clients still reach it.
    pub fn cut_off(&self, member: usize, mode: Mode) {
        let others = || self.members.iter().enumerate().filter(|(number, _)| *number != member).map(|(_, other)| other);
        let pids: Vec<u32> = others().filter_map(|other| other.process.pid()).collect();
        for door in &self.members[member].doors {
            door.set_for(pids.iter().copied(), mode);
        }
        if let Some(pid) = self.process(member).pid() {
            others().for_each(|other| other.doors.iter().for_each(|door| door.set_for([pid], mode)));
        }
    }

    /// Cuts a client off from all members, until [`Members::heal`].
    pub fn cut_client(&self, pid: u32, mode: Mode) {
        self.members.iter().for_each(|member| member.doors.iter().for_each(|door| door.set_for([pid], mode)));
    }

    /// Everybody reaches everybody again.
    pub fn heal(&self) {
        self.members.iter().for_each(|member| member.doors.iter().for_each(|door| door.set(Mode::Pass)));
    }

    /// Who leads: the leader of etcd, the leader of the stream, the master that the Sentinels name, the master of the
    /// first part of a cluster. None while there is no such member, or none that answers.
    pub async fn leader(&self) -> Option<usize> {
        match self.kind {
            Kind::Etcd => etcd::leader(self).await,
            Kind::Nats => nats::leader(self).await,
            Kind::Sentinel => redis::master_of_sentinels(self).await,
            Kind::Cluster => redis::master_of_first_part(self).await,
        }
    }

    /// Members without which the others can do nothing, the leader among them.
    pub async fn majority(&self, leader: usize) -> Vec<usize> {
        match self.kind {
            Kind::Etcd | Kind::Nats => vec![leader, (leader + 1) % self.members.len()],
            // Without two Sentinels nobody is promoted.
            Kind::Sentinel => vec![leader, 3, 4],
            // Without two of the masters no replica is.
            Kind::Cluster => {
                let masters = redis::masters(self).await;
                let other = masters.into_iter().find(|other| *other != leader);
                std::iter::once(leader).chain(other).collect()
            }
        }
    }

    /// Waits until every member works with all others: only then can it lose another one.
    pub async fn become_whole(&self) -> Result<(), StartError> {
        let whole = soon(async || match self.kind {
            Kind::Etcd => etcd::is_whole(self).await,
            Kind::Nats => nats::is_whole(self).await,
            Kind::Sentinel => redis::sentinels_are_content(self).await,
            Kind::Cluster => redis::cluster_is_whole(self).await,
        });
        if whole.await {
            return Ok(());
        }
        let text = format!("its members did not work together within {WHOLE_WITHIN:?}");
        Err(self.members[0].process.not_ready(text))
    }

    /// A member by the address of its door for clients.
    fn at_door(&self, port: u16) -> Option<usize> {
        self.members.iter().position(|member| member.doors[0].address().port() == port)
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.members.iter().map(|member| member.process.address())
    }
}

/// Whether it becomes true. Looks less often than other tests do, because each look asks all members.
async fn soon(condition: impl AsyncFn() -> bool) -> bool {
    let looking = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(WHOLE_WITHIN, looking).await.is_ok()
}

/// What a server answers to a text, as soon as that is enough. None if it does not say enough in a moment.
async fn ask(address: SocketAddr, question: &str, enough: impl Fn(&str) -> bool) -> Option<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(question.as_bytes()).await?;
        let (mut heard, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let length = stream.read(&mut buffer).await?;
            heard.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&heard);
            if enough(&text) {
                return Ok(text.into_owned());
            }
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    };
    tokio::time::timeout(Duration::from_millis(500), asking).await.ok()?.ok()
}
