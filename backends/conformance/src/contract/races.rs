//! Many writers at once. These find most stores that do not compare and swap in one step.

use std::collections::BTreeSet;

use sixpin_core::backend::WriteOutcome;
use sixpin_core::name::Version;

use crate::broker::{Broker, put, resource};
use crate::fixture::Fixture;
use crate::workload::{self, Work};

const WRITERS: usize = 8;

async fn writers(fixture: &dyn Fixture) -> Vec<Broker> {
    let mut brokers = Vec::new();
    for _ in 0..WRITERS {
        brokers.push(Broker::join(fixture).await);
    }
    brokers
}

/// Many brokers count in one record; no increment is lost, and no version is given twice.
pub async fn no_increment_is_lost(fixture: &dyn Fixture) {
    const INCREMENTS: usize = 25;
    let key = resource("counter");
    let counting = writers(fixture).await.into_iter().map(|broker| {
        let key = key.clone();
        tokio::spawn(async move {
            let mut versions = Vec::new();
            while versions.len() < INCREMENTS {
                let slot = broker.read_patiently(&key).await;
                let count: usize = slot
                    .bytes
                    .map_or(0, |bytes| String::from_utf8_lossy(&bytes).parse().expect("a counter is a number"));
                // Others get between the read and the write, however fast the store is.
                tokio::task::yield_now().await;
                match broker.write(put(&key, slot.version, (count + 1).to_string())).await {
                    WriteOutcome::Committed(version) => versions.push(version),
                    WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread => {}
                    outcome => panic!("on a good day a write is stored or conflicts: {outcome:?}"),
                }
            }
            versions
        })
    });
    let counting: Vec<_> = counting.collect();
    let mut versions = BTreeSet::new();
    for writer in counting {
        let own = writer.await.expect("no writer panics");
        assert!(own.is_sorted(), "a writer's versions rise");
        for version in own {
            assert!(versions.insert(version), "{version} was given twice");
        }
    }
    let observer = Broker::join(fixture).await;
    let last = versions.last().copied().unwrap_or_default();
    observer.sees(&key, last, Some((WRITERS * INCREMENTS).to_string().as_bytes())).await;
}

/// Many brokers append to many journals; every entry is there once.
pub async fn no_entry_is_lost(fixture: &dyn Fixture) {
    const ENTRIES: usize = 8;
    let keys = ["journal 1", "journal 2", "journal 3"].map(resource);
    workload::append_at_once(writers(fixture).await, &keys, Work::of(0..ENTRIES)).await;
    let observer = Broker::join(fixture).await;
    for key in &keys {
        workload::check_journal(&observer, key, &[ENTRIES; WRITERS]).await;
    }
}

/// Many brokers create the same record; exactly one does, every time, over delete and re-create.
pub async fn one_at_a_time_gets_in(fixture: &dyn Fixture) {
    let key = resource("token");
    workload::take_turns(writers(fixture).await, &key, Work::of(0..8)).await;
    let observer = Broker::join(fixture).await;
    let slot = observer.read_patiently(&key).await;
    assert_eq!(slot.bytes, None);
}

/// Many brokers write the same set of records in one batch each. Of each record exactly one is the winner per round,
/// and a batch may win some and lose others.
pub async fn batches_that_overlap_are_decided_record_by_record(fixture: &dyn Fixture) {
    const ROUNDS: usize = 10;
    const RECORDS: usize = 12;
    let brokers = writers(fixture).await;
    let count = RECORDS.min(brokers[0].profile().batch_writes_max);
    let keys: Vec<_> = (0..count).map(|number| resource(&format!("r{number}"))).collect();
    let mut versions = vec![Version::ABSENT; count];
    for round in 0..ROUNDS {
        let batches = brokers.iter().enumerate().map(|(number, broker)| {
            // Each begins at another record, so that no two send the same order.
            let order = (0..count).map(move |place| (place + number * 5) % count);
            let writes: Vec<_> =
                order.clone().map(|it| put(&keys[it], versions[it], format!("{round}/{number}"))).collect();
            async move { order.zip(broker.commit(writes).await).collect::<Vec<_>>() }
        });
        let outcomes = futures::future::join_all(batches).await;
        let mut winners = vec![None; count];
        for (number, outcomes) in outcomes.into_iter().enumerate() {
            for (place, outcome) in outcomes {
                match outcome {
                    WriteOutcome::Committed(version) => {
                        assert_eq!(winners[place].replace((number, version)), None, "two wrote over one version");
                    }
                    WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread => {}
                    outcome => panic!("on a good day a write is stored or conflicts: {outcome:?}"),
                }
            }
        }
        for (place, winner) in winners.into_iter().enumerate() {
            let (number, version) = winner.expect("somebody wins");
            assert!(version > versions[place]);
            versions[place] = version;
            brokers[0].sees(&keys[place], version, Some(format!("{round}/{number}").as_bytes())).await;
        }
    }
}
