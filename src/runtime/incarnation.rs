//! One run of a machine: its configuration, its random name, and its lines in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sixpin_core::backend::{Backend, BrokerInfo, Family};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{BrokerConfig, LockspaceConfig, LogLevel, LogLine};
use sixpin_core::limits::Limits;
use sixpin_core::name::{Incarnation, Lockspace};

use super::handle::Shared;
use super::store::StoreCalls;

/// Opens the store again after it lost its memory; the error is for the log.
pub type Reopen = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Backend>, String>> + Send + Sync>;

/// What all incarnations of one engine have in common.
pub struct EngineConfig {
    /// The backend's name in the configuration.
    pub name: String,
    /// What other brokers are told.
    pub info: BrokerInfo,
    /// See [`BrokerConfig::broker_ttl`].
    pub broker_ttl: Duration,
    /// See [`BrokerConfig::session_ttl`].
    pub session_ttl: Duration,
    /// See [`BrokerConfig::limits`].
    pub limits: Limits,
    /// See [`BrokerConfig::lanes`].
    pub lanes: u16,
    /// The lockspaces on this store that are configured.
    pub lockspaces: BTreeMap<Lockspace, LockspaceConfig>,
    /// See [`BrokerConfig::store_patience`].
    pub store_patience: Duration,
    /// See [`BrokerConfig::first_start_grace`]; used only where the store knows nothing.
    pub first_start_grace: Duration,
    /// See [`BrokerConfig::drain_timeout`].
    pub drain_timeout: Duration,
    /// Opens the store again.
    pub reopen: Reopen,
}

/// A new incarnation on the store as it is opened now.
pub(super) async fn incarnate(config: &EngineConfig, shared: &Shared) -> (Broker, StoreCalls) {
    let backend = shared.backend();
    let grace = grace(config, backend.as_ref()).await;
    let incarnation = Incarnation(rand::random());
    let broker = BrokerConfig {
        incarnation,
        info: config.info.clone(),
        broker_ttl: config.broker_ttl,
        session_ttl: config.session_ttl,
        limits: config.limits.clone(),
        lanes: config.lanes,
        lockspaces: config.lockspaces.clone(),
        profile: backend.profile(),
        root: backend.root(),
        store_patience: config.store_patience,
        first_start_grace: grace,
        drain_timeout: config.drain_timeout,
    };
    shared.set_incarnation(incarnation);
    tracing::info!(backend = config.name, %incarnation, "broker starting");
    (Broker::new(broker), StoreCalls::new(backend, incarnation))
}

/// How long nothing is granted. A store that knows nothing may have lost its memory, and clients that it forgot may
/// think for a TTL that they hold locks; on any other store there is nothing to wait for.
async fn grace(config: &EngineConfig, backend: &dyn Backend) -> Duration {
    let grace = config.first_start_grace;
    let look = tokio::time::timeout(config.store_patience, remembers(backend, grace));
    if grace.is_zero() || look.await.unwrap_or(false) {
        return Duration::ZERO;
    }
    tracing::warn!(backend = config.name, ?grace, "the store is empty, so nothing is granted for a while");
    grace
}

/// Whether a store has a record, or a broker that has been there for longer than `grace`. What cannot be read is taken
/// for nothing.
async fn remembers(backend: &dyn Backend, grace: Duration) -> bool {
    for family in [Family::AllResources, Family::Sessions] {
        if backend.list(&family, None, 1).await.is_ok_and(|page| !page.keys.is_empty()) {
            return true;
        }
    }
    let pulses = backend.pulses().await.unwrap_or_default();
    // A broker beats every third of its TTL, so its number says how old it is at least.
    pulses
        .iter()
        .any(|pulse| (pulse.broker_ttl / 3).saturating_mul(u32::try_from(pulse.beat).unwrap_or(u32::MAX)) > grace)
}

/// Renders a line of the machine.
pub(super) fn log(backend: &str, line: &LogLine) {
    let LogLine { level, step, .. } = line;
    // A field that says nothing is left out.
    let said = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (subject, detail) = (said(&line.subject), said(&line.detail));
    match level {
        LogLevel::Debug => tracing::debug!(backend, subject, detail, "{step}"),
        LogLevel::Info => tracing::info!(backend, subject, detail, "{step}"),
        LogLevel::Warn => tracing::warn!(backend, subject, detail, "{step}"),
        LogLevel::Error => tracing::error!(backend, subject, detail, "{step}"),
    }
}
