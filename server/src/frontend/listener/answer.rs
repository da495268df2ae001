//! The body of an answer, handed out no faster than the peer reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use sixpin_core::limits::LARGE_ANSWER_BYTES;

use super::protocol::CutShort;
use super::share::{Large, Share};
use super::unread::Stream;

/// The most that is handed out in one piece.
const PIECE_BYTES_MAX: usize = 32 * 1024;

/// An answer's body.
pub(super) struct Answer {
    body: tonic::body::Body,
    stream: Option<Arc<Stream>>,
    share: Arc<Share>,
    /// How a large answer ends that is refused; absent: it is only counted.
    cut_short: Option<CutShort>,
    /// What came and was not handed out yet.
    rest: Bytes,
    /// How a refused answer ends.
    refusal: Option<HeaderMap>,
    large: Vec<Large>,
    over: bool,
    /// What the call holds until it is over.
    _places: super::admission::Places,
}

impl Answer {
    pub(super) fn new(
        body: tonic::body::Body,
        share: Arc<Share>,
        cut_short: Option<CutShort>,
        places: super::admission::Places,
    ) -> Self {
        Self {
            body,
            stream: Stream::current(),
            share,
            cut_short,
            rest: Bytes::new(),
            refusal: None,
            large: Vec::new(),
            over: false,
            _places: places,
        }
    }

    fn take(&mut self, data: Bytes) {
        if data.len() >= LARGE_ANSWER_BYTES {
            match (self.share.large(data.len(), self.cut_short.is_some()), self.cut_short) {
                (Ok(large), _) => self.large.push(large),
                (Err(limit), Some(cut_short)) => {
                    self.refusal = Some(cut_short(limit));
                    return;
                }
                (Err(_), None) => {}
            }
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
            if let Some(trailers) = this.refusal.take() {
                this.over = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if this.over {
                return Poll::Ready(None);
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
        self.rest.is_empty() && self.refusal.is_none() && (self.over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // What is here besides is not counted by the inner body any more.
        if self.rest.is_empty() && self.refusal.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}
