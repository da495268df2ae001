//! Hearing of a session without a stream that carries it: for clients that have calls only.
//!
//! Events come to whoever listened last, and to a stream of the session before anybody else; the machine sees to that. What a call
//! that waits is answered with is said to it, and not here. Listening keeps nothing alive.
//!
//! # When it ends
//!
//! * the session is over, or goes on at another broker;
//! * a stream carries the session, or somebody else listens;
//! * whoever listens does not take the events, or is not known any more;
//! * the broker is over.
//!
//! Nothing is told to whoever is not known any more: that is looked at before each event, and when the credential expires.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use futures::Stream;
use sixpin_core::broker::api::{Event, Reply, Request, RequestError, SessionRef};
use sixpin_core::name::ClaimNumber;
use sixpin_core::token::SessionToken;

use super::conversation::ending;
use super::errors::unexpected;
use super::identity::Identity;
use super::{Api, Caller, note_denied};
use crate::access::Watching;
use crate::runtime::Connection;
use crate::runtime::outbox::{End, Outgoing};

/// How a session stands when somebody begins to listen: by this they know what they missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Claims that were taken away and are not confirmed yet.
    pub lost: Vec<ClaimNumber>,
    /// Claims of which something waits.
    pub waiting: Vec<ClaimNumber>,
}

impl Api {
    /// Begins to listen to a session: how it stands, and its events from then on. An error is the last of them.
    pub async fn listen(
        &self,
        from: &Caller,
        by: &SessionToken,
    ) -> Result<(Standing, impl Stream<Item = Result<Event, RequestError>> + Send + use<>), RequestError> {
        let mut listener = Listener {
            _counted: self.access.watch(from.who.last_principal())?,
            connection: self.connect(&by.lockspace),
            identity: Identity::new(self, from.clone()),
            taken: VecDeque::new(),
            over: false,
        };
        let begun = listener.begin(from, by).await;
        let standing = begun.inspect_err(|error| note_denied(self.access.audit(), from, error))?;
        Ok((standing, futures::stream::unfold(listener, Listener::next)))
    }
}

/// Somebody who listens.
struct Listener {
    connection: Connection,
    identity: Identity,
    _counted: Watching,
    /// What is to be said next.
    taken: VecDeque<Outgoing>,
    over: bool,
}

impl Listener {
    /// Asks for the events, and waits until they are on their way.
    async fn begin(&mut self, from: &Caller, by: &SessionToken) -> Result<Standing, RequestError> {
        let session = SessionRef::Named(by.session, by.secret);
        let mut asked = vec![self.connection.input_about(session, 1, Some(from.principal()), Request::Listen)];
        poll_fn(|cx| self.connection.poll_send(cx, &mut asked)).await?;
        match poll_fn(|cx| self.poll_outgoing(cx)).await? {
            // The answer comes before any event.
            Some(Outgoing::Reply { reply: Reply::Listening { lost, waiting }, .. }) => Ok(Standing { lost, waiting }),
            Some(Outgoing::Reply { reply: Reply::Error(error), .. }) => Err(error),
            Some(Outgoing::Reply { reply, .. }) => Err(unexpected(&reply)),
            Some(Outgoing::Event { .. }) | None => {
                Err(RequestError::Unavailable("somebody else listens to the session since: ask again".into()))
            }
        }
    }

    /// What the machine says next; none once it says nothing more.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Outgoing>, RequestError>> {
        loop {
            if let Some(outgoing) = self.taken.pop_front() {
                return Poll::Ready(Ok(Some(outgoing)));
            }
            if let Some(end) = ready!(self.connection.poll_take(cx, &mut self.taken)) {
                return Poll::Ready(ended(end).map(|()| None));
            }
        }
    }

    async fn next(mut self) -> Option<(Result<Event, RequestError>, Self)> {
        if self.over {
            return None;
        }
        let event = poll_fn(|cx| self.poll_event(cx)).await.transpose()?;
        self.over = event.is_err();
        Some((event, self))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, RequestError>> {
        if let Poll::Ready(error) = self.identity.poll_expired(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(match ready!(self.poll_outgoing(cx))? {
            Some(Outgoing::Event { event, .. }) => self.identity.check().map(|()| Some(event)),
            Some(Outgoing::Reply { reply, .. }) => Err(unexpected(&reply)),
            None => Ok(None),
        })
    }
}

fn ended(end: End) -> Result<(), RequestError> {
    match end {
        End::TooSlow => {
            let text = "events waiting for one listener: it does not read them; listen again";
            Err(RequestError::Limit(text.into()))
        }
        end => ending(end),
    }
}
