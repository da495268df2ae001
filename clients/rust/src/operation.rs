//! An operation on its way: a future that withdraws what it asked for when it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::command::Command;
use crate::error::Error;
use crate::handle::Handle;
use crate::logic::{OperationId, State};
use crate::shared::Shared;

/// Waits for the answer to one operation.
pub(crate) struct Operation<T> {
    id: OperationId,
    /// Absent once the answer was taken, or if the operation was refused before it was handed over.
    handle: Option<Arc<Handle>>,
    reply: Result<oneshot::Receiver<Result<T, Error>>, Error>,
    /// Whether dropping it means that it is not wanted any more.
    withdraw: bool,
}

impl<T> Operation<T> {
    /// Hands over an operation that asks for something: bounded, and withdrawn when dropped.
    pub(crate) fn ask(
        handle: &Arc<Handle>,
        command: impl FnOnce(OperationId, oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Self {
        let shared = &handle.shared;
        if shared.backlog.fetch_add(1, Ordering::Relaxed) >= shared.queued_max {
            shared.backlog.fetch_sub(1, Ordering::Relaxed);
            let error = Error::Backlog { limit: shared.queued_max };
            return Self { id: OperationId(0), handle: None, reply: Err(error), withdraw: false };
        }
        let mut operation = Self::give(handle, command);
        operation.withdraw = true;
        operation
    }

    /// Hands over an operation that gives something back: it goes on even when dropped.
    pub(crate) fn give(
        handle: &Arc<Handle>,
        command: impl FnOnce(OperationId, oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Self {
        let id = handle.shared.next_operation();
        let (sender, receiver) = oneshot::channel();
        handle.send(command(id, sender));
        Self { id, handle: Some(Arc::clone(handle)), reply: Ok(receiver), withdraw: false }
    }

    /// What it gave, if that came and was not taken yet. Nothing can come after this, so whatever is given later is for the
    /// task to let go of.
    pub(crate) fn untaken(&mut self) -> Option<T> {
        let receiver = self.reply.as_mut().ok()?;
        receiver.close();
        receiver.try_recv().ok()?.ok()
    }

    /// Asks for its end; the answer still comes.
    pub(crate) fn cancel(&self) {
        if let Some(handle) = &self.handle {
            handle.send(Command::Cancel { id: self.id });
        }
    }
}

impl<T> Future for Operation<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = match &mut this.reply {
            Err(error) => Err(error.clone()),
            Ok(receiver) => match ready!(Pin::new(receiver).poll(context)) {
                Ok(result) => result,
                Err(_) => Err(this.handle.as_ref().map_or(Error::Closed, |handle| ended(&handle.shared))),
            },
        };
        this.handle = None;
        Poll::Ready(result)
    }
}

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle
            && self.withdraw
        {
            handle.send(Command::Abandon { id: self.id });
        }
    }
}

/// Why the task of a session answers no more.
fn ended(shared: &Shared) -> Error {
    match *shared.state.borrow() {
        State::Lost(loss) => Error::Lost(loss),
        _ => Error::Closed,
    }
}
