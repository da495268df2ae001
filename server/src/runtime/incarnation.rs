//! One run of a machine: its configuration, its random name, and its lines in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sixpin_core::backend::{Backend, BrokerInfo};
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{BrokerConfig, Input, LockspaceConfig, LogLevel, LogLine};
use sixpin_core::limits::{self, Limits};
use sixpin_core::name::{Incarnation, Lockspace};

use super::handle::Shared;
use super::store::StoreCalls;
use crate::access::PROGRAM;
use crate::audit::Audit;
use crate::lately::Lately;
use crate::metrics::EngineCounts;

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
    /// See [`BrokerConfig::session_ttl_max`].
    pub session_ttl_max: Duration,
    /// See [`BrokerConfig::limits`].
    pub limits: Limits,
    /// See [`BrokerConfig::lanes`].
    pub lanes: u16,
    /// See [`BrokerConfig::depth`].
    pub depth: u16,
    /// The lockspaces on this store that are configured.
    pub lockspaces: BTreeMap<Lockspace, LockspaceConfig>,
    /// See [`BrokerConfig::store_patience`].
    pub store_patience: Duration,
    /// See [`BrokerConfig::first_start_grace`]. Only for the first incarnation: whoever was here before knows more.
    pub first_start_grace: Option<Duration>,
    /// See [`BrokerConfig::format_max`].
    pub format_max: u8,
    /// See [`BrokerConfig::drain_timeout`].
    pub drain_timeout: Duration,
    /// Opens the store again.
    pub reopen: Reopen,
    /// Whose process it is.
    pub process: Process,
    /// What is counted.
    pub counts: EngineCounts,
    /// What is remembered of it.
    pub lately: Lately,
    /// Where it is written what becomes of locks, if it is.
    pub audit: Arc<Audit>,
    /// Answers say which commit they come of, for those who trace.
    pub traced: bool,
}

impl EngineConfig {
    /// Other limits hold from now on, for incarnations to come as well; what the present one is told.
    pub(super) fn limit(&mut self, limits: Limits) -> Input {
        self.limits = limits.in_place_of(&self.limits);
        Input::Limits(self.limits.clone())
    }
}

/// Whose process a broker runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Its own. Administrators may end it, and a bug in the machine ends it at once.
    Own,
    /// That of a program, with which it ends. A bug in the machine ends the broker alone: the program's sessions are lost at
    /// their deadlines, as with any broker that falls silent.
    Program,
}

impl Process {
    /// Who has all sessions, if that is certain.
    pub(super) fn principal(self) -> Option<&'static str> {
        (self == Self::Program).then_some(PROGRAM)
    }
}

/// Whom an incarnation comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nobody: the process starts.
    Nobody,
    /// One for which this much is left of what it said to hold back.
    Another(Duration),
}

/// A new incarnation on the store as it is opened now.
pub(super) fn incarnate(config: &EngineConfig, shared: &Shared, before: Before) -> (Broker, StoreCalls) {
    let backend = shared.backend();
    let (first_start_grace, hold_back) = match before {
        Before::Nobody => (config.first_start_grace, Duration::ZERO),
        Before::Another(hold_back) => (None, hold_back),
    };
    let incarnation = Incarnation(rand::random());
    let broker = BrokerConfig {
        incarnation,
        info: config.info.clone(),
        broker_ttl: config.broker_ttl,
        session_ttl: config.session_ttl,
        session_ttl_max: config.session_ttl_max,
        limits: config.limits.clone(),
        lanes: config.lanes,
        depth: config.depth,
        reuses_kept: limits::REUSES_KEPT,
        unused_after: limits::UNUSED_AFTER,
        lockspaces: config.lockspaces.clone(),
        profile: backend.profile(),
        root: backend.root(),
        store_patience: config.store_patience,
        history: backend.history(),
        format_max: config.format_max,
        first_start_grace,
        hold_back,
        drain_timeout: config.drain_timeout,
        notes: config.audit.locks(),
    };
    shared.set_incarnation(incarnation);
    tracing::info!(backend = config.name, %incarnation, "broker starting");
    let mut machine = Broker::new(broker);
    machine.want_facts();
    (machine, StoreCalls::new(backend, incarnation, config.counts.store.clone()))
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
