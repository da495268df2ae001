//! One stream to a broker: connecting, sending, receiving.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream as _, future::BoxFuture};
use sixpin_proto::v1;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Response, Status, Streaming};

use crate::connect::{Connection, Connector};
use crate::logic::LinkId;
use crate::status::describe;

/// Longest message of a broker, in bytes: the answer to a resume names every claim of the session.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a link that is not used any more may take to deliver what was sent on it.
const LINGER: Duration = Duration::from_secs(1);

/// A stream to a broker, in one of its stages.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    stage: Stage,
    /// Bounded by the logic, which keeps no more on its way than the broker takes.
    sender: mpsc::UnboundedSender<v1::SessionRequest>,
    /// Kept, because a broker inside this program ends when the last connector is dropped.
    connector: Connector,
}

type Calling = BoxFuture<'static, Result<Response<Streaming<v1::SessionResponse>>, Status>>;

enum Stage {
    Connecting(BoxFuture<'static, Result<Connection, String>>, Option<mpsc::UnboundedReceiver<v1::SessionRequest>>),
    /// The call is made; the broker has not answered it yet.
    Calling(Calling),
    Open(Box<Streaming<v1::SessionResponse>>),
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
        let (sender, receiver) = mpsc::unbounded_channel();
        let dialling = connector.clone();
        let connecting = Box::pin(async move { dialling.connect(&address).await });
        Self { id, stage: Stage::Connecting(connecting, Some(receiver)), sender, connector }
    }

    pub(crate) fn send(&self, message: v1::SessionRequest) {
        // A link that has ended says so when it is polled.
        let _ = self.sender.send(message);
    }

    /// What happens next. The caller must not poll again after [`Happened::Ended`].
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happened> {
        loop {
            match &mut self.stage {
                Stage::Connecting(connecting, receiver) => match ready!(connecting.as_mut().poll(context)) {
                    Ok(connection) => {
                        let Some(receiver) = receiver.take() else { return Poll::Pending };
                        self.stage = Stage::Calling(call(connection, receiver));
                    }
                    Err(detail) => return self.ended(detail),
                },
                Stage::Calling(calling) => match ready!(calling.as_mut().poll(context)) {
                    Ok(response) => {
                        self.stage = Stage::Open(Box::new(response.into_inner()));
                        return Poll::Ready(Happened::Connected);
                    }
                    Err(status) => return self.ended(describe(&status)),
                },
                Stage::Open(stream) => {
                    return match ready!(Pin::new(stream.as_mut()).poll_next(context)) {
                        Some(Ok(message)) => Poll::Ready(Happened::Received(Box::new(message))),
                        Some(Err(status)) => self.ended(describe(&status)),
                        None => self.ended("the broker ended the stream".to_owned()),
                    };
                }
                Stage::Ended => return Poll::Pending,
            }
        }
    }

    fn ended(&mut self, detail: String) -> Poll<Happened> {
        self.stage = Stage::Ended;
        Poll::Ready(Happened::Ended(detail))
    }

    /// Lets go of the link once everything that was sent on it has left: a farewell that is cut off would make others
    /// wait for the TTL.
    pub(crate) fn finish(self, at_work: watch::Sender<()>) {
        let Self { stage, sender, connector, .. } = self;
        drop(sender);
        let rest = async move {
            let mut stream = match stage {
                Stage::Calling(calling) => calling.await?.into_inner(),
                Stage::Open(stream) => *stream,
                Stage::Connecting(..) | Stage::Ended => return Ok(()),
            };
            while stream.message().await?.is_some() {}
            Ok::<(), Status>(())
        };
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LINGER, rest).await;
            drop((at_work, connector));
        });
    }
}

fn call(connection: Connection, receiver: mpsc::UnboundedReceiver<v1::SessionRequest>) -> Calling {
    let mut client = LockServiceClient::new(connection).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Box::pin(async move { client.session(UnboundedReceiverStream::new(receiver)).await })
}
