//! One stream to a broker: connecting, sending, receiving.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream as _;
use futures::future::BoxFuture;
use sixpin_proto::v1;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use sixpin_proto::v1::session_response::Body;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::calls::Connection;
use crate::connect::{Connector, Stream};
use crate::frames::{FrameStream, MESSAGE_BYTES_MAX};
use crate::logic::LinkId;
use crate::status::{about_identity, describe};

/// How long a link that is not used any more may take to deliver what was sent on it.
const LINGER: Duration = Duration::from_secs(1);

/// A stream to a broker, in one of its stages.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    stage: Stage,
    /// Kept, because a broker inside this program ends when the last connector is dropped.
    connector: Connector,
}

type Calling = BoxFuture<'static, Result<Response<Streaming<v1::SessionResponse>>, Status>>;

/// What is on its way is bounded by the logic, which sends no more than the broker takes.
type Sender = mpsc::UnboundedSender<v1::SessionRequest>;

enum Stage {
    Connecting(BoxFuture<'static, Result<Stream, String>>),
    /// The call is made; the broker has not answered it yet.
    Calling(Calling, Sender),
    Open(Box<Streaming<v1::SessionResponse>>, Sender),
    Frames(Box<FrameStream>),
    /// Nothing comes any more, for this reason, which is not told yet.
    Ending(String),
    Ended,
}

/// What happens on a link.
pub(crate) enum Happened {
    /// A broker has answered the call: it is alive, and messages may be sent.
    Connected,
    Received(Box<v1::SessionResponse>),
    /// Nothing comes after this. For people.
    Ended(String),
}

impl Link {
    /// Starts to connect.
    pub(crate) fn new(id: LinkId, address: String, connector: Connector) -> Self {
        let dialling = connector.clone();
        let connecting = Box::pin(async move { dialling.stream(&address).await });
        Self { id, stage: Stage::Connecting(connecting), connector }
    }

    /// Takes a message of one that is connected. It leaves when the link is polled.
    pub(crate) fn send(&mut self, message: v1::SessionRequest) {
        match &mut self.stage {
            // A link that has ended says so when it is polled.
            Stage::Calling(_, sender) | Stage::Open(_, sender) => drop(sender.send(message)),
            Stage::Frames(frames) => frames.send(message),
            Stage::Connecting(_) | Stage::Ending(_) | Stage::Ended => {}
        }
    }

    /// What happens next. The caller must not poll again after [`Happened::Ended`].
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happened> {
        loop {
            match &mut self.stage {
                Stage::Connecting(connecting) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(Stream::Grpc(connection)) => {
                        let (sender, receiver) = mpsc::unbounded_channel();
                        self.stage = Stage::Calling(call(connection, receiver), sender);
                    }
                    Ok(Stream::Frames(frames)) => {
                        self.stage = Stage::Frames(Box::new(frames));
                        return Poll::Ready(Happened::Connected);
                    }
                    Err(detail) => return self.ended(detail),
                },
                Stage::Calling(calling, sender) => match ready!(calling.as_mut().poll(context)) {
                    Ok(response) => {
                        let sender = sender.clone();
                        self.stage = Stage::Open(Box::new(response.into_inner()), sender);
                        return Poll::Ready(Happened::Connected);
                    }
                    Err(status) => return self.failed(&status),
                },
                Stage::Open(stream, _) => {
                    return match ready!(Pin::new(stream.as_mut()).poll_next(context)) {
                        Some(Ok(message)) => Poll::Ready(Happened::Received(Box::new(message))),
                        Some(Err(status)) => self.failed(&status),
                        None => self.ended("the broker ended the stream".to_owned()),
                    };
                }
                Stage::Frames(frames) => {
                    return match ready!(frames.poll(context)) {
                        Ok(message) => Poll::Ready(Happened::Received(Box::new(message))),
                        Err(detail) => self.ended(detail),
                    };
                }
                Stage::Ending(detail) => {
                    let detail = std::mem::take(detail);
                    return self.ended(detail);
                }
                Stage::Ended => return Poll::Pending,
            }
        }
    }

    /// The call has failed. What a broker says about who asks comes as frames bring it, and then the end.
    fn failed(&mut self, status: &Status) -> Poll<Happened> {
        let Some(error) = about_identity(status) else { return self.ended(describe(status)) };
        self.stage = Stage::Ending(error.message.clone());
        Poll::Ready(Happened::Received(Box::new(v1::SessionResponse { request: 0, body: Some(Body::Error(error)) })))
    }

    fn ended(&mut self, detail: String) -> Poll<Happened> {
        self.stage = Stage::Ended;
        Poll::Ready(Happened::Ended(detail))
    }

    /// Lets go of the link once everything that was sent on it has left: a farewell that is cut off would make others
    /// wait for the TTL.
    pub(crate) fn finish(self, at_work: watch::Sender<()>) {
        let Self { stage, connector, .. } = self;
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LINGER, stage.finish()).await;
            drop((at_work, connector));
        });
    }
}

impl Stage {
    async fn finish(self) {
        let stream = match self {
            Self::Calling(calling, sender) => {
                drop(sender);
                calling.await.map(Response::into_inner)
            }
            Self::Open(stream, _) => Ok(*stream),
            Self::Frames(frames) => return frames.finish().await,
            Self::Connecting(_) | Self::Ending(_) | Self::Ended => return,
        };
        if let Ok(mut stream) = stream {
            while let Ok(Some(_)) = stream.message().await {}
        }
    }
}

fn call(connection: Connection, receiver: mpsc::UnboundedReceiver<v1::SessionRequest>) -> Calling {
    let mut client = LockServiceClient::new(connection).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Box::pin(async move { client.session(UnboundedReceiverStream::new(receiver)).await })
}
