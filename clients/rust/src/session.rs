//! A session: one life with a TTL, and everything that is held in it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::client::Settings;
use crate::clock;
use crate::error::{Error, Loss};
use crate::guard::is_over;
use crate::lock::LockRequest;
use crate::logic::{ClaimEvent, Config, Done, Opened, State};
use crate::mode::Mode;
use crate::operation::Operation;
use crate::shared::{Command, Handle, Shared};
use crate::task::Task;
use crate::wake::Wake;

/// A session that is about to be opened.
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    settings: Arc<Settings>,
    wake: Arc<Wake>,
    ttl: Option<Duration>,
    label: String,
    lockspace: String,
    connection_bound: bool,
    timeout: Duration,
}

impl SessionBuilder {
    pub(crate) fn new(settings: Arc<Settings>, wake: Arc<Wake>) -> Self {
        Self {
            timeout: settings.open_timeout,
            settings,
            wake,
            ttl: None,
            label: String::new(),
            lockspace: String::new(),
            connection_bound: false,
        }
    }

    /// How long the session lives without an acknowledged keepalive: 1 s to 1 h. Default: the broker's, 10 s.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Free text for people who look, at most 64 bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The lockspace for locks that name no other. The session lives in its store.
    #[must_use]
    pub fn lockspace(mut self, lockspace: impl Into<String>) -> Self {
        self.lockspace = lockspace.into();
        self
    }

    /// The session ends with its connection: it never moves to another broker.
    #[must_use]
    pub fn connection_bound(mut self) -> Self {
        self.connection_bound = true;
        self
    }

    /// How long opening it may take, over all addresses: until then addresses are tried again and again. Default: the
    /// client's `open_timeout`, 10 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the session at the first broker that answers. Addresses are tried side by side, each 250 ms after the one
    /// before it, so that one that hangs holds up nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none opens it in time, with what was met at each address; [`Error::Limit`] if the
    /// brokers that answered are full; [`Error::Invalid`] for a TTL or a
    /// name outside the limits.
    pub async fn open(self) -> Result<Session, Error> {
        let shared = Arc::new(Shared::new(self.settings.queued_max));
        let (sender, commands) = mpsc::unbounded_channel();
        let (opening, opened) = oneshot::channel();
        let (at_work, finished) = watch::channel(());
        self.wake.register(sender.downgrade(), finished.clone());
        // The handle is what keeps the task alive, so a caller that gives up waiting ends it.
        let handle = Arc::new(Handle::new(Arc::clone(&shared), sender));
        let connect_timeout = self.settings.connect_timeout;
        let task = Task::new(self.config(), connect_timeout, Arc::clone(&shared), commands, opening, at_work);
        tokio::spawn(task.run());
        opened.await.unwrap_or(Err(Error::Closed))?;
        let opened = shared.opened.get().cloned().ok_or(Error::Closed)?;
        Ok(Session { handle, opened: Arc::new(opened), lockspace: self.lockspace.into(), finished })
    }

    fn config(&self) -> Config {
        Config {
            endpoints: self.settings.endpoints.clone(),
            ttl_ms: self.ttl.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
            lockspace: self.lockspace.clone(),
            label: self.label.clone(),
            program: self.settings.program.clone(),
            connection_bound: self.connection_bound,
            queued_max: self.settings.queued_max,
            open_timeout: self.timeout,
            attempt_timeout: self.settings.connect_timeout,
            seed: RandomState::new().hash_one(0u8),
        }
    }
}

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
        StateWatch::new(&self.handle.shared)
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
        SessionEvents { receiver: self.handle.shared.events.subscribe() }
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

/// Follows how sure a session is of its life.
#[derive(Debug, Clone)]
pub struct StateWatch {
    receiver: watch::Receiver<State>,
}

impl StateWatch {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self { receiver: shared.state.subscribe() }
    }

    /// The state as of now.
    pub fn current(&self) -> State {
        *self.receiver.borrow()
    }

    /// Waits for the next change; absent when the session is over, that was told, and nothing more will come.
    pub async fn changed(&mut self) -> Option<State> {
        let news = self.receiver.has_changed().unwrap_or(false);
        if !news && is_over(*self.receiver.borrow()) {
            return None;
        }
        self.receiver.changed().await.ok()?;
        Some(*self.receiver.borrow_and_update())
    }
}

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// How sure it is of its life has changed.
    State(State),
    /// It lives on at a broker after its connection was lost, or its broker went.
    Resumed {
        /// The address.
        address: String,
        /// The broker's name.
        broker: String,
        /// Counts the moves.
        move_number: u32,
    },
    /// Something happened to one of its claims.
    Claim {
        /// The claim's number.
        claim: u64,
        /// What happened to it.
        event: ClaimEvent,
    },
}

/// The events of a session, in order.
#[derive(Debug)]
pub struct SessionEvents {
    receiver: broadcast::Receiver<SessionEvent>,
}

impl SessionEvents {
    /// The next event; absent when the session is over. A reader that is more than 1,024 events behind misses the
    /// oldest ones.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
