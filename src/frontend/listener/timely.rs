//! Requests that do not arrive whole: their bodies end with an error after a time, so that no half of one is kept for
//! ever.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// How long the body of a request may take, from when it is first waited for.
const WHOLE_WITHIN: Duration = Duration::from_secs(10);

/// Methods whose requests are streams, and may go on as long as the client likes. What they may be is seen to where
/// they are answered.
const STREAMS: [&str; 4] = [
    "/sixpin.v1.LockService/Session",
    "/sixpin.v1.EchoService/Echo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// A request's body that must arrive in time.
pub(super) struct TimelyBody {
    body: Incoming,
    is_stream: bool,
    /// Set when something is missing for the first time: most bodies are there at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimelyBody {
    /// The body of a request to `path`.
    pub(super) fn new(body: Incoming, path: &str) -> Self {
        Self { body, is_stream: STREAMS.contains(&path), deadline: None }
    }
}

impl Body for TimelyBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.is_stream {
            return Poll::Pending;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(WHOLE_WITHIN)));
        deadline.as_mut().poll(cx).map(|()| Some(Err(late().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn late() -> Status {
    Status::deadline_exceeded(format!("the request was not complete after {WHOLE_WITHIN:?}; nothing changed"))
}
