//! What an operator can set.
//!
//! A file in TOML, YAML or JSON, overridden by environment variables with the prefix `SIXPIN_SERVE_`, overridden by flags. All three
//! become one table with the same keys, so a setting means the same wherever it stands; `docs/configuration.md` lists
//! them, and a test holds it to [`settings::SETTINGS`].
//!
//! # Layout, in reading order
//!
//! * [`settings`]: the list of settings, and how the environment is read;
//! * [`file`](mod@file): the settings as they are written;
//! * `document`: a file of them, with the line of each; `yaml`, `json`: files that are not TOML;
//! * [`sources`]: the places where they are written;
//! * [`check`]: the settings as the process uses them; `access`: those about who may do what;
//! * [`differences`]: what differs from what a broker runs with.

mod access;
pub mod check;
pub mod differences;
mod document;
mod doors;
pub mod file;
mod json;
mod observation;
pub mod settings;
pub mod sources;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sixpin_core::backend::Durability;
use sixpin_core::broker::api::LockspaceConfig;
use sixpin_core::limits::Limits;
use sixpin_core::name::Lockspace;

use crate::access::policy::Policy;
use crate::audit::AuditConfig;
use crate::frontend::listener::gate::ConnectionLimits;
use crate::tls::{ClientAuth, TlsConfig};
use crate::traces::TracesConfig;
use sources::Sources;

/// The backend of lockspaces that name none.
pub const DEFAULT_BACKEND: &str = "default";

/// Why a configuration was refused. The text names the setting, the value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Everything that is configured, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The broker's name, for people.
    pub name: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where administrators connect; absent if nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Where clients of other brokers are sent, `host:port`; absent: made from `listen`.
    pub advertise: Option<String>,
    /// Listeners beyond this host may be without TLS or authentication.
    pub insecure: bool,
    /// TLS of the listener for clients; absent: none.
    pub tls: Option<TlsConfig>,
    /// TLS of the listener for administrators; absent: none.
    pub admin_tls: Option<TlsConfig>,
    /// Who may do what; absent: everybody everything.
    pub access: Option<Policy>,
    /// What is written of who did what; absent: nothing.
    pub audit: Option<AuditConfig>,
    /// Classes that metrics tell apart, by how names of resources begin.
    pub classes: BTreeMap<String, String>,
    /// Where spans go; absent: nothing is traced.
    pub traces: Option<TracesConfig>,
    /// What HTTP is told beyond what it finds out by itself.
    pub http: HttpConfig,
    /// How durable stores must be.
    pub require: Durability,
    /// TTL of sessions that ask for none.
    pub session_ttl: Duration,
    /// Longest TTL of a session.
    pub session_ttl_max: Duration,
    /// How long this broker may be silent before others may declare it dead.
    pub broker_ttl: Duration,
    /// How long a drain waits for holders.
    pub drain_timeout: Duration,
    /// The highest stored format that the broker reads and writes.
    pub stored_format_max: u8,
    /// How long a request waits for a store that is away.
    pub store_patience: Duration,
    /// How long nothing is granted after a start on a new store; absent: as long as it may have forgotten something.
    pub first_start_grace: Option<Duration>,
    /// Lanes per backend.
    pub lanes: u16,
    /// Batches of one lane in flight at once.
    pub lane_depth: u16,
    /// Limits of the machine.
    pub limits: Limits,
    /// Limits of connections.
    pub connections: ConnectionLimits,
    /// The stores, by name. Has [`DEFAULT_BACKEND`].
    pub backends: BTreeMap<String, BackendConfig>,
    /// The lockspaces that have settings of their own.
    pub lockspaces: BTreeMap<Lockspace, LockspaceSettings>,
    /// Log lines.
    pub log: LogConfig,
}

/// What HTTP is told beyond what it finds out by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Origins of pages that may ask as if they were the broker's own: `https://ops.example.org`.
    pub origins: Vec<String>,
    /// Names by which whoever shows no credential may call the broker on its own host.
    pub hosts: Vec<String>,
}

/// A listener that other hosts reach, and that lacks what would protect it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The setting of its address.
    pub setting: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What it lacks.
    pub lacks: &'static str,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, address, lacks } = self;
        write!(f, "`{setting}` is {address}, which other hosts reach, without {lacks}")
    }
}

impl Config {
    /// Listeners that other hosts reach without TLS, or where nobody proves who it is.
    pub fn open_to_others(&self) -> Vec<Exposed> {
        let known = self.access.as_ref().is_some_and(Policy::authenticates);
        let listeners =
            [("listen", Some(self.listen), &self.tls), ("admin_listen", self.admin_listen, &self.admin_tls)];
        let exposed = listeners.into_iter().filter_map(|(setting, address, tls)| {
            let address = address.filter(|address| !address.ip().is_loopback())?;
            let certified = tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
            let lacks = match (tls, known || certified) {
                (None, false) => "TLS (`tls`) and authentication (`access`, or `tls.client_ca`)",
                (None, true) => "TLS (`tls`)",
                (Some(_), false) => "authentication (`access`, or `tls.client_ca`)",
                (Some(_), true) => return None,
            };
            Some(Exposed { setting, address, lacks })
        });
        exposed.collect()
    }
}

/// One store.
#[derive(Clone, PartialEq)]
pub struct BackendConfig {
    /// Where it is. May hold a password: it is never shown.
    pub url: String,
    /// What the kind of store allows beside the URL.
    pub settings: toml::Table,
}

impl fmt::Debug for BackendConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendConfig").field("url", &crate::backends::redacted(&self.url)).finish_non_exhaustive()
    }
}

/// One lockspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockspaceSettings {
    /// The name of its backend.
    pub backend: String,
    /// What its machine needs to know.
    pub config: LockspaceConfig,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How they look.
    pub format: file::LogFormat,
    /// Which are written: a level, or directives such as `info,sixpin=debug`.
    pub level: String,
}

/// Puts a file with this text and name, environment and flags together and checks the whole.
pub fn parse(
    text: &str,
    name: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: toml::Table,
) -> Result<Config, ConfigError> {
    Sources::new(text, name, environment, flags)?.config()
}

/// What a reader of settings found wrong. It says where a duration is expected, but not how one is written.
pub(crate) fn explained(error: impl fmt::Display) -> String {
    let durations = "expected a duration";
    error.to_string().replace(durations, &format!("{durations}: a number and a unit, as in 500ms, 10s, 5m, 1h"))
}
