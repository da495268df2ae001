//! Metrics: what a broker counts, as text in the format `OpenMetrics`.
//!
//! # Invariants
//!
//! * No label names a resource, a session, an owner or a principal, and no client can make series without bound: [`Lockspaces`]
//!   says which lockspaces have their own, and classes of names are configured.
//! * Events are counted where they happen, by whoever knows of them, and cost an addition. What is state is kept nowhere beside:
//!   it is read when the text is asked for.
//! * Whoever counts holds its counters alone and nothing else of this, so that metrics keep nothing alive.
//!
//! # Layout, in reading order
//!
//! * `histogram`: one that is counted without a lock; `labels`: what tells series of a metric apart;
//! * [`locks`]: what happens to locks and sessions; `losses`: the sessions lost last; [`store`]: what is written; [`refusals`]: who was refused;
//! * `process`: what the system says of the process; `state`: how the broker is just now;
//! * this file: all of that as text.

#![expect(
    clippy::cast_precision_loss,
    reason = "numbers in the text are floating point, and nobody counts on their last digits"
)]

mod histogram;
mod labels;
pub mod locks;
mod losses;
mod process;
pub mod refusals;
mod state;
pub mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sixpin_core::name::Lockspace;

use crate::access::Access;
use crate::frontend::listener::gate::Gate;
use crate::runtime::Runtime;
use crate::tls::Tls;
use crate::traces::Traces;
use labels::Classes;
pub use labels::{CLASSES_MAX, LOCKSPACES_MAX, Lockspaces, OTHER};
use locks::{LockCounts, Locks};
pub(crate) use losses::Loss;
use losses::Losses;
use store::{StoreCounts, Stores};

/// The type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the engines of a broker count.
#[derive(Debug, Clone)]
pub struct Counts {
    locks: Locks,
    stores: Stores,
}

impl Counts {
    /// Nothing was counted yet. These lockspaces are configured, and classes of names by how these begin.
    pub fn new<'a>(
        lockspaces: impl IntoIterator<Item = &'a Lockspace> + Clone,
        classes: &BTreeMap<String, String>,
    ) -> Self {
        let locks = Locks::new(Lockspaces::new(lockspaces.clone()), Classes::new(classes, lockspaces));
        Self { locks, stores: Stores::default() }
    }

    /// For the engine of a backend.
    pub fn of_engine(&self, backend: &str) -> EngineCounts {
        EngineCounts { locks: LockCounts::new(self.locks.clone()), store: self.stores.of(backend) }
    }
}

/// What one engine counts.
#[derive(Debug)]
pub struct EngineCounts {
    /// Of locks and sessions.
    pub locks: LockCounts,
    /// Of its store.
    pub store: StoreCounts,
}

/// The metrics of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    counted: Registry,
    lockspaces: Arc<Lockspaces>,
    losses: Losses,
    reload_failed: Gauge,
    runtime: Runtime,
    access: Arc<Access>,
    traces: Option<Traces>,
    listeners: Mutex<Vec<Listener>>,
}

struct Listener {
    name: &'static str,
    gate: Weak<Gate>,
    tls: Option<Arc<Tls>>,
}

impl Metrics {
    /// Of a broker whose engines count there.
    pub fn new(counts: &Counts, runtime: Runtime, access: Arc<Access>, traces: Option<Traces>) -> Self {
        let reload_failed = Gauge::default();
        let mut counted = Registry::default();
        counts.locks.register(&mut counted);
        counts.stores.register(&mut counted);
        access.audit().refusals().register(&mut counted);
        let help = "1 if the configuration was read again and something in it was wrong, so that it stays as it was";
        counted.register("sixpin_config_reload_failed", help, reload_failed.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        counted.register("sixpin_build", "Which version of sixpin this is", build);
        let lockspaces = counts.locks.lockspaces().clone();
        let (losses, listeners) = (counts.locks.losses().clone(), Mutex::default());
        Self(Arc::new(Inner { counted, lockspaces, losses, reload_failed, runtime, access, traces, listeners }))
    }

    /// The connections that come in by this gate are shown under this name, and until when their certificate is valid.
    pub(crate) fn watch(&self, name: &'static str, gate: &Arc<Gate>, tls: Option<&Arc<Tls>>) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Listener { name, gate: Arc::downgrade(gate), tls: tls.cloned() });
    }

    /// The sessions lost last, the newest first.
    pub(crate) fn losses(&self) -> Vec<Loss> {
        self.0.losses.newest_first()
    }

    /// Whether the configuration could not be read again.
    pub(crate) fn reload_failed(&self) -> &Gauge {
        &self.0.reload_failed
    }

    /// Everything, as text of the type [`CONTENT_TYPE`].
    pub async fn text(&self) -> String {
        let state = self.state().await;
        let mut text = String::with_capacity(64 * 1024);
        // A text takes everything that is written.
        let _ = text::encode_registry(&mut text, &self.0.counted)
            .and_then(|()| text::encode_registry(&mut text, &state))
            .and_then(|()| text::encode_eof(&mut text));
        text
    }

    async fn state(&self) -> Registry {
        let inner = &self.0;
        let engines = state::engines(&inner.runtime).await;
        let mut registry = Registry::default();
        state::register(&mut registry, engines, &inner.lockspaces);
        state::register_listeners(&mut registry, &self.listeners());
        state::register_audit(&mut registry, inner.access.audit().dropped());
        state::register_spans(&mut registry, inner.traces.as_ref().map_or(0, Traces::dropped));
        // The system lists open files one by one, which takes a moment where there are many.
        if let Ok(Some(process)) = tokio::task::spawn_blocking(process::look).await {
            process.register(&mut registry);
        }
        registry
    }

    fn listeners(&self) -> Vec<state::Listening> {
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let look = |Listener { name, gate, tls }: &Listener| state::Listening {
            name,
            connections: gate.upgrade().map_or(0, |gate| gate.count()),
            not_after: tls.as_ref().and_then(|tls| tls.not_after()),
        };
        listeners.iter().map(look).collect()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
