//! The URL and the settings of an etcd store, checked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::outcome::describe;

/// Where etcd listens unless a URL says otherwise.
const DEFAULT_PORT: u16 = 2379;
/// Longest key prefix. A full batch of the longest names still fits a request with it.
const PREFIX_BYTES_MAX: usize = 128;
/// Endpoints at most; more than any cluster has members.
const ENDPOINTS_MAX: usize = 32;
/// etcd answers pings that come more often with "too many pings", and closes the connection.
const KEEPALIVE_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Compacting more often would only take history away from everybody else who uses the cluster.
const COMPACT_EVERY_MIN: Duration = Duration::from_secs(60);

/// The settings, by the names that the configuration file uses. All have a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Every key of this store begins with it. A slash is added if it does not end in one.
    #[serde(deserialize_with = "sixpin_login::text")]
    pub prefix: String,
    /// Log in as this user.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that may have signed the servers' certificates. Absent: those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the key of our own certificate.
    pub key: Option<PathBuf>,
    /// The name that the servers' certificates must have. Absent: that of the endpoint.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub server_name: Option<String>,
    /// How long a connection may take to be made.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a request may take before its outcome counts as unknown.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How often a connection that waits for an answer is checked. At least 5 s: etcd takes more for an attack.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long that check may stay unanswered before the connection is given up.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// Compact the history of the whole cluster this often, keeping that much of it. Absent: never; etcd's own
    /// auto-compaction is the better place.
    #[serde(with = "humantime_serde")]
    pub compact_every: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "sixpin/".into(),
            user: None,
            password: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            server_name: None,
            connect_timeout: Duration::from_secs(2),
            // A broker beats three times in its TTL of 5 s: one beat may be lost without harm.
            request_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(6),
            keepalive_timeout: Duration::from_secs(3),
            compact_every: None,
        }
    }
}

/// URL and settings that make sense together.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `http://host:port` or `https://host:port`.
    pub(crate) endpoints: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) credentials: Option<(String, Secret)>,
    pub(crate) tls: Option<ClientTlsConfig>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) compact_every: Option<Duration>,
}

impl Config {
    /// Checks a URL `etcd://[user:password@]host:port,host:port` (`etcds://` with TLS) and its settings.
    pub(crate) fn new(url: &str, settings: &Settings) -> Result<Self, OpenError> {
        let (secure, rest) = match url.split_once("://") {
            Some(("etcd", rest)) => (false, rest),
            Some(("etcds", rest)) => (true, rest),
            _ => return bad("an etcd URL looks like etcd://host:port,host:port (etcds:// with TLS)"),
        };
        let (login, hosts) = rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.contains(['/', '?', '#']) {
            return bad("an etcd URL ends after its endpoints: everything else is a setting beside it");
        }
        let endpoints = endpoints(hosts, if secure { "https" } else { "http" })?;
        times_make_sense(settings)?;
        Ok(Self {
            endpoints,
            prefix: prefix(&settings.prefix)?,
            credentials: credentials(login, settings)?,
            tls: tls(secure, settings)?,
            connect_timeout: settings.connect_timeout,
            request_timeout: settings.request_timeout,
            keepalive_interval: settings.keepalive_interval,
            keepalive_timeout: settings.keepalive_timeout,
            compact_every: settings.compact_every,
        })
    }

    /// How to connect to one endpoint. Nothing here is left at its default, which is to wait for ever.
    pub(crate) fn endpoint(&self, url: &str) -> Result<Endpoint, OpenError> {
        let refuse = |error: tonic::transport::Error| OpenError::BadUrl(describe(&error));
        let mut endpoint = Endpoint::from_shared(url.to_owned()).map_err(refuse)?;
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone()).map_err(refuse)?;
        }
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            // etcd takes pings on a connection without a stream for an attack.
            .keep_alive_while_idle(false)
            .tcp_nodelay(true))
    }
}

fn endpoints(hosts: &str, scheme: &str) -> Result<Vec<String>, OpenError> {
    let mut endpoints = Vec::new();
    for host in hosts.split(',').map(str::trim) {
        // An IPv6 address has colons of its own and stands in brackets.
        let after_address = host.rfind(']').map_or(host, |end| &host[end..]);
        let with_port = if after_address.contains(':') { host.into() } else { format!("{host}:{DEFAULT_PORT}") };
        let endpoint = format!("{scheme}://{with_port}");
        let port = with_port.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if host.is_empty()
            || host.starts_with(':')
            || port.is_none()
            || endpoint.parse::<tonic::transport::Uri>().is_err()
        {
            return bad(format!("`{host}` is not an endpoint of etcd: write host or host:port"));
        }
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if endpoints.len() > ENDPOINTS_MAX {
        return bad(format!("an etcd URL has at most {ENDPOINTS_MAX} endpoints"));
    }
    Ok(endpoints)
}

fn times_make_sense(settings: &Settings) -> Result<(), OpenError> {
    let hundredth = Duration::from_millis(100);
    for (name, time) in [
        ("connect_timeout", settings.connect_timeout),
        ("request_timeout", settings.request_timeout),
        ("keepalive_timeout", settings.keepalive_timeout),
    ] {
        if time < hundredth || time > Duration::from_secs(60) {
            return bad(format!("`{name}` must be from 100ms to 60s"));
        }
    }
    if settings.keepalive_interval < KEEPALIVE_INTERVAL_MIN {
        return bad("`keepalive_interval` must be at least 5s: etcd closes connections that ask more often");
    }
    if settings.compact_every.is_some_and(|every| every < COMPACT_EVERY_MIN) {
        return bad("`compact_every` must be at least 1m: compaction takes history away from all users of the cluster");
    }
    Ok(())
}

fn prefix(text: &str) -> Result<String, OpenError> {
    if text.len() >= PREFIX_BYTES_MAX || text.chars().any(char::is_control) {
        return bad(format!("`prefix` is less than {PREFIX_BYTES_MAX} bytes of text without control characters"));
    }
    let slash = if text.is_empty() || text.ends_with('/') { "" } else { "/" };
    Ok(format!("{text}{slash}"))
}

fn credentials(login: Option<&str>, settings: &Settings) -> Result<Option<(String, Secret)>, OpenError> {
    let (url_user, url_password) = sixpin_login::of_url(login)?;
    let set = sixpin_login::secret("password", settings.password.as_ref(), settings.password_file.as_deref())?;
    let user = sixpin_login::once("user", url_user, settings.user.clone())?.filter(|user| !user.is_empty());
    match (user, sixpin_login::once("password", url_password, set)?) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (None, Some(_)) => bad("a password is given and no `user`"),
        (Some(user), None) => {
            bad(format!("`user` is {user} and no password is given: set `password_file` or `password`"))
        }
    }
}

fn tls(secure: bool, settings: &Settings) -> Result<Option<ClientTlsConfig>, OpenError> {
    let any = settings.ca.is_some() || settings.certificate.is_some() || settings.server_name.is_some();
    if !secure {
        return if any {
            bad("certificates are set, but the URL says etcd://: write etcds:// for TLS")
        } else {
            Ok(None)
        };
    }
    let mut tls = ClientTlsConfig::new();
    tls = match &settings.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(sixpin_login::file("ca", path)?)),
        None => tls.with_native_roots(),
    };
    if let Some(own) = sixpin_login::own_certificate(settings.certificate.as_deref(), settings.key.as_deref())? {
        tls = tls.identity(Identity::from_pem(own.certificate, own.key));
    }
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name);
    }
    Ok(Some(tls))
}

fn bad<T>(text: impl Into<String>) -> Result<T, OpenError> {
    Err(OpenError::BadUrl(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, settings: &str) -> Result<Config, String> {
        let settings: Settings = toml::from_str(settings).map_err(|error| error.message().to_owned())?;
        Config::new(url, &settings).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_get_scheme_and_port() {
        let config = config("etcd://a,b:1, [::1],[::2]:7,a:2379", "").unwrap();
        assert_eq!(config.endpoints, ["http://a:2379", "http://b:1", "http://[::1]:2379", "http://[::2]:7"]);
        assert_eq!(config.prefix, "sixpin/");
        assert!(config.tls.is_none() && config.credentials.is_none());
    }

    #[test]
    fn the_login_comes_from_the_url_or_the_settings() {
        let from_url = config("etcd://u:p:q@h", "").unwrap().credentials;
        assert_eq!(from_url, Some(("u".into(), Secret::new("p:q"))));
        let mixed = config("etcd://u@h", "password = 'p'").unwrap().credentials;
        assert_eq!(mixed, Some(("u".into(), Secret::new("p"))));
        assert!(!format!("{mixed:?}").contains('p'), "a password is never shown");
        for (url, settings) in [("etcd://u@h", ""), ("etcd://h", "password = 'p'"), ("etcd://u:p@h", "password = 'p'")]
        {
            assert!(config(url, settings).map(|_| ()).unwrap_err().contains("password"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_does() {
        for (url, settings, expected) in [
            ("redis://h", "", "etcd://host:port"),
            ("etcd://", "", "host or host:port"),
            ("etcd://a,,b", "", "host or host:port"),
            ("etcd://a:port", "", "host or host:port"),
            ("etcd://a/sixpin", "", "a setting"),
            ("etcd://a", "colour = 'blue'", "colour"),
            ("etcd://a", "request_timeout = '5'", "duration"),
            ("etcd://a", "request_timeout = '1ms'", "request_timeout"),
            ("etcd://a", "keepalive_interval = '1s'", "at least 5s"),
            ("etcd://a", "compact_every = '1s'", "at least 1m"),
            ("etcd://a", "ca = '/nowhere'", "etcds://"),
            ("etcds://a", "ca = '/nowhere'", "/nowhere"),
            ("etcds://a", "key = '/nowhere'", "go together"),
            ("etcd://a", "prefix = \"a\\nb\"", "prefix"),
        ] {
            let error = config(url, settings).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{url} {settings}: {error}");
        }
    }

    #[test]
    fn a_prefix_ends_in_a_slash() {
        assert_eq!(config("etcd://a", "prefix = 'x'").unwrap().prefix, "x/");
        assert_eq!(config("etcd://a", "prefix = ''").unwrap().prefix, "");
    }
}
