//! Asking for another mode.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sixpin_proto::v1;

use crate::clock::milliseconds;
use crate::command::Command;
use crate::error::Error;
use crate::handle::Handle;
use crate::logic::Grant;
use crate::mode::Mode;
use crate::operation::Operation;

/// A conversion that is about to be asked for.
///
/// # Errors
///
/// [`Error::NotGranted`] if a try would have to wait, the wait timed out, or it would deadlock; the claim then keeps its
/// old mode. [`Error::Lost`] if it was lost.
#[must_use = "nothing is asked for until this is awaited"]
pub struct Convert<'a> {
    /// Absent once the claim was let go.
    handle: Option<&'a Arc<Handle>>,
    /// Absent: queue if the mode held is NL.
    queue: Option<bool>,
    request: Box<v1::Convert>,
}

impl<'a> Convert<'a> {
    pub(crate) fn new(handle: Option<&'a Arc<Handle>>, claim: u64, mode: Mode) -> Self {
        let what = Some(mode.to_proto().into());
        let request = Box::new(v1::Convert { claim, what, ..v1::Convert::default() });
        Self { handle, queue: None, request }
    }

    /// Waits at most this long, to the millisecond. Without it, waits for ever; zero is [`Self::no_wait`]. Once a broker
    /// may have heard of it, only a broker can say which mode the claim has: where none answers it ends later than that,
    /// at the latest with the session.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.request.timeout_ms = Some(milliseconds(wait));
        self
    }

    /// Granted at once or not at all.
    pub fn no_wait(mut self) -> Self {
        self.request.timeout_ms = Some(0);
        self
    }

    /// Moves the value block as the modes say. Where they say write, use [`Self::value`].
    pub fn value_block(mut self) -> Self {
        self.request.value_block = true;
        self
    }

    /// Moves the value block as the modes say; where they say write, these bytes, padded with zeroes.
    pub fn value(mut self, bytes: impl Into<Bytes>) -> Self {
        self.request.value_block = true;
        self.request.value = bytes.into();
        self
    }

    /// Marks the value block invalid where the modes say write.
    pub fn invalidate_value(mut self) -> Self {
        self.request.invalidate_value = true;
        self
    }

    /// Whether to hear from now on when the claim blocks somebody.
    pub fn blocking(mut self, blocking: bool) -> Self {
        self.request.blocking = Some(blocking);
        self
    }

    /// Whether to wait behind other converters. Without it: from NL yes, from a stronger mode no.
    pub fn queue(mut self, queue: bool) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Queues at the head.
    pub fn head_of_queue(mut self) -> Self {
        self.request.head_of_queue = true;
        self
    }

    /// Granted as soon as it is compatible, from any place in the queue.
    pub fn no_order(mut self) -> Self {
        self.request.no_order = true;
        self
    }

    /// Would also take PR.
    pub fn alternate_pr(mut self) -> Self {
        self.request.alternate_pr = true;
        self
    }

    /// Would also take CW.
    pub fn alternate_cw(mut self) -> Self {
        self.request.alternate_cw = true;
        self
    }

    /// Makes the claim survive its session as an orphan.
    pub fn persistent(mut self) -> Self {
        self.request.persistent = true;
        self
    }

    /// Continues a trace: the `traceparent` of W3C Trace Context that names it. Brokers that trace show the request in it; what is
    /// none is ignored.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.request.traceparent = traceparent.into();
        self
    }

    /// A try that is refused tells its blockers all the same.
    pub fn notify_on_refusal(mut self) -> Self {
        self.request.notify_on_refusal = true;
        self
    }

    /// What to do in a conversion deadlock, instead of refusing.
    pub fn on_deadlock(mut self, action: v1::ConversionDeadlock) -> Self {
        self.request.conversion_deadlock = action as i32;
        self
    }
}

impl IntoFuture for Convert<'_> {
    type Output = Result<Grant, Error>;
    type IntoFuture = Converting;

    fn into_future(self) -> Converting {
        let Self { handle, queue, request } = self;
        let operation =
            handle.map(|handle| Operation::ask(handle, |id, reply| Command::Convert { id, request, queue, reply }));
        Converting { operation }
    }
}

/// A conversion on its way. Dropping it withdraws the request; the guard shows the mode that then holds.
#[must_use = "dropping it withdraws the request"]
pub struct Converting {
    operation: Option<Operation<Grant>>,
}

impl Converting {
    /// Asks for its end. It still resolves: as cancelled, or as granted if that came first.
    pub fn cancel(&self) {
        if let Some(operation) = &self.operation {
            operation.cancel();
        }
    }
}

impl Future for Converting {
    type Output = Result<Grant, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.operation {
            Some(operation) => Pin::new(operation).poll(context),
            None => Poll::Ready(Err(Error::Closed)),
        }
    }
}
