//! The stream of one session over gRPC.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tonic::{Status, Streaming};

use super::{errors, traced};
use crate::frontend::api::Api;
use crate::frontend::api::conversation::Failure;
use crate::frontend::messages::session::{Incoming, Messages, Session};

/// The stream that answers one `Session` call.
pub struct SessionStream(Session<Streaming<v1::SessionRequest>>);

impl SessionStream {
    /// Answers the messages of `request`.
    pub(super) fn new(api: Api, mut request: tonic::Request<Streaming<v1::SessionRequest>>) -> Self {
        let place = request.extensions_mut().remove();
        let turns = request.extensions_mut().remove();
        let from = traced(&api, &request);
        Self(Session::new(api, request.into_inner(), from, turns, place))
    }
}

impl Messages for Streaming<v1::SessionRequest> {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, RequestError>>> {
        let message = ready!(Pin::new(self).poll_next(cx));
        Poll::Ready(message.map(|message| message.map(Incoming::from).map_err(|status| errors::unreadable(&status))))
    }
}

impl Stream for SessionStream {
    type Item = Result<v1::SessionResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.get_mut().0.poll_next(cx));
        Poll::Ready(next.map(|next| {
            next.map_err(|failure| match failure {
                Failure::Error(error) => errors::status(&error),
                Failure::TooLate(text) => Status::deadline_exceeded(text),
            })
        }))
    }
}
