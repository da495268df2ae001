//! Setting up a session, and opening it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::handle::Handle;
use crate::logic::Config;
use crate::session::Session;
use crate::settings::Settings;
use crate::shared::Shared;
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
    /// brokers that answered are full; [`Error::Invalid`] for a TTL or a name outside the limits.
    pub async fn open(self) -> Result<Session, Error> {
        let shared = Arc::new(Shared::new(self.settings.queued_max));
        let (sender, commands) = mpsc::unbounded_channel();
        let (opening, opened) = oneshot::channel();
        let (at_work, finished) = watch::channel(());
        // The handle is what keeps the task alive, so a caller that gives up waiting ends it.
        let handle = Arc::new(Handle::new(Arc::clone(&shared), sender));
        self.wake.register(&handle, finished.clone());
        let connect_timeout = self.settings.connect_timeout;
        let task = Task::new(self.config(), connect_timeout, Arc::clone(&shared), commands, opening, at_work);
        tokio::spawn(task.run());
        opened.await.unwrap_or(Err(Error::Closed))?;
        let opened = shared.opened.get().cloned().ok_or(Error::Closed)?;
        Ok(Session::new(handle, opened, self.lockspace.into(), finished))
    }

    fn config(&self) -> Config {
        Config {
            endpoints: self.settings.endpoints.clone(),
            ttl_ms: self.ttl.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
            lockspace: self.lockspace.clone(),
            label: self.label.clone(),
            connection_bound: self.connection_bound,
            queued_max: self.settings.queued_max,
            open_timeout: self.timeout,
            attempt_timeout: self.settings.connect_timeout,
            seed: RandomState::new().hash_one(0u8),
        }
    }
}
