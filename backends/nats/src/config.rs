//! The URL and the settings.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;

/// Where NATS listens unless the URL says otherwise.
const PORT_DEFAULT: u16 = 4222;
/// Longest name of a bucket. It stands in every subject.
const BUCKET_BYTES_MAX: usize = 32;
/// Most replicas that JetStream makes.
const REPLICAS_MAX: usize = 5;
/// How long a request may take.
const REQUEST_TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// A message may not live shorter: JetStream counts in whole seconds.
const MARKER_LIFE_MIN: Duration = Duration::from_secs(1);

/// What an operator states about servers that do not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// Every server flushes to disk before each acknowledgement (`sync_interval: always`).
    PowerSafe,
}

/// The settings besides the URL, by the names that the configuration file uses. All have a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Names the stream, and begins every subject. Brokers with the same bucket share their locks.
    #[serde(deserialize_with = "sixpin_login::text")]
    pub bucket: String,
    /// Copies of the stream. Absent: one when it is created, and any number when it exists.
    pub replicas: Option<usize>,
    /// What the operator states about the servers' flushing, which cannot be seen by a client.
    pub stated_durability: Option<Statement>,
    /// The JetStream domain, if it is not that of the server.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub domain: Option<String>,
    /// Refuse a connection without TLS.
    pub tls: bool,
    /// PEM file of authorities to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the key of our own certificate.
    pub key: Option<PathBuf>,
    /// Log in as this user.
    #[serde(deserialize_with = "sixpin_login::name")]
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// A token instead of a user.
    pub token: Option<Secret>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
    /// A file whose first line is the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
    /// A credentials file (JWT and seed).
    pub credentials_file: Option<PathBuf>,
    /// How long a request may take before its outcome counts as unknown.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long the marker of a delete is kept, in whole seconds: longer than anything sent can be on its way.
    #[serde(with = "humantime_serde")]
    pub marker_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bucket: "sixpin".into(),
            replicas: None,
            stated_durability: None,
            domain: None,
            tls: false,
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            nkey_file: None,
            credentials_file: None,
            // A broker beats three times in its TTL of 5 s: one beat may be lost without harm.
            request_timeout: Duration::from_secs(2),
            marker_life: Duration::from_secs(24 * 3600),
        }
    }
}

/// How to log in.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    Nobody,
    User { name: String, password: Secret },
    Token(Secret),
    Nkey { seed: Secret },
    CredentialsFile(PathBuf),
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    pub(crate) servers: Vec<String>,
    pub(crate) login: Login,
    pub(crate) tls: bool,
    pub(crate) settings: Settings,
}

impl NatsConfig {
    /// Checks a URL (`nats://host:port,host:port`, or `tls://…`) and settings. Nothing is opened.
    pub fn new(url: &str, settings: Settings) -> Result<Self, OpenError> {
        let bad = |text: &str| OpenError::BadUrl(text.to_owned());
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("the URL of NATS looks like nats://host:port,host:port"))?;
        if !matches!(scheme, "nats" | "tls") {
            return Err(bad("the URL of NATS begins with nats:// or tls://"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(bad("the URL of NATS has no path and no parameters: the bucket is a setting"));
        }
        let (in_url, hosts) = match rest.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, rest),
        };
        let servers = hosts.split(',').map(server).collect::<Option<Vec<String>>>();
        let servers = servers.ok_or_else(|| bad("the URL of NATS names servers as host:port, separated by commas"))?;
        let login = login(in_url, &settings)?;
        check_settings(&settings)?;
        let tls = settings.tls || scheme == "tls";
        Ok(Self { servers, login, tls, settings })
    }

    /// How long one request may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.request_timeout
    }

    /// The servers, for texts.
    pub(crate) fn names(&self) -> String {
        self.servers.join(",")
    }
}

fn server(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address has colons of its own, and stands in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, PORT_DEFAULT),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (port != 0 && (bracketed || plain)).then(|| format!("{host}:{port}"))
}

fn login(in_url: Option<&str>, settings: &Settings) -> Result<Login, OpenError> {
    let secret = sixpin_login::secret;
    let password = secret("password", settings.password.as_ref(), settings.password_file.as_deref())?;
    let token = secret("token", settings.token.as_ref(), settings.token_file.as_deref())?;
    let mut found = Vec::new();
    let user = match sixpin_login::of_url(in_url)? {
        (Some(name), Some(password)) => {
            found.push(Login::User { name, password });
            settings.user.clone()
        }
        // A name alone is a token, as in all clients of NATS, unless its password stands in the settings.
        (Some(name), None) if password.is_some() && settings.user.is_none() => Some(name),
        (Some(token), None) => {
            found.push(Login::Token(Secret::new(token)));
            settings.user.clone()
        }
        (None, Some(_)) => return Err(OpenError::BadUrl("the URL of NATS has a password and no user".into())),
        (None, None) => settings.user.clone(),
    };
    match (user, password) {
        (Some(name), Some(password)) => found.push(Login::User { name, password }),
        (None, None) => {}
        _ => return Err(OpenError::BadUrl("`user` and `password` of NATS are set together".into())),
    }
    found.extend(token.map(Login::Token));
    if let Some(seed) = secret("nkey", None, settings.nkey_file.as_deref())? {
        found.push(Login::Nkey { seed });
    }
    found.extend(settings.credentials_file.clone().map(Login::CredentialsFile));
    if found.len() > 1 {
        let text = "set one login for NATS only: a user with a password, a token, `nkey_file` or `credentials_file`";
        return Err(OpenError::BadUrl(text.into()));
    }
    Ok(found.pop().unwrap_or(Login::Nobody))
}

fn check_settings(settings: &Settings) -> Result<(), OpenError> {
    let bad = |text: String| Err(OpenError::BadUrl(text));
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let bucket = &settings.bucket;
    if bucket.is_empty() || bucket.len() > BUCKET_BYTES_MAX || !bucket.bytes().all(allowed) {
        return bad(format!("`bucket` is 1 to {BUCKET_BYTES_MAX} characters of A-Z, a-z, 0-9, '-' and '_'"));
    }
    if settings.domain.as_ref().is_some_and(|domain| domain.is_empty() || !domain.bytes().all(allowed)) {
        return bad("`domain` has characters of A-Z, a-z, 0-9, '-' and '_'".into());
    }
    if settings.replicas.is_some_and(|replicas| !(1..=REPLICAS_MAX).contains(&replicas)) {
        return bad(format!("`replicas` is 1 to {REPLICAS_MAX}"));
    }
    if settings.certificate.is_some() != settings.key.is_some() {
        return bad("`certificate` and `key` are set together".into());
    }
    let files = [
        ("ca", &settings.ca),
        ("certificate", &settings.certificate),
        ("key", &settings.key),
        ("credentials_file", &settings.credentials_file),
    ];
    for (name, file) in files {
        if let Some(error) = file.as_ref().and_then(|file| std::fs::File::open(file).err()) {
            return bad(format!("`{name}` cannot be read: {error}"));
        }
    }
    if !REQUEST_TIMEOUTS.contains(&settings.request_timeout) {
        return bad("`request_timeout` is 100ms to 1m".into());
    }
    if settings.marker_life < MARKER_LIFE_MIN || settings.marker_life.subsec_nanos() != 0 {
        return bad("`marker_life` is at least 1s, in whole seconds".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(url: &str) -> Result<NatsConfig, OpenError> {
        NatsConfig::new(url, Settings::default())
    }

    #[test]
    fn urls_name_servers_and_a_login() {
        let config = open("nats://a,b:1,[::1]:2,[::1]").unwrap();
        assert_eq!(config.servers, ["a:4222", "b:1", "[::1]:2", "[::1]:4222"]);
        assert!(matches!(config.login, Login::Nobody) && !config.tls);
        let config = open("tls://u%40x:p%3Ay@a/").unwrap();
        assert!(matches!(&config.login, Login::User { name, password } if name == "u@x" && password.reveal() == "p:y"));
        assert!(config.tls);
        assert!(matches!(open("nats://t@a").unwrap().login, Login::Token(token) if token.reveal() == "t"));
        assert!(!format!("{:?}", open("nats://u:secret@a").unwrap()).contains("secret"));
    }

    #[test]
    fn a_user_in_the_url_may_have_its_password_in_the_settings() {
        let settings = Settings { password: Some(Secret::new("p")), ..Settings::default() };
        let config = NatsConfig::new("nats://u@a", settings).unwrap();
        assert!(matches!(&config.login, Login::User { name, password } if name == "u" && password.reveal() == "p"));
    }

    #[test]
    fn settings_are_read_by_name() {
        let text =
            r#"{ "bucket": "b", "request_timeout": "500ms", "marker_life": "1h", "stated_durability": "power-safe" }"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.request_timeout, Duration::from_millis(500));
        assert_eq!(settings.marker_life, Duration::from_secs(3600));
        assert_eq!(settings.stated_durability, Some(Statement::PowerSafe));
        for text in [r#"{ "buckets": "b" }"#, r#"{ "marker_life": "soon" }"#, r#"{ "marker_life": 5 }"#] {
            assert!(serde_json::from_str::<Settings>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for url in
            ["nats:", "nats://", "http://a", "nats://a:0", "nats://a:b", "nats://a,", "nats://a/b", "nats://%4@a"]
        {
            assert!(matches!(open(url), Err(OpenError::BadUrl(_))), "{url}");
        }
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            NatsConfig::new("nats://a", settings).map(|_| ())
        };
        assert!(with(|_| ()).is_ok());
        for change in [
            (|it| it.bucket = "a.b".into()) as fn(&mut Settings),
            |it| it.bucket = String::new(),
            |it| it.replicas = Some(0),
            |it| it.user = Some("u".into()),
            |it| it.password = Some(Secret::new("p")),
            |it| (it.token, it.token_file) = (Some(Secret::new("t")), Some("f".into())),
            |it| (it.token, it.user, it.password) = (Some(Secret::new("t")), Some("u".into()), Some(Secret::new("p"))),
            |it| it.nkey_file = Some("/no/such/file".into()),
            |it| it.ca = Some("/no/such/file".into()),
            |it| it.certificate = Some("f".into()),
            |it| it.request_timeout = Duration::from_millis(1),
            |it| it.marker_life = Duration::from_millis(1_500),
        ] {
            assert!(matches!(with(change), Err(OpenError::BadUrl(_))));
        }
    }
}
