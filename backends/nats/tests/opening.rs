//! What is refused when the store is opened, and what each refusal says.

use std::time::Duration;

use serde_json::{Value, json};
use sixpin_core::backend::{Backend as _, Durability, OpenError};
use sixpin_nats::{NatsBackend, NatsConfig, Secret, Settings, Statement};
use sixpin_testkit::nats;
use sixpin_testkit::stores::{nats_flushing, nats_with};

use crate::support::{BUCKET, Nats};

/// For what fails anyway.
const SHORT: Duration = Duration::from_millis(500);

async fn refused(nats: &Nats, settings: Settings) -> OpenError {
    nats.try_open(settings).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn durability_is_what_is_known() {
    let store = Nats::start().await;
    let class = async |settings| store.try_open(settings).await.unwrap().profile().durability;
    assert_eq!(class(Settings::default()).await, Durability::CrashSafe);
    let stated = Settings { stated_durability: Some(Statement::PowerSafe), ..Settings::default() };
    assert_eq!(class(stated.clone()).await, Durability::PowerSafe);
    let flushing = Nats::with(nats_flushing(), stated).await;
    assert_eq!(flushing.backend().await.profile().durability, Durability::PowerSafe);
}

#[tokio::test]
async fn buckets_are_apart() {
    let store = Nats::start().await;
    let one = store.try_open(Settings { bucket: "one".into(), ..Settings::default() }).await.unwrap();
    let two = store.try_open(Settings { bucket: "two".into(), ..Settings::default() }).await.unwrap();
    assert_ne!(one.root().identity, two.root().identity);
}

#[tokio::test]
async fn a_stream_that_could_lose_records_is_refused() {
    let store = Nats::start().await;
    drop(store.backend().await);
    let good = store.stream().await["config"].clone();
    let name = good["name"].clone();
    for (changes, wanted) in [
        (json!({ "max_msgs_per_subject": 2 }), "max-msgs-per-subject"),
        (json!({ "max_age": 3_600_000_000_000_u64 }), "max-age"),
        (json!({ "discard": "old", "max_msgs": 1_000 }), "discard"),
        (json!({ "deny_delete": false, "deny_purge": false }), "deny-purge"),
        (json!({ "allow_msg_ttl": false }), "TTL"),
        (json!({ "subjects": ["sixpin.>", "other.>"] }), "another `bucket`"),
        (json!({ "max_msg_size": 1_000 }), "maximum message size"),
    ] {
        let mut config = good.clone();
        for (setting, value) in changes.as_object().unwrap() {
            config[setting] = value.clone();
        }
        store.api(&format!("STREAM.DELETE.{BUCKET}"), json!({})).await;
        store.api(&format!("STREAM.CREATE.{BUCKET}"), config).await;
        let error = refused(&store, Settings::default()).await;
        assert!(matches!(&error, OpenError::Unsafe(text) if text.contains(wanted)), "{changes}: {error:?}");
    }
    // Discarding the old is harmless where nothing is ever discarded, and a memory stream says what it is.
    store.api(&format!("STREAM.DELETE.{BUCKET}"), json!({})).await;
    let mut config = good.clone();
    (config["discard"], config["storage"]) = (json!("old"), json!("memory"));
    store.api(&format!("STREAM.CREATE.{}", name.as_str().unwrap()), config).await;
    assert_eq!(store.backend().await.profile().durability, Durability::Volatile);
}

#[tokio::test]
async fn messages_without_a_root_are_refused() {
    let store = Nats::start().await;
    drop(store.backend().await);
    let config: Value = store.stream().await["config"].clone();
    store.api(&format!("STREAM.DELETE.{BUCKET}"), json!({})).await;
    store.api(&format!("STREAM.CREATE.{BUCKET}"), config).await;
    let client = store.client().await;
    client.request("sixpin.r.0.0.default.a", "x".into()).await.unwrap();
    let error = refused(&store, Settings::default()).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("no root record")), "{error:?}");
    client.request("sixpin.root", "{}".into()).await.unwrap();
    let error = refused(&store, Settings::default()).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("cannot be understood")), "{error:?}");
}

#[tokio::test]
async fn too_few_replicas_are_refused() {
    let store = Nats::start().await;
    let error = refused(&store, Settings { replicas: Some(3), ..Settings::default() }).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("fewer `replicas`")), "{error:?}");
    drop(store.backend().await);
    let error = refused(&store, Settings { replicas: Some(3), ..Settings::default() }).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("--replicas 3")), "{error:?}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    let mut plan = nats_with("");
    plan.probe.answer = "\"server_id\"";
    let store = Nats::with(plan, Settings::default()).await;
    let error = refused(&store, Settings::default()).await;
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("without JetStream")), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let store = Nats::start().await;
    store.server.kill();
    let error = refused(&store, Settings { request_timeout: SHORT, ..Settings::default() }).await;
    assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
    let config =
        NatsConfig::new("nats://name.invalid", Settings { request_timeout: SHORT, ..Settings::default() }).unwrap();
    let error = NatsBackend::open(config).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
}

/// A key pair from the documentation of NATS.
const NKEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

#[tokio::test]
async fn logins_are_sent_and_wrong_ones_refused() {
    let jetstream = "jetstream { store_dir: \"{dir}/jetstream\" }\n";
    let users = format!(
        "{jetstream}authorization {{ users: [
            {{ user: u, password: \"p:@\" }}, {{ nkey: {NKEY} }},
            {{ user: weak, password: p, permissions: {{ publish: [\"$JS.API.INFO\"], subscribe: \"_INBOX.>\" }} }}
        ] }}\n"
    );
    let store = Nats::with(nats_with(&users), Settings::default()).await;
    let seed = store.server.data_dir().join("seed");
    std::fs::write(&seed, format!("{SEED}\n")).unwrap();
    let user = |name: &str, password: &str| Settings {
        user: Some(name.into()),
        password: Some(Secret::new(password)),
        request_timeout: SHORT,
        ..Settings::default()
    };
    store.try_open(user("u", "p:@")).await.unwrap();
    store.try_open(Settings { nkey_file: Some(seed), ..Settings::default() }).await.unwrap();
    let url = format!("nats://u:p%3A%40@{}", store.server.address());
    NatsBackend::open(NatsConfig::new(&url, Settings::default()).unwrap()).await.unwrap();
    for settings in [user("u", "wrong"), Settings::default()] {
        let error = refused(&store, settings).await;
        assert!(matches!(error, OpenError::Login(_)), "{error:?}");
        assert!(!error.to_string().contains("wrong"), "a password is never shown");
    }
    let error = refused(&store, user("weak", "p")).await;
    assert!(matches!(&error, OpenError::Login(text) if text.to_lowercase().contains("permission")), "{error:?}");

    let token = Nats::with(nats_with(&format!("{jetstream}authorization {{ token: t }}\n")), Settings::default()).await;
    token.try_open(Settings { token: Some(Secret::new("t")), ..Settings::default() }).await.unwrap();
    assert!(matches!(refused(&token, Settings::default()).await, OpenError::Login(_)));
}

#[tokio::test]
async fn a_stream_is_what_it_should_be() {
    let store = Nats::with(nats(), Settings::default()).await;
    drop(store.backend().await);
    let config = store.stream().await["config"].clone();
    assert_eq!(config["subjects"], json!(["sixpin.>"]));
    for (setting, value) in [
        ("max_msgs_per_subject", json!(1)),
        ("discard", json!("new")),
        ("allow_msg_ttl", json!(true)),
        ("deny_delete", json!(true)),
        ("deny_purge", json!(true)),
        ("storage", json!("file")),
    ] {
        assert_eq!(config[setting], value, "{setting}");
    }
}
