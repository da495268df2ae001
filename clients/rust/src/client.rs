//! Where brokers are, and how they are reached.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use crate::address::{Scheme, endpoint};
use crate::builder::SessionBuilder;
use crate::connect::Connector;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::settings::{LIBRARY, Settings};
use crate::wake::Wake;

/// The environment variable that names the brokers: `host:port,host:port`.
pub const ENDPOINTS_VARIABLE: &str = "SIXPIN_ENDPOINTS";
/// Where a broker is looked for when nothing names one.
pub const ENDPOINTS_DEFAULT: &str = "127.0.0.1:6616";

/// How long closing a client may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// How long the broker inside this program may take to leave its store.
#[cfg(feature = "embedded")]
const END_WITHIN: Duration = Duration::from_secs(6);

/// Knows the brokers of one store. Cheap to clone; opens any number of sessions.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) settings: Arc<Settings>,
    wake: Arc<Wake>,
}

impl Client {
    /// A client of the brokers at these addresses, `host:port`, best first. Nothing is connected yet.
    ///
    /// With `https://` in front of one, all brokers are reached with TLS, and trusted by the authorities (CA) that the system
    /// trusts; [`ClientBuilder::credentials`] names others. Brokers tell where others are without saying how they are reached, so
    /// a client has TLS with all or with none: `http://` in front of an address says none, and beside what means TLS it is refused.
    ///
    /// Sessions speak frames with a broker that does, which is the lighter way for a program with a connection of its own, and
    /// gRPC with any other. An address that is written `grpc://host:port` makes all of them speak gRPC.
    pub fn new<I>(endpoints: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self::builder(endpoints).build()
    }

    /// A client of the brokers named by `SIXPIN_ENDPOINTS`, or of the default address, with the
    /// [`Credentials`](Credentials::from_env) of the environment.
    pub fn from_env() -> Result<Self, Error> {
        let endpoints = std::env::var(ENDPOINTS_VARIABLE).unwrap_or_else(|_| ENDPOINTS_DEFAULT.to_owned());
        Self::builder(endpoints.split(',')).credentials(Credentials::from_env()?).build()
    }

    /// A client with other settings than the default ones.
    pub fn builder<I>(endpoints: I) -> ClientBuilder
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        ClientBuilder {
            settings: Settings {
                endpoints: endpoints.into_iter().map(Into::into).collect(),
                connector: Connector::new(Duration::from_secs(3)),
                open_timeout: Duration::from_secs(10),
                queued_max: 100_000,
                program: LIBRARY.to_owned(),
            },
            credentials: Credentials::new(),
        }
    }

    /// Whether this can be the address of a broker: `host:port`, perhaps with `https://`, `http://` or `grpc://` in front.
    pub fn is_endpoint(text: &str) -> bool {
        endpoint(text).is_ok()
    }

    /// The addresses, as `host:port`.
    pub fn endpoints(&self) -> &[String] {
        &self.settings.endpoints
    }

    /// Runs `work` and closes the client when it has ended: by its end, by an error, or by a panic. What a program does
    /// in `main` belongs in here, because `main` returns before anything that it dropped is released:
    ///
    /// ```no_run
    /// # use sixpin_client::{Client, Error, Mode};
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let client = Client::from_env()?;
    ///     client.run(work(&client)).await
    /// }
    ///
    /// async fn work(client: &Client) -> Result<(), Error> {
    ///     let session = client.session().open().await?;
    ///     let guard = session.lock("report", Mode::EX).await?;
    ///     guard.check()?; // an error here still releases the lock at once
    ///     guard.release().await
    /// }
    /// ```
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        // Nothing of `work` is used after a panic: it goes on when the client is closed.
        let ended = AssertUnwindSafe(work).catch_unwind().await;
        self.close().await;
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Closes every session that this client and its clones have opened, as [`crate::Session::close`] does, and waits for
    /// those that were dropped before and are not closed yet: guards that were dropped are released, and brokers hear of
    /// it. A session that was to [`reopen`](SessionBuilder::reopen) does so no more. Takes at most 3 s; what no broker has
    /// acknowledged by then is free when its TTL has passed.
    ///
    /// A broker inside this program (`Client::embedded`) leaves its store then, for which it has 6 s more.
    pub async fn close(&self) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.wake.close()).await;
        #[cfg(feature = "embedded")]
        if let Some(inside) = &self.settings.connector.inside {
            let _ = tokio::time::timeout(END_WITHIN, inside.end()).await;
        }
    }

    /// Prepares a session. Each session has a connection of its own: for more throughput than one gives, open several.
    pub fn session(&self) -> SessionBuilder {
        SessionBuilder::new(Arc::clone(&self.settings), Arc::clone(&self.wake))
    }
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    pub(crate) settings: Settings,
    credentials: Credentials,
}

impl ClientBuilder {
    /// How brokers are trusted, and who this program is to them. Default: nothing of it.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// How long one address may take to answer before it is given up. The next one is tried beside it after 250 ms.
    /// Default 3 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connector.timeout = timeout;
        self
    }

    /// How long opening a session may take, over all addresses, unless it says so itself. Default 10 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.settings.open_timeout = timeout;
        self
    }

    /// How many operations of one session may wait to be sent; more fail with [`Error::Backlog`]. Default 100,000.
    #[must_use]
    pub fn queued_max(mut self, queued_max: usize) -> Self {
        self.settings.queued_max = queued_max;
        self
    }

    /// Name and version of the program, such as `orders/4.2`: `sixpin sessions --output json` shows it to people who look for whoever
    /// has a lock, together with the version of this library.
    #[must_use]
    pub fn program(mut self, program: &str) -> Self {
        self.settings.program = format!("{program} {LIBRARY}");
        self
    }

    /// Checks the settings, and reads the files of the credentials.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if there is no address, one is not `host:port`, some are with TLS and some without, the program's name
    /// is too long or has control characters, or a file of the credentials can not be read or is not good.
    pub fn build(mut self) -> Result<Client, Error> {
        let (mut plain, mut tls) = (None, None);
        for written in &mut self.settings.endpoints {
            let (scheme, address) = endpoint(written)?;
            match scheme {
                Scheme::Bare => {}
                Scheme::Grpc => self.settings.connector.grpc = true,
                Scheme::Http => plain = Some(address.clone()),
                Scheme::Https => tls = Some(address.clone()),
            }
            *written = address;
        }
        if self.settings.endpoints.is_empty() {
            return Err(Error::Setting("no broker address is given: name at least one `host:port`".to_owned()));
        }
        match (plain, &tls) {
            (Some(plain), Some(tls)) => {
                return Err(Error::Setting(format!(
                    "`http://{plain}` is without TLS and `https://{tls}` with it: a client has TLS with all brokers or with none"
                )));
            }
            (Some(plain), None) if self.credentials.means_tls() => {
                return Err(Error::Setting(format!(
                    "`http://{plain}` is without TLS, but a CA or a certificate is given: write https:// in front, or give neither"
                )));
            }
            _ => {}
        }
        self.settings.check_program()?;
        let tls = tls.is_some() || self.credentials.means_tls();
        let credentials = std::mem::take(&mut self.credentials);
        self.settings.connector.security = Arc::new(credentials.load(tls)?);
        Ok(self.finish())
    }

    fn finish(self) -> Client {
        Client { settings: Arc::new(self.settings), wake: Arc::default() }
    }

    /// A client of the broker inside this program. The settings were checked.
    #[cfg(feature = "embedded")]
    pub(crate) fn inside(mut self, inside: crate::inside::Inside) -> Client {
        self.settings.connector.inside = Some(inside);
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:6616", " localhost:1 ", "[::1]:6616"] {
            assert!(Client::new([good]).is_ok(), "{good}");
        }
        let grpc = Client::new([" grpc://a:1", "b:2"]).unwrap();
        assert!(grpc.settings.connector.grpc && grpc.endpoints() == ["a:1", "b:2"]);
        for bad in ["", "grpc://", "grpc://grpc:", "localhost", ":6616", "host:port", "ftp://host:6616", "host:66160"] {
            assert!(matches!(Client::new([bad]), Err(Error::Setting(_))), "{bad}");
        }
        assert!(matches!(Client::new(Vec::<String>::new()), Err(Error::Setting(_))));
    }

    #[test]
    fn a_program_has_a_short_name() {
        let named = |name: &str| Client::builder(["localhost:1"]).program(name).build();
        assert!(named("orders/4.2").is_ok());
        assert!(matches!(named(&"x".repeat(64)), Err(Error::Setting(_))));
        assert!(matches!(named("a\nb"), Err(Error::Setting(_))));
    }
}
