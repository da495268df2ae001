//! The thin shell around the broker machine.
//!
//! The machine decides; the shell gives it time, randomness and what the store and the clients said, and carries out
//! what it returns. One [`engine`] task drives one machine on one store. Front ends know only [`Runtime`] and
//! [`EngineHandle`].
//!
//! ```text
//! stream or call --- Message ---> engine task: handle.. handle.. flush ---> store calls
//!        ^                             |                                        |
//!        +------- outbox, oneshot <----+ <--------------- outcomes -------------+
//! ```
//!
//! # Layout, in reading order
//!
//! * [`clock`]: the only file that reads clocks;
//! * [`outbox`]: the bounded queue of answers to one stream;
//! * [`router`]: which connection an answer goes to;
//! * [`store`]: store calls as futures, each with its limit of time;
//! * [`incarnation`]: one run of a machine, from its configuration to its log lines;
//! * [`engine`]: the loop;
//! * [`handle`]: how front ends reach an engine;
//! * [`lookup`]: how they look at its store.

pub mod clock;
pub mod engine;
pub mod handle;
pub mod incarnation;
pub mod lookup;
pub mod outbox;
pub mod router;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::limits::Limits;
use sixpin_core::name::Lockspace;

pub use handle::{Connection, EngineHandle, Turns};

/// All engines of the process, and which lockspace belongs to which.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    engines: Vec<EngineHandle>,
    /// Lockspaces that are configured; all others are on the default engine with default settings.
    lockspaces: BTreeMap<Lockspace, (usize, LockspaceConfig)>,
    default_engine: usize,
    limits: Limits,
    started: Instant,
}

impl Runtime {
    /// Puts engines together. `lockspaces` names the engine of each configured lockspace by its place in `engines`.
    ///
    /// # Panics
    ///
    /// If a place is out of range: the configuration was checked before.
    pub fn new(
        name: String,
        engines: Vec<EngineHandle>,
        default_engine: usize,
        lockspaces: BTreeMap<Lockspace, (usize, LockspaceConfig)>,
        limits: Limits,
    ) -> Self {
        assert!(default_engine < engines.len() && lockspaces.values().all(|(place, _)| *place < engines.len()));
        let inner = Inner { name, engines, lockspaces, default_engine, limits, started: Instant::now() };
        Self { inner: Arc::new(inner) }
    }

    /// The broker's name, for people.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The engine whose store holds a lockspace.
    pub fn engine(&self, lockspace: &Lockspace) -> &EngineHandle {
        let place = self.inner.lockspaces.get(lockspace).map_or(self.inner.default_engine, |(place, _)| *place);
        &self.inner.engines[place]
    }

    /// The engine of lockspaces that are not configured.
    pub fn default_engine(&self) -> &EngineHandle {
        &self.inner.engines[self.inner.default_engine]
    }

    /// All engines, in the order of the configuration.
    pub fn engines(&self) -> &[EngineHandle] {
        &self.inner.engines
    }

    /// The settings of a lockspace.
    pub fn lockspace_config(&self, lockspace: &Lockspace) -> LockspaceConfig {
        self.inner.lockspaces.get(lockspace).map(|(_, config)| config.clone()).unwrap_or_default()
    }

    /// The configured lockspaces of one engine; those that are not configured belong to the default engine.
    pub fn lockspaces_of(&self, engine: usize) -> impl Iterator<Item = &Lockspace> {
        self.inner.lockspaces.iter().filter(move |(_, (place, _))| *place == engine).map(|(lockspace, _)| lockspace)
    }

    /// The limits as they were at the start. What clients are told of them does not change.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// These limits hold for every engine from now on; see [`Limits::in_place_of`].
    pub async fn limit(&self, limits: &Limits) {
        for engine in self.engines() {
            engine.limit(limits.clone()).await;
        }
    }

    /// Since when the process serves.
    pub fn started(&self) -> Instant {
        self.inner.started
    }
}
