//! A session on a stream.

use std::collections::VecDeque;

use futures::stream::{BoxStream, StreamExt as _};
use sixpin_proto::frames::FrameError;
use sixpin_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use super::door::FrameWay;
use super::{Broker, door, soon, status_of};

/// A stream, with or without a session.
pub struct Session {
    outgoing: Option<mpsc::Sender<v1::SessionRequest>>,
    incoming: BoxStream<'static, Result<v1::SessionResponse, Status>>,
    next_request: u64,
    /// Events that came while a reply was waited for.
    events: VecDeque<Body>,
    /// What the broker said of the session.
    pub opened: v1::Opened,
}

impl Session {
    /// A stream on which nothing was said.
    pub async fn silent(broker: &Broker) -> Self {
        let (outgoing, requests) = mpsc::channel(4_096);
        let requests = ReceiverStream::new(requests);
        let incoming = if door::frames() {
            over(broker.greeted().await, requests)
        } else if door::http() {
            broker.websocket(requests).await
        } else {
            broker.locks().await.session(requests).await.unwrap().into_inner().boxed()
        };
        let opened = v1::Opened::default();
        Self { outgoing: Some(outgoing), incoming, next_request: 1, events: VecDeque::new(), opened }
    }

    /// A stream with a session.
    pub async fn open(broker: &Broker, open: v1::Open) -> Self {
        let mut session = Self::silent(broker).await;
        match session.ask(Ask::Open(open)).await {
            Body::Opened(opened) => session.opened = opened,
            other => panic!("not opened: {other:?}"),
        }
        session
    }

    /// Sends a message as it is.
    pub async fn send_raw(&mut self, message: v1::SessionRequest) {
        // A stream that ended takes nothing more; what it ended with is read next.
        let _ = self.outgoing.as_ref().unwrap().send(message).await;
    }

    /// Sends a request and says under which number.
    pub async fn send(&mut self, body: Ask) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.send_raw(v1::SessionRequest { request, body: Some(body) }).await;
        request
    }

    /// Closes the sending side.
    pub fn half_close(&mut self) {
        self.outgoing = None;
    }

    /// Asks and waits for the answer; events that come before are kept.
    pub async fn ask(&mut self, body: Ask) -> Body {
        self.ask_plain(body).await.expect("an answer with content")
    }

    /// As [`Session::ask`], where the answer may have no content.
    pub async fn ask_plain(&mut self, body: Ask) -> Option<Body> {
        let request = self.send(body).await;
        loop {
            let message = self.message().await.unwrap().expect("the stream goes on");
            if message.request == request {
                return message.body;
            }
            assert_eq!(message.request, 0, "an answer that nobody waits for: {message:?}");
            self.events.extend(message.body);
        }
    }

    /// The next message; none at the end of the stream.
    pub async fn message(&mut self) -> Result<Option<v1::SessionResponse>, Status> {
        soon("a message", self.incoming.next()).await.transpose()
    }

    /// The next event.
    pub async fn event(&mut self) -> Body {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let message = self.message().await.unwrap().expect("the stream goes on");
        assert_eq!(message.request, 0, "not an event: {message:?}");
        message.body.unwrap()
    }

    /// How the stream ends, whatever comes before.
    pub async fn end(&mut self) -> Result<(), Status> {
        while self.message().await?.is_some() {}
        Ok(())
    }

    /// Asks for an operation that ends at once.
    pub async fn complete(&mut self, body: Ask) -> v1::Completion {
        match self.ask(body).await {
            Body::Completion(completion) => completion,
            other => panic!("not completed: {other:?}"),
        }
    }

    /// Asks for something that is refused.
    pub async fn refused(&mut self, body: Ask) -> v1::Reason {
        match self.ask(body).await {
            Body::Error(error) => {
                assert!(!error.message.is_empty());
                error.reason()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    pub async fn lock(&mut self, lock: v1::Lock) -> v1::Completion {
        self.complete(Ask::Lock(lock)).await
    }

    pub async fn unlock(&mut self, claim: u64, operation: u32) -> v1::Completion {
        self.complete(Ask::Unlock(super::unlock(claim, operation))).await
    }
}

/// A conversation over frames. What the broker says last is the end, as a status is over gRPC.
fn over(
    way: FrameWay,
    requests: ReceiverStream<v1::SessionRequest>,
) -> BoxStream<'static, Result<v1::SessionResponse, Status>> {
    let (sink, answers) = way.split();
    tokio::spawn(requests.map(Ok).forward(sink));
    let answer = |answer| match answer {
        Ok(v1::SessionResponse { request: 0, body: Some(Body::Error(error)) }) => Err(status_of(&error)),
        Ok(message) => Ok(message),
        Err(FrameError::Connection(error)) => Err(Status::unavailable(error.to_string())),
        Err(error) => panic!("{error}"),
    };
    answers.map(answer).boxed()
}
