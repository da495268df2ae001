//! What was called unknown is not sent afterwards, and nothing is written twice.
//!
//! The client library keeps what it could not send and sends it when the server is back, after its caller was told that
//! it timed out. For a lock broker that is a lock taken by somebody who gave up long ago.

use std::sync::Arc;
use std::time::Duration;

use sixpin_conformance::broker::{Broker, committed, delete, put, resource};
use sixpin_core::backend::{Backend, Key, StoreError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::proxy::Mode;
use sixpin_testkit::until;

use crate::support::Nats;

const PATIENCE: Duration = Duration::from_secs(30);

async fn joined(backend: impl Backend) -> Broker {
    let mut broker = Broker::with(Arc::new(backend));
    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
    broker
}

/// The last sequence of the stream: it rises with everything that is stored.
async fn last_sequence(nats: &Nats) -> u64 {
    nats.stream().await["state"]["last_seq"].as_u64().unwrap()
}

#[tokio::test]
async fn what_timed_out_while_the_server_was_dead_is_not_sent_later() {
    let nats = Nats::start().await;
    let broker = joined(nats.backend().await).await;
    let neighbour = resource("neighbour");
    let version = broker.put(&neighbour, Version::ABSENT, "one").await;
    let before = last_sequence(&nats).await;

    nats.server.kill();
    // The first may find the connection still there; the others find none.
    for number in 0..4 {
        let outcome = broker.write(put(&resource(&format!("late {number}")), Version::ABSENT, "late")).await;
        assert!(matches!(outcome, WriteOutcome::Unknown(_) | WriteOutcome::Unavailable(_)), "{outcome:?}");
    }
    nats.server.restart().await.unwrap();

    // The same backend works again, over a connection that has nothing to send but this.
    broker.read_patiently(&neighbour).await;
    committed(&broker.write(put(&neighbour, version, "two")).await);
    assert_eq!(last_sequence(&nats).await, before + 1, "nothing else was stored");
}

#[tokio::test]
async fn the_client_library_alone_sends_what_timed_out() {
    // If this fails the library has changed, and the connection of this crate may become simpler.
    let nats = Nats::start().await;
    let _backend = nats.backend().await;
    let client = nats.client().await;
    let before = last_sequence(&nats).await;
    nats.server.kill();
    until(PATIENCE, || async { client.connection_state() != async_nats::connection::State::Connected }).await;
    let publish = client.request("sixpin.b.0000000000000001", "late".into());
    assert!(tokio::time::timeout(Duration::from_millis(300), publish).await.is_err(), "it times out");
    nats.server.restart().await.unwrap();
    assert!(until(PATIENCE, || async { last_sequence(&nats).await == before + 1 }).await, "it was sent all the same");
}

#[tokio::test]
async fn what_waits_for_a_network_that_swallows_is_dropped() {
    let nats = Nats::start().await;
    let broker = joined(nats.backend_through_proxy().await).await;
    let observer = joined(nats.backend().await).await;
    let keys: Vec<Key> = (0..31).map(|number| resource(&format!("large {number}"))).collect();
    // Much more than fits into the buffers on the way.
    let large = vec![7; broker.profile().record_bytes_max];
    broker.put(&resource("first"), Version::ABSENT, "x").await;

    nats.proxy.set(Mode::BlackHole);
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, large.clone())).collect()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Unknown(_))), "{outcomes:?}");
    nats.proxy.set(Mode::Pass);

    // What was in the buffers on the way arrives; then nothing more does.
    let mut last = 0;
    loop {
        let now = last_sequence(&nats).await;
        if now == std::mem::replace(&mut last, now) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let slots = observer.backend.read(&keys).await.unwrap();
    assert!(slots.iter().any(|slot| slot.version.is_absent()), "what was not in the buffers was dropped");
    // The broker goes on, and whatever arrived is what its next write meets.
    for (key, slot) in keys.iter().zip(&slots).take(3) {
        committed(&broker.write(put(key, slot.version, "after")).await);
    }
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_nothing_in_the_queue() {
    let nats = Nats::start().await;
    let broker = joined(nats.backend_through_proxy().await).await;
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    nats.proxy.set(Mode::Cut);
    let before = last_sequence(&nats).await;
    let (mut tries, mut waited) = (0, 0);
    while waited < 3 {
        tries += 1;
        let write = put(&resource(&format!("dropped {tries}")), Version::ABSENT, "late");
        let commit = broker.backend.commit(broker.guard(), vec![write]);
        // What is sent while the connection breaks is answered at once.
        waited += usize::from(tokio::time::timeout(Duration::from_millis(100), commit).await.is_err());
        assert!(tries < 100, "nothing waits although the network is cut");
    }
    nats.proxy.set(Mode::Pass);
    broker.read_patiently(&key).await;
    committed(&broker.write(put(&key, version, "two")).await);
    assert_eq!(last_sequence(&nats).await, before + 1, "nothing else was stored");
}

#[tokio::test]
async fn a_broker_known_to_be_gone_is_refused_here() {
    let nats = Nats::start().await;
    let (broker, other) = (joined(nats.backend().await).await, joined(nats.backend().await).await);
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    let outcome = other.backend.evict(other.guard(), broker.incarnation, broker.registration).await;
    committed(&outcome);

    // It learns it from the registrations, which a broker reads all the time.
    assert!(broker.pulse_of(broker.incarnation).await.unwrap().gone);
    for write in [put(&key, version, "two"), delete(&key, version)] {
        assert_eq!(broker.write(write).await, WriteOutcome::Evicted);
    }
    assert_eq!(broker.backend.advance(broker.guard()).await, Err(StoreError::Evicted));
    let evicted = broker.backend.evict(broker.guard(), other.incarnation, other.registration).await;
    assert_eq!(evicted, WriteOutcome::Evicted);
    other.sees(&key, version, Some(b"one")).await;
}

#[tokio::test]
async fn a_beat_in_doubt_is_repeated_and_counts_once() {
    let nats = Nats::start().await;
    let broker = joined(nats.backend_through_proxy().await).await;
    let beat = broker.next_beat();
    nats.proxy.cut_next_reply();
    let first = broker.backend.beat(beat.clone()).await;
    nats.proxy.disarm();
    assert!(matches!(first, Err(StoreError::Unknown(_))), "{first:?}");
    let before = last_sequence(&nats).await;
    let version = broker.backend.beat(beat.clone()).await.unwrap();
    assert_eq!(broker.backend.beat(beat).await, Ok(version));
    assert_eq!(last_sequence(&nats).await, before, "the first copy had arrived");
}
