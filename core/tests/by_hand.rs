//! Records that somebody deletes or damages past the brokers: who held them is told, and nobody believes too long.

mod support;

use std::time::Duration;

use bytes::Bytes;
use sixpin_core::backend::{Key, Slot};
use sixpin_core::broker::api::{AdminRequest, BrokerConfig, Request, RequestError};
use sixpin_core::limits;
use sixpin_core::name::{ClaimNumber, Version};
use support::machine::{HOLDER, WAITER, World, config, lock, lock_call, resource, unlock};

/// Nobody has done anything to the record for long enough that it was looked at.
const ROUND_MS: u64 = 2 * limits::BROKER_TTL_DEFAULT.as_millis() as u64;
const KEEPALIVE_MS: u64 = 1_000;

/// Time passes; the sessions on the streams are kept alive.
fn live_on(world: &mut World, ms: u64) {
    let until = world.ms + ms;
    while world.ms < until {
        world.wait(KEEPALIVE_MS.min(until - world.ms));
        for connection in [HOLDER, WAITER] {
            world.ask(connection, Request::KeepAlive { move_number: 0 });
        }
        world.settle();
    }
    world.said.retain(|(_, said)| said != "lost []");
}

fn key() -> Key {
    Key::Resource(resource())
}

fn delete(world: &mut World) {
    world.stored.remove(&key());
    world.version += 1;
}

/// Says at which version.
fn damage(world: &mut World) -> Version {
    world.version += 1;
    let version = Version(world.version);
    world.stored.insert(key(), Slot { version, bytes: Some(Bytes::from_static(b"somebody was here")) });
    version
}

fn remove(version: Version, now: bool) -> AdminRequest {
    AdminRequest::RemoveDamaged { resource: resource(), version, now }
}

#[test]
fn a_holder_is_told_that_its_record_was_deleted() {
    let mut world = World::new();
    delete(&mut world);
    live_on(&mut world, ROUND_MS);
    assert_eq!(world.said.first(), Some(&(HOLDER, "Amnesia".to_owned())));
    let lines: Vec<&String> = world.warned.iter().filter(|line| line.starts_with("lock lost: ")).collect();
    assert!(matches!(lines.as_slice(), [line] if line.ends_with(" on default/r")), "{lines:?}");
    // Until it confirms it is told with every keepalive, as a caller without a stream must be.
    world.said.clear();
    world.ask(HOLDER, Request::KeepAlive { move_number: 0 });
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "lost [ClaimNumber(1)]".to_owned())]);
    world.ask(HOLDER, Request::ConfirmLost { claims: vec![ClaimNumber(1)] });
    world.settle();
    world.ask(HOLDER, Request::KeepAlive { move_number: 0 });
    world.settle();
    assert_eq!(world.said(), [(HOLDER, "lost []".to_owned())]);
}

#[test]
fn others_are_not_disturbed_by_a_deleted_record() {
    let mut world = World::new();
    world.ask(WAITER, lock(1, None));
    world.settle();
    assert_eq!(world.stored_claims(WAITER), 1);
    delete(&mut world);
    live_on(&mut world, ROUND_MS);
    let said = world.said();
    assert!(said.contains(&(HOLDER, "Amnesia".to_owned())), "{said:?}");
    // The place in the queue is gone with the record: a client asks again.
    assert!(said.contains(&(WAITER, "Gone".to_owned())), "{said:?}");
    world.ask(WAITER, lock(2, Some(0)));
    world.settle();
    assert_eq!(world.said(), [(WAITER, "Granted".to_owned())]);
}

#[test]
fn what_is_held_is_read_once_in_a_round_and_nothing_else_is_read() {
    let mut world = World::new();
    live_on(&mut world, ROUND_MS);
    world.read = 0;
    live_on(&mut world, 10 * limits::BROKER_TTL_DEFAULT.as_millis() as u64);
    assert!((9..=11).contains(&world.read), "{} reads", world.read);
    world.ask(HOLDER, unlock(1));
    world.settle();
    world.read = 0;
    live_on(&mut world, ROUND_MS);
    assert_eq!(world.read, 0);
}

#[test]
fn nothing_is_granted_on_a_damaged_record_and_it_is_said_how_to_repair_it() {
    let mut world = World::new();
    world.call(10, lock_call(1, None));
    world.settle();
    damage(&mut world);
    live_on(&mut world, ROUND_MS);
    // The caller that waited is told; the holder goes on.
    let damaged = |(to, error): &(u64, RequestError)| {
        matches!(error, RequestError::Damaged(text) if text.contains("`sixpin purge --damaged 'r'`")).then_some(*to)
    };
    assert_eq!(world.errors.iter().filter_map(damaged).collect::<Vec<u64>>(), [10]);
    assert_eq!(world.said(), []);
    for call in 11..20 {
        world.call(call, lock_call(call, Some(0)));
        world.settle();
    }
    assert_eq!(world.errors.iter().filter_map(damaged).collect::<Vec<u64>>(), (10..20).collect::<Vec<u64>>());
    let lines = world.warned.iter().filter(|line| line.starts_with("record damaged")).count();
    assert_eq!(lines, 1, "once a minute: {:?}", world.warned);
}

#[test]
fn where_a_damaged_record_was_removed_nothing_is_granted_while_anybody_may_believe() {
    let mut world = World::new();
    let version = damage(&mut world);
    world.administer(20, remove(version, false));
    world.settle();
    let said = world.said();
    let free_in: u64 = match said.iter().find(|(to, _)| *to == 20) {
        Some((_, said)) => said.split(' ').nth(2).and_then(|ms| ms.parse().ok()).expect("a time"),
        None => panic!("no answer: {said:?}, {:?}", world.errors),
    };
    let believed = limits::SESSION_TTL_LIMIT_DEFAULT + 2 * limits::BROKER_TTL_DEFAULT;
    assert!(Duration::from_millis(free_in) > believed, "{free_in} ms");
    assert!(said.contains(&(HOLDER, "Amnesia".to_owned())), "{said:?}");
    world.ask(WAITER, lock(1, None));
    live_on(&mut world, free_in - 2 * KEEPALIVE_MS);
    assert_eq!(world.stored_claims(WAITER), 1, "it waits");
    let granted = (WAITER, "Granted".to_owned());
    assert!(!world.said().contains(&granted));
    live_on(&mut world, 10 * KEEPALIVE_MS);
    assert!(world.said().contains(&granted));
}

#[test]
fn a_damaged_record_is_removed_at_once_where_nobody_holds_it() {
    let mut world = World::new();
    let version = damage(&mut world);
    world.administer(20, remove(version, true));
    world.settle();
    assert!(world.said().contains(&(20, "free in 0 ms".to_owned())));
    world.ask(WAITER, lock(1, Some(0)));
    world.settle();
    assert!(world.said().contains(&(WAITER, "Granted".to_owned())));
}

#[test]
fn before_the_store_is_settled_no_damaged_record_goes() {
    let mut world = World::of(BrokerConfig { first_start_grace: None, ..config() });
    let version = damage(&mut world);
    let damaged = world.stored[&key()].clone();
    world.administer(20, remove(version, false));
    world.settle();
    // Without the session that holds its place somebody else would be granted what its holders believe in.
    assert_eq!(world.stored.get(&key()), Some(&damaged));
    live_on(&mut world, limits::SESSION_TTL_LIMIT_DEFAULT.as_millis() as u64 + 2 * ROUND_MS);
    let answered = world.said().into_iter().any(|(to, said)| to == 20 && said.starts_with("free in "));
    assert!(answered || world.errors.iter().any(|(to, _)| *to == 20), "{:?}", world.errors);
}

#[test]
fn a_record_is_removed_only_as_it_was_seen_damaged() {
    for now in [false, true] {
        let mut world = World::new();
        // It is sound.
        let sound = world.stored[&key()].clone();
        world.administer(20, remove(sound.version, now));
        world.settle();
        assert!(matches!(world.errors.as_slice(), [(20, RequestError::NotFound(_))]), "{:?}", world.errors);
        assert_eq!(world.stored.get(&key()), Some(&sound));
        // It was damaged once more.
        let seen = damage(&mut world);
        damage(&mut world);
        let damaged = world.stored[&key()].clone();
        world.errors.clear();
        world.administer(21, remove(seen, now));
        world.settle();
        assert!(matches!(world.errors.as_slice(), [(21, RequestError::Damaged(_))]), "{:?}", world.errors);
        assert_eq!(world.stored.get(&key()), Some(&damaged));
    }
}
