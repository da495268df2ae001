//! A session stream: a conversation in the messages of `sixpin.v1`, whatever brings them.

use std::collections::BTreeMap;
use std::task::{Context, Poll, ready};

use sixpin_core::broker::api::{Request, RequestError};
use sixpin_core::name::ClaimNumber;
use sixpin_proto::v1;
use v1::session_request::Body;

use super::errors;
use super::parts::Parts;
use super::replies::{self, Replies};
use super::requests;
use crate::frontend::api::conversation::{Ask, Client, Conversation, Failure, Kind, Said};
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller, Checked};
use crate::frontend::listener::OpeningPlace;
use crate::runtime::Turns;
use crate::traces::Context as Trace;

/// What brings the messages of a client.
pub(crate) trait Messages {
    /// The next one; none once the client has closed its side. An error ends the session's stream.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, RequestError>>>;
}

/// One message.
pub(crate) struct Incoming {
    /// Its number.
    pub(crate) request: u64,
    /// What it is for.
    pub(crate) kind: Kind,
    /// What it says; an error if that makes no sense, which it is answered with.
    pub(crate) body: Checked<Option<Body>>,
}

impl From<v1::SessionRequest> for Incoming {
    fn from(message: v1::SessionRequest) -> Self {
        let kind = match message.body {
            None => Kind::Empty,
            Some(Body::Open(_)) => Kind::Open,
            Some(Body::Resume(_)) => Kind::Resume,
            Some(Body::KeepAlive(_) | Body::Close(_) | Body::ConfirmLost(_)) => Kind::Vital,
            Some(Body::Authenticate(_)) => Kind::Authenticate,
            Some(_) => Kind::Other,
        };
        Self { request: message.request, kind, body: Ok(message.body) }
    }
}

/// One stream.
pub(crate) struct Session<M> {
    conversation: Conversation,
    client: Inbound<M>,
    replies: Replies,
    /// Its place among streams without a session; given back once it has one.
    place: Option<OpeningPlace>,
}

/// What the client sends.
struct Inbound<M> {
    messages: M,
    from: Caller,
    /// A resume of which more must come.
    parts: Parts,
}

impl<M: Messages> Session<M> {
    /// Answers `messages`, which come from this caller. Without turns or a place nothing is counted.
    pub(crate) fn new(api: Api, messages: M, from: Caller, turns: Option<Turns>, place: Option<OpeningPlace>) -> Self {
        let conversation = Conversation::new(api.clone(), from.clone(), turns);
        Self {
            client: Inbound { messages, from, parts: Parts::default() },
            replies: Replies::new(api),
            conversation,
            place,
        }
    }

    /// What brings the messages.
    pub(crate) fn messages(&mut self) -> &mut M {
        &mut self.client.messages
    }

    /// The same, for who has something to say after the session.
    pub(crate) fn into_messages(self) -> M {
        self.client.messages
    }

    /// What the client is told next. None at the end; an error is the last that comes before.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::SessionResponse, Failure>>> {
        let next = ready!(self.conversation.poll_next(cx, &mut self.client));
        if self.conversation.is_open() {
            self.place = None;
        }
        Poll::Ready(next.map(|next| next.map(|said| self.message(said))))
    }

    fn message(&self, said: Said) -> v1::SessionResponse {
        let (request, body) = match said {
            Said::Reply { request, reply } => (request, self.replies.reply(reply, self.conversation.lockspace())),
            Said::Refused { request, error } => {
                (request, Some(v1::session_response::Body::Error(errors::to_proto(&error))))
            }
            Said::Event(event) => (0, Some(replies::event(event))),
        };
        v1::SessionResponse { request, body }
    }
}

impl<M: Messages> Client for Inbound<M> {
    type Message = Incoming;

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, RequestError>>> {
        self.messages.poll_message(cx)
    }

    fn number(message: &Incoming) -> u64 {
        message.request
    }

    fn kind(message: &Incoming) -> Kind {
        message.kind
    }

    fn traceparent(message: &Incoming) -> &str {
        match &message.body {
            Ok(Some(Body::Lock(lock))) => &lock.traceparent,
            Ok(Some(Body::Convert(convert))) => &convert.traceparent,
            Ok(Some(Body::Unlock(unlock))) => &unlock.traceparent,
            _ => "",
        }
    }

    fn ask(&mut self, message: Incoming, names: &mut Names) -> Checked<Option<Ask>> {
        // Of a resume a part is missing then.
        let body = message.body.inspect_err(|_| self.parts = Parts::default())?;
        let Some(body) = body else { return Ok(None) };
        Ok(Some(match body {
            Body::Open(open) => {
                let checked = requests::open(&open, &self.from, true)?;
                Ask::Open(names.lockspace(&open.lockspace)?, checked)
            }
            Body::Resume(part) => {
                let Some(resume) = self.parts.add(part)? else { return Ok(None) };
                let traces = traces(&resume.claims);
                let (lockspace, resume) = requests::resume(resume, names, &self.from, true)?;
                Ask::Resume(lockspace, resume, traces)
            }
            other => Ask::Session(session_request(other, names)?),
        }))
    }

    fn is_incomplete(&self) -> bool {
        self.parts.incomplete()
    }
}

/// The traces of claims that wait, as far as their client names them.
fn traces(claims: &[v1::LiveClaim]) -> BTreeMap<ClaimNumber, Trace> {
    let named = claims.iter().filter(|claim| !claim.traceparent.is_empty());
    named.filter_map(|claim| Some((ClaimNumber(claim.claim), Trace::parse(&claim.traceparent)?))).collect()
}

fn session_request(body: Body, names: &mut Names) -> Checked<Request> {
    Ok(match body {
        Body::KeepAlive(keep_alive) => Request::KeepAlive { move_number: keep_alive.move_number },
        Body::Lock(lock) => Request::Lock { lock: requests::lock(lock, names)?, until_done: false },
        Body::Convert(convert) => Request::Convert { convert: requests::convert(convert, names)?, until_done: false },
        Body::Unlock(unlock) => Request::Unlock(requests::unlock(unlock)?),
        Body::UnlockAll(all) => Request::UnlockAll { owner: requests::owner(&all)? },
        Body::Cancel(cancel) => {
            let (claim, operation) = requests::cancel(&cancel)?;
            Request::Cancel { claim, operation }
        }
        Body::ConfirmLost(confirm) => requests::confirm_lost(confirm)?,
        Body::Close(v1::Close {}) => Request::Close,
        Body::Open(_) | Body::Resume(_) | Body::Authenticate(_) => {
            return Err(invalid("the stream has a session already"));
        }
    })
}
