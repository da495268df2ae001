//! TLS: the server proves who it is, or nothing is said to it; and so do we, if it wants that.

use redis::Value;
use sixpin_conformance::broker::{Broker, put, resource};
use sixpin_core::backend::{Durability, OpenError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_redis::{RedisBackend, RedisConfig, Secret};
use sixpin_testkit::{ServerProcess, redis};

use crate::support::{command, start, text, try_open};

/// A server that speaks TLS on its second port, with a certificate that proves itself. Whether those who come must prove who
/// they are is `auth_clients`; that certificate does for them too.
async fn tls_server(auth_clients: &str) -> (ServerProcess, u16) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate is made");
    let mut plan = redis().arguments([
        "--tls-port",
        "{peer_port}",
        "--tls-cert-file",
        "{dir}/cert.pem",
        "--tls-key-file",
        "{dir}/key.pem",
        "--tls-ca-cert-file",
        "{dir}/cert.pem",
        "--tls-auth-clients",
        auth_clients,
    ]);
    plan.files.push(("cert.pem".into(), certified.cert.pem()));
    plan.files.push(("key.pem".into(), certified.signing_key.serialize_pem()));
    let server = start(plan).await;
    let Value::Array(port) = command(server.address(), &["CONFIG", "GET", "tls-port"]).await else { panic!("a pair") };
    let port = text(&port[1]).parse().expect("a port");
    (server, port)
}

#[tokio::test]
async fn a_server_that_proves_who_it_is_is_used() {
    let (server, port) = tls_server("no").await;
    let config = RedisConfig {
        ca: Some(server.data_dir().join("cert.pem")),
        ..RedisConfig::new(format!("rediss://127.0.0.1:{port}"))
    };
    let backend = try_open(&config, Durability::CrashSafe).await.expect("it opens");
    writes(backend).await;
}

async fn writes(backend: RedisBackend) {
    let mut broker = Broker::with(std::sync::Arc::new(backend));
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("it registers");
    let outcome = broker.write(put(&resource("r"), Version::ABSENT, "x")).await;
    assert!(matches!(outcome, WriteOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(broker.backend.profile().name, "redis");
}

#[tokio::test]
async fn a_server_that_does_not_is_not() {
    let (server, port) = tls_server("no").await;
    // The authorities of the system know nothing of it.
    let unknown = RedisConfig::new(format!("rediss://127.0.0.1:{port}"));
    let error = try_open(&unknown, Durability::CrashSafe).await.expect_err("nobody vouches for it");
    assert!(matches!(error, OpenError::Unreachable(_)), "{error}");
    // Its certificate is for another name.
    let other_name = RedisConfig {
        ca: Some(server.data_dir().join("cert.pem")),
        ..RedisConfig::new(format!("rediss://localhost:{port}"))
    };
    let error = try_open(&other_name, Durability::CrashSafe).await.expect_err("the name is another one");
    assert!(matches!(error, OpenError::Unreachable(_)), "{error}");
    let missing = RedisConfig { ca: Some("/nowhere/ca.pem".into()), ..unknown };
    let error = try_open(&missing, Durability::CrashSafe).await.expect_err("there is no such file");
    assert!(matches!(error, OpenError::BadUrl(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_is_shown_it() {
    let (server, port) = tls_server("yes").await;
    let file = |name: &str| Some(server.data_dir().join(name));
    let url = format!("rediss://127.0.0.1:{port}");
    let good = RedisConfig {
        ca: file("cert.pem"),
        certificate: file("cert.pem"),
        key: file("key.pem"),
        ..RedisConfig::new(&url)
    };
    writes(try_open(&good, Durability::CrashSafe).await.expect("it opens")).await;

    let nothing_shown = RedisConfig { certificate: None, key: None, ..good.clone() };
    let error = try_open(&nothing_shown, Durability::CrashSafe).await.expect_err("it wants a certificate");
    assert!(matches!(&error, OpenError::Login(text) if text.contains("`certificate` and `key`")), "{error}");

    let half = RedisConfig { key: None, ..good.clone() };
    let no_tls = RedisConfig { url: Secret::new(format!("redis://127.0.0.1:{port}")), ..good.clone() };
    let no_key = RedisConfig { key: file("cert.pem"), ..good.clone() };
    for (config, expected) in [(half, "go together"), (no_tls, "rediss://"), (no_key, "private key")] {
        let error = try_open(&config, Durability::CrashSafe).await.expect_err("it is refused");
        assert!(matches!(&error, OpenError::BadUrl(text) if text.contains(expected)), "{error}");
    }
}
