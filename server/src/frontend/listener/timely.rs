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

/// A request's body that must arrive in time.
pub(super) struct TimelyBody {
    body: Incoming,
    is_stream: bool,
    /// Set when something is missing for the first time: most bodies are there at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimelyBody {
    /// The body of a request. A stream may go on as long as the client likes; what it may be is seen to where it is answered.
    pub(super) fn new(body: Incoming, is_stream: bool) -> Self {
        Self { body, is_stream, deadline: None }
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
