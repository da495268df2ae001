//! What the handles of one session and its task share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::Loss;
use crate::logic::{OperationId, State};

/// The task's side and the handles' side of one session.
pub(crate) struct Shared {
    /// Nanoseconds on the clock of [`crate::clock::now`]; 0 when the session is over, for ever.
    valid_until: AtomicU64,
    /// When the first keepalive was sent that is not acknowledged; 0 if all are.
    unanswered_since: AtomicU64,
    pub(crate) state: watch::Sender<State>,
    /// Why the session before this one was lost, if it follows one.
    pub(crate) former: Option<Loss>,
    operations: AtomicU64,
    /// Locks and conversions that the task has not taken from its channel yet.
    pub(crate) backlog: AtomicUsize,
    pub(crate) queued_max: usize,
}

/// What a look at the clock shows.
pub(crate) enum Check {
    Valid,
    JustExpired,
    Lost(Loss),
    Closed,
}

impl Shared {
    pub(crate) fn new(queued_max: usize, former: Option<Loss>) -> Self {
        Self {
            valid_until: AtomicU64::new(0),
            unanswered_since: AtomicU64::new(0),
            state: watch::Sender::new(State::Opening),
            former,
            operations: AtomicU64::new(1),
            backlog: AtomicUsize::new(0),
            queued_max,
        }
    }

    pub(crate) fn next_operation(&self) -> OperationId {
        OperationId(self.operations.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn valid_until(&self) -> Duration {
        Duration::from_nanos(self.valid_until.load(Ordering::Acquire))
    }

    pub(crate) fn unanswered_since(&self) -> Option<Duration> {
        let since = self.unanswered_since.load(Ordering::Relaxed);
        (since != 0).then(|| Duration::from_nanos(since))
    }

    pub(crate) fn set_unanswered(&self, since: Option<Duration>) {
        self.unanswered_since.store(since.map_or(0, nanoseconds), Ordering::Relaxed);
    }

    pub(crate) fn check(&self, now: Duration) -> Check {
        let now = nanoseconds(now);
        let mut until = self.valid_until.load(Ordering::Acquire);
        while until != 0 {
            if now < until {
                return Check::Valid;
            }
            // The task may be raising the deadline at this moment; only one of the two can win.
            match self.valid_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Check::JustExpired,
                Err(raised) => until = raised,
            }
        }
        match *self.state.borrow() {
            State::Lost(loss) => Check::Lost(loss),
            State::Closed => Check::Closed,
            // Not open yet, or the task has not heard yet of the deadline that passed.
            State::Opening => Check::Lost(self.former.unwrap_or(Loss::Deadline)),
            _ => Check::Lost(Loss::Deadline),
        }
    }

    /// Sets the first deadline.
    pub(crate) fn begin(&self, until: Duration) {
        self.valid_until.store(nanoseconds(until), Ordering::Release);
    }

    /// Moves the deadline from `from` to `to`. False if a check found in between that it had passed.
    pub(crate) fn extend(&self, from: Duration, to: Duration) -> bool {
        self.valid_until
            .compare_exchange(nanoseconds(from), nanoseconds(to), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Nothing is valid any more.
    pub(crate) fn end(&self, state: State) {
        // State first: whoever then finds the deadline at 0 also finds the reason.
        self.state.send_replace(state);
        self.valid_until.store(0, Ordering::Release);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
