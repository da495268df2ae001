//! Letting go of a claim.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use sixpin_proto::v1;

use crate::command::Command;
use crate::error::Error;
use crate::handle::Handle;
use crate::logic::Done;
use crate::operation::Operation;

/// A release that is about to be asked for. Dropping it releases all the same.
#[must_use = "await it to know that the release is done"]
pub struct Release {
    handle: Option<Arc<Handle>>,
    request: Box<v1::Unlock>,
}

impl Release {
    pub(crate) fn new(handle: Option<Arc<Handle>>, claim: u64) -> Self {
        Self { handle, request: Box::new(v1::Unlock { claim, ..v1::Unlock::default() }) }
    }

    /// Writes the value block with the release, from PW or EX; padded with zeroes.
    pub fn value(mut self, bytes: impl Into<Bytes>) -> Self {
        self.request.value_block = true;
        self.request.value = bytes.into();
        self
    }

    /// Continues a trace: the `traceparent` of W3C Trace Context that names it. Brokers that trace show the request in it; what is
    /// none is ignored.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.request.traceparent = traceparent.into();
        self
    }

    /// Marks the value block invalid with the release, from PW or EX.
    pub fn invalidate_value(mut self) -> Self {
        self.request.invalidate_value = true;
        self
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let request = std::mem::take(&mut self.request);
            handle.send(Command::Unlock { request, reply: None });
        }
    }
}

impl IntoFuture for Release {
    type Output = Result<(), Error>;
    type IntoFuture = Releasing;

    fn into_future(mut self) -> Releasing {
        let request = std::mem::take(&mut self.request);
        let operation = self
            .handle
            .take()
            .map(|handle| Operation::give(&handle, |id, reply| Command::Unlock { request, reply: Some((id, reply)) }));
        Releasing { operation }
    }
}

/// A release on its way. It goes on even when this is dropped.
pub struct Releasing {
    operation: Option<Operation<Done>>,
}

impl Future for Releasing {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.operation {
            Some(operation) => Pin::new(operation).poll(context).map_ok(|_| ()),
            None => Poll::Ready(Err(Error::Closed)),
        }
    }
}
