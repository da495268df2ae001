//! Many compare-and-swaps in one round trip, each on its own.

use sixpin_core::backend::{Guard, Key, Lane, Write, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, committed, compare, conflicts_with, delete, put, resource, session};
use crate::fixture::Fixture;

/// What a profile promises must be possible at all.
pub async fn the_profile_makes_sense(fixture: &dyn Fixture) {
    let (one, two) = (fixture.open().await, fixture.open().await);
    let profile = one.profile();
    assert_eq!(profile, two.profile(), "the facts are the same for everybody");
    assert_eq!(one.root(), two.root(), "the root is the same for everybody");
    assert!(profile.contract.is_shared(), "the suite opens the store more than once");
    assert!(profile.record_bytes_max >= 16 * 1024, "a record has room for a few hundred waiters");
    assert!(profile.batch_bytes_max >= profile.record_bytes_max, "the largest record fits a batch");
    assert!(profile.batch_writes_max >= 1);
    assert!(!profile.commit_timeout.is_zero());
    let everything_zero = one.root().secret_key.iter().all(|&byte| byte == 0);
    assert!(!everything_zero, "the key is random");
}

/// Nothing to write is nothing to answer.
pub async fn an_empty_batch_has_no_outcomes(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    assert_eq!(broker.commit(Vec::new()).await, Vec::new());
}

/// A conflict is a matter of its own key: the writes before and after it are stored.
pub async fn some_conflict_and_the_others_commit(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let keys: Vec<Key> = (0..9).map(|number| resource(&format!("r{number}"))).collect();
    let mut theirs = Vec::new();
    for key in keys.iter().step_by(3) {
        theirs.push(other.put(key, Version::ABSENT, "theirs").await);
    }
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "mine")).collect()).await;
    for (number, (key, outcome)) in keys.iter().zip(&outcomes).enumerate() {
        if number % 3 == 0 {
            conflicts_with(outcome, theirs[number / 3], Some(b"theirs"));
            broker.sees(key, theirs[number / 3], Some(b"theirs")).await;
        } else {
            broker.sees(key, committed(outcome), Some(b"mine")).await;
        }
    }
}

/// Creates, updates, deletes, compares, resources and sessions may share a batch.
pub async fn a_batch_may_mix_everything(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let (old, doomed, fresh, still) = (resource("old"), resource("doomed"), resource("fresh"), resource("still"));
    let (mark, wrong) = (session(1, 2, 10_000), resource("wrong"));
    let old_version = broker.put(&old, Version::ABSENT, "1").await;
    let doomed_version = broker.put(&doomed, Version::ABSENT, "1").await;
    let still_version = broker.put(&still, Version::ABSENT, "1").await;
    let mut writes = vec![
        put(&old, old_version, "2"),
        delete(&doomed, doomed_version),
        put(&wrong, Version(12), "x"),
        put(&fresh, Version::ABSENT, "1"),
        put(&mark, Version::ABSENT, "dead"),
    ];
    if broker.contract().compares() {
        writes.push(compare(&still, still_version));
    }
    let outcomes = broker.commit(writes).await;
    broker.sees(&old, committed(&outcomes[0]), Some(b"2")).await;
    let left = if broker.contract().leaves_markers() { committed(&outcomes[1]) } else { Version::ABSENT };
    broker.sees(&doomed, left, None).await;
    conflicts_with(&outcomes[2], Version::ABSENT, None);
    broker.sees(&fresh, committed(&outcomes[3]), Some(b"1")).await;
    broker.sees(&mark, committed(&outcomes[4]), Some(b"dead")).await;
    if let Some(outcome) = outcomes.get(5) {
        assert_eq!(committed(outcome), still_version);
    }
    broker.sees(&still, still_version, Some(b"1")).await;
}

/// As many writes as the profile allows: created, updated and deleted in one batch each.
pub async fn a_batch_may_have_as_many_writes_as_the_profile_says(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let count = broker.profile().batch_writes_max;
    let keys: Vec<Key> = (0..count).map(|number| resource(&format!("many/{number}"))).collect();
    let mut versions = vec![Version::ABSENT; count];
    for round in 0..3 {
        let writes = keys.iter().zip(&versions).map(|(key, &version)| {
            if round < 2 { put(key, version, format!("{round}")) } else { delete(key, version) }
        });
        let outcomes = broker.commit(writes.collect()).await;
        versions = outcomes.iter().map(committed).collect();
        let expect_bytes = (round < 2).then(|| format!("{round}"));
        let last = if round < 2 || broker.contract().leaves_markers() { versions[count - 1] } else { Version::ABSENT };
        broker.sees(&keys[count - 1], last, expect_bytes.as_deref().map(str::as_bytes)).await;
    }
}

/// As many bytes as the profile allows, in records as large as it allows.
pub async fn a_batch_may_have_as_many_bytes_as_the_profile_says(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let profile = broker.profile();
    let count = (profile.batch_bytes_max / profile.record_bytes_max).min(profile.batch_writes_max);
    let keys: Vec<Key> = (0..count).map(|number| resource(&format!("large/{number}"))).collect();
    let bytes = |number: usize| vec![u8::try_from(number % 251).expect("below 251"); profile.record_bytes_max];
    let writes = keys.iter().enumerate().map(|(number, key)| put(key, Version::ABSENT, bytes(number)));
    let outcomes = broker.commit(writes.collect()).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        broker.sees(&keys[number], committed(outcome), Some(&bytes(number))).await;
    }
}

/// A record one byte too large is refused, before or by the store, and nothing of it is stored. The others of its batch
/// are stored or refused, and say so truly.
pub async fn a_record_too_large_is_unavailable_and_not_stored(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let largest = broker.profile().record_bytes_max;
    let (large, too_large) = (resource("large"), resource("too large"));
    let version = broker.put(&large, Version::ABSENT, vec![1; largest]).await;
    broker.sees(&large, version, Some(&vec![1; largest])).await;

    let outcome = broker.write(put(&too_large, Version::ABSENT, vec![1; largest + 1])).await;
    assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
    broker.sees(&too_large, Version::ABSENT, None).await;

    let (before, after) = (resource("before"), resource("after"));
    let small = |key| put(key, Version::ABSENT, "small");
    let batch = vec![small(&before), put(&too_large, Version::ABSENT, vec![1; largest + 1]), small(&after)];
    let outcomes = broker.commit(batch).await;
    assert!(matches!(outcomes[1], WriteOutcome::Unavailable(_)), "{:?}", outcomes[1]);
    broker.sees(&too_large, Version::ABSENT, None).await;
    for (key, outcome) in [(&before, &outcomes[0]), (&after, &outcomes[2])] {
        match outcome {
            WriteOutcome::Committed(version) => broker.sees(key, *version, Some(b"small")).await,
            WriteOutcome::Unavailable(_) => broker.sees(key, Version::ABSENT, None).await,
            _ => panic!("a neighbour of a record that is too large is {outcome:?}"),
        }
    }
}

/// A batch over the limits is refused as a whole, and nothing of it is stored.
pub async fn a_batch_over_the_limits_is_unavailable(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let count = broker.profile().batch_writes_max + 1;
    let keys: Vec<Key> = (0..count).map(|number| resource(&format!("r{number}"))).collect();
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, WriteOutcome::Unavailable(_))), "{:?}", outcomes[0]);
    for key in [&keys[0], &keys[count / 2], &keys[count - 1]] {
        broker.sees(key, Version::ABSENT, None).await;
    }
}

/// A broker may have batches in flight in each of its lanes.
pub async fn lanes_commit_at_the_same_time(fixture: &dyn Fixture) {
    const LANES: u16 = 16;
    const ROUNDS: usize = 10;
    let broker = Broker::join(fixture).await;
    let lanes = (0..LANES).map(|lane| {
        let backend = broker.backend.clone();
        let guard = Guard { lane: Lane(lane), ..broker.guard() };
        tokio::spawn(async move {
            let mut versions = [Version::ABSENT; 5];
            for round in 0..ROUNDS {
                let write = |(number, &version): (usize, &Version)| -> Write {
                    put(&resource(&format!("lane {lane}/{number}")), version, format!("{round}"))
                };
                let outcomes = backend.commit(guard, versions.iter().enumerate().map(write).collect()).await;
                for (version, outcome) in versions.iter_mut().zip(&outcomes) {
                    *version = committed(outcome);
                }
            }
            versions
        })
    });
    let last = (ROUNDS - 1).to_string();
    for (lane, versions) in futures::future::join_all(lanes).await.into_iter().enumerate() {
        for (number, version) in versions.expect("no lane panics").into_iter().enumerate() {
            broker.sees(&resource(&format!("lane {lane}/{number}")), version, Some(last.as_bytes())).await;
        }
    }
}
