//! Change hints that never come.

use std::time::Duration;

use sixpin_core::name::Version;
use tokio::time::{Instant, timeout};

use crate::broker::{Broker, committed, notifying, patience, put, resource};
use crate::fixture::{Fixture, Hints};

fn channel(fixture: &dyn Fixture) -> &dyn Hints {
    fixture.hints().expect("this group is only for fixtures that can do it")
}

/// What a broker does while somebody waits: it sleeps until a hint comes, or for a second, and reads again. That finds
/// every change, with and without hints.
pub async fn without_hints_reading_again_still_converges(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let mut version = writer.put(&key, Version::ABSENT, "0").await;
    for round in 1..=4 {
        if round % 2 == 1 {
            channel(fixture).lose().await;
        } else {
            channel(fixture).deliver().await;
        }
        let watching = async {
            let deadline = Instant::now() + patience();
            loop {
                let slot = watcher.read_patiently(&key).await;
                if slot.bytes.as_deref() == Some(round.to_string().as_bytes()) {
                    return slot.version;
                }
                assert!(Instant::now() < deadline, "the change was never seen");
                // Both ends of this are good: a hint, or none.
                let _ = timeout(Duration::from_secs(1), watcher.backend.changed(key.clone(), slot.version)).await;
            }
        };
        let writing = async { committed(&writer.write(notifying(put(&key, version, round.to_string()))).await) };
        let (seen, written) = tokio::join!(watching, writing);
        assert_eq!(seen, written);
        version = written;
    }
    channel(fixture).deliver().await;
}

/// Once the channel works again hints come again, without opening anything anew.
pub async fn hints_come_again_when_the_channel_is_whole(fixture: &dyn Fixture) {
    let (writer, watcher) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let mut version = writer.put(&key, Version::ABSENT, "0").await;
    channel(fixture).lose().await;
    version = committed(&writer.write(notifying(put(&key, version, "lost"))).await);
    channel(fixture).deliver().await;
    let changed = watcher.backend.changed(key.clone(), version);
    let writing = async {
        loop {
            version = committed(&writer.write(notifying(put(&key, version, "again"))).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = changed => {}
        () = writing => {}
        () = tokio::time::sleep(patience()) => panic!("no hint came for {:?}", patience()),
    }
}
