//! A broker in this process, and a client that speaks the proto files and nothing else.

pub mod raw;
pub mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sixpin::config::{self, Config};
use sixpin::serve::Server;
use sixpin_core::backend::Backend;
use sixpin_memory::MemoryStore;
use sixpin_proto::v1;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use v1::admin_service_client::AdminServiceClient;
use v1::inspect_service_client::InspectServiceClient;
use v1::lock_service_client::LockServiceClient;

/// Longer than anything that a test waits for, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// All modes, weakest first.
pub const MODES: [v1::Mode; 6] = [v1::Mode::Nl, v1::Mode::Cr, v1::Mode::Cw, v1::Mode::Pr, v1::Mode::Pw, v1::Mode::Ex];

/// A broker that runs as long as the test.
pub struct Broker {
    pub server: Server,
}

impl Broker {
    /// On a memory store of its own.
    pub async fn start() -> Self {
        Self::configured("").await
    }

    /// With these settings; addresses are chosen by the system.
    pub async fn configured(settings: &str) -> Self {
        Self { server: Server::start(config(settings)).await.unwrap() }
    }

    /// On a store that other brokers may use too.
    pub async fn on(store: &MemoryStore, settings: &str) -> Self {
        Self::behind(Arc::new(store.backend(true)), settings).await
    }

    /// On whatever is given as its store.
    pub async fn behind(backend: Arc<dyn Backend>, settings: &str) -> Self {
        let stores = BTreeMap::from([("default".to_string(), backend)]);
        Self { server: Server::start_on(config(settings), stores).await.unwrap() }
    }

    /// A new connection for clients.
    pub async fn channel(&self) -> Channel {
        connect(self.server.address).await
    }

    pub async fn locks(&self) -> LockServiceClient<Channel> {
        LockServiceClient::new(self.channel().await)
    }

    pub async fn inspect(&self) -> InspectServiceClient<Channel> {
        InspectServiceClient::new(self.channel().await)
    }

    pub async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(connect(self.server.admin_address.unwrap()).await)
    }

    /// A stream with an open session.
    pub async fn session(&self) -> stream::Session {
        stream::Session::open(self, v1::OpenRequest::default()).await
    }

    /// The resource as it stands.
    pub async fn state(&self, name: &str) -> v1::ResourceState {
        let request = v1::GetResourceRequest { resource: Some(resource(name)) };
        self.inspect().await.get_resource(request).await.unwrap().into_inner()
    }

    pub async fn open(&self) -> v1::Opened {
        self.locks().await.open_session(v1::OpenRequest::default()).await.unwrap().into_inner()
    }
}

/// Connects, without sharing the connection with anybody.
pub async fn connect(address: std::net::SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn config(settings: &str) -> Config {
    let addresses = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nname = \"test\"\n";
    config::parse(&format!("{addresses}{settings}"), "", [], toml::Table::new()).unwrap()
}

pub fn resource(name: &str) -> v1::Resource {
    v1::Resource { lockspace: String::new(), name: name.into() }
}

pub fn credential(opened: &v1::Opened) -> v1::Credential {
    v1::Credential { session: opened.session.clone(), secret: opened.secret.clone(), lockspace: String::new() }
}

/// A request to lock without waiting.
pub fn try_lock(claim: u64, name: &str, mode: v1::Mode) -> v1::LockRequest {
    v1::LockRequest { timeout_ms: Some(0), ..wait_lock(claim, name, mode) }
}

/// A request to lock that waits for ever.
pub fn wait_lock(claim: u64, name: &str, mode: v1::Mode) -> v1::LockRequest {
    v1::LockRequest { claim, operation: 1, resource: Some(resource(name)), mode: mode.into(), ..Default::default() }
}

pub fn unlock(claim: u64, operation: u32) -> v1::UnlockRequest {
    v1::UnlockRequest { claim, operation, ..Default::default() }
}

pub fn convert(claim: u64, operation: u32, mode: v1::Mode) -> v1::ConvertRequest {
    v1::ConvertRequest { claim, operation, mode: mode.into(), timeout_ms: Some(0), ..Default::default() }
}

/// What a refused call says.
pub fn reason(status: &Status) -> (Code, v1::Reason) {
    let detail = status.metadata().get_bin("sixpin-error-bin");
    let error = detail.map(|value| v1::Error::decode(value.to_bytes().unwrap()).unwrap());
    (status.code(), error.map_or(v1::Reason::Unspecified, |error| error.reason()))
}

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Asks again and again until it is so.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
