//! A broker inside this program: nothing to install or to run beside it, on the store that it already has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sixpin_server::PROGRAM;
use sixpin_server::backends::redacted;
use sixpin_server::broker::Broker;
use sixpin_server::config::Config;
use sixpin_server::embedded::{Embedded, configuration};
use sixpin_server::error::StartError;

use crate::client::{Client, ClientBuilder};
use crate::connect::INSIDE;
use crate::error::Error;
use crate::inside::Inside;

impl Client {
    /// A client with a broker of its own, inside this program, on the store at this URL: `redis://host:port/db`,
    /// `etcd://host:port,host:port`, `nats://host:port`, or `memory:` for locks among the tasks of this program. What is in
    /// memory belongs to this client: another one starts another broker with a memory of its own.
    ///
    /// ```no_run
    /// # use sixpin_client::{Client, Error, Mode};
    /// # async fn example() -> Result<(), Error> {
    /// let client = Client::embedded("redis://127.0.0.1:6379").await?; // the very first one: .new_store()
    /// let guard = client.lock("report", Mode::EX).await?;
    /// guard.release().await?;
    /// client.close().await; // the broker leaves its store
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Everything else is as with any other client. All brokers on one store act as one: other programs, with brokers inside
    /// or beside them, meet this program's locks, and `sixpin ls` shows them.
    ///
    /// On a store that is empty, the first broker grants nothing for about a minute, in case the store forgot locks, unless it
    /// is told that the store is new: [`EmbeddedBuilder::new_store`].
    ///
    /// It runs on a thread of its own, and logs with `tracing`. It ends when [`Client::close`] is awaited, after which this
    /// client is of no use any more, or a moment after the last handle of the client, its sessions and its guards was dropped.
    /// A program that ends before, by returning from `main` or by being killed, leaves its locks taken until others have seen
    /// that its broker is silent (`broker_ttl`, 5 s) and the TTL of its sessions has passed.
    ///
    /// Take it for tens to a few hundred programs, since each of them writes a sign of life to the store every few seconds.
    /// Run brokers beside the store for more, or where programs may not reach the store.
    pub fn embedded(url: impl Into<String>) -> EmbeddedBuilder {
        EmbeddedBuilder {
            url: url.into(),
            settings: String::new(),
            new_store: false,
            admin_listen: None,
            client: Self::builder([INSIDE]),
        }
    }

    /// A client of a broker that the program started itself. Closing the client does not end the broker. How brokers are
    /// started may change in any release ([`crate::server`]).
    pub fn of_broker(broker: &Broker) -> Self {
        Self::builder([INSIDE]).inside(Inside::Other(broker.services()))
    }
}

/// A client with a broker inside this program, about to be started. Awaiting it starts the broker.
///
/// # Errors
///
/// [`Error::Setting`] for a URL or settings that make no sense; [`Error::Store`] if the store is out of reach, refuses the
/// login or is not durable enough. Nothing of the broker is left then.
#[derive(Clone)]
#[must_use = "nothing is started until this is awaited"]
pub struct EmbeddedBuilder {
    url: String,
    settings: String,
    new_store: bool,
    admin_listen: Option<SocketAddr>,
    client: ClientBuilder,
}

impl std::fmt::Debug for EmbeddedBuilder {
    /// Without what may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBuilder").field("url", &redacted(&self.url)).finish_non_exhaustive()
    }
}

impl EmbeddedBuilder {
    /// Settings of the broker, written as in a configuration file of `sixpin serve`:
    ///
    /// ```
    /// # let _ =
    /// sixpin_client::Client::embedded("redis://127.0.0.1:6379").settings(r#"
    ///     require = "volatile"
    ///     backends.default.prefix = "orders"
    /// "#)
    /// # ;
    /// ```
    ///
    /// Those about clients that connect, and about the log, have no meaning here; the URL given before counts.
    pub fn settings(mut self, toml: impl Into<String>) -> Self {
        self.settings = toml.into();
        self
    }

    /// The store is new: nothing was locked there before, so nothing need be waited for. As `sixpin serve --new-store`.
    pub fn new_store(mut self) -> Self {
        self.new_store = true;
        self
    }

    /// Where administrators reach the broker, to take locks of this program away after its holder was told; `sixpin brokers`
    /// shows it. Without it they can do so only at once (`--now`).
    pub fn admin_listen(mut self, address: SocketAddr) -> Self {
        self.admin_listen = Some(address);
        self
    }

    /// Name and version of the program: see [`ClientBuilder::program`].
    pub fn program(mut self, program: &str) -> Self {
        self.client = self.client.program(program);
        self
    }

    /// How long opening a session may take: see [`ClientBuilder::open_timeout`].
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.client = self.client.open_timeout(timeout);
        self
    }

    /// How many operations of one session may wait to be sent: see [`ClientBuilder::queued_max`].
    pub fn queued_max(mut self, queued_max: usize) -> Self {
        self.client = self.client.queued_max(queued_max);
        self
    }

    fn config(&self) -> Result<Config, Error> {
        let admin = self.admin_listen.map(|address| ("admin_listen", address.to_string()));
        let grace = self.new_store.then(|| ("first_start_grace", "0s".to_owned()));
        let given = admin.into_iter().chain(grace).map(|(key, value)| (key.to_owned(), value.into())).collect();
        configuration(&self.url, &self.settings, given).map_err(|error| Error::Setting(error.to_string()))
    }

    async fn start(self) -> Result<Client, Error> {
        let config = self.config()?;
        self.client.settings.check_program()?;
        let program = format!("{PROGRAM} in {}", self.client.settings.program);
        let broker = Embedded::start(config, program).await.map_err(not_started)?;
        Ok(self.client.inside(Inside::Own(Arc::new(broker))))
    }
}

impl IntoFuture for EmbeddedBuilder {
    type Output = Result<Client, Error>;
    type IntoFuture = BoxFuture<'static, Result<Client, Error>>;

    fn into_future(self) -> Self::IntoFuture {
        self.start().boxed()
    }
}

fn not_started(error: StartError) -> Error {
    let text = error.to_string();
    match error {
        StartError::Open(_, sixpin_server::OpenError::BadUrl(_)) | StartError::Listen(..) => Error::Setting(text),
        _ => Error::Store(text),
    }
}
