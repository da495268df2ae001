//! The stores that a configuration names, and one engine on each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use sixpin_core::backend::{Backend, BrokerInfo};
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::name::Lockspace;

use crate::audit::Audit;
use crate::backends::{self, Opener};
use crate::config::{Config, DEFAULT_BACKEND};
use crate::error::StartError;
use crate::lately::Lately;
use crate::metrics::Counts;
use crate::runtime::incarnation::{EngineConfig, Process};
use crate::runtime::{EngineHandle, Runtime, engine};

/// Stores that are open, by the name of their backend.
pub type Stores = BTreeMap<String, Arc<dyn Backend>>;

/// Who takes note of what the engines do.
#[derive(Clone, Copy)]
pub struct Watchers<'a> {
    /// Counts it.
    pub counts: &'a Counts,
    /// Remembers the last of it.
    pub lately: &'a Lately,
    /// Writes down what becomes of locks, if that is written.
    pub audit: &'a Arc<Audit>,
}

/// Opens every store.
pub async fn open_all(config: &Config, opener: &Opener) -> Result<Stores, StartError> {
    let mut stores = Stores::new();
    for (name, backend) in &config.backends {
        let opened = opener(backend.clone(), config.require).await;
        let store = opened.map_err(|error| StartError::Open(name.clone(), error))?;
        tracing::info!(backend = name, url = backends::redacted(&backend.url), "store opened");
        stores.insert(name.clone(), store);
    }
    Ok(stores)
}

/// Starts an engine on each store. `opener` opens a store again that was lost.
pub fn start_all(
    config: &Config,
    stores: Stores,
    info: &BrokerInfo,
    opener: &Opener,
    process: Process,
    watchers: Watchers<'_>,
) -> Runtime {
    let names: Vec<String> = stores.keys().cloned().collect();
    let place = |name: &str| names.iter().position(|known| known == name).unwrap_or_default();
    let lockspaces: BTreeMap<Lockspace, (usize, LockspaceConfig)> = config
        .lockspaces
        .iter()
        .map(|(name, settings)| (name.clone(), (place(&settings.backend), settings.config.clone())))
        .collect();
    let start = |(name, store)| start_engine(config, name, store, info, opener.clone(), process, watchers);
    let engines = stores.into_iter().map(start).collect();
    Runtime::new(config.name.clone(), engines, place(DEFAULT_BACKEND), lockspaces, config.limits.clone())
}

fn start_engine(
    config: &Config,
    name: String,
    store: Arc<dyn Backend>,
    info: &BrokerInfo,
    opener: Opener,
    process: Process,
    watchers: Watchers<'_>,
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
    let counts = watchers.counts.of_engine(&name);
    let config = EngineConfig {
        name,
        info: info.clone(),
        broker_ttl: config.broker_ttl,
        session_ttl: config.session_ttl,
        session_ttl_max: config.session_ttl_max,
        limits: config.limits.clone(),
        lanes: config.lanes,
        depth: config.lane_depth,
        lockspaces,
        store_patience: config.store_patience,
        first_start_grace: config.first_start_grace,
        format_max: config.stored_format_max,
        drain_timeout: config.drain_timeout,
        reopen,
        process,
        counts,
        lately: watchers.lately.clone(),
        audit: watchers.audit.clone(),
        traced: config.traces.is_some(),
    };
    engine::start(config, store)
}
