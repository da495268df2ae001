//! Of each setting it is known whether it differs, and from when on that counts.

use std::collections::BTreeSet;

use sixpin_server::config;
use sixpin_server::config::differences::Differences;
use sixpin_server::config::settings::{Counts, SETTINGS};

const EXAMPLE: &str = include_str!("../compose/sixpin.example.toml");

/// Another value of each setting than the example has.
const OTHERWISE: &[(&str, &str)] = &[
    ("name", "'x'"),
    ("listen", "'127.0.0.1:1'"),
    ("admin_listen", "'off'"),
    ("advertise", "'h:1'"),
    ("insecure", "true"),
    ("require", "'volatile'"),
    ("session_ttl", "'5s'"),
    ("session_ttl_max", "'2m'"),
    ("broker_ttl", "'6s'"),
    ("drain_timeout", "'5s'"),
    ("store_patience", "'1s'"),
    ("first_start_grace", "'1s'"),
    ("lanes", "2"),
    ("lane_depth", "2"),
    ("stored_format_max", "1"),
    ("tls.certificate", "'/x'"),
    ("tls.key", "'/x'"),
    ("tls.client_ca", "'/x'"),
    ("tls.client_auth", "'required'"),
    ("admin_tls.certificate", "'/x'"),
    ("admin_tls.key", "'/x'"),
    ("admin_tls.client_ca", "'/x'"),
    ("admin_tls.client_auth", "'optional'"),
    ("access.anonymous", "[]"),
    ("access.quotas.sessions", "1"),
    ("access.quotas.claims", "1"),
    ("access.quotas.waiting", "1"),
    ("access.quotas.watches", "1"),
    ("access.roles.reader.rules", "[]"),
    ("access.tokens.billing-1.sha256", "'a1f0c2b1a5c04f5b6f1a4b6d7d8e9f00112233445566778899aabbccddeeff00'"),
    ("access.tokens.billing-1.roles", "[]"),
    ("access.tokens.billing-1.expires", "'2028-12-31T00:00:00Z'"),
    ("access.jwt.issuer", "'x'"),
    ("access.jwt.audience", "'x'"),
    ("access.jwt.jwks", "'/x'"),
    ("access.jwt.algorithms", "['RS256']"),
    ("access.jwt.leeway", "'1s'"),
    ("access.jwt.roles_claim", "'x'"),
    ("access.certificates.spiffe://example.org/ops/*", "['reader']"),
    ("audit.file", "'/x'"),
    ("audit.locks", "true"),
    ("http.origins", "[]"),
    ("http.hosts", "[]"),
    ("metrics.classes.invoice/", "'x'"),
    ("traces.endpoint", "'http://127.0.0.1:1'"),
    ("traces.sample", "0.25"),
    ("log.format", "'json'"),
    ("log.level", "'warn'"),
    ("limits.claims_per_session", "1"),
    ("limits.waiting_per_session", "1"),
    ("limits.queued_per_resource", "1"),
    ("limits.requests_per_stream", "1"),
    ("limits.sessions_per_broker", "1"),
    ("limits.sessions_per_client", "1"),
    ("limits.sessions_per_trusted", "1"),
    ("limits.first_life", "'1s'"),
    ("limits.record_bytes", "4096"),
    ("limits.requests_per_broker", "1"),
    ("connections.total", "1"),
    ("connections.per_address", "1"),
    ("connections.per_trusted", "1"),
    ("connections.trusted", "[]"),
    ("connections.idle", "'1s'"),
    ("backends.default.url", "'redis://h'"),
    ("backends.scratch.url", "'redis://h'"),
    ("lockspaces.reports.backend", "'default'"),
    ("lockspaces.reports.value_block_bytes", "8"),
    ("lockspaces.reports.orphan_ttl", "'2h'"),
    ("lockspaces.reports.lock_delay", "'1s'"),
];

/// How the documentation calls a setting of the example, and how it is called when it differs.
fn called(key: &str) -> (String, String) {
    let named =
        ["backends.", "lockspaces.", "access.roles.", "access.tokens.", "access.certificates.", "metrics.classes."];
    let general = match named.iter().find_map(|before| Some((before, key.strip_prefix(before)?))) {
        Some((before @ (&"access.certificates." | &"metrics.classes."), _)) => format!("{before}NAME"),
        Some((before, rest)) => format!("{before}NAME.{}", rest.split_once('.').unwrap().1),
        None => key.to_owned(),
    };
    let reported = match key.split('.').collect::<Vec<_>>()[..] {
        ["access", ..] => "access".into(),
        ["metrics", ..] => "metrics.classes".into(),
        ["backends", "default", _] => "backend".into(),
        [section @ ("backends" | "lockspaces"), name, _] => format!("{section}.{name}"),
        _ => key.to_owned(),
    };
    (general, reported)
}

#[test]
fn of_each_setting_that_differs_it_is_said_from_when_on_it_counts() {
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let load = |table: toml::Table| config::parse("", "", [], table).unwrap();
    let before = load(table.clone());
    assert_eq!(Differences::between(&before, &before), Differences::default());
    let mut tried = BTreeSet::new();
    for (key, value) in OTHERWISE {
        let value = format!("x = {value}").parse::<toml::Table>().unwrap().remove("x").unwrap();
        let path: Vec<String> = match key.strip_prefix("access.certificates.") {
            Some(name) => ["access", "certificates", name].map(Into::into).to_vec(),
            None => key.split('.').map(Into::into).collect(),
        };
        let mut changed = table.clone();
        config::settings::overlay(&mut changed, config::settings::nest(&path, value));
        let (general, reported) = called(key);
        let setting = SETTINGS.iter().find(|setting| setting.key == general).expect(key);
        let differences = Differences::between(&before, &load(changed));
        let (running, restart) = match setting.counts {
            Counts::Running => (vec![reported], vec![]),
            Counts::Contents | Counts::Restart => (vec![], vec![reported]),
        };
        assert_eq!(differences, Differences { running, restart }, "{key}");
        tried.insert(general);
    }
    let left: Vec<_> = SETTINGS.iter().filter(|it| it.key != "backend" && !tried.contains(it.key)).collect();
    assert!(left.is_empty(), "not tried: {left:?}");
}
