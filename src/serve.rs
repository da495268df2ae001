//! The whole process: opens the stores, starts the engines, listens, and drains when it is told to stop.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sixpin_core::backend::{Backend, BrokerInfo, OpenError};
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::name::Lockspace;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::backends::{self, Opener};
use crate::cli::exit;
use crate::config::check::host_name;
use crate::config::{Config, DEFAULT_BACKEND};
use crate::drain::Drain;
use crate::frontend::api::Api;
use crate::frontend::api::admin::Administration;
use crate::frontend::grpc::{self, health::Health};
use crate::frontend::listener::gate::{ConnectionLimits, Gate};
use crate::frontend::listener::share::Lane;
use crate::frontend::listener::{self, descriptors};
use crate::runtime::incarnation::EngineConfig;
use crate::runtime::{EngineHandle, Runtime, engine};

/// Connections of administrators: few, and never crowded out by clients.
const ADMIN_CONNECTIONS: usize = 100;
/// How long the start waits for the engines to serve before it says so; it goes on all the same.
const SERVING_PATIENCE: Duration = Duration::from_secs(10);

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A store could not be opened.
    #[error("backend `{0}`: {1}")]
    Open(String, #[source] OpenError),
    /// An address could not be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The thread for inspection could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The ready file could not be written.
    #[error("cannot write the ready file `{0}`: {1}")]
    ReadyFile(String, #[source] io::Error),
}

impl StartError {
    /// The exit status of `sixpin serve`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(_, OpenError::BadUrl(_)) => exit::CONFIG,
            Self::Open(_, OpenError::Unreachable(_)) => exit::UNREACHABLE,
            Self::Open(_, OpenError::Login(_)) => exit::LOGIN,
            Self::Open(_, OpenError::Unsafe(_)) => exit::UNSAFE,
            Self::Listen(..) | Self::Thread(_) | Self::ReadyFile(..) => 1,
        }
    }

    /// What the user can do, where that is not plain from the error.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Listen(_, error) if error.kind() == io::ErrorKind::AddrInUse => Some(
                "a broker may run there already: ask it with `sixpin status`, or name other addresses with `--listen` \
                 and `--admin-listen`",
            ),
            _ => None,
        }
    }
}

/// A broker that runs.
pub struct Server {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where administrators connect.
    pub admin_address: Option<SocketAddr>,
    drain: Arc<Drain>,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    /// Reports health until it is dropped.
    health: JoinSet<()>,
}

impl Server {
    /// Opens the stores, starts the engines and listens.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, backends::opener()).await
    }

    /// As [`Server::start`], with stores opened by `opener`.
    pub async fn start_with(config: Config, opener: Opener) -> Result<Self, StartError> {
        let stores = open_all(&config, &opener).await?;
        Self::run(config, stores, opener).await
    }

    /// As [`Server::start`], on stores that are open already: one for each configured backend.
    pub async fn start_on(config: Config, stores: BTreeMap<String, Arc<dyn Backend>>) -> Result<Self, StartError> {
        Self::run(config, stores, backends::opener()).await
    }

    async fn run(
        config: Config,
        stores: BTreeMap<String, Arc<dyn Backend>>,
        opener: Opener,
    ) -> Result<Self, StartError> {
        let socket = bind(config.listen).await?;
        let admin_socket = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let address = local_address(&socket, config.listen)?;
        let admin_address = match &admin_socket {
            Some(socket) => Some(local_address(socket, address)?),
            None => None,
        };
        warn_of_exposure([Some(address), admin_address]);
        let runtime = start_engines(&config, stores, &broker_info(&config, address, admin_address), &opener);
        let health = Health::default();
        health.report(false).await;
        let drain = Drain::new(runtime.clone(), health.clone(), config.drain_timeout);
        let stop = watch::Sender::new(false);
        let mut listeners = JoinSet::new();
        let (lane, unread) = (Lane::start().map_err(StartError::Thread)?, Arc::default());
        let limits = connection_limits(config.connections);
        let admin_limits = ConnectionLimits {
            total: ADMIN_CONNECTIONS,
            per_address: ADMIN_CONNECTIONS,
            per_trusted: ADMIN_CONNECTIONS,
            ..limits.clone()
        };
        let api = Api::new(runtime);
        listeners.spawn(listener::serve(
            socket,
            grpc::for_clients(&api, &health),
            Gate::new(limits, lane.clone(), Arc::clone(&unread)),
            stop.subscribe(),
        ));
        if let Some(socket) = admin_socket {
            let administration = Administration::new(api.clone(), drain.clone());
            let protocol = grpc::for_administrators(&api, &health, administration);
            let gate = Gate::new(admin_limits, lane, unread);
            listeners.spawn(listener::serve(socket, protocol, gate, stop.subscribe()));
        }
        wait_until_serving(&api).await;
        let mut reporters = JoinSet::new();
        reporters.spawn(health.follow(api));
        let admin = admin_address.map_or_else(|| "nowhere".to_string(), |admin| admin.to_string());
        tracing::info!("listening on {address}, for administrators on {admin}");
        Ok(Self { address, admin_address, drain, stop, listeners, health: reporters })
    }

    /// Writes the addresses, one a line, so that whoever started the process knows that it listens and where.
    pub fn write_ready_file(&self, path: &Path) -> Result<(), StartError> {
        let admin = self.admin_address.map(|admin| format!("{admin}\n")).unwrap_or_default();
        let text = format!("{}\n{admin}", self.address);
        // Written beside and renamed, so that nobody reads half of it.
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, text)
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| StartError::ReadyFile(path.display().to_string(), error))
    }

    /// Drains: clients move, waiters keep their places elsewhere, the broker leaves its stores.
    pub async fn drain(&self) {
        self.drain.begin(None).await;
    }

    /// Waits until an administrator has drained the broker.
    pub async fn drained(&self) {
        self.drain.over().await;
    }

    /// Closes everything. Call [`Server::drain`] before, or others must find out.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.health.abort_all();
        while self.listeners.join_next().await.is_some() {}
    }
}

async fn open_all(config: &Config, opener: &Opener) -> Result<BTreeMap<String, Arc<dyn Backend>>, StartError> {
    let mut stores = BTreeMap::new();
    for (name, backend) in &config.backends {
        let opened = opener(backend.clone(), config.require).await;
        let store = opened.map_err(|error| StartError::Open(name.clone(), error))?;
        tracing::info!(backend = name, url = backends::redacted(&backend.url), "store opened");
        stores.insert(name.clone(), store);
    }
    Ok(stores)
}

fn start_engines(
    config: &Config,
    stores: BTreeMap<String, Arc<dyn Backend>>,
    info: &BrokerInfo,
    opener: &Opener,
) -> Runtime {
    let names: Vec<String> = stores.keys().cloned().collect();
    let place = |name: &str| names.iter().position(|known| known == name).unwrap_or_default();
    let lockspaces: BTreeMap<Lockspace, (usize, LockspaceConfig)> = config
        .lockspaces
        .iter()
        .map(|(name, settings)| (name.clone(), (place(&settings.backend), settings.config.clone())))
        .collect();
    let start = |(name, store)| start_engine(config, name, store, info, opener.clone());
    let engines = stores.into_iter().map(start).collect();
    Runtime::new(config.name.clone(), engines, place(DEFAULT_BACKEND), lockspaces, config.limits.clone())
}

fn start_engine(
    config: &Config,
    name: String,
    store: Arc<dyn Backend>,
    info: &BrokerInfo,
    opener: Opener,
) -> EngineHandle {
    let lockspaces = config.lockspaces.iter().filter(|(_, settings)| settings.backend == name);
    let lockspaces = lockspaces.map(|(lockspace, settings)| (lockspace.clone(), settings.config.clone())).collect();
    let (backend, require) = (config.backends.get(&name).cloned(), config.require);
    let reopen = Box::new(move || {
        let (backend, opener) = (backend.clone(), opener.clone());
        async move {
            let backend = backend.ok_or_else(|| "the backend is not configured".to_string())?;
            opener(backend, require).await.map_err(|error| error.to_string())
        }
        .boxed()
    });
    let config = EngineConfig {
        name,
        info: info.clone(),
        broker_ttl: config.broker_ttl,
        session_ttl: config.session_ttl,
        session_ttl_max: config.session_ttl_max,
        limits: config.limits.clone(),
        lanes: config.lanes,
        lockspaces,
        store_patience: config.store_patience,
        first_start_grace: config.first_start_grace,
        format_max: config.stored_format_max,
        drain_timeout: config.drain_timeout,
        reopen,
    };
    engine::start(config, store)
}

fn broker_info(config: &Config, address: SocketAddr, admin_address: Option<SocketAddr>) -> BrokerInfo {
    BrokerInfo {
        name: config.name.clone(),
        address: config.advertise.clone().unwrap_or_else(|| reachable(address)),
        admin_address: admin_address.map(reachable).unwrap_or_default(),
        program: crate::PROGRAM.into(),
    }
}

/// An address of all interfaces is none that a client could connect to: the host's name stands for it.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("{}:{}", host_name(), address.port()) } else { address.to_string() }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

fn local_address(socket: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    socket.local_addr().map_err(|error| StartError::Listen(asked, error))
}

fn connection_limits(configured: ConnectionLimits) -> ConnectionLimits {
    let allowed = descriptors::connections_allowed();
    if allowed < configured.total {
        tracing::warn!(
            allowed,
            configured = configured.total,
            "fewer connections than configured: raise the limit of open files"
        );
    }
    ConnectionLimits { total: configured.total.min(allowed), ..configured }
}

/// There is no authentication yet: whoever reaches the port may lock and, worse, administer.
fn warn_of_exposure(addresses: [Option<SocketAddr>; 2]) {
    for address in addresses.into_iter().flatten().filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "listening beyond this host without authentication: let only trusted hosts reach this port");
    }
}

/// A broker that listens but does not serve would only send its first clients away.
async fn wait_until_serving(api: &Api) {
    let serving = async {
        while !api.serves().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(SERVING_PATIENCE, serving).await.is_err() {
        tracing::warn!("not serving yet: the store does not take this broker's registration");
    }
}
