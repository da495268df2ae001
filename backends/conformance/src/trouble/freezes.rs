//! The server stands still, with its connections open, and goes on: what was sent meanwhile arrives late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use sixpin_core::backend::{Key, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, put, resource};
use crate::fixture::{Fixture, Freezes};
use crate::workload::{self, Work};

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
    if !broker.contract().checks_generation() {
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

/// Of several batches on their way to a server that stands still each ends by itself. One move of their lane settles all of
/// them: what is written to their keys then stays.
pub async fn batches_side_by_side_at_a_frozen_server_are_settled_at_once(fixture: &dyn Fixture) {
    let mut broker = Broker::join(fixture).await;
    let neighbour = resource("neighbour");
    let mut version = broker.put(&neighbour, Version::ABSENT, "one").await;
    let keys: Vec<Key> = (0..4).map(|number| resource(&format!("r{number}"))).collect();
    server(fixture).freeze();
    let longest = 2 * broker.profile().commit_timeout + Duration::from_secs(10);
    let batches = join_all(keys.iter().map(|key| broker.write(put(key, Version::ABSENT, "late"))));
    let outcomes = tokio::time::timeout(longest, batches).await;
    server(fixture).resume();
    for outcome in outcomes.expect("commits to a frozen server end") {
        assert!(matches!(outcome, WriteOutcome::Unavailable(_) | WriteOutcome::Unknown(_)), "{outcome:?}");
    }

    broker.settle().await;
    let mut written = Vec::new();
    for key in &keys {
        written.push(broker.overwrite(key, "new").await);
    }
    // Had a late batch still been on its way, it would have arrived with these.
    for number in 0..50 {
        version = broker.put(&neighbour, version, format!("{number}")).await;
    }
    for (key, version) in keys.iter().zip(written) {
        broker.sees(key, version, Some(b"new")).await;
    }
}

/// Writers that go on while the server stands still and goes on lose nothing and double nothing.
pub async fn nothing_is_lost_when_the_server_is_frozen_under_load(fixture: &dyn Fixture) {
    let keys = [resource("journal")];
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join(fixture).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::append_at_once(brokers, &keys, Work::until(&stop));
    let (done, ()) = tokio::join!(load, freeze_under_load(fixture, &observer, &keys[0], &stop));
    let counts: Vec<usize> = done.into_iter().map(|(_, count)| count).collect();
    workload::check_journal(&observer, &keys[0], &counts).await;
}

/// Nobody gets in twice and no ghost stays behind when the server stands still between creates and deletes.
pub async fn nobody_gets_in_twice_when_the_server_is_frozen_under_load(fixture: &dyn Fixture) {
    let key = resource("token");
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join(fixture).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::take_turns(brokers, &key, Work::until(&stop));
    tokio::join!(load, freeze_under_load(fixture, &observer, &key, &stop));
    let slot = observer.read_patiently(&key).await;
    assert_eq!(slot.bytes, None, "a ghost stayed behind");
}

/// Freezes the server while the work at `key` goes on, so long that the commits under way give up, and again; then tells
/// the workers to stop.
async fn freeze_under_load(fixture: &dyn Fixture, observer: &Broker, key: &Key, stop: &AtomicBool) {
    let standstill = observer.profile().commit_timeout + Duration::from_millis(500);
    for _ in 0..2 {
        workload::goes_on(observer, key).await;
        server(fixture).freeze();
        tokio::time::sleep(standstill).await;
        server(fixture).resume();
    }
    workload::goes_on(observer, key).await;
    stop.store(true, Ordering::SeqCst);
}
