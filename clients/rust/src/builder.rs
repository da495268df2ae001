//! Setting up a session, and opening it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::logic::Config;
use crate::session::Session;
use crate::settings::Settings;
use crate::succession::Succession;
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
    reopen_within: Option<Duration>,
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
            reopen_within: None,
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

    /// Opens a new session on the same handle when this one is lost, whatever the reason, and gives up when that has not
    /// succeeded for so long; [`Duration::MAX`]: never. Without it, a session that is lost stays lost.
    ///
    /// * *Lost is lost.* Everything that was held is gone, and everything that waited ends with [`Error::Lost`]. A guard
    ///   of the lost session never becomes valid again, and no lock is taken again by itself: ask for it, and look at what it
    ///   protects as after any other grant. [`Guard::check`](crate::Guard::check) and [`Guard::lost`](crate::Guard::lost)
    ///   tell it as always.
    /// * *Let go of lost guards first.* Brokers give away what was lost when its guard is dropped, or when the TTL has
    ///   passed. Until then the new session waits for it like anybody else.
    /// * *Locks may be asked for at once.* From the moment the program can know of the loss, a lock that is asked of the
    ///   handle goes to the new session. It waits for that to open, within its own
    ///   [`wait`](crate::LockRequest::wait); a try waits for it as it waits for a broker, up to 2 s.
    /// * *It can be seen.* Meanwhile [`Session::state`] is [`State::Reopening`](crate::State::Reopening), and
    ///   [`Session::check`] fails with the loss. Then the state is [`State::Safe`](crate::State::Safe) again,
    ///   [`SessionEvent::Reopened`](crate::SessionEvent::Reopened) names the new session, and so does [`Session::id`].
    /// * *It is paced.* The first broker is tried after 50 to 100 ms. After sessions that are lost again within 10 s the
    ///   pauses double, up to 10 s. Time counts towards the limit from the end of the pause.
    /// * *It ends.* When the time is over, or brokers refuse what the session asks for, the state is
    ///   [`State::Lost`](crate::State::Lost) for good, and locks that waited end with what was met
    ///   ([`Error::Unreachable`], [`Error::Limit`], [`Error::Invalid`]). After [`Session::close`] or
    ///   [`Client::close`](crate::Client::close) nothing is opened again, and neither when every handle is dropped: guards
    ///   that are left do not need a new session.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use sixpin_client::{Client, Error, Mode};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let session = client.session().reopen(Duration::MAX).open().await?;
    /// loop {
    ///     let guard = session.lock("leader", Mode::EX).await?;
    ///     let loss = guard.lost().await; // lead until then
    ///     println!("not leading any more: {loss}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn reopen(mut self, within: Duration) -> Self {
        self.reopen_within = Some(within);
        self
    }

    /// Opens the session at the first broker that answers. Addresses are tried side by side, each 250 ms after the one
    /// before it, so that one that hangs holds up nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none opens it in time, with what was met at each address; [`Error::Limit`] if the
    /// brokers that answered are full; [`Error::Invalid`] for a TTL or a name outside the limits;
    /// [`Error::Denied`], at once, if a broker does not let this program in.
    pub async fn open(self) -> Result<Session, Error> {
        let sessions =
            Succession::open(self.config(), self.settings.connector.clone(), self.reopen_within, self.wake).await?;
        Ok(Session::new(sessions, self.lockspace.into()))
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
            attempt_timeout: self.settings.connector.timeout,
            ..Config::default()
        }
    }
}
