//! `Hold`: one call that holds one lock for as long as it is open.
//!
//! Behind it is a session bound to the connection, opened and kept alive by the server on the client's behalf: while
//! the stream is open, the client counts as heard. What tells a dead client from a quiet one is the transport: HTTP/2
//! pings are unanswered, the connection is closed, and with it this stream.
//!
//! # When the lock is free again
//!
//! A `Hold` has no message with which its client could close it, and the end of a stream says nothing about the
//! client: a cut network looks the same as a cancelled call. So what was granted is not released at once: the server stops
//! being heard for the client, and the session ends when its TTL plus tolerance have passed. What still waits leaves the
//! queue as soon as the stream ends: nobody was told of a grant. A client that wants the lock freed at once closes the
//! session named in the first message, or says beforehand (`release_on_cancel`) that the end of the stream is its goodbye.
//!
//! The client learns of a loss only by the end of the stream, unless it also calls `KeepAlive` for the session named
//! in the first message: without that, its safety is the fence alone.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use sixpin_core::broker::api::{
    Done, DoneStatus, Event, Input, LockRequest, OpenRequest, Reply, Request, RequestError, Secret,
};
use sixpin_core::command;
use sixpin_core::name::{Lockspace, SessionId};
use sixpin_core::token::SessionToken;
use sixpin_proto::v1;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;
use v1::hold_response::Body;

use super::errors;
use crate::frontend::api::conversation::ending;
use crate::frontend::api::errors::{unexpected, unsupported};
use crate::frontend::api::identity::Identity;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller, Checked, KEEPALIVES_PER_TTL, checks, note_denied};
use crate::frontend::messages::{replies, requests};
use crate::runtime::Connection;
use crate::runtime::outbox::Outgoing;
use crate::traces::stream::StreamSpans;

/// The stream that answers one `Hold` call.
pub struct HoldStream {
    identity: Identity,
    connection: Connection,
    lockspace: Lockspace,
    step: Step,
    next_request: u64,
    inputs: Vec<Input>,
    taken: VecDeque<Outgoing>,
    /// Absent: nothing is traced.
    spans: Option<Box<StreamSpans>>,
    /// Runs from the moment the session is open.
    keepalive: Option<Interval>,
    /// How the stream ends once everything before is written.
    end: Option<Result<(), Status>>,
}

enum Step {
    /// The session is asked for; then this lock.
    Opening(Box<LockRequest>),
    /// The lock is asked for.
    Locking { session: SessionId, secret: Secret },
    /// The lock was granted, and the stream tells what happens to it.
    Holding,
    /// Nothing more is expected.
    Over,
}

impl HoldStream {
    /// Checks the request and asks for a session.
    pub(super) fn new(api: &Api, hold: v1::HoldRequest, from: &Caller) -> Checked<Self> {
        let ttl = checks::session_ttl(hold.ttl_ms.map(u64::from))?;
        let client = from.info(&hold.label, &hold.program)?;
        let release_on_end = hold.release_on_cancel;
        let lock = lock_request(hold)?;
        let lockspace = lock.resource.lockspace.clone();
        let connection = api.connect(&lockspace);
        let mut stream = Self {
            identity: Identity::new(api, from.clone()),
            connection,
            lockspace,
            step: Step::Opening(Box::new(lock)),
            next_request: 1,
            inputs: Vec::new(),
            taken: VecDeque::new(),
            spans: api.stream_spans(from),
            keepalive: None,
            end: None,
        };
        stream.ask(Request::Open(Box::new(OpenRequest { ttl, client, bound: true, release_on_end, attach: true })));
        Ok(stream)
    }

    fn ask(&mut self, request: Request) {
        match self.identity.check() {
            Ok(()) => {
                if let Some(spans) = &mut self.spans {
                    spans.begin(self.next_request, &request, None);
                }
                self.inputs.push(self.connection.input(self.next_request, self.identity.news(), request));
                self.next_request += 1;
            }
            Err(error) => self.finish(Err(errors::status(&error))),
        }
    }

    /// What one answer of the machine means to the client; nothing, for most.
    fn outgoing(&mut self, outgoing: Outgoing) -> Option<Body> {
        match (&mut self.spans, &outgoing) {
            (Some(spans), Outgoing::Reply { request, reply, commit }) => spans.reply(*request, reply, commit.clone()),
            (Some(spans), Outgoing::Event { event, commit }) => spans.event(event, commit.clone()),
            (None, _) => {}
        }
        match outgoing {
            Outgoing::Reply { reply: Reply::Error(error), .. } => {
                note_denied(self.identity.audit(), self.identity.caller(), &error);
                self.refused(&error)
            }
            Outgoing::Reply { reply, .. } => self.reply(reply),
            Outgoing::Event { event: Event::Done(done), .. } => self.done(&done),
            Outgoing::Event { event, .. } => {
                let body = match replies::event(event) {
                    v1::session_response::Body::Blocking(blocking) => Body::Blocking(blocking),
                    v1::session_response::Body::Lost(lost) => {
                        self.finish(Ok(()));
                        Body::Lost(lost)
                    }
                    // The session cannot move: it stays until the broker leaves, and then it is lost.
                    _ => return None,
                };
                Some(body)
            }
        }
    }

    fn reply(&mut self, reply: Reply) -> Option<Body> {
        match reply {
            Reply::Opened { session, secret } => {
                self.opened(session, secret);
                None
            }
            Reply::Queued { claim, operation, position, ticket } => {
                Some(Body::Queued(v1::Queued { claim: claim.0, operation: operation.0, position, ticket: ticket.0 }))
            }
            Reply::Done(done) => self.done(&done),
            Reply::KeptAlive { .. } | Reply::Closed => None,
            other => {
                self.finish(Err(errors::status(&unexpected(&other))));
                None
            }
        }
    }

    fn opened(&mut self, session: SessionId, secret: Secret) {
        let Step::Opening(lock) = std::mem::replace(&mut self.step, Step::Locking { session, secret }) else { return };
        let mut keepalive = tokio::time::interval(session.ttl() / KEEPALIVES_PER_TTL);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.keepalive = Some(keepalive);
        self.ask(Request::Lock { lock: *lock, until_done: false });
    }

    fn done(&mut self, done: &Done) -> Option<Body> {
        let Step::Locking { session, secret } = std::mem::replace(&mut self.step, Step::Holding) else { return None };
        if done.status != DoneStatus::Is(command::Status::Granted) {
            // Nothing is held, so the session can go at once.
            self.ask(Request::Close);
            self.finish(Ok(()));
        }
        Some(Body::Granted(v1::HoldGranted {
            completion: Some(replies::completion(done)),
            session: session.to_string(),
            token: SessionToken { session, lockspace: self.lockspace.clone(), secret }.to_string(),
            ttl_ms: session.ttl_ms,
        }))
    }

    /// A request was refused. A keepalive that comes to nothing once is repeated; everything else ends the stream.
    fn refused(&mut self, error: &RequestError) -> Option<Body> {
        let passes = matches!(error, RequestError::Unavailable(_) | RequestError::Unknown(_));
        if !(passes && matches!(self.step, Step::Holding)) {
            self.finish(Err(errors::status(error)));
        }
        None
    }

    fn finish(&mut self, end: Result<(), Status>) {
        self.step = Step::Over;
        self.keepalive = None;
        self.end.get_or_insert(end);
    }

    fn poll_keepalive(&mut self, cx: &mut Context<'_>) {
        while let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_tick(cx).is_ready()
        {
            self.ask(Request::KeepAlive { move_number: 0 });
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(error) = ready!(self.connection.poll_send(cx, &mut self.inputs)) {
            self.finish(Err(errors::status(&error)));
        }
        Poll::Ready(())
    }
}

impl Stream for HoldStream {
    type Item = Result<v1::HoldResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            while let Some(outgoing) = this.taken.pop_front() {
                if let Some(body) = this.outgoing(outgoing) {
                    return Poll::Ready(Some(Ok(v1::HoldResponse { body: Some(body) })));
                }
            }
            if let Poll::Ready(error) = this.identity.poll_expired(cx) {
                this.finish(Err(errors::status(&error)));
            }
            this.poll_keepalive(cx);
            ready!(this.poll_send(cx));
            if let Some(end) = this.end.take() {
                return Poll::Ready(end.err().map(Err));
            }
            if matches!(this.step, Step::Over) {
                return Poll::Ready(None);
            }
            if let Some(end) = ready!(this.connection.poll_take(cx, &mut this.taken)) {
                this.finish(ending(end).map_err(|error| errors::status(&error)));
            }
        }
    }
}

fn what(what: Option<v1::hold_request::What>) -> Checked<Option<v1::lock::What>> {
    match what {
        Some(v1::hold_request::What::Mode(mode)) => Ok(Some(v1::lock::What::Mode(mode))),
        Some(v1::hold_request::What::Permits(_)) => Err(unsupported("permits")),
        None => Ok(None),
    }
}

/// The one lock of the session: claim 1, operation 1.
fn lock_request(hold: v1::HoldRequest) -> Checked<LockRequest> {
    let lock = v1::Lock {
        claim: 1,
        operation: 1,
        resource: hold.resource,
        what: what(hold.what)?,
        timeout_ms: hold.timeout_ms,
        blocking: hold.blocking,
        value_block: hold.value_block,
        owner: hold.owner,
        label: hold.label,
        ..Default::default()
    };
    requests::lock(lock, &mut Names::default())
}
