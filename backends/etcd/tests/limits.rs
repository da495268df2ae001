//! How much fits in one transaction, and what happens to what does not.

use sixpin_conformance::broker::{Broker, committed, compare, delete, put, resource};
use sixpin_core::backend::{Durability, Key, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_etcd::Settings;
use sixpin_testkit::etcd;

use crate::support::{admin, field, fresh_prefix, opened, patient_settings, revision, shared_server};

async fn joined(address: std::net::SocketAddr) -> Broker {
    let settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
    let mut broker = Broker::with(opened(address, &settings).await);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker can register");
    broker
}

#[tokio::test]
async fn a_stock_cluster_of_one_allows_large_batches_and_is_power_safe() {
    let profile = joined(shared_server().await.address()).await.profile();
    assert_eq!((profile.name, profile.batch_writes_max, profile.durability), ("etcd", 120, Durability::PowerSafe));
}

#[tokio::test]
async fn a_cluster_that_allows_few_operations_gets_smaller_batches() {
    let server = etcd().arguments(["--max-txn-ops", "64"]).start().await.unwrap();
    let broker = joined(server.address()).await;
    let count = broker.profile().batch_writes_max;
    assert!((8..64).contains(&count), "{count}");
    let keys: Vec<Key> = (0..count).map(|number| resource(&format!("r{number}"))).collect();
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    for outcome in &outcomes {
        committed(outcome);
    }
}

/// A batch that is too large as a whole is sent in parts; a record that is too large for this cluster takes no other
/// with it.
#[tokio::test]
async fn a_batch_too_large_for_the_cluster_is_sent_in_parts() {
    let server = etcd().arguments(["--max-request-bytes", "65536"]).start().await.unwrap();
    let broker = joined(server.address()).await;
    let keys: Vec<Key> = (0..9).map(|number| resource(&format!("r{number}"))).collect();
    let bytes = |number: usize| vec![7; if number == 4 { 100_000 } else { 30_000 }];
    let writes = keys.iter().enumerate().map(|(number, key)| put(key, Version::ABSENT, bytes(number))).collect();
    for (number, outcome) in broker.commit(writes).await.iter().enumerate() {
        if number == 4 {
            assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
            broker.sees(&keys[number], Version::ABSENT, None).await;
        } else {
            broker.sees(&keys[number], committed(outcome), Some(&bytes(number))).await;
        }
    }
}

/// The answer of a batch in which everything conflicts tells all that is there. It is far larger than the 4 MiB that
/// gRPC reads unless told otherwise, and an answer that is not read would make an unknown outcome of a known one.
#[tokio::test]
async fn a_batch_of_large_conflicts_is_answered() {
    let broker = joined(shared_server().await.address()).await;
    let keys: Vec<Key> = (0..100).map(|number| resource(&format!("large {number}"))).collect();
    let mut versions = Vec::new();
    for part in keys.chunks(10) {
        let writes = part.iter().map(|key| put(key, Version::ABSENT, vec![1; 100_000])).collect();
        versions.extend(broker.commit(writes).await.iter().map(committed));
    }
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    for (outcome, version) in outcomes.iter().zip(versions) {
        let WriteOutcome::Conflict(there) = outcome else { panic!("{outcome:?}") };
        assert_eq!((there.version, there.bytes.as_ref().map(bytes::Bytes::len)), (version, Some(100_000)));
    }
}

/// A batch that changes nothing is decided by consensus all the same, and leaves nothing in the history: the log of the
/// cluster grows and its revision stays.
#[tokio::test]
async fn a_batch_of_compares_goes_through_consensus() {
    let server = etcd().start().await.unwrap();
    let broker = joined(server.address()).await;
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "x").await;
    let log = async || {
        let status = admin(server.address(), "maintenance/status", None, "{}").await;
        field(&status, "raftIndex").parse::<u64>().unwrap()
    };
    let (log_before, revision_before) = (log().await, revision(server.address()).await);
    for _ in 0..5 {
        let outcomes = broker.commit(vec![compare(&key, version), compare(&resource("none"), Version(7))]).await;
        assert_eq!(outcomes[0], WriteOutcome::Committed(version));
        assert!(matches!(outcomes[1], WriteOutcome::Conflict(_)));
    }
    assert!(log().await >= log_before + 5, "compares went through the log");
    assert_eq!(revision(server.address()).await, revision_before, "and changed nothing");
    committed(&broker.write(delete(&key, version)).await);
}
