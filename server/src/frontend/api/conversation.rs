//! A stream that carries a session: requests in, answers and events out.
//!
//! One task does both directions. Each time it runs it reads what has arrived, sends it to the engine as one batch, and hands
//! out the answers that wait; nothing is spawned and nothing is sent per message.
//!
//! # When it ends
//!
//! Every error of a request is an answer. The conversation itself ends only when
//!
//! * its first message does not open or resume a session, or a second one does while one is open;
//! * a message cannot be decoded, has no number to answer under, or is too long;
//! * it has no session after ten seconds;
//! * the credential of its client expires, or is of no use any more;
//! * the client does not take its answers;
//! * the session is closed, over, or continued on another stream, after what had to be said;
//! * the broker is over;
//! * the client has closed its side and has all its answers.
//!
//! # Limits
//!
//! It has at most `requests_per_stream` requests in flight; what goes beyond is answered `LIMIT` at once, rather than left
//! unread, so that a keepalive always gets through. A client that knows the limit never sees that.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sixpin_core::broker::api::{Event, Input, OpenRequest, Reply, Request, RequestError, ResumeRequest};
use sixpin_core::name::{ClaimNumber, Lockspace};
use tokio::time::{Sleep, sleep};

use super::errors::{invalid, other_store};
use super::identity::Identity;
use super::names::Names;
use super::{Api, Caller, Checked, note_denied};
use crate::runtime::outbox::{End, Outgoing};
use crate::runtime::{Connection, EngineHandle, Turns};
use crate::traces::Context as Trace;
use crate::traces::stream::StreamSpans;

/// Messages read in one go, so that writing gets its turn.
const MESSAGES_PER_READ: usize = 256;
/// How long a conversation may take to come to a session.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How many keepalives and farewells may go beyond the limit of requests in flight.
const VITAL_RESERVE: usize = 16;

/// The client's end of a conversation, in the protocol of its front end.
pub trait Client {
    /// What comes from it.
    type Message;

    /// The next message; none once the client has closed its side. An error ends the conversation.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Self::Message, RequestError>>>;

    /// The number under which a message is answered; 0: it has none.
    fn number(message: &Self::Message) -> u64;

    /// What kind of message it is.
    fn kind(message: &Self::Message) -> Kind;

    /// The trace that a message says it belongs to; empty: none of its own.
    fn traceparent(message: &Self::Message) -> &str;

    /// What it asks for, checked. Absent if that is known only with a later message.
    fn ask(&mut self, message: Self::Message, names: &mut Names) -> Checked<Option<Ask>>;

    /// A message said that more of it follows.
    fn is_incomplete(&self) -> bool;
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To say who asks.
    Authenticate,
    /// To open a session.
    Open,
    /// To resume one, or a part of that.
    Resume,
    /// The session depends on it: a keepalive or a farewell.
    Vital,
    /// Anything else of a session.
    Other,
    /// It says nothing.
    Empty,
}

/// What a message asks for.
#[derive(Debug)]
pub enum Ask {
    /// A new session for a lockspace.
    Open(Lockspace, OpenRequest),
    /// A session of a lockspace, which moves here if it is elsewhere, and the traces of claims that wait.
    Resume(Lockspace, ResumeRequest, BTreeMap<ClaimNumber, Trace>),
    /// Something of the session.
    Session(Request),
}

/// What the client is told.
#[derive(Debug)]
pub enum Said {
    /// The answer to a request.
    Reply {
        /// The number of the request.
        request: u64,
        /// The answer.
        reply: Reply,
    },
    /// A request was refused here; nothing changed.
    Refused {
        /// The number of the request.
        request: u64,
        /// Why.
        error: RequestError,
    },
    /// Something that was not asked for.
    Event(Event),
}

/// Why a conversation ended, if it did not end well.
#[derive(Debug)]
pub enum Failure {
    /// What the client did, or that the broker is over.
    Error(RequestError),
    /// It did not come to a session in time.
    TooLate(String),
}

/// One conversation.
pub struct Conversation {
    api: Api,
    identity: Identity,
    turns: Option<Turns>,
    names: Names,
    /// Absent: nothing is traced.
    spans: Option<Box<StreamSpans>>,
    engine: Option<(EngineHandle, Connection)>,
    /// The lockspace that the session was opened for.
    lockspace: Lockspace,
    opening: Opening,
    /// When a conversation without a session ends; absent once it has one.
    patience: Option<Pin<Box<Sleep>>>,
    /// False once the client has closed its side, or lost the right to be heard.
    listens: bool,
    last_request: u64,
    in_flight: usize,
    /// Read, not sent to the engine yet.
    inputs: Vec<Input>,
    /// Refusals.
    refused: VecDeque<Said>,
    /// Answers of the engine.
    taken: VecDeque<Outgoing>,
    /// How it ends once everything before is said.
    end: Option<Result<(), Failure>>,
    ended: bool,
}

/// How far the session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Neither open nor asked for.
    Nothing,
    /// Asked for by this request.
    Asked(u64),
    Open,
}

impl Conversation {
    /// One that nobody has said anything in, of somebody who has these turns.
    pub fn new(api: Api, from: Caller, turns: Option<Turns>) -> Self {
        Self {
            spans: api.stream_spans(&from),
            identity: Identity::new(&api, from),
            api,
            turns,
            names: Names::default(),
            engine: None,
            lockspace: Lockspace::default(),
            opening: Opening::Nothing,
            patience: Some(Box::pin(sleep(OPEN_WITHIN))),
            listens: true,
            last_request: 0,
            in_flight: 0,
            inputs: Vec::new(),
            refused: VecDeque::new(),
            taken: VecDeque::new(),
            end: None,
            ended: false,
        }
    }

    /// The lockspace that the session was opened for.
    pub fn lockspace(&self) -> &Lockspace {
        &self.lockspace
    }

    /// It has a session.
    pub fn is_open(&self) -> bool {
        self.opening == Opening::Open
    }

    /// What is to be said next. None at the end; an error is the last that comes before.
    pub fn poll_next<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Option<Result<Said, Failure>>> {
        loop {
            if let Some(outgoing) = self.taken.pop_front() {
                return Poll::Ready(Some(Ok(self.said(outgoing))));
            }
            if let Some(refused) = self.refused.pop_front() {
                return Poll::Ready(Some(Ok(refused)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(end) = self.end.take() {
                self.ended = true;
                // The engine hears at once that nobody listens any more.
                self.engine = None;
                return Poll::Ready(end.err().map(Err));
            }
            self.poll_patience(cx);
            if let Poll::Ready(error) = self.identity.poll_expired(cx) {
                self.fail(Failure::Error(error));
            }
            let read = self.poll_read(cx, client);
            let wrote = self.poll_take(cx);
            if !self.listens && self.in_flight == 0 && wrote.is_pending() {
                self.end.get_or_insert(Ok(()));
            }
            let idle = self.refused.is_empty() && self.end.is_none();
            // A side that closed has nothing to read, and would be asked again for ever.
            if (read.is_pending() || !self.listens) && wrote.is_pending() && idle {
                return Poll::Pending;
            }
        }
    }

    /// Reads what has arrived and sends it on. Pending when there is nothing to read or no room in the engine.
    fn poll_read<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) -> Poll<()> {
        ready!(self.poll_send(cx));
        for _ in 0..MESSAGES_PER_READ {
            if !self.listens {
                break;
            }
            match client.poll_message(cx) {
                Poll::Ready(Some(Ok(message))) => self.accept(client, message),
                Poll::Ready(Some(Err(error))) => self.fail(Failure::Error(error)),
                Poll::Ready(None) => self.listens = false,
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
            self.fail(Failure::Error(error));
        }
        Poll::Ready(())
    }

    /// Takes one message: into the batch for the engine, or refused here.
    fn accept<C: Client>(&mut self, client: &mut C, message: C::Message) {
        let request = C::number(&message);
        if C::kind(&message) == Kind::Authenticate {
            let text = "`authenticate` comes first, and only where no header can say who asks";
            return self.fail(Failure::Error(invalid(text)));
        }
        let opens = matches!(C::kind(&message), Kind::Open | Kind::Resume);
        if request == 0 {
            return self.fail(Failure::Error(invalid("`request` is 0: requests are numbered from 1")));
        }
        if self.last_request == 0 && !opens {
            return self.fail(Failure::Error(invalid("the first message of a stream is `open` or `resume`")));
        }
        if opens && self.opening != Opening::Nothing {
            return self.fail(Failure::Error(invalid("the stream has a session already: use another stream")));
        }
        if request <= self.last_request {
            let last = self.last_request;
            return self.refuse(request, invalid(format!("`request` is {request} after {last}: numbers rise")));
        }
        self.last_request = request;
        if let Err(error) = self.identity.check() {
            return self.fail(Failure::Error(error));
        }
        if opens {
            self.identity.tell_again();
        }
        let trace = self.spans.as_ref().and_then(|_| Trace::parse(C::traceparent(&message)));
        match self.request_of(client, request, message) {
            Ok(Some(body)) => {
                if let Some(spans) = &mut self.spans {
                    spans.begin(request, &body, trace);
                }
                self.enqueue(request, body);
            }
            Ok(None) => {}
            Err(error) => self.refuse(request, error),
        }
    }

    /// What the engine is to do. Absent if that is known only with a later message.
    fn request_of<C: Client>(&mut self, client: &mut C, request: u64, message: C::Message) -> Checked<Option<Request>> {
        self.admit(C::kind(&message), client.is_incomplete())?;
        Ok(match client.ask(message, &mut self.names)? {
            None => None,
            Some(Ask::Open(lockspace, open)) => {
                self.begin(request, lockspace)?;
                Some(Request::Open(Box::new(open)))
            }
            Some(Ask::Resume(lockspace, resume, traces)) => {
                self.begin(request, lockspace)?;
                if let Some(spans) = &mut self.spans {
                    spans.resume(&resume, &traces);
                }
                Some(Request::Resume(Box::new(resume)))
            }
            Some(Ask::Session(asked)) => {
                if let Request::Lock { lock, .. } = &asked {
                    self.check_store(&lock.resource.lockspace)?;
                }
                Some(asked)
            }
        })
    }

    /// Checks that a message of this kind may come now, and that there is room for it.
    fn admit(&self, kind: Kind, incomplete: bool) -> Checked<()> {
        if kind == Kind::Empty {
            return Err(invalid("the message is empty"));
        }
        let max = self.api.limits().requests_per_stream;
        if self.in_flight >= max + if kind == Kind::Vital { VITAL_RESERVE } else { 0 } {
            return Err(RequestError::Limit(format!("{max} requests in flight on one stream; nothing changed")));
        }
        if incomplete && kind != Kind::Resume {
            return Err(invalid("a `resume` said that more of it follows: the next message must be its next part"));
        }
        if matches!(kind, Kind::Vital | Kind::Other) && self.opening == Opening::Nothing {
            return Err(RequestError::NotFound("the stream has no session: open or resume one first".into()));
        }
        Ok(())
    }

    /// Connects to the engine of the session's store.
    fn begin(&mut self, request: u64, lockspace: Lockspace) -> Checked<()> {
        let engine = self.api.engine(&lockspace);
        match &self.engine {
            // An earlier attempt to open failed; the stream stays with the store it asked for.
            Some((connected, _)) if !connected.same(engine) => {
                return Err(invalid(
                    "the lockspace is on another store than the one first asked for: use another stream",
                ));
            }
            Some(_) => {}
            None => self.engine = Some((engine.clone(), engine.connect(self.turns.clone()))),
        }
        self.lockspace = lockspace;
        self.opening = Opening::Asked(request);
        Ok(())
    }

    /// A session lives in one store.
    fn check_store(&self, lockspace: &Lockspace) -> Checked<()> {
        let here = self.engine.as_ref().is_some_and(|(engine, _)| self.api.engine(lockspace).same(engine));
        if here { Ok(()) } else { Err(other_store(lockspace)) }
    }

    fn enqueue(&mut self, request: u64, body: Request) {
        if let Some((_, connection)) = &self.engine {
            self.inputs.push(connection.input(request, self.identity.news(), body));
            self.in_flight += 1;
        }
    }

    fn refuse(&mut self, request: u64, error: RequestError) {
        self.refused.push_back(Said::Refused { request, error });
    }

    /// Ends the conversation after the answers that are here. What is in flight is not waited for.
    fn fail(&mut self, failure: Failure) {
        self.listens = false;
        self.end.get_or_insert(Err(failure));
    }

    fn said(&mut self, outgoing: Outgoing) -> Said {
        let (request, reply) = match outgoing {
            Outgoing::Event { event, commit } => {
                if let Some(spans) = &mut self.spans {
                    spans.event(&event, commit);
                }
                return Said::Event(event);
            }
            Outgoing::Reply { request, reply, commit } => {
                if let Some(spans) = &mut self.spans {
                    spans.reply(request, &reply, commit);
                }
                (request, reply)
            }
        };
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.opening == Opening::Asked(request) {
            let open = matches!(reply, Reply::Opened { .. } | Reply::Resumed { .. });
            self.opening = if open { Opening::Open } else { Opening::Nothing };
            self.patience.take_if(|_| open);
        }
        if let Reply::Error(error) = &reply {
            note_denied(self.identity.audit(), self.identity.caller(), error);
        }
        if matches!(reply, Reply::Closed) {
            self.listens = false;
            self.end.get_or_insert(Ok(()));
        }
        Said::Reply { request, reply }
    }

    /// Ends a conversation that does not come to a session.
    fn poll_patience(&mut self, cx: &mut Context<'_>) {
        let waits = self.opening == Opening::Nothing && self.listens;
        if let Some(patience) = self.patience.as_mut().filter(|_| waits)
            && patience.as_mut().poll(cx).is_ready()
        {
            let text = format!("the stream has no session after {OPEN_WITHIN:?}: open or resume one at once");
            self.fail(Failure::TooLate(text));
        }
    }

    /// Takes the engine's answers. Ready if there is something to say or the conversation ends.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, connection)) = &self.engine else { return Poll::Pending };
        if let Some(end) = ready!(connection.poll_take(cx, &mut self.taken)) {
            self.end.get_or_insert(ending(end).map_err(Failure::Error));
        }
        Poll::Ready(())
    }
}

/// How a stream ends when its engine says so.
pub fn ending(end: End) -> Result<(), RequestError> {
    match end {
        End::Finished => Ok(()),
        End::TooSlow => {
            let text = "answers waiting for one stream: the client does not read them; resume the session";
            Err(RequestError::Limit(text.into()))
        }
        End::BrokerOver(text) => Err(RequestError::Unavailable(text)),
    }
}
