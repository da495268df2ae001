//! The store and the number of brokers that the end-to-end tests of this run have.
//!
//! `SIXPIN_TEST_STORE` is `memory` (unless said otherwise), `redis`, `etcd` or `nats`; `SIXPIN_TEST_BROKERS` is 1 (unless
//! said otherwise) or 2. A real server is started once for the run and dies with it; each test has a part of it for
//! itself. With two brokers, the connections that a test opens go to one and the other in turn.
//!
//! A test that is about one broker or about memory, whatever the run says, gives its reason from [`Reason`]; every such
//! use is written to standard error, so that a run shows what it did not spread.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use sixpin_core::backend::{Backend, Durability};
use sixpin_memory::MemoryStore;
use sixpin_server::config::BackendConfig;
use sixpin_testkit::{ServerPlan, ServerProcess, etcd, nats, redis};

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Redis,
    Etcd,
    Nats,
}

/// Why a test has one broker, or memory, although the run may say otherwise.
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    /// Limits of one broker: connections and sessions.
    OwnLimits,
    /// What one broker says of itself: its status, its name, its sessions.
    OwnReport,
    /// How one broker ends, or stands still, with nobody to go to.
    OwnEnd,
    /// Brokers as processes do not share memory.
    MemoryIsNotShared,
    /// Addresses of clients, limits of connections, and what the listener sees to.
    Sockets,
    /// Brokers that are frozen or killed are processes.
    Process,
    /// A store that misbehaves on command wraps memory; real stores misbehave in tests of their own.
    Misbehaving,
}

impl Reason {
    /// Says that a test is not spread as the run asks.
    pub fn tell(self, kept: &str) {
        static TOLD: AtomicU32 = AtomicU32::new(0);
        let number = TOLD.fetch_add(1, Ordering::Relaxed) + 1;
        // Written past the capture of the test harness: a passed test says it too.
        let _ = writeln!(std::io::stderr(), "not spread ({number} so far): {kept}, because {self:?}");
    }
}

/// The kind of store of this run.
pub fn kind() -> Kind {
    match std::env::var("SIXPIN_TEST_STORE").as_deref() {
        Err(_) | Ok("memory") => Kind::Memory,
        Ok("redis") => Kind::Redis,
        Ok("etcd") => Kind::Etcd,
        Ok("nats") => Kind::Nats,
        Ok(other) => panic!("SIXPIN_TEST_STORE is `{other}`: memory, redis, etcd or nats"),
    }
}

/// The number of brokers of this run, for those that are processes.
pub fn processes() -> usize {
    if kind() == Kind::Memory && brokers() > 1 {
        Reason::MemoryIsNotShared.tell("one broker");
        return 1;
    }
    brokers()
}

/// The number of brokers of this run.
pub fn brokers() -> usize {
    match std::env::var("SIXPIN_TEST_BROKERS").as_deref() {
        Err(_) | Ok("1") => 1,
        Ok("2") => 2,
        Ok(other) => panic!("SIXPIN_TEST_BROKERS is `{other}`: 1 or 2"),
    }
}

/// A part of a store that one test has for itself.
#[derive(Clone)]
pub enum Place {
    /// For brokers of this process.
    Memory(MemoryStore),
    /// On the server of the run: a URL, and the setting beside it that keeps tests apart.
    Server { url: String, setting: &'static str, value: String },
}

impl Place {
    /// In the store of this run.
    pub fn new() -> Self {
        Self::of(kind())
    }

    /// In a store of this kind.
    pub fn of(kind: Kind) -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let (scheme, setting, value) = match kind {
            Kind::Memory => return Self::Memory(MemoryStore::new()),
            Kind::Redis => ("redis", "prefix", format!("test{number}")),
            Kind::Etcd => ("etcd", "prefix", format!("test{number}/")),
            Kind::Nats => ("nats", "bucket", format!("test{number}")),
        };
        Self::Server { url: format!("{scheme}://{}", server(kind).address()), setting, value }
    }

    /// Opens it, for what stands between a broker and its store.
    pub async fn open(&self) -> Arc<dyn Backend> {
        match self {
            Self::Memory(store) => Arc::new(store.backend(true)),
            Self::Server { url, setting, value } => {
                let value = toml::Value::String(value.clone());
                let settings = std::iter::once(((*setting).to_owned(), value)).collect();
                let config = BackendConfig { url: url.clone(), settings };
                sixpin_server::backends::open(&config, Durability::CrashSafe).await.unwrap()
            }
        }
    }

    /// The section of a configuration file that names it as the default backend.
    pub fn section(&self) -> String {
        match self {
            Self::Memory(_) => String::new(),
            Self::Server { url, setting, value } => {
                format!("\n[backends.default]\nurl = \"{url}\"\n{setting} = \"{value}\"\n")
            }
        }
    }

    /// The variables that name it as the default backend of a process.
    pub fn variables(&self) -> Vec<(String, String)> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Server { url, setting, value } => {
                let name = |key: &str| format!("SIXPIN_SERVE_BACKENDS__DEFAULT__{}", key.to_uppercase());
                // Nothing was ever locked there.
                let new = ("SIXPIN_SERVE_FIRST_START_GRACE".to_owned(), "0s".to_owned());
                vec![(name("url"), url.clone()), (name(setting), value.clone()), new]
            }
        }
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

impl From<&MemoryStore> for Place {
    fn from(store: &MemoryStore) -> Self {
        if kind() != Kind::Memory {
            Reason::Misbehaving.tell("memory");
        }
        Self::Memory(store.clone())
    }
}

/// The server of the run, started when the first test needs it.
fn server(kind: Kind) -> &'static ServerProcess {
    static SERVER: OnceLock<&'static ServerProcess> = OnceLock::new();
    SERVER.get_or_init(|| {
        let plan = match kind {
            Kind::Memory => unreachable!("memory has no server"),
            Kind::Redis => redis(),
            Kind::Etcd => etcd(),
            Kind::Nats => nats(),
        };
        // A runtime of its own, on a thread of its own: whoever asks may or may not be in one already.
        let started = std::thread::spawn(move || start(plan));
        started.join().unwrap()
    })
}

fn start(plan: ServerPlan) -> &'static ServerProcess {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(plan.start()).unwrap().for_the_whole_run().unwrap()
}
