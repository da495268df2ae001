//! The stream of one session: requests in, answers and events out.
//!
//! One task does both directions. Each time it runs it reads what has arrived, sends it to the engine as one batch,
//! and writes the answers that wait; nothing is spawned and nothing is sent per message.
//!
//! # When the stream ends
//!
//! Every error of a request is an answer. The stream itself ends only when
//!
//! * its first message is not `open` or `resume`, or a second one comes while a session is open: `INVALID_ARGUMENT`;
//! * a message cannot be decoded, or has no request number to answer under: `INVALID_ARGUMENT`; or is too long:
//!   `RESOURCE_EXHAUSTED`;
//! * it has no session after ten seconds: `DEADLINE_EXCEEDED`;
//! * the client does not take its answers: `RESOURCE_EXHAUSTED`;
//! * the session is closed, over, or continued on another stream: `OK`, after what had to be said;
//! * the broker is over: `UNAVAILABLE`;
//! * the client has closed its side and has all its answers: `OK`.
//!
//! # Limits
//!
//! A stream has at most `requests_per_stream` requests in flight; what goes beyond is answered `LIMIT` at once, rather
//! than left unread, so that a keepalive always gets through. A client that knows `requests_max` never sees that.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use sixpin_core::broker::api::{ClientInfo, Input, Reply, Request, RequestError};
use sixpin_core::name::Lockspace;
use sixpin_proto::v1;
use tokio::time::{Sleep, sleep};
use tonic::{Status, Streaming};
use v1::client_message::Body;

use super::errors::{self, invalid};
use super::names::Names;
use super::parts::Parts;
use super::replies::{self, Replies};
use super::requests;
use crate::frontend::listener::OpeningPlace;
use crate::runtime::outbox::{End, Outgoing};
use crate::runtime::{Connection, EngineHandle, Runtime};

/// Messages read in one go, so that writing gets its turn.
const MESSAGES_PER_READ: usize = 256;
/// How long a stream may take to come to a session.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How many keepalives and farewells may go beyond the limit of requests in flight.
const VITAL_RESERVE: usize = 16;

/// The stream that answers one `Session` call.
pub struct SessionStream {
    runtime: Runtime,
    /// Its place among streams without a session; given back once it has one.
    place: Option<OpeningPlace>,
    replies: Replies,
    names: Names,
    /// Absent once the client has closed its side, or lost the right to be heard.
    inbound: Option<Streaming<v1::ClientMessage>>,
    /// Who calls, and from where.
    from: ClientInfo,
    engine: Option<(EngineHandle, Connection)>,
    /// The lockspace that the session was opened for.
    lockspace: Lockspace,
    opening: Opening,
    /// When a stream that has no session ends; absent once it has one.
    patience: Option<Pin<Box<Sleep>>>,
    /// A resume of which more must come.
    parts: Parts,
    last_request: u64,
    in_flight: usize,
    /// Read, not sent to the engine yet.
    inputs: Vec<Input>,
    /// Answers given here.
    local: VecDeque<v1::ServerMessage>,
    /// Answers of the engine.
    taken: VecDeque<Outgoing>,
    /// How the stream ends once everything before is written.
    end: Option<Result<(), Status>>,
    ended: bool,
}

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Neither open nor asked for.
    Nothing,
    /// Asked for by this request.
    Asked(u64),
    /// Open.
    Open,
}

impl SessionStream {
    /// Answers the messages of `request`.
    pub(super) fn new(runtime: Runtime, mut request: tonic::Request<Streaming<v1::ClientMessage>>) -> Self {
        let place = request.extensions_mut().remove();
        let from = requests::caller(&request);
        let inbound = request.into_inner();
        Self {
            place,
            replies: Replies::new(runtime.clone()),
            runtime,
            names: Names::default(),
            inbound: Some(inbound),
            from,
            engine: None,
            lockspace: Lockspace::default(),
            opening: Opening::Nothing,
            patience: Some(Box::pin(sleep(OPEN_WITHIN))),
            parts: Parts::default(),
            last_request: 0,
            in_flight: 0,
            inputs: Vec::new(),
            local: VecDeque::new(),
            taken: VecDeque::new(),
            end: None,
            ended: false,
        }
    }

    /// Reads what has arrived and sends it on. Pending when there is nothing to read or no room in the engine.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_send(cx));
        for _ in 0..MESSAGES_PER_READ {
            let Some(inbound) = &mut self.inbound else { break };
            match Pin::new(inbound).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => self.accept(message),
                Poll::Ready(Some(Err(status))) => self.fail(errors::unreadable(&status)),
                Poll::Ready(None) => self.inbound = None,
                Poll::Pending => {
                    ready!(self.poll_send(cx));
                    return Poll::Pending;
                }
            }
        }
        self.poll_send(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, connection)) = &mut self.engine else { return Poll::Ready(()) };
        if let Err(error) = ready!(connection.poll_send(cx, &mut self.inputs)) {
            self.fail(errors::status(&error));
        }
        Poll::Ready(())
    }

    /// Takes one message: into the batch for the engine, or answered here.
    fn accept(&mut self, message: v1::ClientMessage) {
        let request = message.request;
        let first = self.last_request == 0;
        let opens = matches!(message.body, Some(Body::Open(_) | Body::Resume(_)));
        if request == 0 {
            return self.fail_with(&invalid("`request` is 0: requests are numbered from 1"));
        }
        if first && !opens {
            return self.fail_with(&invalid("the first message of a stream is `open` or `resume`"));
        }
        if opens && self.opening != Opening::Nothing {
            return self.fail_with(&invalid("the stream has a session already: use another stream"));
        }
        if request <= self.last_request {
            let last = self.last_request;
            return self.refuse(request, &invalid(format!("`request` is {request} after {last}: numbers rise")));
        }
        self.last_request = request;
        match self.admit(message).and_then(|body| self.request_of(request, body)) {
            Ok(Some(body)) => self.enqueue(request, body),
            Ok(None) => {}
            Err(error) => self.refuse(request, &error),
        }
    }

    /// Checks that the message has content and that the stream has room for it.
    fn admit(&self, message: v1::ClientMessage) -> Result<Body, RequestError> {
        let body = message.body.ok_or_else(|| invalid("the message is empty"))?;
        let vital = matches!(body, Body::KeepAlive(_) | Body::Close(_) | Body::ConfirmLost(_));
        let max = self.runtime.limits().requests_per_stream;
        if self.in_flight >= max + if vital { VITAL_RESERVE } else { 0 } {
            return Err(RequestError::Limit(format!("{max} requests in flight on one stream; nothing changed")));
        }
        if self.parts.incomplete() && !matches!(body, Body::Resume(_)) {
            return Err(invalid("a `resume` said that more of it follows: the next message must be its next part"));
        }
        Ok(body)
    }

    /// What the engine is to do. Absent if that is known only with a later message.
    fn request_of(&mut self, request: u64, body: Body) -> Result<Option<Request>, RequestError> {
        match body {
            Body::Open(open) => {
                let checked = requests::open(&open, &self.from, true)?;
                self.begin(request, &open.lockspace)?;
                return Ok(Some(checked));
            }
            Body::Resume(part) => {
                let Some(resume) = self.parts.add(part, self.runtime.limits())? else { return Ok(None) };
                let lockspace = resume.lockspace.clone();
                let checked = requests::resume(resume, &mut self.names, self.runtime.limits(), &self.from, true)?;
                self.begin(request, &lockspace)?;
                return Ok(Some(checked));
            }
            _ if self.opening == Opening::Nothing => {
                return Err(RequestError::NotFound("the stream has no session: open or resume one first".into()));
            }
            _ => {}
        }
        Ok(Some(match body {
            Body::KeepAlive(keep_alive) => Request::KeepAlive { move_number: keep_alive.move_number },
            Body::Lock(lock) => {
                let lock = requests::lock(lock, &mut self.names)?;
                self.check_store(&lock.resource.lockspace)?;
                Request::Lock { lock, until_done: false }
            }
            Body::Convert(convert) => {
                Request::Convert { convert: requests::convert(convert, &mut self.names)?, until_done: false }
            }
            Body::Unlock(unlock) => Request::Unlock(requests::unlock(unlock)?),
            Body::UnlockAll(all) => requests::unlock_all(&all)?,
            Body::Cancel(cancel) => requests::cancel(&cancel)?,
            Body::ConfirmLost(confirm) => requests::confirm_lost(confirm)?,
            Body::Close(v1::Close {}) => Request::Close,
            Body::Open(_) | Body::Resume(_) => return Err(invalid("the stream has a session already")),
        }))
    }

    /// Connects to the engine of the session's store.
    fn begin(&mut self, request: u64, lockspace: &str) -> Result<(), RequestError> {
        self.lockspace = self.names.lockspace(lockspace)?;
        let engine = self.runtime.engine(&self.lockspace);
        match &self.engine {
            // An earlier attempt to open failed; the stream stays with the store it asked for.
            Some((connected, _)) if !connected.same(engine) => {
                return Err(invalid(
                    "the lockspace is on another store than the one first asked for: use another stream",
                ));
            }
            Some(_) => {}
            None => self.engine = Some((engine.clone(), engine.connect())),
        }
        self.opening = Opening::Asked(request);
        Ok(())
    }

    /// A session lives in one store.
    fn check_store(&self, lockspace: &Lockspace) -> Result<(), RequestError> {
        let here = self.engine.as_ref().is_some_and(|(engine, _)| self.runtime.engine(lockspace).same(engine));
        if here { Ok(()) } else { Err(other_store(lockspace)) }
    }

    fn enqueue(&mut self, request: u64, body: Request) {
        if let Some((_, connection)) = &self.engine {
            self.inputs.push(connection.input(request, body));
            self.in_flight += 1;
        }
    }

    fn refuse(&mut self, request: u64, error: &RequestError) {
        let body = v1::server_message::Body::Error(errors::to_proto(error));
        self.local.push_back(v1::ServerMessage { request, body: Some(body) });
    }

    /// Ends the stream after the answers that are here. What is in flight is not waited for.
    fn fail(&mut self, status: Status) {
        self.inbound = None;
        self.end.get_or_insert(Err(status));
    }

    fn fail_with(&mut self, error: &RequestError) {
        self.fail(errors::status(error));
    }

    fn outgoing(&mut self, outgoing: Outgoing) -> v1::ServerMessage {
        match outgoing {
            Outgoing::Reply { request, reply } => {
                self.in_flight = self.in_flight.saturating_sub(1);
                if self.opening == Opening::Asked(request) {
                    let open = matches!(reply, Reply::Opened { .. } | Reply::Resumed { .. });
                    self.opening = if open { Opening::Open } else { Opening::Nothing };
                    self.patience.take_if(|_| open);
                    self.place.take_if(|_| open);
                }
                if matches!(reply, Reply::Closed) {
                    self.inbound = None;
                    self.end.get_or_insert(Ok(()));
                }
                v1::ServerMessage { request, body: self.replies.reply(reply, &self.lockspace) }
            }
            Outgoing::Event(event) => v1::ServerMessage { request: 0, body: Some(replies::event(event)) },
        }
    }

    /// Ends a stream that does not come to a session.
    fn poll_patience(&mut self, cx: &mut Context<'_>) {
        let waits = self.opening == Opening::Nothing && self.inbound.is_some();
        if let Some(patience) = self.patience.as_mut().filter(|_| waits)
            && patience.as_mut().poll(cx).is_ready()
        {
            let text = format!("the stream has no session after {OPEN_WITHIN:?}: open or resume one at once");
            self.fail(Status::deadline_exceeded(text));
        }
    }

    /// Takes the engine's answers. Ready if there is something to write or the stream ends.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, connection)) = &self.engine else { return Poll::Pending };
        if let Some(end) = ready!(connection.poll_take(cx, &mut self.taken)) {
            self.end.get_or_insert(ending(end));
        }
        Poll::Ready(())
    }
}

impl Stream for SessionStream {
    type Item = Result<v1::ServerMessage, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(outgoing) = this.taken.pop_front() {
                return Poll::Ready(Some(Ok(this.outgoing(outgoing))));
            }
            if let Some(message) = this.local.pop_front() {
                return Poll::Ready(Some(Ok(message)));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(end) = this.end.take() {
                this.ended = true;
                // The engine hears at once that nobody listens any more.
                this.engine = None;
                return Poll::Ready(end.err().map(Err));
            }
            this.poll_patience(cx);
            let read = this.poll_read(cx);
            let wrote = this.poll_take(cx);
            if this.inbound.is_none() && this.in_flight == 0 && wrote.is_pending() {
                this.end.get_or_insert(Ok(()));
            }
            let idle = this.local.is_empty() && this.end.is_none();
            if read.is_pending() && wrote.is_pending() && idle {
                return Poll::Pending;
            }
            // A side that closed has nothing to read, and would be asked again for ever.
            if this.inbound.is_none() && wrote.is_pending() && idle {
                return Poll::Pending;
            }
        }
    }
}

/// A resource that is not where the session is.
pub(super) fn other_store(lockspace: &Lockspace) -> RequestError {
    invalid(format!("lockspace `{lockspace}` is on another store than the session: open a session for it"))
}

/// How a stream ends when its engine says so.
pub(super) fn ending(end: End) -> Result<(), Status> {
    match end {
        End::Finished => Ok(()),
        End::TooSlow => {
            let text = "answers waiting for one stream: the client does not read them; resume the session";
            Err(errors::status(&RequestError::Limit(text.into())))
        }
        End::BrokerOver(text) => Err(errors::status(&RequestError::Unavailable(text))),
    }
}
