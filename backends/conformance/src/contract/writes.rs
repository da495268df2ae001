//! One compare-and-swap.

use sixpin_core::name::Version;

use crate::broker::{Broker, committed, compare, conflicts_with, delete, put, resource, session};
use crate::fixture::Fixture;

/// Where nothing is, a write that expects nothing is stored, and others see it.
pub async fn a_create_of_an_absent_key_commits(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    broker.sees(&key, Version::ABSENT, None).await;
    let version = broker.put(&key, Version::ABSENT, "one").await;
    assert!(!version.is_absent());
    broker.sees(&key, version, Some(b"one")).await;
    other.sees(&key, version, Some(b"one")).await;
}

/// A record is never overwritten by somebody who believes that there is none.
pub async fn a_create_over_a_record_conflicts(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    let outcome = other.write(put(&key, Version::ABSENT, "two")).await;
    conflicts_with(&outcome, version, Some(b"one"));
    broker.sees(&key, version, Some(b"one")).await;
}

/// Who knows the version may write.
pub async fn an_update_at_the_right_version_commits(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let mut last = Version::ABSENT;
    for (round, text) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let writer = if round % 2 == 0 { &broker } else { &other };
        let version = writer.put(&key, last, text).await;
        assert!(version > last);
        last = version;
        broker.sees(&key, version, Some(text.as_bytes())).await;
        other.sees(&key, version, Some(text.as_bytes())).await;
    }
}

/// Who knows another version may not, whether it is older or newer.
pub async fn an_update_at_a_wrong_version_conflicts(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let key = resource("r");
    let first = broker.put(&key, Version::ABSENT, "one").await;
    let second = broker.put(&key, first, "two").await;
    for wrong in [first, Version(1), Version(second.0 + 1), Version(second.0 - 1)] {
        let outcome = broker.write(put(&key, wrong, "wrong")).await;
        conflicts_with(&outcome, second, Some(b"two"));
    }
    broker.sees(&key, second, Some(b"two")).await;
}

/// An update of what is not there creates nothing.
pub async fn an_update_of_an_absent_key_conflicts(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let key = resource("r");
    let neighbour = broker.put(&resource("neighbour"), Version::ABSENT, "one").await;
    for wrong in [Version(1), neighbour] {
        let outcome = broker.write(put(&key, wrong, "wrong")).await;
        conflicts_with(&outcome, Version::ABSENT, None);
    }
    broker.sees(&key, Version::ABSENT, None).await;
}

/// A deleted record is gone for everybody.
pub async fn a_delete_at_the_right_version_removes(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    let left = broker.delete(&key, version).await;
    broker.sees(&key, left, None).await;
    other.sees(&key, left, None).await;
}

/// A record is deleted only by somebody who knows it.
pub async fn a_delete_at_a_wrong_version_conflicts(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let key = resource("r");
    let first = broker.put(&key, Version::ABSENT, "one").await;
    let second = broker.put(&key, first, "two").await;
    for wrong in [Version::ABSENT, first, Version(second.0 + 1)] {
        let outcome = broker.write(delete(&key, wrong)).await;
        conflicts_with(&outcome, second, Some(b"two"));
    }
    broker.sees(&key, second, Some(b"two")).await;
}

/// With markers the next create expects the marker, and "absent" is wrong; without, the other way round. What stood
/// there before the delete is wrong in both.
pub async fn a_delete_leaves_what_the_profile_says(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let first = broker.put(&key, Version::ABSENT, "one").await;
    let left = broker.delete(&key, first).await;
    assert!(!broker.contract().leaves_markers() || left > first, "a marker has a version of its own");
    for wrong in [first, Version(first.0 + 1_000_000)] {
        conflicts_with(&other.write(put(&key, wrong, "wrong")).await, left, None);
    }
    if broker.contract().leaves_markers() {
        conflicts_with(&other.write(put(&key, Version::ABSENT, "wrong")).await, left, None);
    }
    let again = other.put(&key, left, "again").await;
    assert!(again > first);
    broker.sees(&key, again, Some(b"again")).await;
}

/// A compare is true or a conflict, and never a change. Only for stores that say they compare.
pub async fn a_compare_confirms_and_changes_nothing(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    if !broker.contract().compares() {
        return;
    }
    let key = resource("r");
    assert_eq!(committed(&broker.write(compare(&key, Version::ABSENT)).await), Version::ABSENT);
    conflicts_with(&broker.write(compare(&key, Version(7))).await, Version::ABSENT, None);

    let version = broker.put(&key, Version::ABSENT, "one").await;
    assert_eq!(committed(&broker.write(compare(&key, version)).await), version);
    conflicts_with(&broker.write(compare(&key, Version::ABSENT)).await, version, Some(b"one"));
    conflicts_with(&broker.write(compare(&key, Version(version.0 + 1))).await, version, Some(b"one"));
    broker.sees(&key, version, Some(b"one")).await;
}

/// A record is bytes, not text.
pub async fn any_bytes_come_back(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut version = Version::ABSENT;
    for bytes in [every_byte.clone(), vec![0; 100], vec![255; 3], b"\r\n\0*3\r\n".to_vec(), every_byte.repeat(40)] {
        version = broker.put(&resource("r"), version, bytes.clone()).await;
        broker.sees(&resource("r"), version, Some(&bytes)).await;
        conflicts_with(&broker.write(put(&resource("r"), Version::ABSENT, "x")).await, version, Some(&bytes));
    }
}

/// A record without bytes is a record.
pub async fn an_empty_record_is_not_an_absent_one(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "").await;
    broker.sees(&resource("r"), version, Some(b"")).await;
    conflicts_with(&broker.write(put(&resource("r"), Version::ABSENT, "x")).await, version, Some(b""));
}

/// Session marks are kept like resources and never mixed up with them, or with each other.
pub async fn a_session_mark_is_a_record_of_its_own(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let marks = [
        session(1, 2, 10_000),
        session(1, 2, 10_001),
        session(1, 3, 10_000),
        session(2, 2, 10_000),
        session(0, 0, 0),
        session(u64::MAX, u32::MAX, u32::MAX),
    ];
    let mut keys = marks.to_vec();
    for mark in &marks {
        let sixpin_core::backend::Key::Session(id) = mark else { unreachable!("marks are of sessions") };
        keys.push(resource(&id.to_string()));
    }
    let mut versions = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        versions.push(broker.put(key, Version::ABSENT, format!("{number}")).await);
    }
    for (number, key) in keys.iter().enumerate() {
        broker.sees(key, versions[number], Some(format!("{number}").as_bytes())).await;
    }
    let left = broker.delete(&keys[0], versions[0]).await;
    broker.sees(&keys[0], left, None).await;
    broker.sees(&keys[1], versions[1], Some(b"1")).await;
}

/// One slot per key, in the order asked, absent ones included; also for none and for very many.
pub async fn reads_answer_in_the_order_asked(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut versions = std::collections::BTreeMap::new();
    for number in [3, 1, 2] {
        versions
            .insert(number, broker.put(&resource(&format!("r{number}")), Version::ABSENT, format!("{number}")).await);
    }
    assert_eq!(broker.backend.read(&[]).await, Ok(Vec::new()));
    broker.sees(&resource("r2"), versions[&2], Some(b"2")).await;

    let keys: Vec<_> = (0..1_500).rev().map(|number| resource(&format!("r{number}"))).collect();
    let slots = broker.backend.read(&keys).await.expect("many keys can be read at once");
    assert_eq!(slots.len(), keys.len());
    for (slot, number) in slots.iter().zip((0..1_500).rev()) {
        assert_eq!(slot.version, versions.get(&number).copied().unwrap_or_default());
        assert_eq!(
            slot.bytes.as_deref(),
            versions.get(&number).map(|_| number.to_string()).as_deref().map(str::as_bytes)
        );
    }
}
