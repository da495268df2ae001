//! Brokers on one store, each a process, with a network between all of them that can be broken.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sixpin::config::BackendConfig;
use sixpin_client::Client;
use sixpin_core::backend::{Backend, Durability, Family};
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
}

impl StoreKind {
    /// How it is started. `program` is this crate's own.
    fn plan(self, program: &'static str) -> ServerPlan {
        match self {
            Self::Net => net_store(program),
            Self::NetMarking => net_store(program).argument("--marking"),
            Self::Redis => stores::redis(),
            Self::Etcd => stores::etcd(),
            Self::Nats => stores::nats(),
        }
    }

    fn url(self, address: SocketAddr) -> String {
        match self {
            Self::Net | Self::NetMarking => format!("{SCHEME}://{address}"),
            Self::Redis => format!("redis://{address}/0"),
            Self::Etcd => format!("etcd://{address}"),
            Self::Nats => format!("nats://{address}"),
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
    /// The store's server.
    pub store: ServerProcess,
    /// The brokers.
    pub brokers: Vec<Broker>,
    url: String,
}

/// A broker and its two links.
pub struct Broker {
    /// The process.
    pub process: ServerProcess,
    /// Between it and the store.
    pub to_store: Proxy,
    /// Between clients and it. The only address that anybody is told.
    pub to_clients: Proxy,
}

impl World {
    /// Starts everything.
    pub async fn start(plan: &Plan) -> Self {
        let store = plan.store.plan(plan.program).start().await.expect("the store starts");
        let mut brokers = Vec::new();
        for number in 0..plan.brokers {
            brokers.push(Broker::start(plan, number, store.address()).await);
        }
        let url = plan.store.url(store.address());
        Self { store, brokers, url }
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
    async fn start(plan: &Plan, number: usize, store: SocketAddr) -> Self {
        let to_store = Proxy::start(store).await.expect("a proxy starts");
        // It must be advertised before the broker's own address is known.
        let to_clients = Proxy::start(store).await.expect("a proxy starts");
        let configuration = format!(
            "name = \"b{number}\"\nbackend = \"{}\"\nlisten = \"127.0.0.1:{{port}}\"\n\
             admin_listen = \"127.0.0.1:{{peer_port}}\"\nadvertise = \"{}\"\nrequire = \"volatile\"\n\
             broker_ttl = \"{}ms\"\n[log]\nlevel = \"info\"\n",
            plan.store.url(to_store.address()),
            to_clients.address(),
            plan.broker_ttl.as_millis(),
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
