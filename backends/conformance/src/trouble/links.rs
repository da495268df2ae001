//! Connections that lose replies, and requests that arrive late.

use std::time::Duration;

use sixpin_core::backend::{StoreError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::until;

use crate::broker::{Broker, committed, delete, patience, put, resource};
use crate::fixture::{Fixture, Link, Network};
use crate::workload::{self, Work};

fn link(fixture: &dyn Fixture) -> &dyn Link {
    fixture.link().expect("this group is only for fixtures that can do it")
}

/// Sends one write whose connection is going to break, and waits until it has. A write that was not struck, because the
/// trap caught another connection of the backend first, is told by its outcome.
async fn struck_write(broker: &Broker, network: &dyn Network, write: sixpin_core::backend::Write) -> WriteOutcome {
    let before = network.struck();
    let outcome = broker.write(write).await;
    assert!(
        matches!(outcome, WriteOutcome::Unknown(_) | WriteOutcome::Committed(_)),
        "the request may have arrived, so nothing but unknown is true unless an answer came: {outcome:?}"
    );
    if matches!(outcome, WriteOutcome::Unknown(_)) {
        assert!(until(patience(), || async { network.struck() > before }).await, "unknown although nothing was struck");
    }
    outcome
}

/// Lets what was kept back arrive, and waits until the store has done it.
async fn release(network: &dyn Network, before: usize) {
    network.release_held().await;
    assert!(until(patience(), || async { network.delivered() > before }).await, "what was kept back never arrived");
}

/// After all connections broke, the backend comes back by itself.
pub async fn a_broken_connection_heals(fixture: &dyn Fixture) {
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let key = resource("journal");
    for round in 0..5 {
        link.network().cut_now();
        workload::append(&mut broker, &key, &format!("0-{round}")).await;
        broker.renew_patiently().await;
    }
    workload::check_journal(&broker, &key, &[5]).await;
}

/// A write whose reply was lost is unknown; it happened once, or not at all.
pub async fn a_lost_reply_is_unknown_and_the_write_happens_once(fixture: &dyn Fixture) {
    const ROUNDS: usize = 8;
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let key = resource("journal");
    workload::append(&mut broker, &key, "0-0").await;
    let mut unknown = 0;
    for round in 1..ROUNDS {
        let slot = broker.read_patiently(&key).await;
        let text = String::from_utf8_lossy(&slot.bytes.unwrap_or_default()).into_owned() + &format!("0-{round}\n");
        link.network().cut_next_reply();
        let outcome = struck_write(&broker, link.network(), put(&key, slot.version, text)).await;
        link.network().disarm();
        if matches!(outcome, WriteOutcome::Unknown(_)) {
            unknown += 1;
            broker.settle().await;
        }
        workload::append(&mut broker, &key, &format!("0-{round}")).await;
    }
    assert!(unknown > 0, "no reply was ever lost");
    workload::check_journal(&broker, &key, &[ROUNDS]).await;
}

/// A create that was on its way when its lane moved never arrives: nobody will ever see it. Only for stores that check
/// generations; the others are protected by the marker, as the next behaviour shows.
pub async fn a_late_create_never_strikes_once_the_lane_moved(fixture: &dyn Fixture) {
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let other = Broker::join(fixture).await;
    if !broker.contract().checks_generation() {
        return;
    }
    let mut struck = 0;
    for round in 0..5 {
        let key = resource(&format!("r{round}"));
        let delivered = link.network().delivered();
        link.network().hold_next_request();
        let outcome = struck_write(&broker, link.network(), put(&key, Version::ABSENT, "late")).await;
        link.network().disarm();
        if matches!(outcome, WriteOutcome::Committed(_)) {
            continue;
        }
        struck += 1;
        broker.settle().await;
        let settled = other.read(&key).await;
        release(link.network(), delivered).await;
        other.sees(&key, settled.version, settled.bytes.as_deref()).await;
        assert_eq!(settled.bytes, None, "what was kept back cannot have been stored before it arrived");
    }
    assert!(struck > 0, "no request was ever kept back");
}

/// A create that is late by a whole life of the record (created again, deleted again) makes no ghost.
pub async fn a_late_create_never_strikes_after_a_delete(fixture: &dyn Fixture) {
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let other = Broker::join(fixture).await;
    let mut struck = 0;
    for round in 0..5 {
        let key = resource(&format!("r{round}"));
        let delivered = link.network().delivered();
        link.network().hold_next_request();
        let outcome = struck_write(&broker, link.network(), put(&key, Version::ABSENT, "same")).await;
        link.network().disarm();
        if matches!(outcome, WriteOutcome::Committed(_)) {
            continue;
        }
        struck += 1;
        broker.settle().await;
        let version = committed(&broker.write(put(&key, Version::ABSENT, "same")).await);
        let left = broker.delete(&key, version).await;
        release(link.network(), delivered).await;
        other.sees(&key, left, None).await;
        broker.sees(&key, left, None).await;
    }
    assert!(struck > 0, "no request was ever kept back");
}

/// A late update or delete of a record that was written since changes nothing.
pub async fn a_late_update_never_strikes_after_another_write(fixture: &dyn Fixture) {
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let other = Broker::join(fixture).await;
    let mut struck = 0;
    for round in 0..6 {
        let key = resource(&format!("r{round}"));
        let first = other.put(&key, Version::ABSENT, "first").await;
        let late = if round % 2 == 0 { put(&key, first, "late") } else { delete(&key, first) };
        let delivered = link.network().delivered();
        link.network().hold_next_request();
        let outcome = struck_write(&broker, link.network(), late).await;
        link.network().disarm();
        if matches!(outcome, WriteOutcome::Committed(_)) {
            continue;
        }
        struck += 1;
        let second = other.put(&key, first, "second").await;
        release(link.network(), delivered).await;
        other.sees(&key, second, Some(b"second")).await;
        broker.settle().await;
    }
    assert!(struck > 0, "no request was ever kept back");
}

/// A beat that arrives after its broker was evicted revives nobody.
pub async fn a_late_beat_revives_nobody(fixture: &dyn Fixture) {
    let link = link(fixture);
    let broker = Broker::join_through(link).await;
    let other = Broker::join(fixture).await;
    let delivered = link.network().delivered();
    link.network().hold_next_request();
    let answer = tokio::time::timeout(patience(), broker.backend.beat(broker.next_beat())).await;
    let answer = answer.expect("a beat ends in bounded time");
    link.network().disarm();
    assert!(matches!(answer, Ok(_) | Err(StoreError::Unknown(_))), "{answer:?}");
    let pulse = other.sees_pulse(broker.incarnation, |pulse| pulse.is_some()).await.expect("it was seen");
    let outcome = other.backend.evict(other.guard(), broker.incarnation, pulse.version).await;
    assert!(matches!(outcome, WriteOutcome::Committed(_)), "{outcome:?}");
    if answer.is_err() {
        release(link.network(), delivered).await;
    }
    other.sees_pulse(broker.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
    assert_eq!(other.backend.beat(broker.next_beat()).await, Err(StoreError::Evicted));
}

/// A caller that stops waiting has an unknown outcome, which is settled like any other.
pub async fn a_dropped_commit_is_settled_by_moving_the_lane(fixture: &dyn Fixture) {
    let link = link(fixture);
    let mut broker = Broker::join_through(link).await;
    let other = Broker::join(fixture).await;
    for round in 0..10 {
        let key = resource(&format!("r{round}"));
        {
            let commit = broker.backend.commit(broker.guard(), vec![put(&key, Version::ABSENT, "dropped")]);
            // Polled once, so that it may have been sent, and dropped.
            let _ = tokio::time::timeout(Duration::ZERO, commit).await;
        }
        broker.settle().await;
        let slot = other.read(&key).await;
        if broker.contract().checks_generation() {
            other.sees(&key, slot.version, slot.bytes.as_deref()).await;
        }
        let version = broker.overwrite(&key, "after").await;
        other.sees(&key, version, Some(b"after")).await;
    }
}

/// Writers whose connections break again and again, in all ways, lose nothing and double nothing.
pub async fn nothing_is_lost_while_replies_are(fixture: &dyn Fixture) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 6;
    const ENTRIES: usize = 4;
    let link = link(fixture);
    let network = link.network();
    let keys = [resource("journal 1"), resource("journal 2")];
    let mut brokers = Vec::new();
    for _ in 0..WRITERS {
        brokers.push(Broker::join_through(link).await);
    }
    for round in 0..ROUNDS {
        let (struck, delivered) = (network.struck(), network.delivered());
        match round % 3 {
            0 => network.cut_next_reply(),
            1 => network.hold_next_request(),
            _ => network.cut_now(),
        }
        let entries = round * ENTRIES..(round + 1) * ENTRIES;
        let done = workload::append_at_once(brokers, &keys, Work::of(entries)).await;
        brokers = done.into_iter().map(|(broker, _)| broker).collect();
        network.disarm();
        assert!(round % 3 == 2 || network.struck() > struck, "no connection was struck");
        if round % 3 == 1 {
            release(network, delivered).await;
        }
    }
    let observer = Broker::join(fixture).await;
    for key in &keys {
        workload::check_journal(&observer, key, &[ROUNDS * ENTRIES; WRITERS]).await;
    }
}

/// Nobody gets in twice and no ghost stays behind while connections break again and again, in all ways. What was kept
/// back arrives a round later, when others have been in and out.
pub async fn nobody_gets_in_twice_while_replies_are_lost(fixture: &dyn Fixture) {
    const ROUNDS: usize = 8;
    const TURNS: usize = 3;
    let link = link(fixture);
    let network = link.network();
    let key = resource("token");
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(Broker::join_through(link).await);
    }
    let mut struck = 0;
    for round in 0..ROUNDS {
        let before = network.struck();
        match round % 4 {
            0 => network.hold_next_request(),
            1 => network.release_held().await,
            2 => network.cut_next_reply(),
            _ => network.cut_now(),
        }
        let turns = round * TURNS..(round + 1) * TURNS;
        brokers = workload::take_turns(brokers, &key, Work::of(turns)).await;
        network.disarm();
        struck += network.struck() - before;
    }
    assert!(struck > 0, "no connection was ever struck");
    let observer = Broker::join(fixture).await;
    assert_eq!(observer.read_patiently(&key).await.bytes, None, "a ghost stayed behind");
}
