//! Where Redis is and how it is used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;

/// Port of a server that the URL gives none for.
const PORT: u16 = 6379;
/// Port of a Sentinel that the URL gives none for.
const SENTINEL_PORT: u16 = 26379;
/// A shorter time gives up on a server that is merely busy.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// What an operator states about a server that does not let us read its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// It has an append-only file.
    CrashSafe,
    /// Its append-only file is flushed before each reply (`appendfsync always`, `no-appendfsync-on-rewrite no`).
    PowerSafe,
}

/// Settings of the Redis backend. User and password stand in the URL or in the fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where: `redis://host:port/db`, `redis+sentinel://host,host/master/db`, `redis+cluster://host,host`; with
    /// `rediss` in place of `redis` over TLS. Not read from a file: whoever opens the store sets it.
    #[serde(skip)]
    pub url: Secret,
    /// User of the access control list. Absent: the default user.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// User for the Sentinels, if they want one.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub sentinel_user: Option<String>,
    /// Password for the Sentinels, if they want one.
    pub sentinel_password: Option<Secret>,
    /// A file whose first line is the password for the Sentinels.
    pub sentinel_password_file: Option<PathBuf>,
    /// All keys and channels begin with this. One store per prefix and database.
    #[serde(deserialize_with = "sixpin_login::text")]
    pub prefix: String,
    /// How long a request may take. After that its outcome is unknown, and the connection is given up.
    #[serde(with = "humantime_serde")]
    pub response_timeout: Duration,
    /// How long connecting and logging in may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// A write counts as done only when this many replicas have it; too few in time make its outcome unknown. 0: do not
    /// wait. It narrows what a failover can lose and does not close it.
    pub wait_replicas: u32,
    /// How long to wait for them. Must be shorter than the response timeout.
    #[serde(with = "humantime_serde")]
    pub wait_timeout: Duration,
    /// PEM file of the authorities that may have signed the servers' certificates. Absent: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the key of our own certificate.
    pub key: Option<PathBuf>,
    /// What the operator states about a server whose configuration cannot be read (`CONFIG` is refused).
    pub stated_durability: Option<Statement>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("redis://127.0.0.1:6379/0"),
            user: None,
            password: None,
            password_file: None,
            sentinel_user: None,
            sentinel_password: None,
            sentinel_password_file: None,
            prefix: "sixpin".into(),
            // An fsync that waits behind others is common and takes long before it takes two seconds.
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            wait_replicas: 0,
            wait_timeout: Duration::from_millis(500),
            ca: None,
            certificate: None,
            key: None,
            stated_durability: None,
        }
    }
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// One server.
    Single(Address),
    /// One master at a time, named by Sentinels.
    Sentinel { sentinels: Vec<Address>, master: String },
    /// A cluster, found through some of its nodes.
    Cluster(Vec<Address>),
}

/// A URL, taken apart, with what the fields of the configuration say put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) tls: bool,
    pub(crate) database: u32,
    pub(crate) login: Login,
}

/// User and password, as far as they are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl RedisConfig {
    /// Settings for a URL, everything else as it comes.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), ..Self::default() }
    }

    /// Checks everything that can be checked without a server.
    pub fn check(&self) -> Result<(), OpenError> {
        self.target()?;
        self.sentinel_login().map(|_| ())
    }

    /// Where to go, checked.
    pub(crate) fn target(&self) -> Result<Target, OpenError> {
        let refuse = |text: &str| Err(OpenError::BadUrl(text.to_owned()));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.bytes().all(allowed) {
            return refuse("`prefix` must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'");
        }
        if self.response_timeout < TIMEOUT_MIN || self.connect_timeout < TIMEOUT_MIN {
            return refuse("`response_timeout` and `connect_timeout` must be at least 100ms");
        }
        if self.wait_replicas > 0 && self.wait_timeout < Duration::from_millis(1) {
            return refuse("`wait_timeout` must be at least 1ms, because 0 would wait for ever");
        }
        if self.wait_replicas > 0 && self.wait_timeout >= self.response_timeout {
            return refuse("`wait_timeout` must be shorter than `response_timeout`");
        }
        let mut target = parse_url(self.url.reveal())?;
        let password = sixpin_login::secret("password", self.password.as_ref(), self.password_file.as_deref())?;
        let login = &mut target.login;
        login.user = sixpin_login::once("user", login.user.take(), self.user.clone())?;
        login.password = sixpin_login::once("password", login.password.take(), password)?;
        if login.user.is_some() && login.password.is_none() {
            return refuse("a user is given but no password: set `password` or `password_file`");
        }
        Ok(target)
    }

    /// Who asks the Sentinels.
    pub(crate) fn sentinel_login(&self) -> Result<Login, OpenError> {
        let (given, file) = (self.sentinel_password.as_ref(), self.sentinel_password_file.as_deref());
        let password = sixpin_login::secret("sentinel_password", given, file)?;
        Ok(Login { user: self.sentinel_user.clone(), password })
    }
}

fn parse_url(url: &str) -> Result<Target, OpenError> {
    let bad = |text: &str| {
        let forms = "redis://host:port/db, redis+sentinel://host:port,host:port/master/db or \
                     redis+cluster://host:port,host:port, with rediss for TLS";
        OpenError::BadUrl(format!("{text}; a Redis URL looks like {forms}"))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("the URL has no scheme"))?;
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return Err(bad("the scheme is unknown")),
    };
    if rest.contains(['?', '#']) {
        return Err(bad("the URL has no place for `?` and `#`: write them as %3F and %23 in a password"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, rest)| (Some(login), rest));
    let (user, password) = sixpin_login::of_url(login)?;
    let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
    let hosts: Option<Vec<Address>> = hosts.split(',').map(|host| parse_address(host, port)).collect();
    let mut hosts = hosts.ok_or_else(|| bad("host or port cannot be read"))?;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let place = match kind {
        "" if hosts.len() > 1 => return Err(bad("one server has one host")),
        "" => Place::Single(hosts.remove(0)),
        "sentinel" => {
            let master = parts.next().ok_or_else(|| bad("the master's name is missing"))?.to_owned();
            Place::Sentinel { sentinels: hosts, master }
        }
        "cluster" => Place::Cluster(hosts),
        _ => return Err(bad("the scheme is unknown")),
    };
    let database = match parts.next() {
        None => 0,
        Some(number) => number.parse().map_err(|_| bad("the database is not a number"))?,
    };
    if parts.next().is_some() {
        return Err(bad("there is something after the database"));
    }
    if database != 0 && matches!(place, Place::Cluster(_)) {
        return Err(bad("a cluster has no databases"));
    }
    Ok(Target { place, tls, database, login: Login { user, password } })
}

fn parse_address(text: &str, default_port: u16) -> Option<Address> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
        (host, port)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    (!host.is_empty() && port != 0).then(|| Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        RedisConfig::new(url).target().unwrap()
    }

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    #[test]
    fn urls_of_all_kinds_are_read() {
        let plain = target("redis://127.0.0.1");
        assert_eq!(plain.place, Place::Single(address("127.0.0.1", 6379)));
        assert!(!plain.tls && plain.database == 0 && plain.login == Login::default());

        let full = target("rediss://ann:p%40ss%3aword@[::1]:7000/3");
        assert_eq!(full.place, Place::Single(address("::1", 7000)));
        assert!(full.tls && full.database == 3);
        let login = Login { user: Some("ann".into()), password: Some(Secret::new("p@ss:word")) };
        assert_eq!(full.login, login);

        let sentinel = target("redis+sentinel://:secret@a,b:7001/main/2");
        let sentinels = vec![address("a", 26379), address("b", 7001)];
        assert_eq!(sentinel.place, Place::Sentinel { sentinels, master: "main".into() });
        assert_eq!((sentinel.database, sentinel.login.user), (2, None));

        let cluster = target("redis+cluster://a:1,b:2");
        assert_eq!(cluster.place, Place::Cluster(vec![address("a", 1), address("b", 2)]));
    }

    #[test]
    fn the_login_stands_in_the_url_or_in_the_fields_and_the_password_is_never_shown() {
        let fields = |user: Option<&str>, password: Option<&str>| RedisConfig {
            user: user.map(Into::into),
            password: password.map(Secret::new),
            ..RedisConfig::new("redis://ann@h/0")
        };
        let config = fields(None, Some("hush"));
        let target = config.target().unwrap();
        let expected = Login { user: Some("ann".into()), password: Some(Secret::new("hush")) };
        assert_eq!(target.login, expected);
        let shown = format!("{config:?} {target:?}");
        assert!(!shown.contains("hush"), "{shown}");
        let twice = fields(Some("bob"), Some("hush")).target().unwrap_err().to_string();
        assert!(twice.contains("keep one"), "{twice}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for url in [
            "127.0.0.1",
            "http://h",
            "redis://",
            "redis://h:x",
            "redis://h:0",
            "redis://a,b",
            "redis://h/x",
            "redis://h/0/1",
            "redis://ann@h",
            "redis://:%zz@h",
            "redis://:a/b@h",
            "redis+sentinel://h",
            "redis+cluster://h/1",
            "redis+x://h",
            "redis://h?x=1",
        ] {
            let error = RedisConfig::new(url).target().unwrap_err();
            assert!(matches!(error, OpenError::BadUrl(_)), "{url}: {error}");
        }
        for change in [
            |config: &mut RedisConfig| config.prefix = "a{b}".into(),
            |config: &mut RedisConfig| config.prefix = String::new(),
            |config: &mut RedisConfig| config.response_timeout = Duration::ZERO,
            |config: &mut RedisConfig| (config.wait_replicas, config.wait_timeout) = (1, Duration::from_secs(5)),
            |config: &mut RedisConfig| (config.wait_replicas, config.wait_timeout) = (1, Duration::ZERO),
        ] {
            let mut config = RedisConfig::default();
            change(&mut config);
            assert!(matches!(config.target(), Err(OpenError::BadUrl(_))), "{config:?}");
        }
    }
}
