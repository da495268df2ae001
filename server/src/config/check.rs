//! The settings as the process uses them: defaults filled in, ranges and references checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use sixpin_core::backend::Durability;
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::format;
use sixpin_core::limits::{self, Limits};
use sixpin_core::name::{Lockspace, NameError};

use super::file::{self, AdminListen, File};
use super::{BackendConfig, Config, DEFAULT_BACKEND, LockspaceSettings, LogConfig};
use super::{access, doors, observation};
use crate::audit::AuditConfig;
use crate::frontend::client;
use crate::frontend::listener::gate::ConnectionLimits;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// A record must hold a few claims with the longest names.
const RECORD_BYTES_MIN: usize = 4_096;

/// A setting by the names that lead to it. Names that an operator chose may have dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(pub Vec<String>);

impl Key {
    /// The key with these names.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(ToString::to_string).collect())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// A setting that is not allowed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) key: Key,
    pub(super) text: String,
}

pub(super) fn wrong<T>(key: Key, text: impl Into<String>) -> Checked<T> {
    Err(Wrong { key, text: text.into() })
}

pub(super) type Checked<T> = Result<T, Wrong>;

/// Checks everything that is written.
pub(super) fn check(file: File) -> Checked<Config> {
    let session_ttls = limits::SESSION_TTL_MIN..=limits::SESSION_TTL_MAX;
    let session_ttl = duration(Key::of(&["session_ttl"]), file.session_ttl, limits::SESSION_TTL_DEFAULT, session_ttls)?;
    let session_ttls = session_ttl..=limits::SESSION_TTL_MAX;
    let session_ttl_max = limits::SESSION_TTL_LIMIT_DEFAULT.max(session_ttl);
    let backends = backends(file.backend, file.backends)?;
    let lockspaces = file
        .lockspaces
        .into_iter()
        .map(|(name, settings)| lockspace(&name, &settings, &backends))
        .collect::<Checked<_>>()?;
    let tls = doors::tls("tls", file.tls)?;
    let admin_tls = doors::tls("admin_tls", file.admin_tls)?.or_else(|| tls.clone());
    let access = file.access.map(access::policy).transpose()?;
    let config = Config {
        access,
        audit: file.audit.map(|audit| AuditConfig { file: audit.file, locks: audit.locks }),
        classes: observation::classes(file.metrics.classes)?,
        http: doors::http(file.http)?,
        traces: file.traces.map(observation::traces).transpose()?,
        name: name(file.name)?,
        insecure: file.insecure.unwrap_or(false),
        tls,
        admin_tls,
        listen: file.listen.unwrap_or_else(|| local(6616)),
        admin_listen: match file.admin_listen {
            None => Some(local(6617)),
            Some(AdminListen::At(address)) => Some(address),
            Some(AdminListen::Off) => None,
        },
        advertise: advertise(file.advertise)?,
        require: durability(file.require),
        session_ttl,
        session_ttl_max: duration(Key::of(&["session_ttl_max"]), file.session_ttl_max, session_ttl_max, session_ttls)?,
        broker_ttl: duration(Key::of(&["broker_ttl"]), file.broker_ttl, limits::BROKER_TTL_DEFAULT, SECOND..=MINUTE)?,
        drain_timeout: duration(Key::of(&["drain_timeout"]), file.drain_timeout, SECOND * 30, Duration::ZERO..=HOUR)?,
        store_patience: duration(Key::of(&["store_patience"]), file.store_patience, SECOND * 5, SECOND / 10..=MINUTE)?,
        first_start_grace: file
            .first_start_grace
            .map(|grace| duration(Key::of(&["first_start_grace"]), Some(grace), grace, Duration::ZERO..=HOUR * 2))
            .transpose()?,
        lanes: number(Key::of(&["lanes"]), file.lanes.map(usize::from), 1, 1..=64)? as u16,
        lane_depth: number(Key::of(&["lane_depth"]), file.lane_depth.map(usize::from), 4, 1..=16)? as u16,
        stored_format_max: number(
            Key::of(&["stored_format_max"]),
            file.stored_format_max.map(usize::from),
            usize::from(format::NEWEST),
            usize::from(format::OLDEST)..=usize::from(format::NEWEST),
        )? as u8,
        limits: lowered(&file.limits)?,
        connections: ConnectionLimits {
            total: number(Key::of(&["connections", "total"]), file.connections.total, 10_000, 1..=1_000_000)?,
            per_address: number(
                Key::of(&["connections", "per_address"]),
                file.connections.per_address,
                200,
                1..=1_000_000,
            )?,
            per_trusted: number(
                Key::of(&["connections", "per_trusted"]),
                file.connections.per_trusted,
                8_000,
                1..=1_000_000,
            )?,
            trusted: file.connections.trusted.map_or_else(client::this_host, |networks| networks.0),
            idle: duration(Key::of(&["connections", "idle"]), file.connections.idle, MINUTE * 2, SECOND..=HOUR * 24)?,
        },
        backends,
        lockspaces,
        log: LogConfig {
            format: file.log.format.unwrap_or_default(),
            level: file.log.level.unwrap_or_else(|| "info".into()),
        },
    };
    doors::protected(config)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn name(name: Option<String>) -> Checked<String> {
    let name = name.unwrap_or_else(host_name);
    if name.is_empty() || name.len() > limits::LABEL_BYTES_MAX || name.chars().any(char::is_control) {
        let max = limits::LABEL_BYTES_MAX;
        return wrong(
            Key::of(&["name"]),
            format!("`name` is `{name}`: 1 to {max} bytes of text without control characters"),
        );
    }
    Ok(name)
}

/// The host's own name, as far as it fits.
pub(crate) fn host_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let short: String = host.chars().filter(|c| !c.is_control()).take(limits::LABEL_BYTES_MAX / 4).collect();
    if short.is_empty() { "sixpin".into() } else { short }
}

fn advertise(address: Option<String>) -> Checked<Option<String>> {
    let fits = |address: &String| {
        address.len() <= 256
            && address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            && !address.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    match address {
        Some(address) if !fits(&address) => {
            let text = format!("`advertise` is `{address}`: write `host:port`, as clients reach it");
            wrong(Key::of(&["advertise"]), text)
        }
        address => Ok(address),
    }
}

fn durability(require: Option<file::Require>) -> Durability {
    match require {
        Some(file::Require::Volatile) => Durability::Volatile,
        Some(file::Require::CrashSafe) | None => Durability::CrashSafe,
        Some(file::Require::PowerSafe) => Durability::PowerSafe,
        Some(file::Require::FailoverSafe) => Durability::FailoverSafe,
    }
}

/// Limits may be lowered, never raised: the defaults are what sixpin is tested with.
fn lowered(given: &file::Limits) -> Checked<Limits> {
    let max = Limits::default();
    let lower = |key: &str, value: Option<usize>, max: usize, min: usize| {
        number(Key::of(&["limits", key]), value, max, min..=max)
    };
    // Shares may be anything up to the whole.
    let share = |key: &str, value: Option<usize>, default: usize| {
        number(Key::of(&["limits", key]), value, default, 1..=max.sessions_per_broker)
    };
    Ok(Limits {
        claims_per_session: lower("claims_per_session", given.claims_per_session, max.claims_per_session, 1)?,
        waiting_per_session: lower("waiting_per_session", given.waiting_per_session, max.waiting_per_session, 1)?,
        queued_per_resource: lower("queued_per_resource", given.queued_per_resource, max.queued_per_resource, 1)?,
        requests_per_stream: lower("requests_per_stream", given.requests_per_stream, max.requests_per_stream, 1)?,
        sessions_per_broker: lower("sessions_per_broker", given.sessions_per_broker, max.sessions_per_broker, 1)?,
        sessions_per_client: share("sessions_per_client", given.sessions_per_client, max.sessions_per_client)?,
        sessions_per_trusted: share("sessions_per_trusted", given.sessions_per_trusted, max.sessions_per_trusted)?,
        first_life: duration(Key::of(&["limits", "first_life"]), given.first_life, max.first_life, SECOND..=HOUR)?,
        record_bytes: lower("record_bytes", given.record_bytes, max.record_bytes, RECORD_BYTES_MIN)?,
        requests_per_broker: lower("requests_per_broker", given.requests_per_broker, max.requests_per_broker, 1)?,
    })
}

/// The URL of the default backend may be given in one line or in its section, not both.
fn backends(
    mut default_url: Option<String>,
    sections: BTreeMap<String, file::Backend>,
) -> Checked<BTreeMap<String, BackendConfig>> {
    if default_url.is_some() && sections.get(DEFAULT_BACKEND).is_some_and(|section| section.url.is_some()) {
        let text = "both `backend` and `backends.default.url` are given: they are the same, keep one";
        return wrong(Key::of(&["backend"]), text);
    }
    let mut backends = BTreeMap::new();
    for (name, section) in sections {
        if Lockspace::new(&name).is_err() {
            let text =
                format!("`backends.{name}`: a backend's name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'");
            return wrong(Key::of(&["backends", &name]), text);
        }
        let url = if name == DEFAULT_BACKEND { section.url.or(default_url.take()) } else { section.url };
        let Some(url) = url else {
            let text = format!("`backends.{name}` has no `url`: it says which store the settings are for");
            return wrong(Key::of(&["backends", &name]), text);
        };
        backends.insert(name, BackendConfig { url, settings: section.settings });
    }
    backends.entry(DEFAULT_BACKEND.into()).or_insert_with(|| BackendConfig {
        url: default_url.unwrap_or_else(|| "memory:".into()),
        settings: toml::Table::new(),
    });
    Ok(backends)
}

fn lockspace(
    name: &str,
    given: &file::Lockspace,
    backends: &BTreeMap<String, BackendConfig>,
) -> Checked<(Lockspace, LockspaceSettings)> {
    let key = |field: &str| Key::of(&["lockspaces", name, field]);
    let Ok(lockspace) = Lockspace::new(name) else {
        let text = format!("`lockspaces.{name}`: {}", NameError::Lockspace);
        return wrong(Key::of(&["lockspaces", name]), text);
    };
    let backend = given.backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.into());
    if !backends.contains_key(&backend) {
        let known = backends.keys().cloned().collect::<Vec<_>>().join(", ");
        let key = key("backend");
        let text = format!("`{key}` is `{backend}`, which is none of the backends: {known}");
        return wrong(key, text);
    }
    let bytes = given.value_block_bytes.unwrap_or(limits::VALUE_BLOCK_BYTES_DEFAULT);
    if bytes == 0 || !bytes.is_multiple_of(8) || bytes > limits::VALUE_BLOCK_BYTES_MAX {
        let max = limits::VALUE_BLOCK_BYTES_MAX;
        let key = key("value_block_bytes");
        let text = format!("`{key}` is {bytes}: a multiple of 8, 8 to {max}");
        return wrong(key, text);
    }
    let orphan_ttl = match given.orphan_ttl {
        Some(ttl) => Some(duration(key("orphan_ttl"), Some(ttl), SECOND, SECOND..=HOUR * 24 * 366)?),
        None => None,
    };
    let lock_delay = duration(key("lock_delay"), given.lock_delay, Duration::ZERO, Duration::ZERO..=HOUR)?;
    let config = LockspaceConfig { value_block_bytes: bytes, orphan_ttl, lock_delay };
    Ok((lockspace, LockspaceSettings { backend, config }))
}

pub(super) fn duration(
    key: Key,
    given: Option<Duration>,
    default: Duration,
    allowed: RangeInclusive<Duration>,
) -> Checked<Duration> {
    let duration = given.unwrap_or(default);
    if allowed.contains(&duration) {
        return Ok(duration);
    }
    let [given, min, max] = [duration, *allowed.start(), *allowed.end()].map(humantime::format_duration);
    let text = format!("`{key}` is {given}: it may be {min} to {max}");
    wrong(key, text)
}

pub(super) fn number(key: Key, given: Option<usize>, default: usize, allowed: RangeInclusive<usize>) -> Checked<usize> {
    let number = given.unwrap_or(default);
    if allowed.contains(&number) {
        return Ok(number);
    }
    let text = format!("`{key}` is {number}: it may be {} to {}", allowed.start(), allowed.end());
    wrong(key, text)
}
