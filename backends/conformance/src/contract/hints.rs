//! Change hints. They are never needed for safety, and may come early or late; on a good day they do come.

use std::time::Duration;

use sixpin_core::backend::{Change, Key, Write, WriteOutcome};
use sixpin_core::name::Version;
use tokio::time::{sleep, timeout};

use crate::broker::{Broker, delete, notifying, patience, put, resource, session};
use crate::fixture::Fixture;

/// Changes the key, with a hint, again and again until the watch returns: when exactly a watch begins to listen cannot
/// be seen from outside, so that one change might come before it.
async fn change_until(writer: &Broker, key: &Key, watch: impl Future<Output = ()>) {
    let mut expected = writer.read(key).await.version;
    let changing = async {
        loop {
            expected = match writer.write(notifying(put(key, expected, "changed"))).await {
                WriteOutcome::Committed(version) => version,
                WriteOutcome::Conflict(there) => there.version,
                WriteOutcome::ConflictUnread => writer.read(key).await.version,
                outcome => panic!("{outcome:?}"),
            };
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = changing => {}
        () = sleep(patience()) => panic!("no hint of {key:?} came for {:?}", patience()),
    }
}

/// A change by another broker ends a watch: of a record, of nothing, of a session's mark.
pub async fn a_change_by_another_broker_is_hinted(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let standing = resource("standing");
    let version = writer.put(&standing, Version::ABSENT, "one").await;
    change_until(&writer, &standing, watcher.backend.changed(standing.clone(), version)).await;
    for key in [resource("absent"), resource("awkward *.>{ü}"), session(1, 2, 10_000)] {
        change_until(&writer, &key, watcher.backend.changed(key.clone(), Version::ABSENT)).await;
    }
}

/// A change by the broker itself ends its own watch: another of its tasks may be waiting.
pub async fn a_change_by_oneself_is_hinted(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let key = resource("r");
    change_until(&broker, &key, broker.backend.changed(key.clone(), Version::ABSENT)).await;
}

/// A create and a delete are changes.
pub async fn creates_and_deletes_are_hinted(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    for with in ["create", "delete"] {
        let key = resource(with);
        // Between two rounds the key goes back to how it was, without a hint.
        let rounds = async {
            let mut expected = Version::ABSENT;
            loop {
                let create = put(&key, expected, "x");
                let version = match writer.write(Write { notify: with == "create", ..create }).await {
                    WriteOutcome::Committed(version) => version,
                    outcome => panic!("{outcome:?}"),
                };
                sleep(Duration::from_millis(50)).await;
                let remove = Write { notify: with == "delete", ..delete(&key, version) };
                assert_eq!(remove.change, Change::Delete);
                match writer.write(remove).await {
                    WriteOutcome::Committed(version) if writer.contract().leaves_markers() => expected = version,
                    WriteOutcome::Committed(_) => expected = Version::ABSENT,
                    outcome => panic!("{outcome:?}"),
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let watching = async {
            // Watches what stands there now, whatever it is, until something is heard.
            loop {
                let seen = watcher.read(&key).await.version;
                if timeout(Duration::from_secs(2), watcher.backend.changed(key.clone(), seen)).await.is_ok() {
                    return;
                }
            }
        };
        tokio::select! {
            () = watching => {}
            () = rounds => {}
            () = sleep(patience()) => panic!("no hint of a {with} came for {:?}", patience()),
        }
    }
}

/// All who watch a key hear of its change.
pub async fn many_watchers_all_hear(fixture: &dyn Fixture) {
    let (writer, one, two) = (Broker::join(fixture).await, Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = writer.put(&key, Version::ABSENT, "one").await;
    let watches = (0..200).map(|number| {
        let watcher = if number % 2 == 0 { &one } else { &two };
        watcher.backend.changed(key.clone(), version)
    });
    let all = async { drop(futures::future::join_all(watches).await) };
    change_until(&writer, &key, all).await;
}

/// Many keys can be watched at once, and each watch ends when its key changes.
pub async fn many_keys_can_be_watched(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let keys: Vec<Key> = (0..300).map(|number| resource(&format!("r{number}"))).collect();
    let mut watches: Vec<_> = keys.iter().map(|key| watcher.backend.changed(key.clone(), Version::ABSENT)).collect();
    // All begin to listen; none need end.
    for watch in &mut watches {
        let _ = timeout(Duration::ZERO, watch.as_mut()).await;
    }
    drop(watches);
    for key in keys.iter().step_by(60) {
        change_until(&writer, key, watcher.backend.changed(key.clone(), Version::ABSENT)).await;
    }
}

/// A watch that nobody waits for any more leaves nothing behind that would disturb the next.
pub async fn a_dropped_watch_leaves_nothing(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = writer.put(&key, Version::ABSENT, "one").await;
    for _ in 0..2_000 {
        let _ = timeout(Duration::ZERO, watcher.backend.changed(key.clone(), version)).await;
    }
    change_until(&writer, &key, watcher.backend.changed(key.clone(), version)).await;
}
