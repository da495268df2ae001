//! Where requests come in: each gets its place among those of its connection and its client, or is refused with the limit
//! that it met.
//!
//! | request | what it needs |
//! |---|---|
//! | a session stream | a place among streams without a session, until it has one. Those of one connection wait their turn |
//! | a stream that watches | a place among those that watch, until it ends |
//! | an inspection | its turn among those of its connection, its client and the process; it is done on the inspection lane |
//! | a call that opens a session | its turn among those of its client, which come at a pace; then a place among calls |
//! | anything else | a place among calls, until it is answered |

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response, Version, request};
use hyper::body::{Body as _, Frame, Incoming};
use sixpin_core::access::NOBODY;
use sixpin_core::limits::{
    INSPECTIONS_PER_CONNECTION_MAX, LARGE_ANSWER_BYTES, OPENING_PER_CONNECTION_MAX, WATCHES_PER_CONNECTION_MAX,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;
use tower_service::Service as _;

use super::answer::Answer;
use super::beginning::Shown;
use super::complaint::Complaint;
use super::connection::reason_to_cut;
use super::cookie;
use super::gate::Pass;
use super::protocol::{Dialect, Kind, Protocol, What};
use super::share::{Lane, Share};
use super::timely::TimelyBody;
use super::unread::{Live, Traffic};
use crate::access::signed::Ticket;
use crate::access::{Access, Unknown, Who};
use crate::audit::{Line, Outcome};

/// How long a request waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// What a request holds; given back when dropped.
pub(super) type Places = Vec<OwnedSemaphorePermit>;

/// The place of a stream among those that have no session yet. In the extensions of a request; dropped once it has one.
#[derive(Clone)]
pub(crate) struct OpeningPlace {
    _places: Arc<dyn Any + Send + Sync>,
}

impl OpeningPlace {
    /// Holds these until it is dropped.
    pub(super) fn of(places: impl Any + Send + Sync) -> Self {
        Self { _places: Arc::new(places) }
    }
}

/// A connection that goes on after its request, in another protocol: it counts as long as this lives. In the extensions of a
/// request with a session stream over HTTP/1.1.
#[derive(Clone)]
pub(crate) struct Upgraded {
    from: From,
}

impl Upgraded {
    /// Its peer takes nothing of what it is sent.
    pub(crate) fn is_stuck(&self) -> bool {
        reason_to_cut(&self.from.traffic).is_some()
    }

    /// A message came that costs as much as so many frames. How long to rest before the next one is read, if at all.
    pub(crate) fn came(&self, frames: u32) -> Option<Duration> {
        rest(self.from.pass.share(), frames)
    }

    /// Who asks, by a header or a token, or else by what the connection has shown. None if that cannot be known: then it took its
    /// time.
    pub(crate) async fn identify(
        &self,
        access: &Access,
        header: Option<&HeaderValue>,
        token: Option<&str>,
    ) -> Option<Who> {
        let identified = match token {
            Some(token) => access.identify_by(Some(token), &self.from.shown),
            None => access.identify(header.map(HeaderValue::as_bytes), &self.from.shown),
        };
        match identified {
            Ok(who) => Some(who),
            Err(why) => {
                refused(access, self.from.pass.share(), self.from.connection.remote_addr, &why).await;
                None
            }
        }
    }
}

/// The connection of whoever looks at the operator's page. In the extensions of a request for it.
#[derive(Clone)]
pub(crate) struct Visiting {
    from: From,
}

impl Visiting {
    /// Who asks by this token, as for any request. None if that cannot be known: then it took its time. Nothing of the token is kept
    /// meanwhile, because many may be taking their time.
    pub(crate) async fn identify(&self, access: &Access, token: String) -> Option<Who> {
        let identified = access.identify_by(Some(token.trim()), &self.from.shown);
        drop(token);
        match identified {
            Ok(who) => Some(who),
            Err(why) => {
                refused(access, self.from.pass.share(), self.from.connection.remote_addr, &why).await;
                None
            }
        }
    }

    /// Does this where inspection is done, in the share of the client, or says which limit was met.
    pub(crate) async fn inspect<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, &'static str> {
        let turns = turns_to_inspect(&self.from.pass).await?;
        let worked = self.from.pass.lane().spawn(async move {
            let _turns = turns;
            work.await
        });
        worked.await.map_err(|_| GIVEN_UP)
    }
}

const GIVEN_UP: &str = "the inspection was given up";

/// The turn of an inspection among those of its client, and then among all.
async fn turns_to_inspect(pass: &Pass) -> Result<[OwnedSemaphorePermit; 2], &'static str> {
    let of_client = turn(&pass.share().inspections, "inspections at once of this client").await?;
    let waiting = tokio::time::timeout(TURN_WITHIN, pass.lane().turn());
    let of_all = waiting.await.ok().flatten().ok_or("inspections at once at this broker")?;
    Ok([of_client, of_all])
}

/// How long a client must rest that has sent one more request.
fn rest(share: &Share, frames: u32) -> Option<Duration> {
    share.frames.as_ref().map(|pace| pace.came(frames)).filter(|rest| !rest.is_zero())
}

/// Whether a request came through TLS. In the extensions of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encrypted(pub(crate) bool);

/// Where the requests of a connection come from.
#[derive(Clone)]
pub(super) struct From {
    pub(super) connection: TcpConnectInfo,
    pub(super) shown: Shown,
    pub(super) encrypted: Encrypted,
    pub(super) pass: Arc<Pass>,
    pub(super) traffic: Arc<Traffic>,
}

/// Lets the requests of one connection in.
#[derive(Clone)]
pub(super) struct Admission {
    inner: Arc<Inner>,
}

struct Inner {
    protocol: Protocol,
    from: From,
    /// Who asked last, and by which header.
    known: Mutex<Option<(Option<HeaderValue>, Who)>>,
    opening: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    inspections: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(protocol: Protocol, from: From) -> Self {
        let places = |places| Arc::new(Semaphore::new(places));
        let inner = Inner {
            protocol,
            from,
            known: Mutex::default(),
            opening: places(OPENING_PER_CONNECTION_MAX),
            watches: places(WATCHES_PER_CONNECTION_MAX),
            inspections: places(INSPECTIONS_PER_CONNECTION_MAX),
        };
        Self { inner: Arc::new(inner) }
    }
}

type Answered = Result<Response<Answer>, Infallible>;

impl hyper::service::Service<Request<Incoming>> for Admission {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answered> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let inner = self.inner.clone();
        inner.from.traffic.asked();
        // A request of HTTP/1.1 is no stream that would be counted.
        let live = (request.version() < Version::HTTP_2).then(|| Live::new(inner.from.traffic.clone()));
        // Named before anything waits, so that what waits is counted.
        let call = place(&inner.share().calls);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let Some(dialect) = inner.protocol.dialect(&parts) else {
                return Ok(inner.hand_out(Response::default(), Vec::new()));
            };
            let what = (dialect.what)(&parts);
            let body = TimelyBody::new(body, what.streams_in);
            if live.is_some()
                && let Some(rest) = rest(inner.share(), 1)
            {
                tokio::time::sleep(rest).await;
            }
            let answered = match call {
                None => Err("calls in progress of this client"),
                Some(call) if !what.for_everybody && !inner.knows(&mut parts, what).await => {
                    Ok(inner.hand_out((dialect.unauthenticated)(&parts), vec![call]))
                }
                Some(call) => inner.answer(Request::from_parts(parts, body), dialect, what, call).await,
            };
            let answered = answered.unwrap_or_else(|limit| inner.hand_out((dialect.refusal)(limit), Vec::new()));
            Ok(answered.map(|body| body.of(live)))
        })
    }
}

impl Inner {
    fn share(&self) -> &Arc<Share> {
        self.from.pass.share()
    }

    fn lane(&self) -> &Lane {
        self.from.pass.lane()
    }

    /// Answers, or says which limit was met.
    async fn answer(
        &self,
        mut request: Request<TimelyBody>,
        dialect: &Dialect,
        what: What,
        call: OwnedSemaphorePermit,
    ) -> Result<Response<Answer>, &'static str> {
        let extensions = request.extensions_mut();
        extensions.insert(self.share().client);
        extensions.insert(self.from.connection.clone());
        extensions.insert(self.from.encrypted);
        if what.page {
            extensions.insert(Visiting { from: self.from.clone() });
        }
        let mut places = Vec::new();
        match what.kind {
            Kind::Session => {
                let limit = "session streams without a session on this connection: open the sessions first";
                let own = turn(&self.opening, limit).await?;
                let opening = place(&self.share().opening).ok_or("session streams without a session of this client")?;
                // The stream counts as a call until it has a session; from then on the session counts.
                extensions.insert(OpeningPlace::of((own, opening, call)));
                extensions.insert(self.share().turns.clone());
                extensions.insert(Upgraded { from: self.from.clone() });
            }
            Kind::Watch => {
                places.push(place(&self.watches).ok_or("streams that watch on this connection")?);
                places.push(place(&self.share().watches).ok_or("streams that watch of this client")?);
            }
            Kind::Inspection => return self.inspect(request, dialect, call).await,
            Kind::Open => {
                self.share().opens.turn(TURN_WITHIN).await.ok_or("sessions opened in a second by this client")?;
                places.push(call);
            }
            Kind::Call => places.push(call),
        }
        let answered = dialect.routes.clone().call(request).await;
        Ok(self.hand_out((dialect.finish)(answered.unwrap_or_else(|never| match never {})), places))
    }

    /// Finds out who asks. False if that cannot be known: then it took its time.
    async fn knows(&self, parts: &mut request::Parts, what: What) -> bool {
        let access = &self.protocol.access;
        let header = parts.headers.get(AUTHORIZATION);
        if let Some((ticket, who)) =
            Some(what).filter(|what| what.page && header.is_none()).and_then(|_| signed_in(access, parts))
        {
            parts.extensions.insert(ticket);
            parts.extensions.insert(who);
            return true;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Most connections are of one program, which says the same with each request.
        let again = known.filter(|(said, _)| said.as_ref() == header).map(|(_, who)| who);
        let identified = match again {
            Some(mut who) => who.principal(access).map(drop).map(|()| who),
            None => access.identify(header.map(HeaderValue::as_bytes), &self.from.shown),
        };
        match identified {
            Ok(who) => {
                let known = Some((header.cloned(), who.clone()));
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
                parts.extensions.insert(who);
                true
            }
            Err(why) => {
                refused(access, self.share(), self.from.connection.remote_addr, &why).await;
                false
            }
        }
    }

    /// Answers on the inspection lane. The answer is whole when it comes back, so that its turn is over by then, and one that is
    /// too much is refused before it has begun.
    async fn inspect(
        &self,
        request: Request<TimelyBody>,
        dialect: &Dialect,
        call: OwnedSemaphorePermit,
    ) -> Result<Response<Answer>, &'static str> {
        // Who sends slowly has no turn yet.
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, arrived(body, self.protocol.request_bytes_max).await);
        let own = turn(&self.inspections, "inspections at once on this connection").await?;
        let turns = turns_to_inspect(&self.from.pass).await?;
        let (mut routes, finish) = (dialect.routes.clone(), dialect.finish);
        let work = self.lane().spawn(async move {
            let answered = routes.call(request).await;
            let response = finish(answered.unwrap_or_else(|never| match never {}));
            let (parts, body) = response.into_parts();
            let body = whole(body).await;
            drop(turns);
            Response::from_parts(parts, body)
        });
        let response = work.await.map_err(|_| GIVEN_UP)?;
        let bytes = response.body().data.as_ref().map_or(0, Bytes::len);
        let large = if bytes < LARGE_ANSWER_BYTES { None } else { Some(self.share().large(bytes, true)?) };
        let response = response.map(tonic::body::Body::new);
        Ok(self.hand_out(response, vec![own, call]).map(|answer| answer.counted(large)))
    }

    fn hand_out(&self, response: Response<tonic::body::Body>, places: Places) -> Response<Answer> {
        response.map(|body| Answer::new(body, self.share().clone(), places))
    }
}

/// Who asks with a browser that has signed in, and what it shows for that. None if it has not, or whoever did is not known any more.
fn signed_in(access: &Access, parts: &request::Parts) -> Option<(Ticket, Who)> {
    let signed = access.signed();
    let mut tickets = cookie::tickets(&parts.headers, signed);
    let (ticket, mut who) = tickets.find_map(|ticket| signed.who(&ticket).map(|who| (ticket, who)))?;
    // With the rules that are in force now, and not with those of when it signed in.
    who.principal(access).is_ok().then_some((ticket, who))
}

/// All listeners have one, so that the log is not filled by each.
static COMPLAINT: Complaint = Complaint::new();

/// Says why somebody was not let in, to who looks after the broker alone. Returns when whoever asked may be told that he is not.
pub(super) async fn refused(access: &Access, share: &Share, address: Option<SocketAddr>, why: &Unknown) {
    let line = || Line::new(NOBODY, address, "authenticate").outcome(Outcome::Refused, why);
    access.audit().not_authenticated(why.reason(), line);
    COMPLAINT.say(|count| tracing::warn!(?address, count, %why, "not authenticated"));
    share.wrong_credential().await;
}

/// A place, if there is one.
pub(super) fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    places.clone().try_acquire_owned().ok()
}

/// A place as soon as there is one.
async fn turn(places: &Arc<Semaphore>, limit: &'static str) -> Result<OwnedSemaphorePermit, &'static str> {
    let waiting = tokio::time::timeout(TURN_WITHIN, places.clone().acquire_owned());
    waiting.await.ok().and_then(Result::ok).ok_or(limit)
}

/// A body that is here.
struct Whole {
    data: Option<Bytes>,
    end: Option<Result<HeaderMap, Status>>,
}

/// Waits for all of a request with one message, or for enough of it to see that it is too long.
async fn arrived(mut body: TimelyBody, bytes_max: usize) -> Whole {
    let (mut data, mut end) = (BytesMut::new(), None);
    while data.len() <= bytes_max
        && let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        match frame.map(Frame::into_data) {
            Ok(Ok(more)) => data.extend_from_slice(&more),
            Ok(Err(_)) => {}
            Err(error) => {
                end = Some(Err(Status::from_error(error)));
                break;
            }
        }
    }
    Whole { data: Some(data.freeze()), end }
}

/// Waits for all of a body that has one message.
async fn whole(body: tonic::body::Body) -> Whole {
    let mut body = body;
    let mut whole = Whole { data: None, end: None };
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => whole.data = Some(data),
            Ok(Err(frame)) => whole.end = frame.into_trailers().ok().map(Ok),
            Err(status) => whole.end = Some(Err(status)),
        }
    }
    whole
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match self.data.take() {
            Some(data) => Some(Ok(Frame::data(data))),
            None => self.end.take().map(|end| end.map(Frame::trailers)),
        };
        std::task::Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.end.is_none()
    }
}
