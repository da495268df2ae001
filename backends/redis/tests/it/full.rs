//! A server out of memory: it takes no new locks, and everything that keeps or ends one goes on.

use std::sync::Arc;

use bytes::Bytes;
use sixpin_conformance::broker::{Broker, committed, compare, delete, put, resource, session};
use sixpin_core::backend::{Backend, Generation, Guard, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_redis::RedisConfig;
use sixpin_testkit::{ServerProcess, redis};

use crate::support::{cluster_config, cluster_node, command, config, open, start, whole};

async fn join(backend: Arc<dyn Backend>) -> Broker {
    let mut broker = Broker::with(backend);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker registers");
    broker
}

#[track_caller]
fn no_room(outcome: &WriteOutcome) {
    assert!(matches!(outcome, WriteOutcome::Unavailable(text) if text.contains("out of memory")), "{outcome:?}");
}

async fn lets_go_and_lives(server: &ServerProcess, config: RedisConfig) {
    let (mut broker, mut other) = (join(open(&config).await).await, join(open(&config).await).await);
    let long = vec![7; 6_000];
    let (small, large, moved) = (resource("small"), resource("large"), session(7, 0, 10_000));
    let small_version = broker.put(&small, Version::ABSENT, "one").await;
    let large_version = broker.put(&large, Version::ABSENT, long.clone()).await;
    command(server.address(), &["CONFIG", "SET", "maxmemory", "1"]).await;

    // What needs more room is refused, also beside what does not.
    no_room(&broker.write(put(&resource("new"), Version::ABSENT, "x")).await);
    no_room(&broker.write(put(&small, small_version, "four")).await);
    let mixed = vec![
        put(&small, small_version, "four"),
        put(&large, large_version, [&long[..], &[7]].concat()),
        compare(&small, small_version),
        put(&resource("new"), Version::ABSENT, "x"),
    ];
    let outcomes = broker.commit(mixed).await;
    for at in [0, 1, 3] {
        no_room(&outcomes[at]);
    }
    committed(&outcomes[2]);
    broker.sees(&small, small_version, Some(b"one")).await;
    broker.sees(&resource("new"), Version::ABSENT, None).await;

    // A holder that leaves lets the next one in: the record does not grow.
    let outcomes = broker.commit(vec![put(&small, small_version, "two"), put(&large, large_version, long)]).await;
    let (small_version, large_version) = (committed(&outcomes[0]), committed(&outcomes[1]));
    broker.sees(&small, small_version, Some(b"two")).await;
    let outcomes =
        broker.commit(vec![put(&resource("new"), Version::ABSENT, "x"), delete(&large, large_version)]).await;
    no_room(&outcomes[0]);
    committed(&outcomes[1]);
    broker.sees(&large, Version::ABSENT, None).await;

    // Signs of life, sessions that move, and the end of a broker.
    broker.renew().await;
    broker.settle().await;
    let mark = committed(&broker.write(put(&moved, Version::ABSENT, "moved here")).await);
    let guard = Guard { generation: Generation(5), ..other.guard() };
    assert_eq!(other.backend.advance(guard).await, Ok(()));
    other.renew().await;
    let late = join(broker.backend.clone()).await;
    late.backend.leave(late.incarnation).await.expect("a broker can leave");
    let gone = committed(&broker.backend.evict(broker.guard(), other.incarnation, other.registration).await);
    assert_eq!(other.backend.commit(guard, vec![delete(&small, small_version)]).await, [WriteOutcome::Evicted]);
    committed(&broker.backend.clear(broker.guard(), other.incarnation, gone).await);
    committed(&broker.write(delete(&moved, mark)).await);
    // A broker that starts now can take over sessions.
    let mut new = join(open(&config).await).await;
    new.renew().await;

    command(server.address(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    let version = broker.put(&resource("new"), Version::ABSENT, Bytes::from_static(b"x")).await;
    assert!(version > small_version);
    committed(&broker.write(delete(&small, small_version)).await);
}

#[tokio::test]
async fn a_full_server_takes_no_new_locks_and_loses_none() {
    let server = start(redis()).await;
    lets_go_and_lives(&server, config(server.address())).await;
}

#[tokio::test]
async fn a_full_cluster_takes_no_new_locks_and_loses_none() {
    let server = cluster_node().await;
    command(server.address(), &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    whole(&server).await;
    lets_go_and_lives(&server, cluster_config(&[&server])).await;
}
