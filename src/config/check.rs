//! The settings as the process uses them: defaults filled in, ranges and references checked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use sixpin_core::backend::Durability;
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::limits::{self, Limits};
use sixpin_core::name::Lockspace;

use super::file::{self, AdminListen, File};
use super::{BackendConfig, Config, ConfigError, DEFAULT_BACKEND, LockspaceSettings, LogConfig};
use crate::frontend::listener::gate::ConnectionLimits;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// A record must hold a few claims with the longest names.
const RECORD_BYTES_MIN: usize = 4_096;

type Checked<T> = Result<T, ConfigError>;

/// Checks everything that is written.
pub(super) fn check(file: File) -> Checked<Config> {
    let session_ttls = limits::SESSION_TTL_MIN..=limits::SESSION_TTL_MAX;
    let backends = backends(file.backend, file.backends)?;
    let lockspaces = file
        .lockspaces
        .into_iter()
        .map(|(name, settings)| lockspace(&name, &settings, &backends))
        .collect::<Checked<_>>()?;
    Ok(Config {
        name: name(file.name.map(|name| name.0))?,
        listen: file.listen.unwrap_or_else(|| local(6616)),
        admin_listen: match file.admin_listen {
            None => Some(local(6617)),
            Some(AdminListen::At(address)) => Some(address),
            Some(AdminListen::Off) => None,
        },
        advertise: advertise(file.advertise)?,
        require: durability(file.require),
        session_ttl: duration("session_ttl", file.session_ttl, limits::SESSION_TTL_DEFAULT, session_ttls)?,
        broker_ttl: duration("broker_ttl", file.broker_ttl, limits::BROKER_TTL_DEFAULT, SECOND..=MINUTE)?,
        drain_timeout: duration("drain_timeout", file.drain_timeout, SECOND * 30, Duration::ZERO..=HOUR)?,
        store_patience: duration("store_patience", file.store_patience, SECOND * 5, SECOND / 10..=MINUTE)?,
        first_start_grace: duration(
            "first_start_grace",
            file.first_start_grace,
            Duration::ZERO,
            Duration::ZERO..=HOUR,
        )?,
        lanes: number("lanes", file.lanes.map(usize::from), 4, 1..=64)? as u16,
        limits: lowered(&file.limits)?,
        connections: ConnectionLimits {
            total: number("connections.total", file.connections.total, 10_000, 1..=1_000_000)?,
            per_address: number("connections.per_address", file.connections.per_address, 200, 1..=1_000_000)?,
        },
        backends,
        lockspaces,
        log: LogConfig {
            format: file.log.format.unwrap_or_default(),
            level: file.log.level.unwrap_or_else(|| "info".into()),
        },
    })
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn name(name: Option<String>) -> Checked<String> {
    let name = name.unwrap_or_else(host_name);
    if name.is_empty() || name.len() > limits::LABEL_BYTES_MAX || name.chars().any(char::is_control) {
        let max = limits::LABEL_BYTES_MAX;
        return Err(ConfigError(format!("`name` is `{name}`: 1 to {max} bytes of text without control characters")));
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
            Err(ConfigError(format!("`advertise` is `{address}`: write `host:port`, as clients reach it")))
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
        number(&format!("limits.{key}"), value, max, min..=max)
    };
    Ok(Limits {
        claims_per_session: lower("claims_per_session", given.claims_per_session, max.claims_per_session, 1)?,
        waiting_per_session: lower("waiting_per_session", given.waiting_per_session, max.waiting_per_session, 1)?,
        queued_per_resource: lower("queued_per_resource", given.queued_per_resource, max.queued_per_resource, 1)?,
        requests_per_stream: lower("requests_per_stream", given.requests_per_stream, max.requests_per_stream, 1)?,
        sessions_per_broker: lower("sessions_per_broker", given.sessions_per_broker, max.sessions_per_broker, 1)?,
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
        return Err(ConfigError(text.into()));
    }
    let mut backends = BTreeMap::new();
    for (name, section) in sections {
        if Lockspace::new(&name).is_err() {
            let text =
                format!("`backends.{name}`: a backend's name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-'");
            return Err(ConfigError(text));
        }
        let url = if name == DEFAULT_BACKEND { section.url.or(default_url.take()) } else { section.url };
        let Some(url) = url else {
            return Err(ConfigError(format!(
                "`backends.{name}` has no `url`: it says which store the settings are for"
            )));
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
    let key = |field: &str| format!("lockspaces.{name}.{field}");
    let lockspace = Lockspace::new(name).map_err(|error| ConfigError(format!("`lockspaces.{name}`: {error}")))?;
    let backend = given.backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.into());
    if !backends.contains_key(&backend) {
        let known = backends.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(ConfigError(format!(
            "`{}` is `{backend}`, which is none of the backends: {known}",
            key("backend")
        )));
    }
    let bytes = given.value_block_bytes.unwrap_or(limits::VALUE_BLOCK_BYTES_DEFAULT);
    if bytes == 0 || !bytes.is_multiple_of(8) || bytes > limits::VALUE_BLOCK_BYTES_MAX {
        let max = limits::VALUE_BLOCK_BYTES_MAX;
        return Err(ConfigError(format!("`{}` is {bytes}: a multiple of 8, 8 to {max}", key("value_block_bytes"))));
    }
    let orphan_ttl = match given.orphan_ttl {
        Some(ttl) => Some(duration(&key("orphan_ttl"), Some(ttl), SECOND, SECOND..=HOUR * 24 * 366)?),
        None => None,
    };
    let lock_delay = duration(&key("lock_delay"), given.lock_delay, Duration::ZERO, Duration::ZERO..=HOUR)?;
    let config = LockspaceConfig { value_block_bytes: bytes, orphan_ttl, lock_delay };
    Ok((lockspace, LockspaceSettings { backend, config }))
}

fn duration(
    key: &str,
    given: Option<Duration>,
    default: Duration,
    allowed: RangeInclusive<Duration>,
) -> Checked<Duration> {
    let duration = given.unwrap_or(default);
    if allowed.contains(&duration) {
        return Ok(duration);
    }
    let [given, min, max] = [duration, *allowed.start(), *allowed.end()].map(humantime::format_duration);
    Err(ConfigError(format!("`{key}` is {given}: it may be {min} to {max}")))
}

fn number(key: &str, given: Option<usize>, default: usize, allowed: RangeInclusive<usize>) -> Checked<usize> {
    let number = given.unwrap_or(default);
    if allowed.contains(&number) {
        return Ok(number);
    }
    Err(ConfigError(format!("`{key}` is {number}: it may be {} to {}", allowed.start(), allowed.end())))
}
