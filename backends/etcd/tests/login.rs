//! Users, passwords, and tokens that do not last.

use std::net::SocketAddr;
use std::time::Duration;

use sixpin_conformance::broker::{Broker, committed, patience, put, resource};
use sixpin_core::backend::OpenError;
use sixpin_core::name::Version;
use sixpin_etcd::{Secret, Settings};
use sixpin_testkit::{ServerProcess, etcd};

use crate::support::{admin, field, open, opened, patient_settings};

fn settings(user: &str, password: &str) -> Settings {
    Settings { user: Some(user.into()), password: Some(Secret::new(password)), ..patient_settings() }
}

/// A server on which `broker` may use `sixpin/`, `guest` nothing and `root` everything. Tokens last for a second.
async fn guarded_server() -> ServerProcess {
    let server = etcd().arguments(["--auth-token-ttl", "1"]).start().await.unwrap();
    let ask = async |path: &str, body: &str| drop(admin(server.address(), path, None, body).await);
    for user in ["root", "broker", "guest"] {
        ask("auth/user/add", &format!(r#"{{"name":"{user}","password":"{user}-password"}}"#)).await;
    }
    ask("auth/role/add", r#"{"name":"root"}"#).await;
    ask("auth/user/grant", r#"{"user":"root","role":"root"}"#).await;
    ask("auth/role/add", r#"{"name":"locks"}"#).await;
    // From `sixpin/` to `sixpin0`.
    let range = r#"{"name":"locks","perm":{"permType":"READWRITE","key":"c2l4cGluLw==","range_end":"c2l4cGluMA=="}}"#;
    ask("auth/role/grant", range).await;
    ask("auth/user/grant", r#"{"user":"broker","role":"locks"}"#).await;
    ask("auth/enable", "{}").await;
    server
}

async fn joined(server: &ServerProcess) -> Broker {
    let mut broker = Broker::with(opened(server.address(), &settings("broker", "broker-password")).await);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker can register");
    broker
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let server = guarded_server().await;
    for (settings, expected) in [
        (patient_settings(), "user"),
        (settings("broker", "wrong"), "password"),
        (settings("nobody", "x"), "password"),
        (settings("guest", "guest-password"), "role"),
        (Settings { prefix: "elsewhere/".into(), ..settings("broker", "broker-password") }, "role"),
    ] {
        let error = open(server.address(), &settings).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Login(_)), "{error}");
        assert!(error.to_string().contains(expected) && !error.to_string().contains("broker-password"), "{error}");
    }
    joined(&server).await;
}

#[tokio::test]
async fn a_login_where_there_are_none_is_refused() {
    let server = etcd().start().await.unwrap();
    let error = open(server.address(), &settings("broker", "x")).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Login(_)));
    assert!(error.to_string().contains("not enabled"), "{error}");
}

/// A token that expired is replaced without anybody noticing: no outcome is unknown.
#[tokio::test]
async fn an_expired_token_is_replaced() {
    let server = guarded_server().await;
    let mut broker = joined(&server).await;
    let key = resource("r");
    let mut version = Version::ABSENT;
    for round in 0..3 {
        version = committed(&broker.write(put(&key, version, format!("{round}"))).await);
        broker.renew().await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    // Many at once meet the same expired token.
    let keys = (0..20).map(|number| resource(&format!("r{number}"))).collect::<Vec<_>>();
    let reads = keys.iter().map(|key| broker.read(key));
    assert_eq!(futures::future::join_all(reads).await.len(), 20);
}

/// A change of users makes all tokens old, and a restart of the member forgets them: both are survived, hints too.
#[tokio::test]
async fn a_forgotten_token_is_replaced() {
    let server = guarded_server().await;
    let (watcher, writer) = (joined(&server).await, joined(&server).await);
    let key = resource("r");
    let mut version = writer.put(&key, Version::ABSENT, "x").await;

    let root = root_token(server.address()).await;
    admin(server.address(), "auth/user/add", Some(&root), r#"{"name":"more","password":"x"}"#).await;
    version = committed(&writer.write(put(&key, version, "y")).await);

    server.restart().await.unwrap();
    version = match writer.write(put(&key, version, "z")).await {
        sixpin_core::backend::WriteOutcome::Committed(version) => version,
        // The connection broke with the server, and the first one who uses it finds that out.
        _ => writer.read_patiently(&key).await.version,
    };
    let changed = watcher.backend.changed(key.clone(), version);
    let writing = async {
        loop {
            version = match writer.write(put(&key, version, "again")).await {
                sixpin_core::backend::WriteOutcome::Committed(version) => version,
                _ => writer.read_patiently(&key).await.version,
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = changed => {}
        () = writing => {}
        () = tokio::time::sleep(patience()) => panic!("no hint came after the token was forgotten"),
    }
}

async fn root_token(address: SocketAddr) -> String {
    field(&admin(address, "auth/authenticate", None, r#"{"name":"root","password":"root-password"}"#).await, "token")
}
