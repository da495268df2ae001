//! A broker that listens: what `sixpin serve` runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sixpin_core::backend::BrokerInfo;

use crate::access::Access;
use crate::audit::Audit;
use crate::backends::{self, Opener};
use crate::broker::Broker;
use crate::config::Config;
use crate::engines::{Stores, open_all};
use crate::error::StartError;
use crate::listening::{Listening, connection_limits, for_administrators, reachable};
use crate::reload::{Changing, ReloadError};
use crate::runtime::incarnation::Process;

/// A broker that listens.
pub struct Server {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where administrators connect.
    pub admin_address: Option<SocketAddr>,
    broker: Broker,
    changing: tokio::sync::Mutex<Changing>,
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
        for exposed in config.open_to_others() {
            tracing::warn!("{exposed}: `insecure` is set");
        }
        let clients = Listening::at(config.listen, config.tls.as_ref()).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(Listening::at(address, config.admin_tls.as_ref()).await?),
            None => None,
        };
        let address = clients.address;
        let admin_address = admin.as_ref().map(|admin| admin.address);
        let info = BrokerInfo {
            name: config.name.clone(),
            address: config.advertise.clone().unwrap_or_else(|| reachable(address)),
            admin_address: admin_address.map(reachable).unwrap_or_default(),
            program: crate::PROGRAM.into(),
        };
        let audit = Audit::start(config.audit.as_ref(), &config.name)?;
        let access = Access::new(config.access.clone(), audit)?;
        let tls = [clients.tls.clone(), admin.as_ref().and_then(|admin| admin.tls.clone())];
        let mut broker = Broker::start(&config, access, stores, &info, &opener, Process::Own);
        let limits = connection_limits(config.connections.clone());
        if let Some(admin) = admin {
            broker.listen_for_administrators(admin, for_administrators(&limits))?;
        }
        broker.listen_for_clients(clients, limits)?;
        broker.begin().await;
        let admin = admin_address.map_or_else(|| "nowhere".to_string(), |admin| admin.to_string());
        tracing::info!("listening on {address}, for administrators on {admin}");
        let tls = tls.into_iter().flatten().collect();
        let changing = tokio::sync::Mutex::new(broker.changing(config, tls));
        Ok(Self { address, admin_address, broker, changing })
    }

    /// Takes what can change from a configuration that was read again: who may do what. Reads certificates and keys again. Each of
    /// the two stays as it is if something about it is wrong.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let outcome = self.changing.lock().await.take(config).await;
        self.broker.metrics().reload_failed().set(i64::from(outcome.is_err()));
        outcome
    }

    /// Notes that the configuration could not even be read again, for whoever looks at metrics.
    pub fn reload_failed(&self) {
        self.broker.metrics().reload_failed().set(1);
    }

    /// The files, besides those of the configuration, whose contents count while it runs.
    pub async fn files(&self) -> Vec<PathBuf> {
        self.changing.lock().await.files()
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
