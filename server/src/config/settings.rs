//! The list of settings, and how the environment is read.

use std::ffi::OsString;

use serde::Deserialize as _;

use super::{ConfigError, explained, file};

/// The prefix of environment variables. A dot in a setting's key is a double underscore in its variable:
/// `limits.claims_per_session` is `SIXPIN_SERVE_LIMITS__CLAIMS_PER_SESSION`.
pub const PREFIX: &str = "SIXPIN_SERVE_";

/// One setting. `NAME` in a key stands for a name that the operator chooses.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Where it stands.
    pub key: &'static str,
    /// What it is if it is not given.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// From when on a change counts.
    pub counts: Counts,
}

/// From when on a setting counts that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// When the broker has read its configuration again.
    Running,
    /// The contents of the file that it names: then; its name: from the next start on.
    Contents,
    /// From the next start on.
    Restart,
}

const fn setting(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, help, counts: Counts::Restart }
}

const fn changing(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, help, counts: Counts::Running }
}

const fn file_of(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, help, counts: Counts::Contents }
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    setting("backend", "memory:", "URL of the store of all lockspaces that name no other backend"),
    setting("name", "the host's name", "the broker's name, for people"),
    setting("listen", "127.0.0.1:6616", "address where clients connect"),
    setting("admin_listen", "127.0.0.1:6617", "address where administrators connect, or `off`"),
    setting("advertise", "made from `listen`", "`host:port` where clients of other brokers reach this one"),
    setting("insecure", "false", "listen beyond this host without TLS or authentication all the same"),
    file_of("tls.certificate", "none", "PEM file: the certificate of both listeners, and those up to its authority"),
    file_of("tls.key", "none", "PEM file: its key"),
    file_of("tls.client_ca", "none", "PEM file: authorities of client certificates"),
    setting("tls.client_auth", "none; required with `client_ca`", "client certificates: none, optional or required"),
    file_of("admin_tls.certificate", "as `tls`", "the same for administrators, who may have TLS of their own"),
    file_of("admin_tls.key", "as `tls`", ""),
    file_of("admin_tls.client_ca", "as `tls`", ""),
    setting("admin_tls.client_auth", "as `tls`", ""),
    changing("access.anonymous", "none", "roles of whoever shows no credential"),
    changing("access.quotas.sessions", "10000", "sessions of one principal at this broker"),
    changing("access.quotas.claims", "100000", "claims of one principal at this broker"),
    changing("access.quotas.waiting", "10000", "claims of one principal at this broker that wait"),
    changing("access.quotas.watches", "10000", "streams of one principal that watch at this broker"),
    changing("access.roles.NAME.rules", "", "what a role allows: lockspace, prefix or name, and verbs of each rule"),
    changing("access.tokens.NAME.sha256", "", "SHA-256 of a token, as `sixpin token new` prints it"),
    changing("access.tokens.NAME.roles", "", "its roles"),
    changing("access.tokens.NAME.expires", "never", "from then on the token is of no use: 2027-01-31T00:00:00Z"),
    changing("access.jwt.issuer", "", "whose JSON web tokens are taken: the claim `iss`"),
    changing("access.jwt.audience", "", "what their claim `aud` must have"),
    changing("access.jwt.jwks", "", "file with the issuer's keys, a JWK set"),
    changing("access.jwt.algorithms", "", "how they may be signed: RS256, ES256, EdDSA"),
    changing("access.jwt.leeway", "30s", "how far clocks may differ, at most 30s"),
    changing("access.jwt.roles_claim", "roles", "the claim that lists roles"),
    changing("access.certificates.NAME", "", "roles of the client certificate for this URI or DNS name"),
    setting(
        "audit.file",
        "the log",
        "file of JSON lines that say who did what; without a section `audit` nothing is written",
    ),
    setting("audit.locks", "false", "write grants, releases and losses of locks as well"),
    setting("http.origins", "none", "origins of pages that may ask as the broker's own do: `https://ops.example.org`"),
    setting("http.hosts", "none", "names by which whoever shows no credential may call the broker on its own host"),
    setting("metrics.classes.NAME", "", "the class that metrics count names together in which begin so, at most 100"),
    setting("traces.endpoint", "none", "collector of traces, OTLP over gRPC: `http://127.0.0.1:4317`"),
    setting("traces.sample", "1", "the part of the traces begun here that is kept, 0 to 1"),
    setting("require", "crash-safe", "how durable a store must be: volatile, crash-safe, power-safe, failover-safe"),
    setting("session_ttl", "10s", "TTL of sessions that ask for none, 1s to 1h"),
    setting("session_ttl_max", "1m", "longest TTL of a session, `session_ttl` to 1h"),
    setting("broker_ttl", "5s", "how long this broker may be silent before others declare it dead, 1s to 1m"),
    setting("drain_timeout", "30s", "how long a drain waits for holders, at most 1h"),
    setting("store_patience", "5s", "how long a request waits for a store that is away, 100ms to 1m"),
    setting("first_start_grace", "auto", "how long nothing is granted after a start on a new store, at most 2h"),
    setting(
        "lanes",
        "1",
        "parts into which a backend's resources fall by name, 1 to 64; a doubt in one does not hold up another",
    ),
    setting("lane_depth", "4", "batches of one lane in flight at once, 1 to 16"),
    setting("stored_format_max", "2", "highest stored format that is read and written, 1 to 2"),
    setting("log.format", "text", "log lines as text or json"),
    changing("log.level", "info", "error, warn, info, debug or trace, or directives such as `info,sixpin=debug`"),
    changing("limits.claims_per_session", "10000", "claims of one session"),
    changing("limits.waiting_per_session", "1000", "waiting claims of one session"),
    changing("limits.queued_per_resource", "1000", "queued claims of one resource"),
    setting("limits.requests_per_stream", "256", "requests in flight of one stream"),
    changing("limits.sessions_per_broker", "200000", "sessions of this broker"),
    changing("limits.sessions_per_client", "20000", "sessions of one client at this broker"),
    changing("limits.sessions_per_trusted", "150000", "sessions of one trusted client at this broker"),
    setting(
        "limits.first_life",
        "30s",
        "how long a session lives whose client is not heard after opening it, 1s to 1h",
    ),
    changing("limits.record_bytes", "262144", "bytes of one record, at least 4096"),
    changing("limits.requests_per_broker", "100000", "requests that wait for the store, over all sessions"),
    changing("connections.total", "10000", "open connections, at most 1000000"),
    changing("connections.per_address", "200", "open connections of one client"),
    changing("connections.per_trusted", "8000", "open connections of one trusted client"),
    changing("connections.trusted", "127.0.0.0/8,::1", "where trusted clients are: addresses and ranges of them"),
    changing("connections.idle", "2m", "a connection on which nothing goes on is closed after this time, 1s to 24h"),
    setting("backends.NAME.url", "", "URL of a further store; `backends.default` is the same as `backend`"),
    setting("lockspaces.NAME.backend", "default", "the backend of a lockspace"),
    setting("lockspaces.NAME.value_block_bytes", "32", "length of its value blocks: a multiple of 8, at most 1024"),
    setting("lockspaces.NAME.orphan_ttl", "none", "orphans older than this are purged, 1s or more"),
    setting("lockspaces.NAME.lock_delay", "0s", "how long a resource is withheld after an abnormal death, at most 1h"),
];

/// The variables with our prefix. Others are left alone, whatever bytes they are.
pub fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let ours = environment.into_iter().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        Some(match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError(format!("environment variable {name} is not UTF-8"))),
        })
    });
    ours.collect()
}

/// The settings that the environment gives, as one table. Other variables are not looked at; one with our prefix that
/// names no setting is refused. An empty one is as good as none, and so are those that Kubernetes makes.
pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Result<toml::Table, ConfigError> {
    let mut table = toml::Table::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        if path.iter().any(String::is_empty) {
            return Err(ConfigError(format!("environment variable {name} names no setting")));
        }
        if value.is_empty() || is_of_kubernetes(key, &value) {
            continue;
        }
        overlay(&mut table, one(&name, &path, &value)?);
    }
    Ok(table)
}

/// The variable that sets a key.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// What one variable sets. It is understood by itself, so that a mistake is said of the variable and not of the whole.
fn one(name: &str, path: &[String], value: &str) -> Result<toml::Table, ConfigError> {
    // A variable has no type: it is text where its setting takes text. What stands beside the URL of a store is for the
    // store's own crate to judge, which takes what looks like a number for the text it was.
    if path.first().is_none_or(|first| first != "backends") {
        let text = nest(path, toml::Value::String(value.into()));
        if file::File::deserialize(text.clone()).is_ok() {
            return Ok(text);
        }
    }
    let one = nest(path, scalar(value));
    match file::File::deserialize(one.clone()) {
        Ok(_) => Ok(one),
        // Its value is not repeated: it may hold a password.
        Err(error) => Err(ConfigError(format!("environment variable {name}: {}", explained(error.message())))),
    }
}

/// Whether Kubernetes made this variable, as it does for each service of a namespace: for one that is named
/// `sixpin-serve`, or begins so, they begin with our prefix. No setting has a name of such a form.
fn is_of_kubernetes(key: &str, value: &str) -> bool {
    let words: Vec<&str> = key.split('_').collect();
    match words[..] {
        [.., "SERVICE", "HOST"] => true,
        [.., "PORT", number, protocol] | [.., "PORT", number, protocol, "PROTO" | "PORT" | "ADDR"]
            if matches!(protocol, "TCP" | "UDP" | "SCTP") =>
        {
            number.parse::<u16>().is_ok()
        }
        // A port of a service may have a name.
        _ if words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) => true,
        // A person who means `listen` writes a number or an address here, and is told.
        [.., "PORT"] => ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme)),
        _ => false,
    }
}

/// Puts `over` over `table`, key by key.
pub fn overlay(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => overlay(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// A table with one value at a path.
pub fn nest(path: &[String], value: toml::Value) -> toml::Table {
    let nested =
        path.iter().rev().fold(value, |inner, key| toml::Value::Table(std::iter::once((key.clone(), inner)).collect()));
    match nested {
        toml::Value::Table(table) => table,
        // An empty path has nowhere to put its value.
        _ => toml::Table::new(),
    }
}

/// What looks like a number or a truth value is one. A number that is written in another way, as `007` is, stays text, so
/// that a password never changes.
fn scalar(text: &str) -> toml::Value {
    match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) if number.to_string() == text => toml::Value::Integer(number),
        (_, Ok(truth)) => toml::Value::Boolean(truth),
        _ => toml::Value::String(text.into()),
    }
}
