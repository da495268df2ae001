//! The body of an answer, handed out no faster than the peer reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sixpin_core::limits::LARGE_ANSWER_BYTES;

use super::share::{Large, Share};
use super::unread::{Live, Stream};

/// The most that is handed out in one piece.
const PIECE_BYTES_MAX: usize = 32 * 1024;

/// An answer's body.
pub(super) struct Answer {
    body: tonic::body::Body,
    stream: Option<Arc<Stream>>,
    share: Arc<Share>,
    /// What came and was not handed out yet.
    rest: Bytes,
    large: Option<Large>,
    /// What the call holds until it is over.
    _places: super::admission::Places,
    /// Without a stream of its own it is what goes on on its connection.
    _live: Option<Live>,
}

impl Answer {
    pub(super) fn new(body: tonic::body::Body, share: Arc<Share>, places: super::admission::Places) -> Self {
        Self { body, stream: Stream::current(), share, rest: Bytes::new(), large: None, _places: places, _live: None }
    }

    /// The same, as what goes on on its connection.
    pub(super) fn of(self, live: Option<Live>) -> Self {
        Self { _live: live, ..self }
    }

    /// The same, of which so much was counted already.
    pub(super) fn counted(self, large: Option<Large>) -> Self {
        Self { large, ..self }
    }

    fn take(&mut self, data: Bytes) {
        // What came before was handed out.
        self.large = None;
        if data.len() >= LARGE_ANSWER_BYTES {
            self.large = self.share.large(data.len(), false).ok();
        }
        self.rest = data;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            if this.stream.as_ref().is_some_and(|stream| !stream.has_room(cx)) {
                return Poll::Pending;
            }
            if !this.rest.is_empty() {
                let length = this.rest.len().min(PIECE_BYTES_MAX);
                let piece = this.rest.split_to(length);
                let piece = match &this.stream {
                    Some(stream) => stream.counted(piece),
                    None => piece,
                };
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(data) => this.take(data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What is here besides is not counted by the inner body any more.
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
