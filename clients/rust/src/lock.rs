//! Asking for a lock.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use sixpin_proto::v1;

use crate::claim::Claim;
use crate::clock::{self, milliseconds};
use crate::command::Command;
use crate::error::Error;
use crate::guard::Guard;
use crate::handle::Handle;
use crate::mode::Mode;
use crate::operation::Operation;
use crate::succession::Succession;

/// A lock that is about to be asked for. Await it, or turn it into a future first to have it on its way.
///
/// # Errors
///
/// [`Error::NotGranted`] if a try would have to wait, the wait timed out, or it was cancelled; [`Error::Unavailable`] if
/// it timed out while a broker refused it for now; [`Error::Lost`] if the session ended while it waited. Of a session that
/// [reopens](crate::SessionBuilder::reopen) also those of [`crate::SessionBuilder::open`], if it could not.
#[must_use = "nothing is asked for until this is awaited"]
pub struct LockRequest {
    sessions: Arc<Succession>,
    request: Box<v1::Lock>,
}

impl LockRequest {
    pub(crate) fn new(sessions: &Arc<Succession>, name: String, lockspace: String, mode: Mode) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            request: Box::new(v1::Lock {
                resource: Some(v1::Resource { lockspace, name }),
                what: Some(mode.to_proto().into()),
                ..v1::Lock::default()
            }),
        }
    }

    /// Waits at most this long, to the millisecond, whether brokers answer or not: a broker's answer, which says who is
    /// in the way, may come half a second later. Without it, waits for ever; zero is [`Self::try_lock`].
    pub fn wait(mut self, wait: Duration) -> Self {
        self.request.timeout_ms = Some(milliseconds(wait));
        self
    }

    /// Waits at most until then.
    pub fn deadline(self, deadline: Instant) -> Self {
        let left = clock::until(deadline);
        self.wait(left)
    }

    /// Does not wait: granted at once or not at all. Where no broker says which within 2 s, it ends undecided:
    /// [`crate::Refusal::Undecided`].
    pub fn try_lock(mut self) -> Self {
        self.request.timeout_ms = Some(0);
        self
    }

    /// The lockspace, if it is not the session's.
    pub fn in_lockspace(mut self, lockspace: impl Into<String>) -> Self {
        self.request.resource.get_or_insert_default().lockspace = lockspace.into();
        self
    }

    /// Wants to hear when the claim blocks somebody: see [`Guard::next_event`].
    pub fn blocking(mut self) -> Self {
        self.request.blocking = true;
        self
    }

    /// Reads the value block with the grant.
    pub fn value_block(mut self) -> Self {
        self.request.value_block = true;
        self
    }

    /// The task or transaction inside the session, at most 64 bytes: what [`crate::Session::unlock_all`] goes by.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.request.owner = owner.into();
        self
    }

    /// Free text for people who look, at most 64 bytes.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.request.label = label.into();
        self
    }

    /// Continues a trace: the `traceparent` of W3C Trace Context that names it. Brokers that trace show the request in it; what is
    /// none is ignored.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.request.traceparent = traceparent.into();
        self
    }

    /// NL only: granted at once, whatever is queued.
    pub fn expedite(mut self) -> Self {
        self.request.expedite = true;
        self
    }

    /// Queues at the head instead of the tail. Streams of these starve others.
    pub fn head_of_queue(mut self) -> Self {
        self.request.head_of_queue = true;
        self
    }

    /// Granted as soon as it is compatible, from any place in the queue. Streams of these starve others.
    pub fn no_order(mut self) -> Self {
        self.request.no_order = true;
        self
    }

    /// Would also take PR: look at [`Guard::mode`].
    pub fn alternate_pr(mut self) -> Self {
        self.request.alternate_pr = true;
        self
    }

    /// Would also take CW: look at [`Guard::mode`].
    pub fn alternate_cw(mut self) -> Self {
        self.request.alternate_cw = true;
        self
    }

    /// The claim survives its session as an orphan, until somebody adopts it or an administrator purges it.
    pub fn persistent(mut self) -> Self {
        self.request.persistent = true;
        self
    }

    /// Takes over an orphan that is held in exactly this mode. Never waits; [`Error::NotFound`] if there is none.
    pub fn adopt_orphan(mut self) -> Self {
        self.request.orphan = true;
        self
    }

    /// A try that is refused tells its blockers all the same.
    pub fn notify_on_refusal(mut self) -> Self {
        self.request.notify_on_refusal = true;
        self
    }
}

impl IntoFuture for LockRequest {
    type Output = Result<Guard, Error>;
    type IntoFuture = Locking;

    fn into_future(self) -> Locking {
        let Self { sessions, request } = self;
        let handle = sessions.for_locks();
        let operation = Operation::ask(&handle, |id, reply| Command::Lock { id, request, reply });
        Locking { handle, operation }
    }
}

/// A lock on its way. Dropping it withdraws the request and leaves no claim behind, at whatever point.
#[must_use = "dropping it withdraws the request"]
pub struct Locking {
    handle: Arc<Handle>,
    operation: Operation<Arc<Claim>>,
}

impl Locking {
    /// Asks for its end. It still resolves: as cancelled, or as granted if that came first.
    pub fn cancel(&self) {
        self.operation.cancel();
    }
}

impl Future for Locking {
    type Output = Result<Guard, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let claim = ready!(Pin::new(&mut self.operation).poll(context))?;
        Poll::Ready(Ok(Guard::new(Arc::clone(&self.handle), claim)))
    }
}

impl Drop for Locking {
    fn drop(&mut self) {
        if let Some(claim) = self.operation.untaken() {
            drop(Guard::new(Arc::clone(&self.handle), claim));
        }
    }
}
