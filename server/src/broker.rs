//! A broker at work: its engines, its health and its end. What reaches it is up to whoever starts it: listeners, or a
//! program that has it inside itself.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sixpin_core::backend::BrokerInfo;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::Access;
use crate::backends::Opener;
use crate::config::{Config, HttpConfig};
use crate::drain::Drain;
use crate::engines::{self, Stores, Watchers};
use crate::error::StartError;
use crate::frontend::api::Api;
use crate::frontend::api::admin::Administration;
use crate::frontend::grpc::{self, health::Health, inside::Services};
use crate::frontend::listener::gate::{ConnectionLimits, Gate};
use crate::frontend::listener::share::{Lane, UnreadTotal};
use crate::frontend::listener::{self, Protocol};
use crate::frontend::{frames, http};
use crate::lately::Lately;
use crate::listening::{Gates, Listening};
use crate::metrics::{Counts, Metrics};
use crate::reload::Changing;
use crate::runtime::Runtime;
use crate::runtime::incarnation::Process;
use crate::tls::Tls;
use crate::traces::Traces;

/// How long the start waits for the engines to serve before it says so; it goes on all the same.
const SERVING_PATIENCE: Duration = Duration::from_secs(10);

/// A broker that runs.
pub struct Broker {
    api: Api,
    http: HttpConfig,
    metrics: Metrics,
    runtime: Runtime,
    health: Health,
    drain: Arc<Drain>,
    process: Process,
    /// What all listeners share; the first one starts it.
    lane: Option<Lane>,
    unread: Arc<UnreadTotal>,
    gates: Gates,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    /// Reports health until it is dropped.
    reporters: JoinSet<()>,
}

impl Broker {
    /// Starts the engines, one on each of these stores. `info` is what other brokers are told.
    pub fn start(
        config: &Config,
        access: Arc<Access>,
        stores: Stores,
        info: &BrokerInfo,
        opener: &Opener,
        process: Process,
    ) -> Self {
        let counts = Counts::new(config.lockspaces.keys(), &config.classes);
        let lately = Lately::default();
        let watchers = Watchers { counts: &counts, lately: &lately, audit: access.audit() };
        let runtime = engines::start_all(config, stores, info, opener, process, watchers);
        let health = Health::default();
        let drain = Drain::new(runtime.clone(), health.clone(), config.drain_timeout);
        let traces = config.traces.as_ref().map(|traces| Traces::start(traces, &config.name));
        Self {
            metrics: Metrics::new(&counts, runtime.clone(), access.clone(), traces.clone()),
            api: Api::new(runtime.clone(), access, lately, traces),
            http: config.http.clone(),
            runtime,
            health,
            drain,
            process,
            lane: None,
            unread: Arc::default(),
            gates: Gates::default(),
            stop: watch::Sender::new(false),
            listeners: JoinSet::new(),
            reporters: JoinSet::new(),
        }
    }

    /// Serves clients there.
    pub fn listen_for_clients(&mut self, at: Listening, limits: ConnectionLimits) -> Result<(), StartError> {
        let protocol = http::beside_for_clients(grpc::for_clients(&self.api, &self.health), &self.api, &self.http);
        let protocol = Protocol { greeted: Some(frames::door(&self.api)), ..protocol };
        self.gates.clients = Some(self.listen("clients", at, limits, protocol)?);
        Ok(())
    }

    /// Serves administrators there.
    pub fn listen_for_administrators(&mut self, at: Listening, limits: ConnectionLimits) -> Result<(), StartError> {
        let administration = self.administration();
        let protocol = grpc::for_administrators(&self.api, &self.health, administration.clone());
        let protocol =
            http::beside_for_administrators(protocol, &self.api, &self.http, administration, self.metrics.clone());
        self.gates.administrators = Some(self.listen("admin", at, limits, protocol)?);
        Ok(())
    }

    fn listen(
        &mut self,
        name: &'static str,
        at: Listening,
        limits: ConnectionLimits,
        protocol: Protocol,
    ) -> Result<Arc<Gate>, StartError> {
        let lane = match self.lane.take() {
            Some(lane) => lane,
            None => Lane::start().map_err(StartError::Thread)?,
        };
        let gate = Gate::new(limits, self.lane.insert(lane).clone(), Arc::clone(&self.unread));
        self.metrics.watch(name, &gate, at.tls.as_ref());
        self.listeners.spawn(listener::serve(at.socket, at.tls, protocol, gate.clone(), self.stop.subscribe()));
        Ok(gate)
    }

    /// All services, for the program that this broker is inside of. No listener stands before them, so nothing counts
    /// connections and calls: the program can only crowd out itself.
    pub fn services(&self) -> Services {
        grpc::for_this_program(&self.api, &self.health, self.administration())
    }

    fn administration(&self) -> Administration {
        let drain = (self.process == Process::Own).then(|| self.drain.clone());
        Administration::new(self.api.clone(), drain)
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What of it can change.
    pub(crate) fn changing(&self, config: Config, tls: Vec<Arc<Tls>>) -> Changing {
        Changing::new(config, tls, self.api.access().clone(), self.runtime.clone(), self.gates.clone())
    }

    /// Waits until every engine serves, and reports health from then on. A broker that is reached before would only send
    /// its first clients away.
    pub async fn begin(&mut self) {
        self.health.report(false).await;
        let serving = async {
            while !self.api.serves().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(SERVING_PATIENCE, serving).await.is_err() {
            tracing::warn!("not serving yet: the store does not take this broker's registration");
        }
        self.health.report(self.api.serves().await).await;
        self.reporters.spawn(self.health.clone().follow(self.api.clone()));
    }

    /// Drains: clients move, waiters keep their places elsewhere, the broker leaves its stores. Absent: as long as
    /// configured.
    pub async fn drain(&self, timeout: Option<Duration>) {
        self.drain.begin(timeout).await;
    }

    /// Waits until an administrator has drained the broker.
    pub async fn drained(&self) {
        self.drain.over().await;
    }

    /// Waits until an engine has ended by itself, which only a bug in the machine makes it do.
    pub async fn failed(&self) {
        let ends = self.runtime.engines().iter().map(|engine| engine.ended().boxed());
        futures::future::select_all(ends).await;
    }

    /// Closes everything. Call [`Broker::drain`] before, or others must find out.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.reporters.abort_all();
        while self.listeners.join_next().await.is_some() {}
        if let Some(traces) = self.api.traces() {
            traces.flush().await;
        }
    }
}
