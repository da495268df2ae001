//! A store that lost its memory, or part of it, is recognised by whoever used it before.

use sixpin_conformance::broker::{Broker, patience, put, resource};
use sixpin_core::backend::{StoreError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::{copy_folder, until};

use crate::support::{BUCKET, Nats};

async fn notices(broker: &Broker) -> bool {
    let key = resource("r");
    until(patience(), || async {
        matches!(broker.backend.read(std::slice::from_ref(&key)).await, Err(StoreError::Amnesia(_)))
    })
    .await
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_noticed_at_once() {
    let store = Nats::start().await;
    let broker = Broker::join(&store).await;
    broker.put(&resource("r"), Version::ABSENT, "one").await;
    store.api(&format!("STREAM.DELETE.{BUCKET}"), serde_json::json!({})).await;
    assert!(notices(&broker).await);
    // And it stays so, whatever comes later.
    let after = Broker::join(&store).await;
    assert!(notices(&broker).await);
    let outcome = broker.write(put(&resource("r"), Version::ABSENT, "x")).await;
    assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
    assert!(matches!(broker.backend.beat(broker.next_beat()).await, Err(StoreError::Amnesia(_))));
    after.sees(&resource("r"), Version::ABSENT, None).await;
}

#[tokio::test]
async fn a_store_that_lost_its_last_writes_is_noticed() {
    let store = Nats::start().await;
    let broker = Broker::join(&store).await;
    let key = resource("r");
    let mut version = broker.put(&key, Version::ABSENT, "0").await;
    let (data, old) = (store.server.data_dir().join("jetstream"), store.server.data_dir().join("old"));
    store.server.kill();
    copy_folder(&data, &old).unwrap();
    store.server.restart().await.unwrap();
    version = broker.read_patiently(&key).await.version.max(version);
    for number in 1..20 {
        version = broker.put(&key, version, format!("{number}")).await;
    }
    // The server comes back with what it had before these writes, as after a power cut.
    store.server.kill();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    store.server.restart().await.unwrap();
    assert!(notices(&broker).await);
    let outcome = broker.write(put(&key, version, "x")).await;
    assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
}
