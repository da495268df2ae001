//! The settings as they are written. What stands in none of the structs here is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::access;
use crate::frontend::client::Network;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// URL of the default backend.
    pub backend: Option<String>,
    pub(super) name: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) admin_listen: Option<AdminListen>,
    pub(super) advertise: Option<String>,
    pub(super) insecure: Option<bool>,
    pub(super) tls: Option<Tls>,
    pub(super) admin_tls: Option<Tls>,
    pub(super) access: Option<access::Access>,
    pub(super) audit: Option<Audit>,
    pub(super) metrics: Metrics,
    pub(super) http: Http,
    pub(super) traces: Option<Traces>,
    pub(super) require: Option<Require>,
    #[serde(with = "humantime_serde")]
    pub(super) session_ttl: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) session_ttl_max: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) broker_ttl: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) drain_timeout: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) store_patience: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) first_start_grace: Option<Duration>,
    pub(super) lanes: Option<u16>,
    pub(super) lane_depth: Option<u16>,
    pub(super) stored_format_max: Option<u8>,
    pub(super) log: Log,
    pub(super) limits: Limits,
    pub(super) connections: Connections,
    pub(super) backends: BTreeMap<String, Backend>,
    pub(super) lockspaces: BTreeMap<String, Lockspace>,
}

/// Log lines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// See [`sixpin_core::limits::Limits`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) claims_per_session: Option<usize>,
    pub(super) waiting_per_session: Option<usize>,
    pub(super) queued_per_resource: Option<usize>,
    pub(super) requests_per_stream: Option<usize>,
    pub(super) sessions_per_broker: Option<usize>,
    pub(super) sessions_per_client: Option<usize>,
    pub(super) sessions_per_trusted: Option<usize>,
    #[serde(with = "humantime_serde")]
    pub(super) first_life: Option<Duration>,
    pub(super) record_bytes: Option<usize>,
    pub(super) requests_per_broker: Option<usize>,
}

/// Limits of connections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Connections {
    pub(super) total: Option<usize>,
    pub(super) per_address: Option<usize>,
    pub(super) per_trusted: Option<usize>,
    pub(super) trusted: Option<Networks>,
    #[serde(with = "humantime_serde")]
    pub(super) idle: Option<Duration>,
}

/// Who did what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub(super) file: Option<PathBuf>,
    pub(super) locks: bool,
}

/// HTTP.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
}

/// What is counted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub(super) classes: BTreeMap<String, String>,
}

/// Where spans go.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Traces {
    /// Required of the whole; a variable of the environment may bring the other setting alone.
    pub(super) endpoint: Option<String>,
    pub(super) sample: Option<Share>,
}

/// A part of the whole: a number, or, as in a variable of the environment, a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(pub(super) f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(f64),
            Text(String),
        }
        match Given::deserialize(deserializer)? {
            Given::Number(number) => Ok(Self(number)),
            Given::Text(text) => {
                text.parse().map(Self).map_err(|_| serde::de::Error::custom("expected a number from 0 to 1"))
            }
        }
    }
}

/// TLS of a listener.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) client_auth: Option<ClientAuth>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClientAuth {
    None,
    Optional,
    Required,
}

/// One store. What stands beside the URL is for the store's own crate to judge.
#[derive(Debug, Deserialize)]
pub(super) struct Backend {
    /// Required of the whole; a variable of the environment may bring another setting alone.
    pub(super) url: Option<String>,
    #[serde(flatten)]
    pub(super) settings: toml::Table,
}

/// One lockspace.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lockspace {
    pub(super) backend: Option<String>,
    pub(super) value_block_bytes: Option<usize>,
    #[serde(with = "humantime_serde")]
    pub(super) orphan_ttl: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(super) lock_delay: Option<Duration>,
}

/// How durable a store must be.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Require {
    Volatile,
    CrashSafe,
    PowerSafe,
    FailoverSafe,
}

/// An address, or `off`.
#[derive(Debug, Clone, Copy)]
pub(super) enum AdminListen {
    At(SocketAddr),
    Off,
}

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| {
                serde::de::Error::custom(format!("`{text}` is neither an address such as 127.0.0.1:6617 nor \"off\""))
            }),
        }
    }
}

/// Ranges of addresses: a list, or, as in a variable of the environment, one text with commas.
#[derive(Debug, Clone)]
pub(super) struct Networks(pub(super) Vec<Network>);

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            One(String),
            Many(Vec<String>),
        }
        let texts = match Given::deserialize(deserializer)? {
            Given::One(text) => {
                text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(Into::into).collect()
            }
            Given::Many(texts) => texts,
        };
        let networks: Result<Vec<Network>, _> = texts.iter().map(|text| text.parse()).collect();
        networks.map(Self).map_err(serde::de::Error::custom)
    }
}
