//! How a connection is made: where to, who as, and what must be true of the server before it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, TlsCertificates, Value,
};

use sixpin_core::backend::OpenError;

use crate::check::{fields_of, history_in};
use crate::config::{Address, Login, RedisConfig, Target};
use crate::keys::{Keys, Tag};
use crate::scripts::bytes_of;
use crate::witness::Witness;

/// Requests that may wait to be written. More callers than that wait their turn.
const PIPELINE_BUFFER: usize = 1_024;

/// What to do with what the server sends unasked.
pub(crate) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// Where a link leads.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// To this server.
    To(Address),
    /// To whatever server the Sentinels call the master, asked each time.
    Master { sentinels: Vec<Address>, name: String },
    /// To one of these, another one each time it fails.
    AnyOf(Vec<Address>),
}

/// The same in an order that begins with another one each time. One that is cut off from the rest answers as well, and
/// names a master, or a layout, of the past.
pub(crate) fn in_turn<T>(mut them: Vec<T>, turn: usize) -> Vec<T> {
    let first = turn % them.len().max(1);
    them.rotate_left(first);
    them
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    way: Way,
    target: Arc<Target>,
    certificates: Option<Arc<TlsCertificates>>,
    sentinel_login: Login,
    response_timeout: Duration,
    connect_timeout: Duration,
    // Counts the attempts that failed.
    turn: Arc<AtomicUsize>,
}

impl Dialer {
    /// Prepares to connect. Reads the certificates, if any are set.
    pub(crate) fn new(config: &RedisConfig, target: Target, way: Way) -> Result<Self, OpenError> {
        let certificates = certificates(config, target.tls)?.map(Arc::new);
        if target.tls {
            // Two crates of one program may bring different providers; rustls then wants to be told. An error means
            // that it has been told already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(Self {
            way,
            target: Arc::new(target),
            certificates,
            sentinel_login: config.sentinel_login()?,
            response_timeout: config.response_timeout,
            connect_timeout: config.connect_timeout,
            turn: Arc::default(),
        })
    }

    /// The same to another place.
    pub(crate) fn with_way(&self, way: Way) -> Self {
        Self { way, ..self.clone() }
    }

    /// A connection to a server that is a master and remembers what was seen of it, and its history. `push` hears of its end.
    pub(crate) async fn verified(
        &self,
        keys: &Keys,
        tags: &[Tag],
        witness: &Witness,
        push: OnPush,
    ) -> Result<(MultiplexedConnection, u64), OpenError> {
        let (mut connection, address) = self.connect(push).await?;
        let verified = self.in_time(&address, self.verify(&mut connection, &address, keys, tags, witness)).await;
        let history = verified.inspect_err(|_| self.next_turn())?;
        Ok((connection, history))
    }

    /// Whoever led here was wrong, or did not answer.
    fn next_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection on which nothing was asked yet. What the server sends unasked goes to `push`.
    pub(crate) async fn connect(&self, push: OnPush) -> Result<(MultiplexedConnection, Address), OpenError> {
        let address = match &self.way {
            Way::To(address) => address.clone(),
            Way::Master { sentinels, name } => self.ask_sentinels(sentinels, name).await?,
            Way::AnyOf(addresses) => {
                let first = in_turn(addresses.clone(), self.turn.load(Ordering::Relaxed)).into_iter().next();
                first.ok_or_else(|| OpenError::BadUrl("no node of the cluster is given".into()))?
            }
        };
        let connection = self.connect_to(&address, push).await.inspect_err(|_| self.next_turn())?;
        Ok((connection, address))
    }

    async fn connect_to(&self, address: &Address, push: OnPush) -> Result<MultiplexedConnection, OpenError> {
        let client = self.client(address, &self.target.login, i64::from(self.target.database))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            .set_push_sender(move |info| {
                push(info);
                Ok::<_, redis::aio::SendError>(())
            });
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        self.in_time(address, async { connecting.await.map_err(|error| refusal(address, &error)) }).await
    }

    fn client(&self, address: &Address, login: &Login, database: i64) -> Result<Client, OpenError> {
        let bad =
            |error: RedisError| OpenError::BadUrl(format!("the connection to {address} cannot be prepared: {error}"));
        let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(database);
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.reveal());
        }
        let (host, port) = (address.host.clone(), address.port);
        let place = if self.target.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        // The client's default leaves Nagle's algorithm on, which can hold a small request back for a round trip.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info: ConnectionInfo =
            place.into_connection_info().map_err(bad)?.set_tcp_settings(tcp).set_redis_settings(settings);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, TlsCertificates::clone(certificates)).map_err(bad),
            None => Client::open(info).map_err(bad),
        }
    }

    async fn verify(
        &self,
        connection: &mut MultiplexedConnection,
        address: &Address,
        keys: &Keys,
        tags: &[Tag],
        witness: &Witness,
    ) -> Result<u64, OpenError> {
        let mut ask = async |command: redis::Cmd| {
            let answer = connection.send_packed_command(&command).await.and_then(Value::extract_error);
            answer.map_err(|error| refusal(address, &error))
        };
        let mut facts = fields_of(&ask(redis::cmd("INFO").arg("server").to_owned()).await?);
        facts.extend(fields_of(&ask(redis::cmd("INFO").arg("replication").to_owned()).await?));
        let role = facts.get("role").cloned().unwrap_or_default();
        if role != "master" {
            let text = format!("{address} is a {role}, and only a master can be written to: use the master's address");
            return Err(OpenError::Unsafe(text));
        }
        for &tag in tags {
            let before = witness.high(tag);
            let answer = ask(redis::cmd("MGET").arg(keys.root(tag)).arg(keys.high(tag)).to_owned()).await?;
            let Value::Array(parts) = answer else {
                return Err(OpenError::Unreachable(format!("{address} does not answer like Redis")));
            };
            let (root, high) = (parts.first().unwrap_or(&Value::Nil), parts.get(1).unwrap_or(&Value::Nil));
            witness.check(tag, root, high, before).map_err(|error| OpenError::Unsafe(error.to_string()))?;
        }
        Ok(history_in(&facts))
    }

    async fn ask_sentinels(&self, sentinels: &[Address], name: &str) -> Result<Address, OpenError> {
        let sentinels = in_turn(sentinels.to_vec(), self.turn.load(Ordering::Relaxed));
        let attempts = sentinels.iter().map(|sentinel| self.in_time(sentinel, self.ask_sentinel(sentinel, name)));
        let asked = sixpin_race::race(attempts.collect()).await.map(|(_, address)| address);
        asked
            .map_err(|mut errors| errors.pop().unwrap_or_else(|| OpenError::Unreachable("no Sentinel is given".into())))
    }

    async fn ask_sentinel(&self, sentinel: &Address, name: &str) -> Result<Address, OpenError> {
        let failed = |error: RedisError| refusal(sentinel, &error);
        let client = self.client(sentinel, &self.sentinel_login, 0)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.connect_timeout));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let question = redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).to_owned();
        let answer = connection.send_packed_command(&question).await.and_then(Value::extract_error).map_err(failed)?;
        let unknown = || OpenError::BadUrl(format!("the Sentinel at {sentinel} knows no master called `{name}`"));
        let Value::Array(parts) = answer else { return Err(unknown()) };
        let text =
            |at: usize| parts.get(at).and_then(bytes_of).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let found = text(0).zip(text(1).and_then(|port| port.parse().ok()));
        found.map(|(host, port)| Address { host, port }).ok_or_else(unknown)
    }

    /// Gives up after the time for connecting.
    async fn in_time<T>(
        &self,
        address: &Address,
        work: impl Future<Output = Result<T, OpenError>>,
    ) -> Result<T, OpenError> {
        let late =
            |_| OpenError::Unreachable(format!("no answer from Redis at {address} within {:?}", self.connect_timeout));
        tokio::time::timeout(self.connect_timeout, work).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }
}

/// What proves the servers to us, and us to them. None: the authorities of the system, and no proof of ours.
fn certificates(config: &RedisConfig, tls: bool) -> Result<Option<TlsCertificates>, OpenError> {
    let own = sixpin_login::own_certificate(config.certificate.as_deref(), config.key.as_deref())?;
    let client_tls = own.map(|own| ClientTlsConfig { client_cert: own.certificate, client_key: own.key });
    let root_cert = config.ca.as_deref().map(|path| sixpin_login::file("ca", path)).transpose()?;
    match (tls, client_tls.is_some() || root_cert.is_some()) {
        (true, true) => Ok(Some(TlsCertificates { client_tls, root_cert })),
        (false, true) => {
            Err(OpenError::BadUrl("certificates are set, but the URL says redis://: write rediss:// for TLS".into()))
        }
        (_, false) => Ok(None),
    }
}

/// What an error while connecting means.
pub(crate) fn refusal(address: &Address, error: &RedisError) -> OpenError {
    if error.kind() == redis::ErrorKind::RESP3NotSupported {
        return OpenError::Unsafe(format!("Redis at {address} is older than 6.0: upgrade it, best to 7.2 or later"));
    }
    match error.code() {
        Some("WRONGPASS") => {
            OpenError::Login(format!("Redis at {address} refuses user or password: check `user` and `password`"))
        }
        Some("NOAUTH") => {
            OpenError::Login(format!("Redis at {address} wants a password: set `password`, and `user` if it has users"))
        }
        Some("NOPERM") => OpenError::Login(format!(
            "the user at Redis {address} may not do what sixpin needs ({}): see the rule in docs/backends/redis.md",
            error.detail().unwrap_or_default()
        )),
        Some("LOADING") => OpenError::Unreachable(format!("Redis at {address} is still loading its data: try again")),
        _ if error.detail().is_some_and(|text| text.contains("AUTH")) => {
            OpenError::Login(format!("Redis at {address} refuses the login: {error}"))
        }
        _ if error.to_string().contains("switch database") => OpenError::BadUrl(format!(
            "Redis at {address} has no database of that number: choose a lower one in the URL"
        )),
        _ if error.to_string().contains("CertificateRequired") => OpenError::Login(format!(
            "Redis at {address} wants a certificate: set `certificate` and `key`, or `tls-auth-clients no` at the server"
        )),
        _ if error.kind() == redis::ErrorKind::Parse => OpenError::Unreachable(format!(
            "what answers at {address} does not speak as Redis does: check host, port and TLS in the URL"
        )),
        _ => OpenError::Unreachable(format!("Redis at {address} cannot be reached: {error}")),
    }
}
