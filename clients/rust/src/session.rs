//! A session, as a program has it in its hands.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::command::Command;
use crate::error::{Error, Loss};
use crate::events::{SessionEvents, StateWatch};
use crate::lock::LockRequest;
use crate::logic::{Done, Opened, State};
use crate::mode::Mode;
use crate::operation::Operation;
use crate::succession::Succession;

/// An open session. Cheap to clone. When the last handle and the last guard are dropped, it is closed, and nothing of
/// it goes on.
///
/// With [`SessionBuilder::reopen`](crate::SessionBuilder::reopen) it stands for one session after the other: what it says is
/// of the one that was opened last.
#[derive(Clone)]
pub struct Session {
    sessions: Arc<Succession>,
    lockspace: Arc<str>,
}

impl Session {
    pub(crate) fn new(sessions: Arc<Succession>, lockspace: Arc<str>) -> Self {
        Self { sessions, lockspace }
    }

    /// The session's name. Another one after [`SessionEvent::Reopened`](crate::SessionEvent::Reopened).
    pub fn id(&self) -> String {
        self.opened(|opened, _| opened.session)
    }

    /// Its TTL.
    pub fn ttl(&self) -> Duration {
        self.opened(|opened, _| opened.ttl)
    }

    /// Length of a value block in the session's lockspace, in bytes.
    pub fn value_block_bytes(&self) -> u32 {
        self.opened(|opened, _| opened.value_block_bytes)
    }

    /// The address of the broker that vouches for the session, or did last.
    pub fn address(&self) -> String {
        self.opened(|opened, _| opened.address)
    }

    /// The name of the broker that vouches for the session, or did last.
    pub fn broker(&self) -> String {
        self.opened(|opened, _| opened.broker)
    }

    /// How often the session has moved.
    pub fn move_number(&self) -> u32 {
        self.opened(|_, move_number| move_number)
    }

    fn opened<T: Default>(&self, part: impl FnOnce(Opened, u32) -> T) -> T {
        // A handle exists only once its first session was opened.
        self.sessions.news.session().map(|(opened, move_number)| part(opened, move_number)).unwrap_or_default()
    }

    /// Asks for a lock on `name` in `mode`.
    pub fn lock(&self, name: impl Into<String>, mode: Mode) -> LockRequest {
        LockRequest::new(&self.sessions, name.into(), self.lockspace.to_string(), mode)
    }

    /// Releases everything that the session holds, or everything of one owner; locks that wait are cancelled. Says how
    /// many claims were released. Their guards then find them lost.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session ended first.
    pub async fn unlock_all(&self, owner: Option<&str>) -> Result<u32, Error> {
        let owner = owner.map(str::to_owned);
        let done =
            Operation::give(&self.sessions.newest(), |id, reply| Command::UnlockAll { id, owner, reply }).await?;
        match done {
            Done::ReleasedAll { released } => Ok(released),
            Done::Released | Done::Granted(_) => Ok(0),
        }
    }

    /// Whether the session is valid now, by the clock.
    pub fn is_valid(&self) -> bool {
        self.check().is_ok()
    }

    /// Reads the clock and fails if the session is over. Once it has failed it never succeeds again, unless the session is
    /// opened again.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] with the reason; [`Error::Closed`] if the program closed it.
    pub fn check(&self) -> Result<(), Error> {
        self.sessions.newest().check()
    }

    /// How long the session stays valid if no further keepalive is acknowledged; zero if it is over.
    pub fn valid_for(&self) -> Duration {
        let handle = self.sessions.newest();
        handle.check().map_or(Duration::ZERO, |()| handle.shared.valid_until().saturating_sub(clock::now()))
    }

    /// How long a keepalive has been on its way without an acknowledgement; absent if none is. It shows that something is
    /// wrong long before [`State::Uncertain`] and the deadline do.
    pub fn unanswered_for(&self) -> Option<Duration> {
        self.sessions.newest().shared.unanswered_since().map(|since| clock::now().saturating_sub(since))
    }

    /// How sure the session is of its life, to watch.
    pub fn state(&self) -> StateWatch {
        self.sessions.news.watch()
    }

    /// Resolves when the session is over, with the reason; at once while a lost session is being opened again.
    pub async fn lost(&self) -> Loss {
        let handle = self.sessions.newest();
        if let State::Reopening(loss) = self.state().current() {
            return loss;
        }
        match handle.over().await {
            State::Lost(loss) => loss,
            _ => Loss::Closed,
        }
    }

    /// What happens to the session and its claims from now on.
    pub fn events(&self) -> SessionEvents {
        self.sessions.news.events()
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
        let (handle, closed) = self.sessions.close();
        // A session that is lost on the way waits for its guards, and the caller may be the one who holds them.
        let lost = async {
            match handle.over().await {
                State::Lost(loss) => loss,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = closed => match *handle.shared.state.borrow() {
                State::Lost(loss) => Err(Error::Lost(loss)),
                _ => Ok(()),
            },
            loss = lost => Err(Error::Lost(loss)),
        }
    }

    /// Resolves when nothing of the session goes on: it is over, every guard was let go of, and the broker has heard of
    /// it, or had a second to. Await it before a program ends whose session was lost: without the word that nothing uses
    /// its locks any more, others wait for the TTL.
    pub async fn finished(&self) {
        self.sessions.finished().await;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id()).finish_non_exhaustive()
    }
}
