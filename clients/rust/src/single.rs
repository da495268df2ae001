//! One lock in a session of its own, for programs that want a lock and nothing else.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::builder::SessionBuilder;
use crate::client::Client;
use crate::error::Error;
use crate::guard::Guard;
use crate::mode::Mode;

/// How long a broker may take to open the session of a try.
const TRY_WITHIN: Duration = Duration::from_secs(3);

impl Client {
    /// Asks for one lock, in a session of its own that lives as long as the guard:
    ///
    /// ```no_run
    /// # use sixpin_client::{Client, Error, Mode};
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let guard = client.lock("report", Mode::EX).await?;
    /// guard.check()?; // directly before each use: is it still ours?
    /// guard.release().await
    /// # }
    /// ```
    ///
    /// Each has a connection of its own. Who holds many locks opens one session for them: [`Client::session`].
    pub fn lock(&self, name: impl Into<String>, mode: Mode) -> SingleLock {
        SingleLock { session: self.session(), name: name.into(), mode, wait: None, traceparent: String::new() }
    }
}

/// A lock in a session of its own that is about to be asked for.
///
/// # Errors
///
/// Those of [`SessionBuilder::open`] and of [`crate::LockRequest`].
#[derive(Debug, Clone)]
#[must_use = "nothing is asked for until this is awaited"]
pub struct SingleLock {
    session: SessionBuilder,
    name: String,
    mode: Mode,
    wait: Option<Duration>,
    traceparent: String,
}

impl SingleLock {
    /// How long the lock is kept without an acknowledged keepalive: see [`SessionBuilder::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.session = self.session.ttl(ttl);
        self
    }

    /// Free text for people who look, at most 64 bytes.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.session = self.session.label(label);
        self
    }

    /// The lockspace that the name is in.
    pub fn lockspace(mut self, lockspace: impl Into<String>) -> Self {
        self.session = self.session.lockspace(lockspace);
        self
    }

    /// Waits at most this long, from looking for a broker to the grant. Without it, waits for ever once a broker has
    /// opened the session; zero is [`Self::try_lock`].
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Continues a trace: the `traceparent` of W3C Trace Context that names it. Brokers that trace show the request in it; what is
    /// none is ignored.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = traceparent.into();
        self
    }

    /// Does not wait: granted at once or not at all.
    pub fn try_lock(self) -> Self {
        self.wait(Duration::ZERO)
    }
}

impl IntoFuture for SingleLock {
    type Output = Result<Guard, Error>;
    type IntoFuture = BoxFuture<'static, Result<Guard, Error>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { session, name, mode, wait, traceparent } = self;
        async move {
            let Some(wait) = wait else {
                return session.open().await?.lock(name, mode).traceparent(traceparent).await;
            };
            let until = Instant::now() + wait;
            let opening = if wait.is_zero() { TRY_WITHIN } else { wait };
            let session = session.timeout(opening).open().await?;
            let lock = session.lock(name, mode).traceparent(traceparent);
            if wait.is_zero() { lock.try_lock().await } else { lock.deadline(until).await }
        }
        .boxed()
    }
}
