//! The stream of one session: a conversation in proto.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use sixpin_core::broker::api::{Request, RequestError};
use sixpin_core::limits::Limits;
use sixpin_proto::v1;
use tonic::{Status, Streaming};
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

/// The stream that answers one `Session` call.
pub struct SessionStream {
    conversation: Conversation,
    client: Inbound,
    replies: Replies,
    /// Its place among streams without a session; given back once it has one.
    place: Option<OpeningPlace>,
}

/// What the client sends.
struct Inbound {
    messages: Streaming<v1::SessionRequest>,
    from: Caller,
    /// A resume of which more must come.
    parts: Parts,
}

impl SessionStream {
    /// Answers the messages of `request`.
    pub(super) fn new(api: Api, mut request: tonic::Request<Streaming<v1::SessionRequest>>) -> Self {
        let place = request.extensions_mut().remove();
        let turns = request.extensions_mut().remove();
        let from = requests::caller(&request);
        Self {
            client: Inbound { messages: request.into_inner(), from, parts: Parts::default() },
            replies: Replies::new(api.clone()),
            conversation: Conversation::new(api, turns),
            place,
        }
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

impl Client for Inbound {
    type Message = v1::SessionRequest;

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::SessionRequest, RequestError>>> {
        let message = ready!(Pin::new(&mut self.messages).poll_next(cx));
        Poll::Ready(message.map(|message| message.map_err(|status| errors::unreadable(&status))))
    }

    fn number(message: &v1::SessionRequest) -> u64 {
        message.request
    }

    fn kind(message: &v1::SessionRequest) -> Kind {
        match message.body {
            None => Kind::Empty,
            Some(Body::Open(_)) => Kind::Open,
            Some(Body::Resume(_)) => Kind::Resume,
            Some(Body::KeepAlive(_) | Body::Close(_) | Body::ConfirmLost(_)) => Kind::Vital,
            Some(_) => Kind::Other,
        }
    }

    fn ask(&mut self, message: v1::SessionRequest, names: &mut Names, limits: &Limits) -> Checked<Option<Ask>> {
        let Some(body) = message.body else { return Ok(None) };
        Ok(Some(match body {
            Body::Open(open) => {
                let checked = requests::open(&open, &self.from, true)?;
                Ask::Open(names.lockspace(&open.lockspace)?, checked)
            }
            Body::Resume(part) => {
                let Some(resume) = self.parts.add(part, limits)? else { return Ok(None) };
                let (lockspace, resume) = requests::resume(resume, names, limits, &self.from, true)?;
                Ask::Resume(lockspace, resume)
            }
            other => Ask::Session(session_request(other, names)?),
        }))
    }

    fn is_incomplete(&self) -> bool {
        self.parts.incomplete()
    }
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
        Body::Open(_) | Body::Resume(_) => return Err(invalid("the stream has a session already")),
    })
}

impl Stream for SessionStream {
    type Item = Result<v1::SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.conversation.poll_next(cx, &mut this.client));
        if this.conversation.is_open() {
            this.place = None;
        }
        Poll::Ready(match next {
            Some(Ok(said)) => Some(Ok(this.message(said))),
            Some(Err(Failure::Error(error))) => Some(Err(errors::status(&error))),
            Some(Err(Failure::TooLate(text))) => Some(Err(Status::deadline_exceeded(text))),
            None => None,
        })
    }
}
