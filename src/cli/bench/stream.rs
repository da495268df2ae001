//! The load on session streams.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{Sink as _, SinkExt as _, StreamExt as _};
use sixpin_proto::frames::FrameError;
use sixpin_proto::v1;
use sixpin_proto::v1::echo_service_client::EchoServiceClient;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use sixpin_proto::v1::session_request::Body;
use sixpin_proto::v1::session_response::Body as Answer;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::codec::Framed;
use tonic::Streaming;
use tonic::transport::Channel;

use super::plan::{Carrier, Plan, Workload};
use super::tally::{Open, Tally, gather, sample};
use super::target::{self, SessionFrames, TTL_MS, Target, refused};
use super::websocket::WebSocket;
use crate::cli::connect::Address;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// How often a session says that it lives.
const KEEPALIVE_EVERY: Duration = Duration::from_millis(TTL_MS as u64 / 3);
/// Bits of a request number that say which place it is for; the rest counts up.
const PLACE_BITS: u32 = 16;

/// One slice.
pub(super) async fn slice(plan: &Plan, target: &Target, time: Duration) -> Result<Tally, Failure> {
    let contended = plan.workload == Workload::Contended;
    let one_each = matches!(plan.workload, Workload::Programs | Workload::Websocket | Workload::WebsocketProto);
    let channels = match plan.carrier {
        Carrier::Grpc if one_each => target.connect(plan.sessions).await?,
        Carrier::Grpc => target.channels(plan.sessions).await?,
        Carrier::Frames | Carrier::Json | Carrier::Proto => Vec::new(),
    };
    let resources = target.resources(plan.name(), plan.sessions, plan.in_flight, contended);
    let (window, meter) = target.window(plan.sessions, time);
    let handover = Arc::new(Handover::new());
    let mut sessions = JoinSet::new();
    for (index, resources) in resources.into_iter().enumerate() {
        let way = match channels.get(index % channels.len().max(1)) {
            Some(channel) => Way::Grpc { channel: channel.clone(), floor: target.is_floor() },
            None if plan.carrier == Carrier::Frames => Way::Frames(target.address().clone()),
            None => Way::WebSocket { address: target.address().clone(), json: plan.carrier == Carrier::Json },
        };
        let (window, floor) = (window.clone(), target.is_floor());
        let handover = contended.then(|| handover.clone());
        let lockspace = target.lockspace().to_owned();
        sessions.spawn(async move {
            let mut session = Session::start(way, floor, lockspace, resources, handover).await?;
            let open = window.open().await;
            session.work(open, window.time()).await
        });
    }
    gather(sessions, meter).await
}

/// When a contended resource was last let go of. There is one holder at a time, so one place for it is enough.
#[derive(Debug)]
pub(super) struct Handover {
    origin: Instant,
    released_ns: AtomicU64,
}

impl Handover {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), released_ns: AtomicU64::new(0) }
    }

    pub(super) fn released(&self, now: Instant) {
        let since = u64::try_from((now - self.origin).as_nanos()).unwrap_or(u64::MAX);
        self.released_ns.store(since, Ordering::Release);
    }

    /// How long ago that was.
    pub(super) fn took(&self, now: Instant) -> Duration {
        let released = Duration::from_nanos(self.released_ns.load(Ordering::Acquire));
        (now - self.origin).saturating_sub(released)
    }
}

/// One session stream, with places that each hold one lock at a time.
struct Session {
    wire: Wire,
    places: Vec<Place>,
    floor: bool,
    handover: Option<Arc<Handover>>,
    last_request: u64,
    last_claim: u64,
    kept_alive: Instant,
    tally: Tally,
}

/// One lock at a time, again and again.
struct Place {
    resource: v1::Resource,
    claim: u64,
    /// When the request that is in flight was sent.
    sent: Instant,
    step: Step,
}

/// What a place waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Grant,
    Release,
    /// Nothing more: the slice is over.
    Nothing,
}

impl Session {
    async fn start(
        way: Way,
        floor: bool,
        lockspace: String,
        resources: Vec<v1::Resource>,
        handover: Option<Arc<Handover>>,
    ) -> Result<Self, Failure> {
        let wire = way.open().await?;
        let now = Instant::now();
        let place = |resource| Place { resource, claim: 0, sent: now, step: Step::Nothing };
        let places = resources.into_iter().map(place).collect();
        let (last_request, last_claim, tally) = (0, 0, Tally::default());
        let mut session = Self { wire, places, floor, handover, last_request, last_claim, kept_alive: now, tally };
        let open = v1::Open { ttl_ms: Some(TTL_MS), lockspace, label: "sixpin bench".into(), ..Default::default() };
        session.send(0, Body::Open(open));
        session.answer().await?;
        Ok(session)
    }

    /// Locks and unlocks until the window closes, then lets go of everything.
    async fn work(&mut self, window: Open, time: Duration) -> Result<Tally, Failure> {
        let mut active = self.places.len();
        for place in 0..active {
            self.lock(place, Instant::now());
        }
        while active > 0 {
            let (request, answer) = self.answer().await?;
            let now = Instant::now();
            let Some(place) = self.place_of(request, answer)? else { continue };
            let (step, took) = (self.places[place].step, now - self.places[place].sent);
            match step {
                Step::Grant => {
                    if window.counts(now) {
                        self.tally.locks.push(sample(took));
                        if let Some(handover) = &self.handover {
                            self.tally.handovers.push(sample(handover.took(now)));
                        }
                    }
                    self.unlock(place, now);
                }
                Step::Release => {
                    if window.counts(now) {
                        self.tally.unlocks.push(sample(took));
                    }
                    if window.is_over(now) {
                        self.places[place].step = Step::Nothing;
                        active -= 1;
                    } else {
                        self.lock(place, now);
                    }
                }
                Step::Nothing => {}
            }
            if now - self.kept_alive > KEEPALIVE_EVERY {
                self.kept_alive = now;
                self.send(0, Body::KeepAlive(v1::KeepAlive::default()));
            }
        }
        self.send(0, Body::Close(v1::Close {}));
        self.tally.time = time;
        Ok(std::mem::take(&mut self.tally))
    }

    fn lock(&mut self, index: usize, now: Instant) {
        self.last_claim += 1;
        let place = &mut self.places[index];
        (place.claim, place.sent, place.step) = (self.last_claim, now, Step::Grant);
        let request = v1::Lock {
            claim: place.claim,
            operation: 1,
            resource: Some(place.resource.clone()),
            what: Some(v1::Mode::Ex.into()),
            ..Default::default()
        };
        self.send(index, Body::Lock(request));
    }

    fn unlock(&mut self, index: usize, now: Instant) {
        if let Some(handover) = &self.handover {
            handover.released(now);
        }
        let place = &mut self.places[index];
        (place.sent, place.step) = (now, Step::Release);
        let request = v1::Unlock { claim: place.claim, operation: 2, ..Default::default() };
        self.send(index, Body::Unlock(request));
    }

    fn send(&mut self, place: usize, body: Body) {
        self.last_request += 1;
        let request = self.last_request << PLACE_BITS | place as u64;
        self.wire.send(v1::SessionRequest { request, body: Some(body) });
    }

    async fn answer(&mut self) -> Result<(u64, Option<Answer>), Failure> {
        match self.wire.next().await? {
            Some(message) => Ok((message.request, message.body)),
            None => Err(Failure::new(exit::FAILURE, "the broker ended a session stream")),
        }
    }

    /// Which place an answer moves on, if any.
    fn place_of(&self, request: u64, answer: Option<Answer>) -> Result<Option<usize>, Failure> {
        let place = (request & ((1 << PLACE_BITS) - 1)) as usize;
        match answer {
            _ if self.floor => Ok(Some(place)),
            Some(Answer::Completion(completion)) => match completion.status() {
                v1::Status::Granted | v1::Status::Released if request > 0 => Ok(Some(place)),
                // An event: what was queued is granted.
                v1::Status::Granted => Ok(self.places.iter().position(|place| place.claim == completion.claim)),
                other => Err(Failure::new(exit::FAILURE, format_args!("a lock ended as {}", other.as_str_name()))),
            },
            Some(Answer::Error(error)) => Err(Failure::new(exit::FAILURE, error.message)),
            Some(Answer::Lost(_)) => Err(Failure::new(exit::LOST, "a session was lost")),
            _ => Ok(None),
        }
    }
}

/// The way of one session's messages, before it is taken.
enum Way {
    Grpc { channel: Channel, floor: bool },
    Frames(Address),
    WebSocket { address: Address, json: bool },
}

/// What brings the messages of one session.
enum Wire {
    Grpc(UnboundedSender<v1::SessionRequest>, Streaming<v1::SessionResponse>),
    Frames(Framed<TcpStream, SessionFrames>),
    WebSocket(Box<WebSocket>),
}

impl Way {
    async fn open(self) -> Result<Wire, Failure> {
        let (channel, floor) = match self {
            Self::Grpc { channel, floor } => (channel, floor),
            Self::Frames(address) => return target::frames(&address).await.map(Wire::Frames),
            Self::WebSocket { address, json } => {
                let opened = WebSocket::open(&address, json).await?;
                return Ok(Wire::WebSocket(Box::new(opened)));
            }
        };
        let (requests, outbound) = unbounded();
        let opened = if floor {
            EchoServiceClient::new(channel).echo(outbound).await
        } else {
            LockServiceClient::new(channel).session(outbound).await
        };
        Ok(Wire::Grpc(requests, opened.map_err(|status| refused(&status))?.into_inner()))
    }
}

impl Wire {
    /// Takes a message, which leaves when the next one is waited for.
    fn send(&mut self, message: v1::SessionRequest) {
        // If the stream has ended, its other half says why.
        match self {
            Self::Grpc(requests, _) => drop(requests.unbounded_send(message)),
            Self::Frames(frames) => drop(Pin::new(frames).start_send(message)),
            Self::WebSocket(socket) => socket.send(&message),
        }
    }

    async fn next(&mut self) -> Result<Option<v1::SessionResponse>, Failure> {
        match self {
            Self::Grpc(_, answers) => answers.message().await.map_err(|status| refused(&status)),
            Self::Frames(frames) => {
                let broken = |error: FrameError| Failure::new(exit::FAILURE, error);
                frames.flush().await.map_err(broken)?;
                frames.next().await.transpose().map_err(broken)
            }
            Self::WebSocket(socket) => socket.next().await,
        }
    }
}
