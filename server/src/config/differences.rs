//! What differs between the configuration that a broker runs with and one that was read later.

use super::settings::{Counts, SETTINGS};
use super::{Config, DEFAULT_BACKEND};
use crate::tls::TlsConfig;

/// The settings that differ, by their keys. Of `access`, and of what has a name that an operator chose, the section is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// Those that count while the broker runs.
    pub running: Vec<String>,
    /// Those that count from the next start on.
    pub restart: Vec<String>,
}

impl Differences {
    /// What differs.
    pub fn between(before: &Config, after: &Config) -> Self {
        let plain = [process(before, after), limits(before, after), tls(before, after)].concat();
        let plain = plain.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned());
        let (running, restart) = plain.chain(named(before, after)).partition(|key| counts_while_running(key));
        Self { running, restart }
    }

    /// Says so in the log.
    pub(crate) fn log(&self) {
        if !self.running.is_empty() {
            tracing::info!("settings changed: {}", self.running.join(", "));
        }
        if !self.restart.is_empty() {
            tracing::warn!("settings changed that count only from the next start on: {}", self.restart.join(", "));
        }
    }
}

/// Whether a setting, or what stands in a section, counts while a broker runs.
fn counts_while_running(key: &str) -> bool {
    let inside = format!("{key}.");
    let settings = SETTINGS.iter().filter(|setting| setting.key == key || setting.key.starts_with(&inside));
    settings.into_iter().any(|setting| setting.counts == Counts::Running)
}

/// A setting, and whether it differs.
type Compared = (&'static str, bool);

fn process(before: &Config, after: &Config) -> Vec<Compared> {
    let audits = [before, after].map(|config| config.audit.as_ref());
    let files = audits.map(|audit| audit.map(|audit| audit.file.as_ref()));
    let locks = audits.map(|audit| audit.is_some_and(|audit| audit.locks));
    let traces = [before, after].map(|config| config.traces.as_ref());
    let endpoints = traces.map(|traces| traces.map(|traces| &traces.endpoint));
    let samples = traces.map(|traces| traces.map_or(1.0, |traces| traces.sample).to_bits());
    vec![
        ("name", before.name != after.name),
        ("listen", before.listen != after.listen),
        ("admin_listen", before.admin_listen != after.admin_listen),
        ("advertise", before.advertise != after.advertise),
        ("insecure", before.insecure != after.insecure),
        ("access", before.access != after.access),
        ("audit.file", files[0] != files[1]),
        ("audit.locks", locks[0] != locks[1]),
        ("http.origins", before.http.origins != after.http.origins),
        ("http.hosts", before.http.hosts != after.http.hosts),
        ("metrics.classes", before.classes != after.classes),
        ("traces.endpoint", endpoints[0] != endpoints[1]),
        ("traces.sample", samples[0] != samples[1]),
        ("require", before.require != after.require),
        ("session_ttl", before.session_ttl != after.session_ttl),
        ("session_ttl_max", before.session_ttl_max != after.session_ttl_max),
        ("broker_ttl", before.broker_ttl != after.broker_ttl),
        ("drain_timeout", before.drain_timeout != after.drain_timeout),
        ("store_patience", before.store_patience != after.store_patience),
        ("first_start_grace", before.first_start_grace != after.first_start_grace),
        ("lanes", before.lanes != after.lanes),
        ("lane_depth", before.lane_depth != after.lane_depth),
        ("stored_format_max", before.stored_format_max != after.stored_format_max),
        ("log.format", before.log.format != after.log.format),
        ("log.level", before.log.level != after.log.level),
    ]
}

fn limits(before: &Config, after: &Config) -> Vec<Compared> {
    let (old, new) = (&before.limits, &after.limits);
    let (were, are) = (&before.connections, &after.connections);
    vec![
        ("limits.claims_per_session", old.claims_per_session != new.claims_per_session),
        ("limits.waiting_per_session", old.waiting_per_session != new.waiting_per_session),
        ("limits.queued_per_resource", old.queued_per_resource != new.queued_per_resource),
        ("limits.requests_per_stream", old.requests_per_stream != new.requests_per_stream),
        ("limits.sessions_per_broker", old.sessions_per_broker != new.sessions_per_broker),
        ("limits.sessions_per_client", old.sessions_per_client != new.sessions_per_client),
        ("limits.sessions_per_trusted", old.sessions_per_trusted != new.sessions_per_trusted),
        ("limits.first_life", old.first_life != new.first_life),
        ("limits.record_bytes", old.record_bytes != new.record_bytes),
        ("limits.requests_per_broker", old.requests_per_broker != new.requests_per_broker),
        ("connections.total", were.total != are.total),
        ("connections.per_address", were.per_address != are.per_address),
        ("connections.per_trusted", were.per_trusted != are.per_trusted),
        ("connections.trusted", were.trusted != are.trusted),
        ("connections.idle", were.idle != are.idle),
    ]
}

/// What administrators have from clients is said of clients alone.
fn tls(before: &Config, after: &Config) -> Vec<Compared> {
    let is_shared = [before, after].iter().all(|config| config.admin_tls == config.tls);
    let (were, are) =
        (before.admin_tls.as_ref().filter(|_| !is_shared), after.admin_tls.as_ref().filter(|_| !is_shared));
    let clients = ["tls.certificate", "tls.key", "tls.client_ca", "tls.client_auth"];
    let admin = ["admin_tls.certificate", "admin_tls.key", "admin_tls.client_ca", "admin_tls.client_auth"];
    let compared = tls_of(clients, before.tls.as_ref(), after.tls.as_ref());
    compared.into_iter().chain(tls_of(admin, were, are)).collect()
}

fn tls_of(keys: [&'static str; 4], before: Option<&TlsConfig>, after: Option<&TlsConfig>) -> [Compared; 4] {
    let [certificate, key, client_ca, client_auth] = keys;
    let both = [before, after];
    let differs = |of: fn(&TlsConfig) -> Option<&std::path::PathBuf>| {
        let [before, after] = both.map(|tls| tls.and_then(of));
        before != after
    };
    let auths = both.map(|tls| tls.map(|tls| tls.client_auth).unwrap_or_default());
    [
        (certificate, differs(|tls| Some(&tls.certificate))),
        (key, differs(|tls| Some(&tls.key))),
        (client_ca, differs(|tls| tls.client_ca.as_ref())),
        (client_auth, auths[0] != auths[1]),
    ]
}

/// Stores and lockspaces, which have names.
fn named(before: &Config, after: &Config) -> Vec<String> {
    let backends = before.backends.keys().chain(after.backends.keys());
    let backends = backends.filter(|name| before.backends.get(*name) != after.backends.get(*name));
    let backends =
        backends.map(|name| if name == DEFAULT_BACKEND { "backend".into() } else { format!("backends.{name}") });
    let lockspaces = before.lockspaces.keys().chain(after.lockspaces.keys());
    let lockspaces = lockspaces.filter(|name| before.lockspaces.get(*name) != after.lockspaces.get(*name));
    let mut keys: Vec<String> = backends.chain(lockspaces.map(|name| format!("lockspaces.{name}"))).collect();
    keys.sort();
    keys.dedup();
    keys
}
