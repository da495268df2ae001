//! Two workloads that notice a lost, doubled or late write, whatever happens to the store meanwhile.
//!
//! * *Journal*: writers append entries to one record. At the end each entry must stand there exactly once: a lost write
//!   is missing, one that was applied twice is there twice.
//! * *Token*: writers create a record, are alone while it stands, and delete it. A create that strikes late makes a
//!   ghost: a record of somebody who believes it gone, and then nobody gets in any more.
//!
//! Both treat an unknown outcome as a broker does: move the lane, read, decide again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sixpin_core::backend::{Key, Slot, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::until;
use tokio::time::{Instant, sleep};

use crate::broker::{Broker, PATIENCE, delete, put};

/// Between two tries, so that a store in trouble is not kept busy with being asked.
const PAUSE: Duration = Duration::from_millis(5);

/// Appends an entry to the journal at `key`. Answers the version at which this broker first knew it to be there.
pub async fn append(broker: &mut Broker, key: &Key, entry: &str) -> Version {
    let line = format!("{entry}\n");
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut slot = broker.read_patiently(key).await;
    loop {
        let text = text(&slot);
        if text.lines().any(|it| it == entry) {
            return slot.version;
        }
        assert!(Instant::now() < deadline, "the entry {entry} could not be appended");
        slot = match broker.write(put(key, slot.version, text + &line)).await {
            WriteOutcome::Committed(version) => return version,
            WriteOutcome::Conflict(there) => there,
            WriteOutcome::ConflictUnread => broker.read_patiently(key).await,
            // Not stored: the same again.
            WriteOutcome::Unavailable(_) => {
                sleep(PAUSE).await;
                slot
            }
            WriteOutcome::Unknown(_) => {
                broker.settle().await;
                broker.read_patiently(key).await
            }
            outcome @ (WriteOutcome::Stale | WriteOutcome::Evicted) => panic!("nobody caused {outcome:?}"),
        };
    }
}

/// Lets each broker append the entries of these numbers to the journals at all keys, at once. Answers when all are done.
pub async fn append_at_once(brokers: Vec<Broker>, keys: &[Key], numbers: Range<usize>) -> Vec<Broker> {
    let writers = brokers.into_iter().enumerate().map(|(writer, mut broker)| {
        let (keys, numbers) = (keys.to_vec(), numbers.clone());
        tokio::spawn(async move {
            for number in numbers {
                for key in &keys {
                    append(&mut broker, key, &format!("{writer}-{number}")).await;
                }
            }
            broker
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut brokers = Vec::new();
    for writer in writers {
        brokers.push(writer.await.expect("no writer panics"));
    }
    brokers
}

/// Each of `writers` writers has each of its `count` entries in the journal, exactly once, and in its own order.
pub async fn check_journal(broker: &Broker, key: &Key, writers: usize, count: usize) {
    // A read may be old for a while, but what is old is too short.
    let whole = |slot: &Slot| text(slot).lines().count() >= writers * count;
    until(PATIENCE, || async { whole(&broker.read_patiently(key).await) }).await;
    let text = text(&broker.read_patiently(key).await);
    for writer in 0..writers {
        let start = format!("{writer}-");
        let written: Vec<&str> = text.lines().filter(|line| line.starts_with(&start)).collect();
        let expected: Vec<String> = (0..count).map(|number| format!("{writer}-{number}")).collect();
        assert_eq!(written, expected, "each entry of writer {writer} stands there once, in order");
    }
    assert_eq!(text.lines().count(), writers * count, "nothing else stands there");
}

/// Knows whether somebody is inside.
#[derive(Debug, Default, Clone)]
pub struct Inside(Arc<AtomicUsize>);

impl Inside {
    /// Goes in, alone, and out.
    pub async fn visit(&self) {
        assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two are inside at once");
        tokio::task::yield_now().await;
        assert_eq!(self.0.fetch_sub(1, Ordering::SeqCst), 1, "two are inside at once");
    }
}

/// Creates the record with this token in it, when nobody else's stands there. Answers its version.
pub async fn take(broker: &mut Broker, key: &Key, token: &str) -> Version {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let slot = broker.read_patiently(key).await;
        if slot.bytes.as_deref() == Some(token.as_bytes()) {
            return slot.version;
        }
        assert!(Instant::now() < deadline, "{token} never got in: {slot:?} stands there");
        if slot.bytes.is_some() {
            sleep(PAUSE).await;
            continue;
        }
        match broker.write(put(key, slot.version, token.to_owned())).await {
            WriteOutcome::Committed(version) => return version,
            WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread | WriteOutcome::Unavailable(_) => {
                sleep(PAUSE).await;
            }
            WriteOutcome::Unknown(_) => broker.settle().await,
            outcome @ (WriteOutcome::Stale | WriteOutcome::Evicted) => panic!("nobody caused {outcome:?}"),
        }
    }
}

/// Deletes the record that [`take`] created at this version.
pub async fn free(broker: &mut Broker, key: &Key, version: Version) {
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut in_doubt = false;
    loop {
        match broker.write(delete(key, version)).await {
            WriteOutcome::Committed(_) => return,
            WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread => {
                assert!(in_doubt, "somebody else changed a record that only its owner may change");
                return;
            }
            WriteOutcome::Unavailable(_) => sleep(PAUSE).await,
            WriteOutcome::Unknown(_) => {
                in_doubt = true;
                broker.settle().await;
            }
            outcome @ (WriteOutcome::Stale | WriteOutcome::Evicted) => panic!("nobody caused {outcome:?}"),
        }
        assert!(Instant::now() < deadline, "the record could not be deleted");
    }
}

/// Waits until the record at `key` changes once more. False if the work was done before that.
pub async fn goes_on(observer: &Broker, key: &Key, done: &AtomicBool) -> bool {
    let seen = observer.read_patiently(key).await.version;
    let is_done = || done.load(Ordering::SeqCst);
    until(PATIENCE, || async { is_done() || observer.read_patiently(key).await.version != seen }).await;
    !is_done()
}

/// Waits until the journal at `key` has this many entries.
pub async fn reaches(observer: &Broker, key: &Key, entries: usize) {
    let reached = until(PATIENCE, || async { text(&observer.read_patiently(key).await).lines().count() >= entries });
    assert!(reached.await, "the journal does not grow");
}

/// Lets each broker take and free the record at `key`, once for each number, all at once.
pub async fn take_turns(brokers: Vec<Broker>, key: &Key, numbers: Range<usize>) -> Vec<Broker> {
    let inside = Inside::default();
    let writers = brokers.into_iter().enumerate().map(|(writer, mut broker)| {
        let (key, numbers, inside) = (key.clone(), numbers.clone(), inside.clone());
        tokio::spawn(async move {
            let mut last = Version::ABSENT;
            for number in numbers {
                let version = take(&mut broker, &key, &format!("{writer}-{number}")).await;
                assert!(version > last, "versions rise over delete and create");
                last = version;
                inside.visit().await;
                free(&mut broker, &key, version).await;
            }
            broker
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut brokers = Vec::new();
    for writer in writers {
        brokers.push(writer.await.expect("no writer panics"));
    }
    brokers
}

fn text(slot: &Slot) -> String {
    slot.bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}
