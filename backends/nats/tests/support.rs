//! A server of its own for each test, and what can be done to it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sixpin_conformance::{Fixture, FixtureFuture, Freezes, Hints, Link, Network, Refusals, Restarts, Wipes};
use sixpin_core::backend::{Backend, OpenError};
use sixpin_nats::{NatsBackend, NatsConfig, Settings};
use sixpin_testkit::{Proxy, ServerPlan, ServerProcess, nats};

pub(crate) const BUCKET: &str = "sixpin";

/// A running server, the settings that brokers use, and a proxy in front of it.
pub(crate) struct Nats {
    pub(crate) server: ServerProcess,
    pub(crate) settings: Settings,
    pub(crate) proxy: Proxy,
}

impl Nats {
    /// As stock as it can be.
    pub(crate) async fn start() -> Self {
        Self::with(nats(), Settings::default()).await
    }

    pub(crate) async fn with(plan: ServerPlan, settings: Settings) -> Self {
        let server = plan.start().await.unwrap();
        let proxy = Proxy::start(server.address()).await.unwrap();
        // Shorter than an operator would have it, because tests wait for it.
        let settings = Settings { request_timeout: Duration::from_secs(2), ..settings };
        Self { server, settings, proxy }
    }

    pub(crate) async fn try_open(&self, settings: Settings) -> Result<NatsBackend, OpenError> {
        NatsBackend::open(NatsConfig::new(&format!("nats://{}", self.server.address()), settings)?).await
    }

    /// Opens the store directly.
    pub(crate) async fn backend(&self) -> NatsBackend {
        self.try_open(self.settings.clone()).await.unwrap()
    }

    /// Opens the store through the proxy.
    pub(crate) async fn backend_through_proxy(&self) -> NatsBackend {
        let url = format!("nats://{}", self.proxy.address());
        NatsBackend::open(NatsConfig::new(&url, self.settings.clone()).unwrap()).await.unwrap()
    }

    /// An operator's connection.
    pub(crate) async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.server.address().to_string()).await.unwrap()
    }

    /// One request of the JetStream API.
    pub(crate) async fn api(&self, what: &str, request: Value) -> Value {
        let client = self.client().await;
        let reply = client.request(format!("$JS.API.{what}"), request.to_string().into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert!(answer.get("error").is_none(), "{what}: {answer}");
        answer
    }

    /// The stream as it is.
    pub(crate) async fn stream(&self) -> Value {
        self.api(&format!("STREAM.INFO.{BUCKET}"), json!({})).await
    }

    /// Changes settings of the stream.
    pub(crate) async fn edit(&self, changes: Value) {
        let mut config = self.stream().await["config"].clone();
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        self.api(&format!("STREAM.UPDATE.{BUCKET}"), config).await;
    }

    /// Pauses the consumers that there are, or lets them go on.
    async fn pause_consumers(&self, until: &str) {
        let consumers = self.api(&format!("CONSUMER.NAMES.{BUCKET}"), json!({})).await;
        for consumer in consumers["consumers"].as_array().into_iter().flatten() {
            let what = format!("CONSUMER.PAUSE.{BUCKET}.{}", consumer.as_str().unwrap());
            self.api(&what, json!({ "pause_until": until })).await;
        }
    }
}

impl Fixture for Nats {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { Arc::new(self.backend().await) as Arc<dyn Backend> })
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        Some(&self.server)
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        Some(&self.server)
    }

    fn refusals(&self) -> Option<&dyn Refusals> {
        Some(self)
    }

    fn hints(&self) -> Option<&dyn Hints> {
        Some(self)
    }

    fn wipes(&self) -> Option<&dyn Wipes> {
        Some(self)
    }
}

impl Link for Nats {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { Arc::new(self.backend_through_proxy().await) as Arc<dyn Backend> })
    }

    fn network(&self) -> &dyn Network {
        &self.proxy
    }
}

impl Refusals for Nats {
    /// The stream is full: what is there may be replaced by something shorter only.
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async {
            let bytes = self.stream().await["state"]["bytes"].clone();
            self.edit(json!({ "max_bytes": bytes })).await;
        })
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.edit(json!({ "max_bytes": -1 })))
    }
}

impl Hints for Nats {
    fn lose(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.pause_consumers("2999-01-01T00:00:00Z"))
    }

    fn deliver(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.pause_consumers("0001-01-01T00:00:00Z"))
    }
}

impl Wipes for Nats {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.server.restart_wiped().await.unwrap() })
    }
}
