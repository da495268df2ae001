//! A claim that is held.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sixpin_proto::v1;

use crate::clock;
use crate::error::{Error, Loss};
use crate::lock::milliseconds;
use crate::logic::{ClaimEvent, Done, Grant, State, ValueBlock};
use crate::mode::Mode;
use crate::operation::Operation;
use crate::session::StateWatch;
use crate::shared::{Claim, Command, Handle};

/// One claim that is held. It keeps its session alive, and is released when it is dropped; to know that the release is
/// done, or to write the value block with it, use [`Guard::release`].
///
/// The release after a drop is made by a task of the runtime, a moment later. A program that ends in that moment does not
/// release it, and others wait for the TTL: see [`crate::Client::run`].
///
/// It can be lost. Call [`Guard::check`] directly before each use of what it protects, or hand [`Guard::fence`] along.
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    claim: Arc<Claim>,
    /// Absent once the claim was let go.
    handle: Option<Arc<Handle>>,
}

impl Guard {
    pub(crate) fn new(handle: Arc<Handle>, claim: Arc<Claim>) -> Self {
        Self { claim, handle: Some(handle) }
    }

    /// The claim's number within its session.
    pub fn claim(&self) -> u64 {
        self.claim.number
    }

    /// The mode that is held, as of the newest grant.
    pub fn mode(&self) -> Mode {
        self.claim.grant().mode
    }

    /// The fence of the newest grant: larger than that of every earlier conflicting grant of the resource.
    pub fn fence(&self) -> u64 {
        self.claim.grant().fence
    }

    /// The value block, as the newest operation that asked for it reported it.
    pub fn value(&self) -> Option<ValueBlock> {
        self.claim.grant().value.clone()
    }

    /// Everything that the newest grant said.
    pub fn grant(&self) -> Grant {
        self.claim.grant().clone()
    }

    /// Whether the lock is held now, by the clock.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// Reads the clock and fails if the lock is not held now. Once it has failed it never succeeds again.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] with the reason; [`Error::Closed`] if the program closed the session.
    pub fn check(&self) -> Result<(), Error> {
        self.handle.as_ref().map_or(Err(Error::Closed), |handle| handle.check())?;
        self.claim.lost().map_or(Ok(()), |loss| Err(Error::Lost(loss)))
    }

    /// How long the lock stays valid if no further keepalive is acknowledged; zero if it is lost.
    pub fn valid_for(&self) -> Duration {
        match &self.handle {
            Some(handle) if self.is_valid() => handle.shared.valid_until().saturating_sub(clock::now()),
            _ => Duration::ZERO,
        }
    }

    /// Resolves when the lock is lost, with the reason. It resolves as soon as this process runs again; still, after a
    /// suspend the program may run before it: [`Guard::check`] is exact.
    pub async fn lost(&self) -> Loss {
        let Some(handle) = &self.handle else { return Loss::Closed };
        let mut state = StateWatch::new(&handle.shared);
        loop {
            let changed = self.claim.changed.notified();
            if let Some(loss) = self.claim.lost() {
                return loss;
            }
            match handle.check() {
                Err(Error::Lost(loss)) => return loss,
                Err(_) => return Loss::Closed,
                Ok(()) => {}
            }
            tokio::select! {
                () = changed => {}
                _ = state.changed() => {}
            }
        }
    }

    /// The next event of this claim, or [`ClaimEvent::Lost`] when it or its session is lost. Events that came before
    /// the call are kept. Blocking events come only if they were asked for.
    pub async fn next_event(&self) -> ClaimEvent {
        loop {
            let changed = self.claim.changed.notified();
            if let Some(event) = self.claim.next_event() {
                return event;
            }
            tokio::select! {
                () = changed => {}
                loss = self.lost() => return ClaimEvent::Lost(loss),
            }
        }
    }

    /// How sure the session is of its life, to watch.
    pub fn state(&self) -> Option<StateWatch> {
        self.handle.as_ref().map(|handle| StateWatch::new(&handle.shared))
    }

    /// Asks for another mode. Down and same-mode conversions are granted at once. A conversion that is not granted
    /// leaves the claim in its old mode.
    pub fn convert(&self, mode: Mode) -> Convert<'_> {
        Convert {
            guard: self,
            queue: None,
            request: Box::new(v1::Convert {
                claim: self.claim.number,
                what: Some(mode.to_proto().into()),
                ..v1::Convert::default()
            }),
        }
    }

    /// Lets go of the claim, and says when that is done. Awaiting a released guard that was lost tells so.
    pub fn release(mut self) -> Release {
        Release {
            handle: self.handle.take(),
            request: Box::new(v1::Unlock { claim: self.claim.number, ..v1::Unlock::default() }),
        }
    }

    /// Leaves the claim held until its session ends, and returns its number. With [`crate::LockRequest::persistent`] it
    /// then stays behind as an orphan.
    pub fn leave(mut self) -> u64 {
        if let Some(handle) = self.handle.take() {
            handle.send(Command::Leave { claim: self.claim.number });
        }
        self.claim.number
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let request = v1::Unlock { claim: self.claim.number, ..v1::Unlock::default() };
            handle.send(Command::Unlock { request: Box::new(request), reply: None });
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grant = self.claim.grant();
        f.debug_struct("Guard")
            .field("claim", &grant.claim)
            .field("mode", &grant.mode)
            .field("fence", &grant.fence)
            .finish_non_exhaustive()
    }
}

/// A conversion that is about to be asked for.
///
/// # Errors
///
/// [`Error::NotGranted`] if a try would have to wait, the wait timed out, or it would deadlock; the claim then keeps its
/// old mode. [`Error::Lost`] if it was lost.
#[must_use = "nothing is asked for until this is awaited"]
pub struct Convert<'a> {
    guard: &'a Guard,
    /// Absent: queue if the mode held is NL.
    queue: Option<bool>,
    request: Box<v1::Convert>,
}

impl Convert<'_> {
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
        let Self { guard: _, queue, request } = self;
        let operation = self
            .guard
            .handle
            .as_ref()
            .map(|handle| Operation::ask(handle, |id, reply| Command::Convert { id, request, queue, reply }));
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

/// A release that is about to be asked for. Dropping it releases all the same.
#[must_use = "await it to know that the release is done"]
pub struct Release {
    handle: Option<Arc<Handle>>,
    request: Box<v1::Unlock>,
}

impl Release {
    /// Writes the value block with the release, from PW or EX; padded with zeroes.
    pub fn value(mut self, bytes: impl Into<Bytes>) -> Self {
        self.request.value_block = true;
        self.request.value = bytes.into();
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

/// Whether a state is one of those that end a session.
pub(crate) fn is_over(state: State) -> bool {
    matches!(state, State::Lost(_) | State::Closed)
}
