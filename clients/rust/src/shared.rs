//! What the handles of a session and its task share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sixpin_proto::v1;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::clock;
use crate::error::{Error, Loss};
use crate::guard::Guard;
use crate::logic::{ClaimEvent, Done, Grant, Opened, OperationId, State};
use crate::session::SessionEvent;

/// What the program's handles ask the task to do. Unbounded, because letting go must never fail; what asks for more is
/// counted in [`Shared::backlog`] instead.
pub(crate) enum Command {
    Lock {
        id: OperationId,
        request: Box<v1::Lock>,
        handle: Arc<Handle>,
        reply: oneshot::Sender<Result<Guard, Error>>,
    },
    Convert {
        id: OperationId,
        request: Box<v1::Convert>,
        queue: Option<bool>,
        reply: oneshot::Sender<Result<Grant, Error>>,
    },
    Unlock {
        request: Box<v1::Unlock>,
        /// Absent: nobody waits for the answer.
        reply: Option<(OperationId, oneshot::Sender<Result<Done, Error>>)>,
    },
    UnlockAll {
        id: OperationId,
        owner: Option<String>,
        reply: oneshot::Sender<Result<Done, Error>>,
    },
    /// A guard that is gone without a release: the claim stays until the session ends.
    Leave {
        claim: u64,
    },
    Abandon {
        id: OperationId,
    },
    Cancel {
        id: OperationId,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
    Expired,
    Wake,
}

/// Held by every session handle and guard. When the last one is dropped, the channel closes, and the task ends the
/// session: keepalives never outlive the handles.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { shared, commands }
    }

    /// Hands a command to the task. A task that has ended drops it, and with it the sender of the reply.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Fails when the deadline has passed, by the clock, now. Final: what was found once stays.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.shared.check(clock::now()) {
            Check::Valid => Ok(()),
            Check::Lost(loss) => Err(Error::Lost(loss)),
            Check::Closed => Err(Error::Closed),
            Check::JustExpired => {
                self.send(Command::Expired);
                Err(Error::Lost(Loss::Deadline))
            }
        }
    }
}

/// The task's side and the handles' side of one session.
pub(crate) struct Shared {
    /// Nanoseconds on the clock of [`clock::now`]; 0 when the session is over, for ever.
    valid_until: AtomicU64,
    /// When the first keepalive was sent that is not acknowledged; 0 if all are.
    unanswered_since: AtomicU64,
    pub(crate) state: watch::Sender<State>,
    pub(crate) events: broadcast::Sender<SessionEvent>,
    pub(crate) opened: OnceLock<Opened>,
    /// Address and name of the broker that vouches for the session, and the number of moves.
    pub(crate) place: Mutex<(String, String, u32)>,
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
    pub(crate) fn new(queued_max: usize) -> Self {
        Self {
            valid_until: AtomicU64::new(0),
            unanswered_since: AtomicU64::new(0),
            state: watch::Sender::new(State::Opening),
            events: broadcast::Sender::new(EVENTS_KEPT),
            opened: OnceLock::new(),
            place: Mutex::default(),
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

/// Session events kept for a slow receiver.
const EVENTS_KEPT: usize = 1024;

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One claim that the program holds: what its guard shows, kept current by the task.
pub(crate) struct Claim {
    pub(crate) number: u64,
    grant: Mutex<Grant>,
    lost: OnceLock<Loss>,
    events: Mutex<VecDeque<ClaimEvent>>,
    pub(crate) changed: Notify,
}

/// Events kept for a guard that nobody listens to. Levels only rise between two grants, so few can be news.
const CLAIM_EVENTS_KEPT: usize = 16;

impl Claim {
    pub(crate) fn new(grant: Grant) -> Self {
        Self {
            number: grant.claim,
            grant: Mutex::new(grant),
            lost: OnceLock::new(),
            events: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn grant(&self) -> MutexGuard<'_, Grant> {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the claim alone is lost, if it is. The session may be lost besides.
    pub(crate) fn lost(&self) -> Option<Loss> {
        self.lost.get().copied()
    }

    pub(crate) fn tell(&self, event: ClaimEvent) {
        if let ClaimEvent::Lost(loss) = event {
            let _ = self.lost.set(loss);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == CLAIM_EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(event);
        drop(events);
        self.changed.notify_waiters();
    }

    pub(crate) fn next_event(&self) -> Option<ClaimEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
