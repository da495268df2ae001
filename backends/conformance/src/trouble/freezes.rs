//! The server stands still, with its connections open, and goes on: what was sent meanwhile arrives late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_core::backend::WriteOutcome;
use sixpin_core::name::Version;

use crate::broker::{Broker, put, resource};
use crate::fixture::{Fixture, Freezes};
use crate::workload;

fn server(fixture: &dyn Fixture) -> &dyn Freezes {
    fixture.freezes().expect("this group is only for fixtures that can do it")
}

/// A server that says nothing is an error, in bounded time; and what it was sent is settled once the lane has moved.
pub async fn a_frozen_server_is_no_answer_within_bounded_time(fixture: &dyn Fixture) {
    let mut broker = Broker::join(fixture).await;
    let other = Broker::join(fixture).await;
    let (key, neighbour) = (resource("r"), resource("neighbour"));
    let mut version = broker.put(&neighbour, Version::ABSENT, "one").await;
    server(fixture).freeze();
    let longest = 2 * broker.profile().commit_timeout + Duration::from_secs(10);
    let outcome = tokio::time::timeout(longest, broker.write(put(&key, Version::ABSENT, "late"))).await;
    server(fixture).resume();
    let outcome = outcome.expect("a commit to a frozen server ends");
    assert!(matches!(outcome, WriteOutcome::Unavailable(_) | WriteOutcome::Unknown(_)), "{outcome:?}");

    broker.settle().await;
    let settled = broker.read_patiently(&key).await;
    if !broker.profile().checks_generation {
        // Without generations only the next write of the key shuts the late one out; the links group shows that.
        return;
    }
    // Much else goes through the store meanwhile; had the late write still been on its way, it would have arrived.
    for number in 0..50 {
        version = other.put(&neighbour, version, format!("{number}")).await;
    }
    broker.sees(&key, settled.version, settled.bytes.as_deref()).await;
    other.sees(&key, settled.version, settled.bytes.as_deref()).await;
    assert!(!matches!(outcome, WriteOutcome::Unavailable(_)) || settled.bytes.is_none(), "unavailable is not stored");
}

/// Writers that go on while the server stands still and goes on lose nothing and double nothing.
pub async fn nothing_is_lost_when_the_server_is_frozen_under_load(fixture: &dyn Fixture) {
    const WRITERS: usize = 3;
    const ENTRIES: usize = 15;
    let keys = [resource("journal")];
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..WRITERS {
        brokers.push(Broker::join(fixture).await);
    }
    // Long enough that the commits under way give up.
    let standstill = observer.profile().commit_timeout + Duration::from_millis(500);
    let load = workload::append_at_once(brokers, &keys, 0..ENTRIES);
    let freezes = async {
        for part in [WRITERS * ENTRIES / 3, WRITERS * ENTRIES * 2 / 3] {
            workload::reaches(&observer, &keys[0], part).await;
            server(fixture).freeze();
            tokio::time::sleep(standstill).await;
            server(fixture).resume();
        }
    };
    tokio::join!(load, freezes);
    workload::check_journal(&observer, &keys[0], WRITERS, ENTRIES).await;
}

/// Nobody gets in twice and no ghost stays behind when the server stands still between creates and deletes.
pub async fn nobody_gets_in_twice_when_the_server_is_frozen_under_load(fixture: &dyn Fixture) {
    let key = resource("token");
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join(fixture).await);
    }
    let standstill = observer.profile().commit_timeout + Duration::from_millis(500);
    let done = AtomicBool::new(false);
    let load = async {
        workload::take_turns(brokers, &key, 0..15).await;
        done.store(true, Ordering::SeqCst);
    };
    let freezes = async {
        let mut struck = 0;
        while struck < 2 && workload::goes_on(&observer, &key, &done).await {
            server(fixture).freeze();
            tokio::time::sleep(standstill).await;
            server(fixture).resume();
            struck += 1;
        }
        assert!(struck > 0, "the server never stood still while it had work");
    };
    tokio::join!(load, freezes);
    let slot = observer.read_patiently(&key).await;
    assert_eq!(slot.bytes, None, "a ghost stayed behind");
}
