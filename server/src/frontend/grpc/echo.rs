//! `EchoService`: does nothing, on the same listener and with the same kind of stream, so that the speed of locks can
//! be compared with the speed of the transport. Served only by `sixpin bench --floor` and by tests.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use sixpin_proto::v1;
use tonic::{Request, Response, Status, Streaming};
use v1::echo_service_server::EchoService;

/// The echo service.
#[derive(Debug, Clone, Default)]
pub struct Echo;

/// Answers each message with an empty one of the same number.
pub struct EchoStream(Streaming<v1::SessionRequest>);

impl Stream for EchoStream {
    type Item = Result<v1::SessionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = std::task::ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(message.map(|message| message.map(|message| echo(&message))))
    }
}

fn echo(message: &v1::SessionRequest) -> v1::SessionResponse {
    v1::SessionResponse { request: message.request, body: None }
}

#[tonic::async_trait]
impl EchoService for Echo {
    type EchoStream = EchoStream;

    async fn echo(&self, request: Request<Streaming<v1::SessionRequest>>) -> Result<Response<EchoStream>, Status> {
        Ok(Response::new(EchoStream(request.into_inner())))
    }

    async fn call(&self, request: Request<v1::SessionRequest>) -> Result<Response<v1::SessionResponse>, Status> {
        Ok(Response::new(echo(request.get_ref())))
    }
}
