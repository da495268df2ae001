//! A session: one life with a TTL, and everything that is held in it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::clock;
use crate::command::Command;
use crate::error::{Error, Loss};
use crate::events::{SessionEvents, StateWatch};
use crate::handle::Handle;
use crate::lock::LockRequest;
use crate::logic::{Done, Opened, State};
use crate::mode::Mode;
use crate::operation::Operation;

/// An open session. Cheap to clone. When the last handle and the last guard are dropped, it is closed, and nothing of
/// it goes on.
#[derive(Clone)]
pub struct Session {
    handle: Arc<Handle>,
    opened: Arc<Opened>,
    lockspace: Arc<str>,
    /// Its other end is held by whatever still works for the session.
    finished: watch::Receiver<()>,
}

impl Session {
    pub(crate) fn new(handle: Arc<Handle>, opened: Opened, lockspace: Arc<str>, finished: watch::Receiver<()>) -> Self {
        Self { handle, opened: Arc::new(opened), lockspace, finished }
    }

    /// The session's name.
    pub fn id(&self) -> &str {
        &self.opened.session
    }

    /// Its TTL.
    pub fn ttl(&self) -> Duration {
        self.opened.ttl
    }

    /// Length of a value block in the session's lockspace, in bytes.
    pub fn value_block_bytes(&self) -> u32 {
        self.opened.value_block_bytes
    }

    /// The address of the broker that vouches for the session, or did last.
    pub fn address(&self) -> String {
        self.place().0
    }

    /// The name of the broker that vouches for the session, or did last.
    pub fn broker(&self) -> String {
        self.place().1
    }

    /// How often the session has moved.
    pub fn move_number(&self) -> u32 {
        self.place().2
    }

    fn place(&self) -> (String, String, u32) {
        self.handle.shared.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a lock on `name` in `mode`.
    pub fn lock(&self, name: impl Into<String>, mode: Mode) -> LockRequest {
        LockRequest::new(&self.handle, name.into(), self.lockspace.to_string(), mode)
    }

    /// Releases everything that the session holds, or everything of one owner; locks that wait are cancelled. Says how
    /// many claims were released. Their guards then find them lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session ended first.
    pub async fn unlock_all(&self, owner: Option<&str>) -> Result<u32, Error> {
        let owner = owner.map(str::to_owned);
        let done = Operation::give(&self.handle, |id, reply| Command::UnlockAll { id, owner, reply }).await?;
        match done {
            Done::ReleasedAll { released } => Ok(released),
            Done::Released | Done::Granted(_) => Ok(0),
        }
    }

    /// Whether the session is valid now, by the clock.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// Reads the clock and fails if the session is over. Once it has failed it never succeeds again.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] with the reason; [`Error::Closed`] if the program closed it.
    pub fn check(&self) -> Result<(), Error> {
        self.handle.check()
    }

    /// How long the session stays valid if no further keepalive is acknowledged; zero if it is over.
    pub fn valid_for(&self) -> Duration {
        if self.is_valid() { self.handle.shared.valid_until().saturating_sub(clock::now()) } else { Duration::ZERO }
    }

    /// How long a keepalive has been on its way without an acknowledgement; absent if none is. It shows that something is
    /// wrong long before [`State::Uncertain`] and the deadline do.
    pub fn unanswered_for(&self) -> Option<Duration> {
        self.handle.shared.unanswered_since().map(|since| clock::now().saturating_sub(since))
    }

    /// How sure the session is of its life, to watch.
    pub fn state(&self) -> StateWatch {
        StateWatch::new(&self.handle.shared.state)
    }

    /// Resolves when the session is over, with the reason.
    pub async fn lost(&self) -> Loss {
        let mut state = self.state();
        loop {
            match state.current() {
                State::Lost(loss) => return loss,
                State::Closed => return Loss::Closed,
                _ => {}
            }
            if state.changed().await.is_none() {
                return Loss::Closed;
            }
        }
    }

    /// What happens to the session and its claims from now on.
    pub fn events(&self) -> SessionEvents {
        SessionEvents::new(&self.handle.shared.events)
    }

    /// Closes the session: waits for releases that are on their way, gives up everything else. Guards that are still
    /// held are lost, as if their holder had died, and others are granted at once.
    ///
    /// It may take until the session's deadline if no broker answers: where that is too long, use
    /// [`crate::Client::close`].
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if it was over before.
    pub async fn close(&self) -> Result<(), Error> {
        let (reply, closed) = oneshot::channel();
        self.handle.send(Command::Close { reply });
        // A session that is lost on the way waits for its guards, and the caller may be the one who holds them.
        tokio::select! {
            _ = closed => match self.state().current() {
                State::Lost(loss) => Err(Error::Lost(loss)),
                _ => Ok(()),
            },
            loss = self.lost_for_good() => Err(Error::Lost(loss)),
        }
    }

    /// Resolves when nothing of the session goes on: it is over, every guard was let go of, and the broker has heard of
    /// it, or had a second to. Await it before a program ends whose session was lost: without the word that nothing uses
    /// its locks any more, others wait for the TTL.
    pub async fn finished(&self) {
        let mut finished = self.finished.clone();
        // Nothing is ever sent: it fails when the last sender is gone.
        while finished.changed().await.is_ok() {}
    }

    /// As [`Session::lost`], but not for a session that the program closes.
    async fn lost_for_good(&self) -> Loss {
        match self.lost().await {
            Loss::Closed if self.state().current() == State::Closed => std::future::pending().await,
            loss => loss,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.opened.session).finish_non_exhaustive()
    }
}
