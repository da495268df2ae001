//! Brokers on one store, each a process, with a network between all of them that can be broken.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sixpin_client::Client;
use sixpin_core::backend::{Backend, Durability, Family};
use sixpin_server::config::BackendConfig;
use sixpin_testkit::members::{Kind, Members};
use sixpin_testkit::proxy::Mode;
use sixpin_testkit::server::Probe;
use sixpin_testkit::{Proxy, ServerPlan, ServerProcess, stores, until};

use crate::open::opener;
use crate::store::SCHEME;

/// Longer than anything takes that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// The networked store of these tests, as Redis and etcd are.
    Net,
    /// The same, as JetStream is.
    NetMarking,
    /// Redis.
    Redis,
    /// etcd.
    Etcd,
    /// NATS JetStream.
    Nats,
    /// etcd with three members.
    Etcd3,
    /// NATS JetStream with three servers and three replicas.
    Nats3,
    /// Redis with two replicas and three Sentinels.
    Sentinel,
    /// A Redis Cluster of three masters with a replica each.
    RedisCluster,
}

impl StoreKind {
    /// Starts it. `program` is this crate's own.
    async fn start(self, program: &'static str) -> Servers {
        let plan = match self {
            Self::Net => net_store(program),
            Self::NetMarking => net_store(program).argument("--marking"),
            Self::Redis => stores::redis(),
            Self::Etcd => stores::etcd(),
            Self::Nats => stores::nats(),
            Self::Etcd3 => return Servers::several(Kind::Etcd).await,
            Self::Nats3 => return Servers::several(Kind::Nats).await,
            Self::Sentinel => return Servers::several(Kind::Sentinel).await,
            Self::RedisCluster => return Servers::several(Kind::Cluster).await,
        };
        Servers::One(plan.start().await.expect("the store starts"))
    }

    /// Where a store of one server is.
    fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Net | Self::NetMarking => format!("{SCHEME}://{address}"),
            Self::Redis | Self::Sentinel | Self::RedisCluster => format!("redis://{address}/0"),
            Self::Etcd | Self::Etcd3 => format!("etcd://{address}"),
            Self::Nats | Self::Nats3 => format!("nats://{address}"),
        }
    }

    /// It has several members.
    pub fn has_members(self) -> bool {
        matches!(self, Self::Etcd3 | Self::Nats3 | Self::Sentinel | Self::RedisCluster)
    }

    /// Where another member takes over, it may lack what was acknowledged last (docs/backends.md).
    pub fn may_forget(self) -> bool {
        matches!(self, Self::Sentinel | Self::RedisCluster)
    }
}

/// The servers of a store.
pub enum Servers {
    /// One.
    One(ServerProcess),
    /// Several that belong together.
    Several(Members),
}

impl Servers {
    async fn several(kind: Kind) -> Self {
        Self::Several(Members::start(kind).await.expect("the members of the store start"))
    }

    /// The only one.
    pub fn one(&self) -> &ServerProcess {
        match self {
            Self::One(server) => server,
            Self::Several(_) => panic!("this store has several members"),
        }
    }

    /// The members.
    pub fn members(&self) -> &Members {
        match self {
            Self::One(_) => panic!("this store has one server"),
            Self::Several(members) => members,
        }
    }

    /// All processes.
    pub fn processes(&self) -> Vec<&ServerProcess> {
        match self {
            Self::One(server) => vec![server],
            Self::Several(members) => (0..members.count()).map(|number| members.process(number)).collect(),
        }
    }
}

/// The networked store as a server that can be killed, frozen and wiped.
pub fn net_store(program: &'static str) -> ServerPlan {
    ServerPlan { program, arguments: Vec::new(), files: Vec::new(), probe: probe() }.arguments([
        "store",
        "--listen",
        "127.0.0.1:{port}",
        "--folder",
        "{dir}",
    ])
}

/// A broker on plain memory, alone.
pub fn memory_broker(program: &'static str) -> ServerPlan {
    let plan = ServerPlan { program, arguments: Vec::new(), files: Vec::new(), probe: probe() };
    plan.arguments(["broker", "--listen", "127.0.0.1:{port}", "--admin-listen", "off", "--name", "memory"])
}

/// Both the store and a broker answer to what they do not understand, if only by hanging up.
fn probe() -> Probe {
    Probe { question: "\u{7f}".repeat(64), answer: "" }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This crate's program, which is broker, store and client.
    pub program: &'static str,
    /// On which store.
    pub store: StoreKind,
    /// How many brokers.
    pub brokers: usize,
    /// Their `broker_ttl`.
    pub broker_ttl: Duration,
}

/// The processes and the network between them. Everything ends when it is dropped.
pub struct World {
    /// The store.
    pub store: Servers,
    /// The brokers.
    pub brokers: Vec<Broker>,
    url: String,
}

/// A broker and its two links.
pub struct Broker {
    /// The process.
    pub process: ServerProcess,
    /// Between it and a store of one server; members of a store have doors of their own.
    to_store: Option<Proxy>,
    /// Between clients and it. The only address that anybody is told.
    pub to_clients: Proxy,
}

impl World {
    /// Starts everything.
    pub async fn start(plan: &Plan) -> Self {
        let store = plan.store.start(plan.program).await;
        let mut brokers = Vec::new();
        for number in 0..plan.brokers {
            brokers.push(Broker::start(plan, number, &store).await);
        }
        let url = match &store {
            Servers::One(server) => plan.store.url(server.address()),
            Servers::Several(members) => members.url(),
        };
        Self { store, brokers, url }
    }

    /// Changes what passes between a broker and the store.
    pub fn set_way_to_store(&self, broker: usize, mode: Mode) {
        let broker = &self.brokers[broker];
        match (&broker.to_store, &self.store) {
            (Some(proxy), _) => proxy.set(mode),
            (None, Servers::Several(members)) if mode == Mode::Pass => members.heal(),
            (None, store) => store.members().cut_client(broker.process.pid().expect("it runs"), mode),
        }
    }

    /// Where clients are told that the brokers are, beginning with one of them.
    pub fn endpoints(&self, first: usize) -> Vec<String> {
        let count = self.brokers.len();
        (0..count).map(|step| self.brokers[(first + step) % count].endpoint()).collect()
    }

    /// A client of all brokers.
    pub fn client(&self, first: usize) -> Client {
        Client::new(self.endpoints(first)).expect("addresses are good")
    }

    /// A backend of our own, to look into the store.
    pub async fn look(&self) -> Arc<dyn Backend> {
        let config = BackendConfig { url: self.url.clone(), settings: toml::Table::new() };
        opener()(config, Durability::Volatile).await.expect("the store can be opened")
    }

    /// Waits until the store holds nothing but the registrations of brokers that live. Says what is left if it does not
    /// come to that.
    pub async fn nothing_is_left(&self) -> Result<(), String> {
        let backend = self.look().await;
        let empty = until(PATIENCE, async || left(&*backend).await.is_ok_and(|left| left.is_empty())).await;
        if empty { Ok(()) } else { Err(format!("left behind in the store: {:?}", left(&*backend).await)) }
    }
}

/// Keys that are in the store, and brokers that are gone and not forgotten.
async fn left(backend: &dyn Backend) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for family in [Family::AllResources, Family::Sessions] {
        let page = backend.list(&family, None, 20).await.map_err(|error| error.to_string())?;
        found.extend(page.keys.iter().map(|(key, version)| format!("{key:?} at {version}")));
    }
    let pulses = backend.pulses().await.map_err(|error| error.to_string())?;
    found.extend(pulses.iter().filter(|pulse| pulse.gone).map(|pulse| format!("broker {} is gone", pulse.broker)));
    Ok(found)
}

impl Broker {
    async fn start(plan: &Plan, number: usize, store: &Servers) -> Self {
        let (to_store, url) = match store {
            Servers::One(server) => {
                let proxy = Proxy::start(server.address()).await.expect("a proxy starts");
                let url = plan.store.url(proxy.address());
                (Some(proxy), url)
            }
            Servers::Several(members) => (None, members.url()),
        };
        // It must be advertised before the broker's own address is known.
        let to_clients = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 1))).await.expect("a proxy starts");
        let more = if plan.store == StoreKind::Nats3 { "replicas = 3\n" } else { "" };
        let configuration = format!(
            "name = \"b{number}\"\nlisten = \"127.0.0.1:{{port}}\"\n\
             admin_listen = \"127.0.0.1:{{peer_port}}\"\nadvertise = \"{}\"\nrequire = \"volatile\"\n\
             broker_ttl = \"{}ms\"\nsession_ttl_max = \"{}ms\"\nfirst_start_grace = \"0s\"\n\
             [log]\nlevel = \"info\"\n[backends.default]\nurl = \"{url}\"\n{more}",
            to_clients.address(),
            plan.broker_ttl.as_millis(),
            // What is forgotten is waited for so long. Sessions of these tests live for up to 25 s.
            (12 * plan.broker_ttl.as_millis()).max(25_000),
        );
        let plan = ServerPlan {
            program: plan.program,
            arguments: Vec::new(),
            files: vec![("sixpin.toml".into(), configuration)],
            probe: probe(),
        };
        let plan = plan.arguments(["broker", "--config", "{dir}/sixpin.toml"]);
        let process = plan.start().await.expect("a broker starts");
        to_clients.forward_to(process.address());
        Self { process, to_store, to_clients }
    }

    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        self.to_clients.address().to_string()
    }

    /// Tells it to drain and end, and waits until it has ended.
    pub async fn end_cleanly(&self) {
        let pid = self.process.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.expect("it runs");
        kill_process(pid, Signal::TERM).expect("it can be told");
        // It is a zombie until it is waited for, which `kill` does.
        let status = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let ended = until(PATIENCE, async || is_over(Path::new(&status))).await;
        assert!(ended, "it does not end");
        self.process.kill();
    }
}

fn is_over(stat: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(stat) else { return true };
    text.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z'))
}
