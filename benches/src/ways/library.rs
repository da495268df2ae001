//! Sixpin's broker as a library: the engine on the store, and streams that begin and end in this process.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sixpin_core::access::Principal;
use sixpin_core::backend::{BrokerInfo, Durability};
use sixpin_core::broker::api::{DoneStatus, Input, LockRequest, OpenRequest, Reply, Request, UnlockRequest};
use sixpin_core::command::{Options, Status};
use sixpin_core::limits;
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Label, Lockspace, OperationNumber, ResourceId, ResourceName};
use sixpin_server::backends;
use sixpin_server::config::BackendConfig;
use sixpin_server::lately::Lately;
use sixpin_server::metrics::Counts;
use sixpin_server::runtime::incarnation::{EngineConfig, Process};
use sixpin_server::runtime::outbox::Outgoing;
use sixpin_server::runtime::{Connection, EngineHandle, engine};
use tokio::task::JoinSet;

use super::Work;
use crate::load::{Tally, Window};

/// Sessions over which the places are spread.
const SESSIONS: usize = 4;

/// An engine on the store.
pub(crate) struct Library(EngineHandle);

impl Library {
    pub(crate) async fn open(url: &str) -> Self {
        let backend = BackendConfig { url: url.into(), settings: toml::Table::new() };
        let store = backends::open(&backend, Durability::Volatile).await.unwrap();
        let again = store.clone();
        let config = EngineConfig {
            format_max: sixpin_core::format::NEWEST,
            name: "default".into(),
            info: BrokerInfo {
                name: "library".into(),
                address: String::new(),
                admin_address: String::new(),
                program: "sixpin-benches".into(),
            },
            broker_ttl: limits::BROKER_TTL_DEFAULT,
            session_ttl: limits::SESSION_TTL_MAX,
            session_ttl_max: limits::SESSION_TTL_MAX,
            limits: limits::Limits::default(),
            lanes: 1,
            depth: 4,
            lockspaces: BTreeMap::new(),
            store_patience: Duration::from_secs(5),
            first_start_grace: Some(Duration::ZERO),
            drain_timeout: Duration::from_secs(5),
            reopen: Box::new(move || {
                let again = again.clone();
                async move { Ok(again) }.boxed()
            }),
            process: Process::Program,
            counts: Counts::new([], &BTreeMap::default()).of_engine("default"),
            lately: Lately::default(),
            audit: Arc::default(),
            traced: false,
        };
        Self(engine::start(config, store))
    }
}

impl Work for Library {
    async fn slice(&self, in_flight: usize, slice: Duration) -> Tally {
        let mut streams = Vec::new();
        for number in 0..SESSIONS.min(in_flight) {
            let places = (number..in_flight).step_by(SESSIONS).map(Place::new).collect();
            streams.push(Stream::open(&self.0, places).await);
        }
        let window = Window::new(slice);
        let mut working = JoinSet::new();
        for stream in streams {
            working.spawn(stream.work(window));
        }
        let mut total = Tally::new(window);
        while let Some(done) = working.join_next().await {
            total.merge(&done.expect("no pair fails"));
        }
        total
    }
}

/// One lock at a time, again and again.
struct Place {
    resource: ResourceId,
    claim: ClaimNumber,
    begun: Instant,
    locked: bool,
}

impl Place {
    fn new(number: usize) -> Self {
        let lockspace = Lockspace::new("default").unwrap();
        let name = ResourceName::new(&format!("library/{number}")).unwrap();
        Self { resource: ResourceId { lockspace, name }, claim: ClaimNumber(0), begun: Instant::now(), locked: false }
    }

    fn lock(&mut self, claim: ClaimNumber, now: Instant) -> Request {
        (self.claim, self.begun, self.locked) = (claim, now, false);
        let lock = LockRequest {
            claim,
            operation: OperationNumber(1),
            resource: self.resource.clone(),
            mode: Mode::EX,
            options: Options::empty(),
            conversion_deadlock: None,
            wait: None,
            blocking: false,
            owner: Label::default(),
            label: Label::default(),
            orphan: false,
        };
        Request::Lock { lock, until_done: false }
    }

    fn unlock(&mut self) -> Request {
        self.locked = true;
        Request::Unlock(UnlockRequest {
            claim: self.claim,
            operation: OperationNumber(2),
            options: Options::empty(),
            value: None,
            force: false,
        })
    }
}

/// One session with its places. A place is known to its answers by its number, which is that of its requests.
struct Stream {
    connection: Connection,
    places: Vec<Place>,
    claims: u64,
}

impl Stream {
    async fn open(engine: &EngineHandle, places: Vec<Place>) -> Self {
        // The engine refuses until it is registered.
        loop {
            let mut stream = Self { connection: engine.connect(None), places: Vec::new(), claims: 0 };
            let open = Request::Open(Box::new(OpenRequest { attach: true, ..OpenRequest::default() }));
            let open = stream.connection.input(0, Some(Principal::default()), open);
            stream.send(vec![open]).await;
            let answer = stream.take().await.pop_front();
            if let Some(Outgoing::Reply { reply: Reply::Opened { .. }, .. }) = answer {
                stream.places = places;
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn work(mut self, window: Window) -> Tally {
        let mut tally = Tally::new(window);
        let now = Instant::now();
        let mut working = self.places.len();
        let inputs = (0..working).map(|place| self.lock(place, now)).collect();
        self.send(inputs).await;
        while working > 0 {
            let mut inputs = Vec::new();
            for answer in self.take().await {
                let Outgoing::Reply { request, reply, .. } = answer else { continue };
                let Reply::Done(done) = reply else { panic!("nobody else wants this: {reply:?}") };
                assert!(matches!(done.status, DoneStatus::Is(Status::Granted | Status::Released)), "{done:?}");
                let place = usize::try_from(request).unwrap();
                if !self.places[place].locked {
                    let unlock = self.places[place].unlock();
                    inputs.push(self.connection.input(request, None, unlock));
                    continue;
                }
                let now = Instant::now();
                tally.pair(self.places[place].begun, now);
                if window.is_over(now) {
                    working -= 1;
                } else {
                    inputs.push(self.lock(place, now));
                }
            }
            self.send(inputs).await;
        }
        let close = self.connection.input(0, None, Request::Close);
        self.send(vec![close]).await;
        self.take().await;
        tally
    }

    fn lock(&mut self, place: usize, now: Instant) -> Input {
        self.claims += 1;
        let lock = self.places[place].lock(ClaimNumber(self.claims), now);
        self.connection.input(place as u64, None, lock)
    }

    async fn send(&mut self, mut inputs: Vec<Input>) {
        poll_fn(|cx| self.connection.poll_send(cx, &mut inputs)).await.unwrap();
    }

    /// All answers that have come, at least one.
    async fn take(&mut self) -> VecDeque<Outgoing> {
        let mut taken = VecDeque::new();
        let (connection, into) = (&mut self.connection, &mut taken);
        let end = poll_fn(move |cx| match connection.poll_take(cx, into) {
            Poll::Pending if !into.is_empty() => Poll::Ready(None),
            other => other,
        });
        let end = end.await;
        assert!(!taken.is_empty(), "the engine ended the stream: {end:?}");
        taken
    }
}
