//! A broker that listens: what `sixpin serve` runs.

use std::net::SocketAddr;
use std::path::Path;

use sixpin_core::backend::BrokerInfo;
use tokio::net::TcpListener;

use crate::backends::{self, Opener};
use crate::broker::{Broker, StartError};
use crate::config::Config;
use crate::config::check::host_name;
use crate::engines::{Stores, open_all};
use crate::frontend::listener::descriptors;
use crate::frontend::listener::gate::ConnectionLimits;
use crate::runtime::incarnation::Host;

/// Connections of administrators: few, and never crowded out by clients.
const ADMIN_CONNECTIONS: usize = 100;

/// A broker that listens.
pub struct Server {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where administrators connect.
    pub admin_address: Option<SocketAddr>,
    broker: Broker,
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
    pub async fn start_on(config: Config, stores: Stores) -> Result<Self, StartError> {
        Self::run(config, stores, backends::opener()).await
    }

    async fn run(config: Config, stores: Stores, opener: Opener) -> Result<Self, StartError> {
        let (socket, address) = bind(config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        let info = BrokerInfo {
            name: config.name.clone(),
            address: config.advertise.clone().unwrap_or_else(|| reachable(address)),
            admin_address: admin_address.map(reachable).unwrap_or_default(),
            program: crate::PROGRAM.into(),
        };
        let mut broker = Broker::start(&config, stores, &info, &opener, Host::Broker);
        let limits = connection_limits(config.connections);
        if let Some((socket, _)) = admin {
            broker.listen_for_administrators(socket, for_administrators(&limits))?;
        }
        broker.listen_for_clients(socket, limits)?;
        broker.begin().await;
        let admin = admin_address.map_or_else(|| "nowhere".to_string(), |admin| admin.to_string());
        tracing::info!("listening on {address}, for administrators on {admin}");
        Ok(Self { address, admin_address, broker })
    }

    /// The broker that listens.
    pub fn broker(&self) -> &Broker {
        &self.broker
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
        self.broker.drain(None).await;
    }

    /// Waits until an administrator has drained the broker.
    pub async fn drained(&self) {
        self.broker.drained().await;
    }

    /// Closes everything. Call [`Server::drain`] before, or others must find out.
    pub async fn stop(self) {
        self.broker.stop().await;
    }
}

/// An address of all interfaces is none that a client could connect to: the host's name stands for it.
pub(crate) fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("{}:{}", host_name(), address.port()) } else { address.to_string() }
}

/// A socket that listens, and its address.
pub(crate) async fn bind(asked: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen(asked, error);
    let socket = TcpListener::bind(asked).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    warn_of_exposure(address);
    Ok((socket, address))
}

/// There is no authentication yet: whoever reaches the port may lock and, worse, administer.
fn warn_of_exposure(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this host without authentication: let only trusted hosts reach this port");
    }
}

/// As many connections as the process can have.
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

/// Connections of administrators, where clients may have these.
pub(crate) fn for_administrators(limits: &ConnectionLimits) -> ConnectionLimits {
    ConnectionLimits {
        total: ADMIN_CONNECTIONS,
        per_address: ADMIN_CONNECTIONS,
        per_trusted: ADMIN_CONNECTIONS,
        ..limits.clone()
    }
}
