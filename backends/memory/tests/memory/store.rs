//! The store as a state machine: what only somebody who sets its clock can see.

use bytes::Bytes;
use sixpin_core::backend::{
    Beat, BrokerInfo, Change, Contract, Family, Generation, Guard, Key, Lane, Root, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, Version};
use sixpin_core::standing::Standing;
use sixpin_memory::Store;

/// Some moment, in units of 10 µs.
const NOW: u64 = 179_000_000_000_000;
const DAY: u64 = 24 * 3600 * 100_000;
const BROKER: Incarnation = Incarnation(7);
const GUARD: Guard = Guard { broker: BROKER, lane: Lane(0), generation: Generation(1) };

fn store(contract: Contract) -> Store {
    let mut store = Store::new(contract, Root { secret_key: [1; 32], identity: 1 });
    store.beat(NOW, beat(0, Version::ABSENT)).unwrap();
    store
}

fn beat(number: u64, expected: Version) -> Beat {
    Beat {
        broker: BROKER,
        expected,
        number,
        broker_ttl: std::time::Duration::from_secs(5),
        round_trip: std::time::Duration::ZERO,
        standing: Standing::default(),
        info: BrokerInfo::default(),
    }
}

fn key(name: &str) -> Key {
    Key::Resource(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name).unwrap() })
}

fn write(store: &mut Store, now: u64, name: &str, expected: Version, change: Change) -> Version {
    let write = Write { key: key(name), expected, change, notify: false };
    match store.commit(now, GUARD, vec![write]).remove(0) {
        WriteOutcome::Committed(version) => version,
        outcome => panic!("{outcome:?}"),
    }
}

fn put(store: &mut Store, now: u64, name: &str, expected: Version) -> Version {
    write(store, now, name, expected, Change::Put(Bytes::from_static(b"x")))
}

fn delete(store: &mut Store, now: u64, name: &str, expected: Version) -> Version {
    write(store, now, name, expected, Change::Delete)
}

#[test]
fn a_version_is_the_time_unless_the_key_is_ahead_of_it() {
    let mut store = store(Contract::Checking);
    assert_eq!(put(&mut store, NOW, "a", Version::ABSENT), Version(NOW));
    // Another key in the same moment is not ahead.
    assert_eq!(put(&mut store, NOW, "b", Version::ABSENT), Version(NOW));
    assert_eq!(put(&mut store, NOW, "a", Version(NOW)), Version(NOW + 1));
    assert_eq!(put(&mut store, NOW + 50, "a", Version(NOW + 1)), Version(NOW + 50));
}

#[test]
fn versions_rise_while_the_clock_falls() {
    let mut store = store(Contract::Checking);
    let first = put(&mut store, NOW, "a", Version::ABSENT);
    let second = put(&mut store, NOW - DAY, "a", first);
    assert!(second > first);
    let deleted = delete(&mut store, NOW - DAY, "a", second);
    assert!(deleted > second);
    let again = put(&mut store, NOW - DAY, "a", Version::ABSENT);
    assert!(again > deleted, "a deleted key does not begin anew");
}

#[test]
fn one_busy_key_does_not_carry_the_others_away_from_the_clock() {
    let mut store = store(Contract::Checking);
    let mut version = put(&mut store, NOW, "busy", Version::ABSENT);
    for _ in 0..1_000 {
        version = put(&mut store, NOW, "busy", version);
    }
    assert_eq!(version, Version(NOW + 1_000));
    assert_eq!(put(&mut store, NOW + 1, "calm", Version::ABSENT), Version(NOW + 1));
}

#[test]
fn a_marker_lives_a_day() {
    let mut store = store(Contract::Marking);
    let first = put(&mut store, NOW, "a", Version::ABSENT);
    let marker = delete(&mut store, NOW, "a", first);
    assert_eq!(store.read(&[key("a")])[0].version, marker);
    assert!(store.is_empty(), "a marker is not a record");

    put(&mut store, NOW + DAY - 10, "other", Version::ABSENT);
    assert_eq!(store.version(&key("a")), marker);
    put(&mut store, NOW + DAY + 10, "another", Version::ABSENT);
    assert_eq!(store.version(&key("a")), Version::ABSENT);
    // Even then, and even with a clock that was set back, the key does not begin anew.
    assert!(put(&mut store, NOW - DAY, "a", Version::ABSENT) > marker);
}

#[test]
fn a_record_over_a_marker_outlives_it() {
    let mut store = store(Contract::Marking);
    let first = put(&mut store, NOW, "a", Version::ABSENT);
    let marker = delete(&mut store, NOW, "a", first);
    let again = put(&mut store, NOW, "a", marker);
    assert_eq!(store.len(), 1);
    put(&mut store, NOW + 2 * DAY, "other", Version::ABSENT);
    assert_eq!(store.version(&key("a")), again);
}

#[test]
fn markers_of_a_busy_key_do_not_pile_up() {
    let mut store = store(Contract::Marking);
    let mut expected = Version::ABSENT;
    for _ in 0..1_000 {
        let version = put(&mut store, NOW, "a", expected);
        expected = delete(&mut store, NOW, "a", version);
    }
    assert_eq!(store.len(), 0);
    put(&mut store, NOW + 2 * DAY, "b", Version::ABSENT);
    assert_eq!(store.len(), 1);
    assert_eq!(store.version(&key("a")), Version::ABSENT);
}

#[test]
fn without_markers_nothing_stays_of_what_was_deleted() {
    let mut store = store(Contract::Checking);
    for number in 0..100 {
        let version = put(&mut store, NOW, &format!("r{number}"), Version::ABSENT);
        delete(&mut store, NOW, &format!("r{number}"), version);
    }
    assert!(store.is_empty());
    assert_eq!(store.list(&Family::AllResources, None, 10).unwrap().keys, Vec::new());
}

#[test]
fn a_list_goes_on_from_a_key_that_was_deleted_meanwhile() {
    let mut store = store(Contract::Checking);
    for name in ["a", "b", "c", "d"] {
        put(&mut store, NOW, name, Version::ABSENT);
    }
    let page = store.list(&Family::AllResources, None, 2).unwrap();
    assert_eq!(page.keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key("a"), key("b")]);
    delete(&mut store, NOW, "b", Version(NOW));
    let page = store.list(&Family::AllResources, page.next.as_deref(), 2).unwrap();
    assert_eq!(page.keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key("c"), key("d")]);
    assert_eq!(page.next, None);
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    let store = store(Contract::Checking);
    for cursor in ["", "no slash", "BAD/name", "default/", "default/\n"] {
        let page = store.list(&Family::AllResources, Some(cursor), 10);
        assert!(matches!(page, Err(StoreError::NoSuchPlace)), "{cursor:?}: {page:?}");
    }
    let page = store.list(&Family::Sessions, Some("default/r"), 10);
    assert!(matches!(page, Err(StoreError::NoSuchPlace)), "{page:?}");
}

#[test]
fn a_late_copy_from_a_broker_that_left_creates_nothing_again() {
    let mut store = store(Contract::KeepingGenerations);
    let late = vec![Write { key: key("a"), expected: Version::ABSENT, change: Change::Delete, notify: false }];
    store.advance(Guard { generation: Generation(2), ..GUARD }).unwrap();
    store.leave(NOW, BROKER);
    assert_eq!(store.commit(NOW, GUARD, late), [WriteOutcome::Stale]);
}

#[test]
fn the_same_inputs_give_the_same_store() {
    let run = || {
        let mut store = store(Contract::Checking);
        for number in 0..500_u64 {
            let name = format!("r{}", number * 7 % 31);
            let expected = store.version(&key(&name));
            let change = if number % 3 == 0 { Change::Delete } else { Change::Put(Bytes::from(number.to_string())) };
            let write = Write { key: key(&name), expected, change, notify: false };
            store.commit(NOW + number / 4, GUARD, vec![write]);
        }
        format!("{store:?}")
    };
    assert_eq!(run(), run());
}
