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

use crate::broker::{Broker, delete, patience, put};

/// Between two tries, so that a store in trouble is not kept busy with being asked.
const PAUSE: Duration = Duration::from_millis(5);

/// Appends an entry to the journal at `key`. Answers the version at which this broker first knew it to be there.
pub async fn append(broker: &mut Broker, key: &Key, entry: &str) -> Version {
    let line = format!("{entry}\n");
    let deadline = Instant::now() + 2 * patience();
    let mut slot = broker.read_patiently(key).await;
    loop {
        let text = text(&slot);
        if text.lines().any(|it| it == entry) {
            return slot.version;
        }
        assert!(Instant::now() < deadline, "the entry {entry} could not be appended");
        // Others get between the read and the write, however fast the store is.
        tokio::task::yield_now().await;
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

/// How much each writer does: a number of things, or one after the other until it is told to stop.
#[derive(Debug, Clone)]
pub struct Work {
    numbers: Range<usize>,
    stop: Option<Arc<AtomicBool>>,
}

impl Work {
    /// The things of these numbers, as fast as possible.
    pub fn of(numbers: Range<usize>) -> Self {
        Self { numbers, stop: None }
    }

    /// Work that goes on while there is trouble, at a walk, so that a fast store does not fill its records before the
    /// trouble has come and gone.
    pub fn until(stop: &Arc<AtomicBool>) -> Self {
        Self { numbers: 0..usize::MAX, stop: Some(stop.clone()) }
    }

    async fn next(&mut self) -> Option<usize> {
        if let Some(stop) = &self.stop {
            sleep(PAUSE).await;
            if stop.load(Ordering::SeqCst) {
                return None;
            }
        }
        self.numbers.next()
    }
}

/// Lets each broker append one entry per number to the journals at all keys, all at once. Answers, when all are done,
/// each broker and the number that would be its next.
pub async fn append_at_once(brokers: Vec<Broker>, keys: &[Key], work: Work) -> Vec<(Broker, usize)> {
    let writers = brokers.into_iter().enumerate().map(|(writer, mut broker)| {
        let (keys, mut work) = (keys.to_vec(), work.clone());
        tokio::spawn(async move {
            let mut next = 0;
            while let Some(number) = work.next().await {
                for key in &keys {
                    append(&mut broker, key, &format!("{writer}-{number}")).await;
                }
                next = number + 1;
            }
            (broker, next)
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut brokers = Vec::new();
    for writer in writers {
        brokers.push(writer.await.expect("no writer panics"));
    }
    brokers
}

/// Each writer has as many entries in the journal as it wrote, each exactly once, and in its own order.
pub async fn check_journal(broker: &Broker, key: &Key, counts: &[usize]) {
    let total: usize = counts.iter().sum();
    // A read may be old for a while, but what is old is too short.
    let whole = |slot: &Slot| text(slot).lines().count() >= total;
    until(patience(), || async { whole(&broker.read_patiently(key).await) }).await;
    let text = text(&broker.read_patiently(key).await);
    for (writer, &count) in counts.iter().enumerate() {
        let start = format!("{writer}-");
        let written: Vec<&str> = text.lines().filter(|line| line.starts_with(&start)).collect();
        let expected: Vec<String> = (0..count).map(|number| format!("{writer}-{number}")).collect();
        assert_eq!(written, expected, "each entry of writer {writer} stands there once, in order");
    }
    assert_eq!(text.lines().count(), total, "nothing else stands there");
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
    let deadline = Instant::now() + 2 * patience();
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
    let deadline = Instant::now() + 2 * patience();
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

/// Waits until the record at `key` has changed a few times: the work goes on.
pub async fn goes_on(observer: &Broker, key: &Key) {
    for _ in 0..5 {
        let seen = observer.read_patiently(key).await.version;
        let changed = until(patience(), || async { observer.read_patiently(key).await.version != seen });
        assert!(changed.await, "the work does not go on");
    }
}

/// Lets each broker take and free the record at `key`, once for each number, all at once.
pub async fn take_turns(brokers: Vec<Broker>, key: &Key, work: Work) -> Vec<Broker> {
    let inside = Inside::default();
    let writers = brokers.into_iter().enumerate().map(|(writer, mut broker)| {
        let (key, mut work, inside) = (key.clone(), work.clone(), inside.clone());
        tokio::spawn(async move {
            let mut last = Version::ABSENT;
            while let Some(number) = work.next().await {
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
