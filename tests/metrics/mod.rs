//! Metrics of a broker: the text is what its format says, it tells what happened, and what is written for operators names what exists.

#![expect(clippy::float_cmp, reason = "what is compared is whole")]

mod openmetrics;
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use saphyr_parser::{Event, Parser};
use sixpin_client::{Client, Credentials, Error, Guard, Mode, Session};
use sixpin_proto::v1;
use sixpin_server::access::token::Token;
use sixpin_server::config::{self, Config};
use sixpin_server::metrics::LOCKSPACES_MAX;
use sixpin_server::server::Server;
use v1::lock_service_client::LockServiceClient;

use crate::support::{connect, open_request, until};
use openmetrics::{Family, Labels};

const ALERTS: &str = include_str!("../../docs/operate/alerts.yml");
const DASHBOARD: &str = include_str!("../../docs/operate/grafana.json");
const DOCUMENT: &str = include_str!("../../docs/operate/metrics.md");

/// What Prometheus adds.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

type Families = BTreeMap<String, Family>;

fn config(settings: &str) -> Config {
    let common = "name = \"north\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nfirst_start_grace = \"0s\"\n\
                  require = \"volatile\"\n";
    config::parse(&format!("{common}{settings}"), "sixpin.toml", [], toml::Table::new()).unwrap()
}

async fn look(server: &Server) -> Families {
    let text = server.broker().metrics().text().await;
    openmetrics::read(&text).unwrap_or_else(|what| panic!("{what}\n{text}"))
}

fn client(server: &Server) -> Client {
    Client::builder([server.address.to_string()]).open_timeout(Duration::from_secs(2)).build().unwrap()
}

/// The value of the one series that has these labels; none if there is none.
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let all = families.values().flat_map(|family| &family.samples);
    all.into_iter().find(|sample| sample.name == name && sample.labels == labels).map(|sample| sample.value)
}

/// A broker on which something of every kind has happened.
async fn lived() -> (Server, Session) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("[admin_tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    let server = Server::start(config(&tls)).await.unwrap();
    let session = client(&server).session().open().await.unwrap();
    session.lock("released", Mode::PW).await.unwrap().release().await.unwrap();
    (server, session)
}

#[tokio::test]
async fn what_happens_to_locks_is_counted() {
    let (server, session) = lived().await;
    let other = client(&server).session().open().await.unwrap();
    let held = session.lock("r", Mode::EX).await.unwrap();
    assert!(other.lock("r", Mode::PR).try_lock().await.is_err());
    assert!(other.lock("r", Mode::CR).wait(Duration::from_millis(1_100)).await.is_err());
    let waiting = tokio::spawn(other.lock("r", Mode::EX).wait(Duration::from_secs(20)).into_future());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let families = look(&server).await;
    let requests = |mode, outcome| {
        let labels = [("lockspace", "default"), ("mode", mode), ("outcome", outcome)];
        value(&families, "sixpin_lock_requests_total", &labels)
    };
    assert_eq!(requests("ex", "granted"), Some(1.0));
    assert_eq!(requests("pw", "granted"), Some(1.0));
    assert_eq!(requests("pr", "would_wait"), Some(1.0));
    assert_eq!(requests("cr", "timed_out"), Some(1.0));
    assert_eq!(requests("ex", "timed_out"), None);
    let lockspace = ("lockspace", "default");
    for (queue, claims) in [("granted", 1.0), ("waiting", 1.0), ("converting", 0.0)] {
        assert_eq!(value(&families, "sixpin_claims", &[lockspace, ("queue", queue)]), Some(claims), "{queue}");
    }
    let oldest = value(&families, "sixpin_oldest_wait_seconds", &[lockspace]).unwrap();
    assert!((0.2..5.0).contains(&oldest), "{oldest}");
    assert_eq!(value(&families, "sixpin_lock_wait_seconds_count", &[lockspace]), Some(2.0));
    assert_eq!(value(&families, "sixpin_lock_hold_seconds_count", &[lockspace]), Some(1.0));
    assert_eq!(value(&families, "sixpin_sessions", &[]), Some(2.0));
    assert_eq!(value(&families, "sixpin_can_vouch", &[("backend", "default")]), Some(1.0));
    assert_eq!(value(&families, "sixpin_connections", &[("listener", "clients")]), Some(2.0));
    held.release().await.unwrap();
    let granted = waiting.await.unwrap().unwrap();
    granted.release().await.unwrap();
    let families = look(&server).await;
    assert_eq!(value(&families, "sixpin_oldest_wait_seconds", &[lockspace]), Some(0.0));
    let waited = value(&families, "sixpin_lock_wait_seconds_sum", &[lockspace]).unwrap();
    let held = value(&families, "sixpin_lock_hold_seconds_sum", &[lockspace]).unwrap();
    assert!((0.2..5.0).contains(&waited) && held > waited + 1.0, "{waited} {held}");
    assert_eq!(value(&families, "sixpin_lock_hold_seconds_count", &[lockspace]), Some(3.0));
    for name in ["sixpin_sessions_lost_total", "sixpin_store_unknowns_total", "sixpin_keepalive_lag_seconds"] {
        let all = families.values().flat_map(|family| &family.samples).filter(|sample| sample.name == name);
        assert!(all.map(|sample| sample.value).sum::<f64>() < 0.5, "{name}");
    }
}

#[tokio::test]
async fn a_client_that_falls_silent_is_a_session_lost() {
    let server = Server::start(config("")).await.unwrap();
    let mut locks = LockServiceClient::new(connect(server.address).await);
    let opened = open_request(v1::Open { ttl_ms: Some(1_000), ..Default::default() });
    locks.open_session(opened).await.unwrap();
    let lost = async || value(&look(&server).await, "sixpin_sessions_lost_total", &[("reason", "expired")]).unwrap();
    assert_eq!(lost().await, 0.0);
    until("the session is lost", async || lost().await == 1.0).await;
    assert_eq!(value(&look(&server).await, "sixpin_sessions", &[]), Some(0.0));
}

#[tokio::test]
async fn who_is_refused_is_counted_and_so_is_what_cannot_be_read_again() {
    let (reader, stranger) = (Token::new("r").unwrap(), Token::new("x").unwrap());
    let settings = format!(
        "[access.roles.reader]\nrules = [{{ lockspace = \"*\", prefix = \"a/\", allow = [\"lock:pr\"] }}]\n\
         [access.tokens.r]\nsha256 = \"{}\"\nroles = [\"reader\"]\n",
        reader.digest()
    );
    let server = Server::start(config(&settings)).await.unwrap();
    let client = |token: &Token| {
        let client =
            Client::builder([server.address.to_string()]).credentials(Credentials::new().token(token.reveal()));
        client.open_timeout(Duration::from_secs(2)).build().unwrap()
    };
    let session = client(&reader).session().open().await.unwrap();
    assert!(matches!(session.lock("a/1", Mode::EX).await, Err(Error::Denied(_))));
    assert!(client(&stranger).session().open().await.is_err());
    server.reload(config("")).await.unwrap_err();
    let families = look(&server).await;
    assert_eq!(value(&families, "sixpin_denied_total", &[("verb", "lock")]), Some(1.0));
    let labels = [("lockspace", "default"), ("mode", "ex"), ("outcome", "denied")];
    assert_eq!(value(&families, "sixpin_lock_requests_total", &labels), Some(1.0));
    assert!(value(&families, "sixpin_auth_failures_total", &[("reason", "wrong_token")]).unwrap() >= 1.0);
    assert_eq!(value(&families, "sixpin_auth_failures_total", &[("reason", "bad_jwt")]), Some(0.0));
    assert_eq!(value(&families, "sixpin_config_reload_failed", &[]), Some(1.0));
    server.reload(config(&settings)).await.unwrap();
    assert_eq!(value(&look(&server).await, "sixpin_config_reload_failed", &[]), Some(0.0));
}

/// The labels of each metric, by the name that queries have for it.
fn labels_of(families: &Families) -> BTreeMap<String, BTreeSet<String>> {
    let samples = families.values().flat_map(|family| &family.samples);
    let mut labels = BTreeMap::<String, BTreeSet<String>>::new();
    for sample in samples {
        labels.entry(sample.name.clone()).or_default().extend(sample.labels.keys().cloned());
    }
    labels
}

/// The text between marks of code.
fn code(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn every_metric_stands_in_the_document_with_its_labels() {
    let (server, session) = lived().await;
    let families = look(&server).await;
    let mut found = BTreeMap::new();
    for (name, family) in &families {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let mut labels: BTreeSet<String> =
            family.samples.iter().flat_map(|sample| sample.labels.keys().cloned()).collect();
        labels.remove("le");
        found.insert(format!("{name}{suffix}"), labels);
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `sixpin_") || line.starts_with("| `process_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        (code(cells[1]).pop_first().unwrap(), code(cells[2]))
    };
    let documented: BTreeMap<String, BTreeSet<String>> = rows.map(row).collect();
    assert_eq!(found, documented);
    for allowed in found.values().flatten() {
        let known = ["lockspace", "mode", "outcome", "reason", "backend", "listener", "verb", "queue", "version"];
        assert!(known.contains(&allowed.as_str()), "{allowed}");
    }
    drop(session);
}

/// Every query of the rules and of the dashboard.
fn written() -> Vec<String> {
    let mut queries = Vec::new();
    let mut is_query = false;
    for event in Parser::new_from_str(ALERTS) {
        let Event::Scalar(text, ..) = event.unwrap().0 else { continue };
        if std::mem::replace(&mut is_query, text == "expr") {
            queries.push(text.into_owned());
        }
    }
    assert!(queries.len() >= 10, "{queries:?}");
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        queries.push(target["expr"].as_str().unwrap().to_owned());
    }
    assert!(queries.len() >= 35, "{queries:?}");
    queries
}

#[tokio::test]
async fn every_query_names_metrics_and_labels_that_exist() {
    let (server, session) = lived().await;
    let labels = labels_of(&look(&server).await);
    for query in written() {
        let named = queries::read(&query);
        assert!(!named.metrics.is_empty(), "{query}");
        let mut all = BTreeSet::from(OF_PROMETHEUS.map(ToOwned::to_owned));
        for (metric, chosen) in named.metrics {
            let own = labels.get(&metric).unwrap_or_else(|| panic!("no metric {metric}: {query}"));
            let exists = |label: &String| own.contains(label) || OF_PROMETHEUS.contains(&label.as_str());
            assert!(chosen.iter().all(exists), "{metric} has {own:?}: {query}");
            all.extend(own.iter().cloned());
        }
        assert!(named.by.is_subset(&all), "{query}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|inner| inner.strip_suffix(')')).unwrap();
        let (metric, label) = inner.split_once(", ").unwrap();
        assert!(labels[metric].contains(label) || OF_PROMETHEUS.contains(&label), "{query}");
    }
    drop(session);
}

/// A measurement: `cargo test --test it -- --ignored metrics::text_of_a_hundred_thousand_claims --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while, and says how long the text takes"]
async fn text_of_a_hundred_thousand_claims() {
    for lockspaces in [1, LOCKSPACES_MAX - 1] {
        let server = Server::start(config("")).await.unwrap();
        let held = hold_many(&client(&server), lockspaces).await;
        let (mut times, mut bytes) = (Vec::new(), 0);
        let worked = worked();
        for _ in 0..TEXTS {
            let begun = Instant::now();
            bytes = server.broker().metrics().text().await.len();
            times.push(begun.elapsed());
        }
        let worked = self::worked().saturating_sub(worked) / TEXTS;
        times.sort();
        let families = look(&server).await;
        assert_eq!(families["sixpin_claims"].samples.iter().map(|sample| sample.value).sum::<f64>(), 100_000.0);
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{lockspaces} lockspaces, {bytes} bytes: {median:?} (median), {longest:?} (longest), {worked:?} of work"
        );
        drop(held);
    }
}

const TEXTS: u32 = 21;

/// What processors have worked for this process, which tells more than a clock where others work too.
fn worked() -> Duration {
    let worked = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(worked.tv_sec.unsigned_abs(), worked.tv_nsec.try_into().unwrap())
}

/// A hundred sessions that hold a thousand locks each.
async fn hold_many(client: &Client, lockspaces: usize) -> Vec<Guard> {
    let mut held = Vec::new();
    for number in 0..100 {
        let session = client.session().open().await.unwrap();
        for part in 0..10 {
            let lock = |n: usize| {
                let lockspace = format!("l{}", (part * 100 + n) % lockspaces);
                session.lock(format!("{number}/{part}/{n}"), Mode::EX).in_lockspace(lockspace).into_future()
            };
            held.extend(join_all((0..100).map(lock)).await.into_iter().map(Result::unwrap));
        }
    }
    held
}
