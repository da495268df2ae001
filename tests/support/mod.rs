//! Brokers in this process, and a client that speaks the proto files and nothing else.

pub mod door;
pub mod endpoints;
pub mod hints;
pub mod http;
pub mod over_http;
pub mod raw;
pub mod store;
pub mod stream;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use sixpin_core::backend::Backend;
use sixpin_proto::v1;
use sixpin_server::config::{self, Config};
use sixpin_server::server::Server;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use v1::admin_service_client::AdminServiceClient;
use v1::inspect_service_client::InspectServiceClient;
use v1::lock_service_client::LockServiceClient;

use door::{FrameWay, Way};
use store::{Kind, Place, Reason};

/// Longer than anything that a test waits for, shorter than anybody's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// All modes, weakest first.
pub const MODES: [v1::Mode; 6] = [v1::Mode::Nl, v1::Mode::Cr, v1::Mode::Cw, v1::Mode::Pr, v1::Mode::Pw, v1::Mode::Ex];

/// A broker that runs as long as the test: one, or several on one store that together do what one does.
///
/// With several, each connection goes to the next. Connections that lock and those that look are counted each for
/// themselves, so that looking between two sessions does not bring both to the same broker.
pub struct Broker {
    /// The first of them.
    pub server: Server,
    others: Vec<Server>,
    locking: AtomicUsize,
    looking: AtomicUsize,
    /// It is reached by sockets, whatever the run says.
    by_sockets: AtomicBool,
}

impl Broker {
    /// As many as the run says, on the store that it says.
    pub async fn start() -> Self {
        Self::configured("").await
    }

    /// With these settings; addresses are chosen by the system.
    pub async fn configured(settings: &str) -> Self {
        match (store::kind(), store::brokers()) {
            (Kind::Memory, 1) => Self::private(settings).await,
            (_, number) => Self::several(number, &Place::new(), settings).await,
        }
    }

    /// One, on the store that the run says.
    pub async fn alone(reason: Reason, settings: &str) -> Self {
        if store::brokers() > 1 {
            reason.tell("one broker");
        }
        match store::kind() {
            Kind::Memory => Self::private(settings).await,
            _ => Self::on(&Place::new(), settings).await,
        }
    }

    /// One, on a memory store of its own.
    pub async fn in_memory(reason: Reason, settings: &str) -> Self {
        if store::kind() != Kind::Memory || store::brokers() > 1 {
            reason.tell("memory");
        }
        Self::private(settings).await
    }

    /// On memory that it knows to have for itself.
    async fn private(settings: &str) -> Self {
        Self::of(vec![Server::start(config(settings)).await.unwrap()])
    }

    /// On a store that other brokers may use too.
    pub async fn on(place: impl Into<Place>, settings: &str) -> Self {
        Self::several(1, &place.into(), settings).await
    }

    async fn several(number: usize, place: &Place, settings: &str) -> Self {
        let mut servers = Vec::new();
        for _ in 0..number {
            servers.push(serve(place, settings).await);
        }
        Self::of(servers)
    }

    /// On whatever is given as its store.
    pub async fn behind(backend: Arc<dyn Backend>, settings: &str) -> Self {
        if store::kind() != Kind::Memory && backend.profile().name == "memory" {
            Reason::Misbehaving.tell("memory");
        }
        let stores = BTreeMap::from([(config::DEFAULT_BACKEND.to_string(), backend)]);
        Self::of(vec![Server::start_on(config(settings), stores).await.unwrap()])
    }

    fn of(mut servers: Vec<Server>) -> Self {
        let others = servers.split_off(1);
        Self {
            server: servers.remove(0),
            others,
            locking: AtomicUsize::new(0),
            looking: AtomicUsize::new(0),
            by_sockets: AtomicBool::new(false),
        }
    }

    /// From now on it is reached by sockets, because that is what the test is about.
    pub fn use_sockets(&self) {
        if door::inside() || door::http() {
            Reason::Sockets.tell("sockets");
        }
        self.by_sockets.store(true, Ordering::Relaxed);
    }

    async fn way(&self, server: &Server) -> Way {
        self.way_to(server, server.address).await
    }

    async fn admin_way(&self, server: &Server) -> Way {
        self.way_to(server, server.admin_address.unwrap()).await
    }

    async fn way_to(&self, server: &Server, address: SocketAddr) -> Way {
        if self.by_sockets.load(Ordering::Relaxed) {
            return door::by_grpc(address).await;
        }
        door::to(server.broker(), address).await
    }

    fn servers(&self) -> Vec<&Server> {
        std::iter::once(&self.server).chain(&self.others).collect()
    }

    fn next(&self, counter: &AtomicUsize) -> &Server {
        self.nth(counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The one whose turn it is.
    pub fn nth(&self, number: usize) -> &Server {
        let servers = self.servers();
        servers[number % servers.len()]
    }

    /// A new connection for clients.
    pub async fn channel(&self) -> Way {
        self.way(self.next(&self.locking)).await
    }

    /// A new connection for administrators of the first.
    pub async fn admin_channel(&self) -> Way {
        self.admin_way(&self.server).await
    }

    pub async fn locks(&self) -> LockServiceClient<Way> {
        LockServiceClient::new(self.channel().await)
    }

    /// A new connection for a session stream without HTTP/2.
    pub async fn greeted(&self) -> FrameWay {
        door::greeted(self.next(&self.locking).address).await
    }

    /// A conversation on a new WebSocket.
    pub async fn websocket(
        &self,
        requests: ReceiverStream<v1::SessionRequest>,
    ) -> BoxStream<'static, Result<v1::SessionResponse, Status>> {
        over_http::conversation(self.next(&self.locking).address, requests).await
    }

    /// To the first broker, where the first session of a test lives.
    pub async fn locks_of_first(&self) -> LockServiceClient<Way> {
        LockServiceClient::new(self.way(&self.server).await)
    }

    pub async fn inspect(&self) -> InspectServiceClient<Way> {
        InspectServiceClient::new(self.way(self.next(&self.looking)).await)
    }

    pub async fn admin(&self) -> AdminServiceClient<Way> {
        AdminServiceClient::new(self.admin_way(self.next(&self.looking)).await)
    }

    /// How many sessions there are.
    pub async fn sessions(&self) -> u64 {
        let mut total = 0;
        for server in self.servers() {
            let mut inspect = InspectServiceClient::new(self.way(server).await);
            let reply = inspect.list_sessions(v1::ListSessionsRequest::default()).await.unwrap();
            total += reply.into_inner().total;
        }
        total
    }

    /// A stream with an open session.
    pub async fn session(&self) -> stream::Session {
        stream::Session::open(self, v1::Open::default()).await
    }

    /// The resource as it stands.
    pub async fn state(&self, name: &str) -> v1::ResourceState {
        let request = v1::GetResourceRequest { resource: Some(resource(name)) };
        self.inspect().await.get_resource(request).await.unwrap().into_inner().state.unwrap()
    }
}

/// One more broker at this place.
async fn serve(place: &Place, settings: &str) -> Server {
    let Place::Memory(memory) = place else {
        return Server::start(config(&format!("{settings}{}", place.section()))).await.unwrap();
    };
    // What the settings name besides is opened; the default backend is the test's own.
    let config = config(settings);
    let mut stores: BTreeMap<String, Arc<dyn Backend>> = BTreeMap::new();
    for (name, backend) in &config.backends {
        let store = match name.as_str() {
            config::DEFAULT_BACKEND => Arc::new(memory.backend(true)),
            _ => sixpin_server::backends::open(backend, config.require).await.unwrap(),
        };
        stores.insert(name.clone(), store);
    }
    Server::start_on(config, stores).await.unwrap()
}

/// Opens a session that lives at the broker of this connection.
pub async fn open(locks: &mut LockServiceClient<Way>) -> v1::Opened {
    locks.open_session(open_request(v1::Open::default())).await.unwrap().into_inner().opened.unwrap()
}

/// Connects, without sharing the connection with anybody.
pub async fn connect(address: SocketAddr) -> Way {
    door::by_network(address).await
}

/// These settings, at addresses that the system chooses.
pub fn config(settings: &str) -> Config {
    let addresses = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nname = \"test\"\n";
    // A test's store is new, unless the test is about what that means.
    let grace = if settings.contains("first_start_grace") { "" } else { "first_start_grace = \"0s\"\n" };
    config::parse(&format!("{addresses}{grace}{settings}"), "", [], toml::Table::new()).unwrap()
}

pub fn resource(name: &str) -> v1::Resource {
    v1::Resource { lockspace: String::new(), name: name.into() }
}

pub fn token(opened: &v1::Opened) -> String {
    opened.token.clone()
}

/// The token of the same session with another secret.
pub fn wrong_token(opened: &v1::Opened) -> String {
    let (who, _) = opened.token.rsplit_once('~').unwrap();
    format!("{who}~{}", "07".repeat(16))
}

/// A call that moves a session.
pub fn resume_call(resume: v1::Resume) -> v1::ResumeSessionRequest {
    v1::ResumeSessionRequest { resume: Some(resume) }
}

/// A call that opens a session.
pub fn open_request(open: v1::Open) -> v1::OpenSessionRequest {
    v1::OpenSessionRequest { open: Some(open) }
}

/// A request to move a session with these claims. Claim 1 is the last that it ever asked for.
pub fn resume_request(opened: &v1::Opened, move_number: u32, claims: Vec<v1::LiveClaim>) -> v1::Resume {
    v1::Resume { token: token(opened), move_number, next_claim: 2, claims, ..Default::default() }
}

/// A claim that a client names when it moves, after its first operation.
pub fn live_claim(claim: u64, name: &str) -> v1::LiveClaim {
    v1::LiveClaim { claim, resource: Some(resource(name)), last_operation: 1, ..Default::default() }
}

/// A request to lock without waiting.
pub fn try_lock(claim: u64, name: &str, mode: v1::Mode) -> v1::Lock {
    v1::Lock { timeout_ms: Some(0), ..wait_lock(claim, name, mode) }
}

/// A request to lock that waits for ever.
pub fn wait_lock(claim: u64, name: &str, mode: v1::Mode) -> v1::Lock {
    v1::Lock { claim, operation: 1, resource: Some(resource(name)), what: Some(mode.into()), ..Default::default() }
}

pub fn unlock(claim: u64, operation: u32) -> v1::Unlock {
    v1::Unlock { claim, operation, ..Default::default() }
}

pub fn convert(claim: u64, operation: u32, mode: v1::Mode) -> v1::Convert {
    v1::Convert { claim, operation, what: Some(mode.into()), timeout_ms: Some(0), ..Default::default() }
}

/// What a refused call says.
pub fn reason(status: &Status) -> (Code, v1::Reason) {
    let info = status.get_details_error_info();
    let reason = info.map(|info| v1::Reason::from_str_name(&format!("REASON_{}", info.reason)).unwrap());
    (status.code(), reason.unwrap_or_default())
}

/// What a call would end with that is refused so.
pub fn status_of(error: &v1::Error) -> Status {
    let reason = error.reason();
    let code = match reason {
        v1::Reason::Invalid | v1::Reason::StaleOperation | v1::Reason::StaleMove => Code::InvalidArgument,
        v1::Reason::NotFound => Code::NotFound,
        v1::Reason::Busy | v1::Reason::NotHere => Code::FailedPrecondition,
        v1::Reason::Limit => Code::ResourceExhausted,
        v1::Reason::SessionGone => Code::Aborted,
        v1::Reason::Damaged => Code::DataLoss,
        v1::Reason::Unavailable | v1::Reason::Draining => Code::Unavailable,
        v1::Reason::WrongToken => Code::PermissionDenied,
        v1::Reason::Unsupported => Code::Unimplemented,
        v1::Reason::Unauthenticated => Code::Unauthenticated,
        v1::Reason::Denied => Code::PermissionDenied,
        v1::Reason::Unspecified | v1::Reason::Unknown => Code::Unknown,
    };
    let name = reason.as_str_name().trim_start_matches("REASON_");
    let address = Some(("address".to_owned(), error.address.clone())).filter(|(_, address)| !address.is_empty());
    let address: HashMap<_, _> = address.into_iter().collect();
    let mut details = ErrorDetails::with_error_info(name, sixpin_proto::ERROR_DOMAIN, address);
    if error.retry_after_ms > 0 {
        details.set_retry_info(Some(Duration::from_millis(error.retry_after_ms.into())));
    }
    Status::with_error_details(code, error.message.clone(), details)
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
