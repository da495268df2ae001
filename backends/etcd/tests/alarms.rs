//! A database at its quota.

use sixpin_conformance::broker::{Broker, committed, compare, delete, put, resource};
use sixpin_core::backend::{Generation, Guard, Key, OpenError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_etcd::Settings;
use sixpin_testkit::{ServerProcess, etcd};

use crate::support::{admin, field, open, opened, patient_settings, revision};

async fn joined(server: &ServerProcess, settings: &Settings) -> Broker {
    let mut broker = Broker::with(opened(server.address(), settings).await);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker can register");
    broker
}

/// Writes records until the cluster refuses one.
async fn fill(broker: &Broker) -> Vec<(Key, Version)> {
    let mut written = Vec::new();
    for number in 0..200 {
        let key = resource(&format!("filling {number}"));
        match broker.write(put(&key, Version::ABSENT, vec![7; 200_000])).await {
            WriteOutcome::Committed(version) => written.push((key, version)),
            WriteOutcome::Unavailable(text) => {
                assert!(text.contains("full"), "{text}");
                return written;
            }
            outcome => panic!("{outcome:?}"),
        }
        // The size of the database is counted when etcd writes its batch, ten times a second.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the quota was never met");
}

/// What an administrator does about it.
async fn make_room(server: &ServerProcess) {
    let address = server.address();
    let body = format!(r#"{{"revision":"{}","physical":true}}"#, revision(address).await);
    admin(address, "kv/compaction", None, &body).await;
    admin(address, "maintenance/defragment", None, "{}").await;
    let member = field(&admin(address, "maintenance/status", None, "{}").await, "member_id");
    let body = format!(r#"{{"action":"DEACTIVATE","memberID":"{member}","alarm":"NOSPACE"}}"#);
    admin(address, "maintenance/alarm", None, &body).await;
}

/// Nothing is stored beyond the quota, and everything that lets go of something works: deletes, compares, beats, moves
/// of lanes, evictions. When there is room again, writes are accepted without anything opened anew.
#[tokio::test]
async fn a_full_database_refuses_records_and_lets_go() {
    let server = etcd().arguments(["--quota-backend-bytes", "8388608"]).start().await.unwrap();
    let settings = patient_settings();
    let (mut broker, mut other) = (joined(&server, &settings).await, joined(&server, &settings).await);
    let small = resource("small");
    let small_version = broker.put(&small, Version::ABSENT, "x").await;
    let written = fill(&broker).await;

    let outcome = broker.write(put(&small, small_version, "y")).await;
    assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "even the smallest record is refused: {outcome:?}");
    let error = open(server.address(), &settings).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Unsafe(_)));
    assert!(error.to_string().contains("NOSPACE"), "{error}");

    broker.renew().await;
    broker.settle().await;
    committed(&broker.write(compare(&small, small_version)).await);
    let (first, first_version) = &written[0];
    let mixed = vec![
        put(&small, small_version, "y"),
        delete(first, *first_version),
        compare(&small, small_version),
        put(&resource("new"), Version::ABSENT, "y"),
    ];
    let outcomes = broker.commit(mixed).await;
    assert!(matches!(outcomes[0], WriteOutcome::Unavailable(_)), "{:?}", outcomes[0]);
    committed(&outcomes[1]);
    committed(&outcomes[2]);
    assert!(matches!(outcomes[3], WriteOutcome::Unavailable(_)), "{:?}", outcomes[3]);
    broker.sees(first, Version::ABSENT, None).await;
    broker.sees(&small, small_version, Some(b"x")).await;
    broker.sees(&resource("new"), Version::ABSENT, None).await;

    let guard = Guard { generation: Generation(5), ..other.guard() };
    assert_eq!(other.backend.advance(guard).await, Ok(()));
    other.renew().await;
    let gone = committed(&broker.backend.evict(broker.guard(), other.incarnation, other.registration).await);
    assert_eq!(other.backend.commit(guard, vec![delete(&small, small_version)]).await, [WriteOutcome::Evicted]);
    committed(&broker.backend.clear(broker.guard(), other.incarnation, gone).await);

    for (key, version) in &written[1..] {
        committed(&broker.write(delete(key, *version)).await);
    }
    make_room(&server).await;
    committed(&broker.write(put(&small, small_version, "y")).await);
    open(server.address(), &settings).await.map(|_| ()).expect("it can be opened again");
}
