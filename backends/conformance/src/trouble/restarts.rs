//! The server is killed, with no chance to write anything, and started again with what it has on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_core::backend::{Durability, Key, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, notifying, patience, put, resource};
use crate::fixture::{Fixture, Restarts};
use crate::workload::{self, Work};

fn server(fixture: &dyn Fixture) -> &dyn Restarts {
    fixture.restarts().expect("this group is only for fixtures that can do it")
}

/// What was acknowledged is there after a kill, at the same version; and versions go on rising.
pub async fn acknowledged_writes_survive_a_kill(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    assert!(broker.profile().durability >= Durability::CrashSafe, "a store that restarts empty is not tested here");
    let mut written = Vec::new();
    for number in 0..50 {
        let key = resource(&format!("r{number}"));
        let first = broker.put(&key, Version::ABSENT, "first").await;
        let version = broker.put(&key, first, format!("{number}")).await;
        written.push((key, version, format!("{number}")));
    }
    let (deleted, version) = (resource("deleted"), broker.put(&resource("deleted"), Version::ABSENT, "x").await);
    let left = broker.delete(&deleted, version).await;

    server(fixture).kill();
    server(fixture).restart().await;

    for (key, version, text) in &written {
        broker.sees(key, *version, Some(text.as_bytes())).await;
    }
    broker.sees(&deleted, left, None).await;
    let fresh = Broker::join(fixture).await;
    for (key, version, _) in &written {
        assert!(fresh.put(key, *version, "after").await > *version);
    }
    let highest = written.iter().map(|(_, version, _)| *version).max().unwrap_or_default();
    assert!(fresh.put(&deleted, left, "again").await > version);
    assert!(fresh.put(&resource("new"), Version::ABSENT, "new").await > highest, "versions rise over a restart");
}

/// A broker need not register again after a restart of the store, and one that was evicted stays evicted.
pub async fn registrations_survive_a_kill(fixture: &dyn Fixture) {
    let (mut broker, evicted) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let outcome = broker.backend.evict(broker.guard(), evicted.incarnation, evicted.registration).await;
    assert!(matches!(outcome, WriteOutcome::Committed(_)), "{outcome:?}");

    server(fixture).kill();
    server(fixture).restart().await;

    broker.settle().await;
    broker.put(&resource("r"), Version::ABSENT, "one").await;
    broker.renew().await;
    let beat = evicted.backend.beat(evicted.next_beat()).await;
    assert_eq!(beat, Err(sixpin_core::backend::StoreError::Evicted));
}

/// A dead server is an error, in bounded time, and never a wrong answer.
pub async fn a_dead_server_is_no_answer_within_bounded_time(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    server(fixture).kill();
    let longest = 2 * broker.profile().commit_timeout + Duration::from_secs(10);
    let outcome = tokio::time::timeout(longest, broker.write(put(&key, version, "two"))).await;
    let outcome = outcome.expect("a commit to a dead server ends");
    assert!(matches!(outcome, WriteOutcome::Unavailable(_) | WriteOutcome::Unknown(_)), "{outcome:?}");
    let read = tokio::time::timeout(longest, broker.backend.read(std::slice::from_ref(&key))).await;
    assert!(read.expect("a read of a dead server ends").is_err());
    server(fixture).restart().await;
    broker.read_patiently(&key).await;
}

/// Writers that go on while the server dies and comes back lose nothing and double nothing.
pub async fn nothing_is_lost_when_the_server_is_killed_under_load(fixture: &dyn Fixture) {
    let keys = [resource("journal 1"), resource("journal 2")];
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..4 {
        brokers.push(Broker::join(fixture).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::append_at_once(brokers, &keys, Work::until(&stop));
    let (done, ()) = tokio::join!(load, kill_under_load(fixture, &observer, &keys[0], &stop));
    let counts: Vec<usize> = done.into_iter().map(|(_, count)| count).collect();
    for key in &keys {
        workload::check_journal(&observer, key, &counts).await;
    }
}

/// Nobody gets in twice and no ghost stays behind when the server dies between creates and deletes.
pub async fn nobody_gets_in_twice_when_the_server_is_killed_under_load(fixture: &dyn Fixture) {
    let key = resource("token");
    let observer = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join(fixture).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::take_turns(brokers, &key, Work::until(&stop));
    tokio::join!(load, kill_under_load(fixture, &observer, &key, &stop));
    let slot = observer.read_patiently(&key).await;
    assert_eq!(slot.bytes, None, "a ghost stayed behind");
}

/// Kills the server while the work at `key` goes on, again and again; then tells the workers to stop.
async fn kill_under_load(fixture: &dyn Fixture, observer: &Broker, key: &Key, stop: &AtomicBool) {
    for _ in 0..3 {
        workload::goes_on(observer, key).await;
        server(fixture).kill();
        server(fixture).restart().await;
    }
    workload::goes_on(observer, key).await;
    stop.store(true, Ordering::SeqCst);
}

/// Hints come again after a restart, without opening anything anew.
pub async fn hints_come_again_after_a_restart(fixture: &dyn Fixture) {
    let (watcher, writer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let mut version = writer.put(&key, Version::ABSENT, "one").await;
    server(fixture).kill();
    server(fixture).restart().await;
    writer.read_patiently(&key).await;
    let changed = watcher.backend.changed(key.clone(), version);
    let write = async {
        loop {
            version = match writer.write(notifying(put(&key, version, "again"))).await {
                WriteOutcome::Committed(version) => version,
                WriteOutcome::Conflict(there) => there.version,
                _ => writer.read_patiently(&key).await.version,
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = changed => {}
        () = write => {}
        () = tokio::time::sleep(patience()) => panic!("no hint came for {:?}", patience()),
    }
}
