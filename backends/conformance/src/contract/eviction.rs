//! Brokers that are declared gone by others, and forgotten.

use sixpin_core::backend::{Generation, Guard, StoreError, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, committed, put, resource};
use crate::fixture::Fixture;

async fn evict(by: &Broker, target: &Broker, seen: Version) -> WriteOutcome {
    by.backend.evict(by.guard(), target.incarnation, seen).await
}

async fn clear(by: &Broker, target: &Broker, seen: Version) -> WriteOutcome {
    by.backend.clear(by.guard(), target.incarnation, seen).await
}

#[track_caller]
fn conflicts(outcome: &WriteOutcome) {
    assert!(matches!(outcome, WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread), "{outcome:?}");
}

/// From the moment of its eviction a broker can do nothing that changes the store, for ever.
pub async fn who_was_evicted_writes_no_more(fixture: &dyn Fixture) {
    let (broker, evicted) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = evicted.put(&key, Version::ABSENT, "one").await;
    let gone = committed(&evict(&broker, &evicted, evicted.registration).await);
    assert!(gone > evicted.registration);

    assert_eq!(evicted.backend.beat(evicted.next_beat()).await, Err(StoreError::Evicted));
    if evicted.contract().checks_registration() {
        let writes = vec![put(&key, version, "two"), put(&resource("new"), Version::ABSENT, "x")];
        assert_eq!(evicted.commit(writes).await, vec![WriteOutcome::Evicted; 2]);
        let guard = Guard { generation: Generation(2), ..evicted.guard() };
        assert_eq!(evicted.backend.advance(guard).await, Err(StoreError::Evicted));
        assert_eq!(evict(&evicted, &broker, broker.registration).await, WriteOutcome::Evicted);
        assert_eq!(clear(&evicted, &evicted, gone).await, WriteOutcome::Evicted);
    }
    broker.sees(&key, version, Some(b"one")).await;
    let pulse = broker.sees_pulse(evicted.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
    assert_eq!(pulse.map(|pulse| pulse.version), Some(gone));
    broker.put(&key, version, "two").await;
}

/// An eviction is of exactly the beat whose silence was measured; one beat later it is nothing.
pub async fn an_eviction_at_a_wrong_version_conflicts(fixture: &dyn Fixture) {
    let (broker, mut target) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let first = target.registration;
    let second = target.renew().await;
    for wrong in [first, Version::ABSENT, Version(second.0 + 1)] {
        conflicts(&evict(&broker, &target, wrong).await);
    }
    target.renew().await;
    target.put(&resource("r"), Version::ABSENT, "x").await;
    broker.sees_pulse(target.incarnation, |pulse| pulse.is_some_and(|pulse| !pulse.gone)).await;
}

/// An incarnation that was evicted before anybody saw it can never register.
pub async fn an_eviction_of_an_absent_broker_keeps_it_out(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let late = Broker::with(fixture.open().await);
    committed(&evict(&broker, &late, Version::ABSENT).await);
    broker.sees_pulse(late.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
    assert_eq!(late.backend.beat(late.next_beat()).await, Err(StoreError::Evicted));
    if late.contract().checks_registration() {
        assert_eq!(late.write(put(&resource("r"), Version::ABSENT, "x")).await, WriteOutcome::Evicted);
    }
    broker.sees_pulse(late.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
}

/// Absent is a version like any other: an eviction of what is absent, at a version, is of nothing.
pub async fn an_eviction_of_an_absent_broker_at_a_version_conflicts(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let mut late = Broker::with(fixture.open().await);
    conflicts(&evict(&broker, &late, broker.registration).await);
    assert_eq!(broker.pulse_of(late.incarnation).await, None);
    late.registration = late.backend.beat(late.next_beat()).await.expect("nothing keeps it out");
    late.put(&resource("r"), Version::ABSENT, "x").await;
}

/// Evicting again, with the former version or the present one, leaves it gone.
pub async fn gone_stays_gone(fixture: &dyn Fixture) {
    let (broker, target) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let gone = committed(&evict(&broker, &target, target.registration).await);
    conflicts(&evict(&broker, &target, target.registration).await);
    let again = evict(&broker, &target, gone).await;
    assert!(
        matches!(again, WriteOutcome::Committed(_) | WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread),
        "{again:?}"
    );
    assert_eq!(target.backend.leave(target.incarnation).await, Ok(()));
    broker.sees_pulse(target.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
    assert_eq!(target.backend.beat(target.next_beat()).await, Err(StoreError::Evicted));
}

/// A registration that is gone can be forgotten, at exactly its version; afterwards it is absent, and its broker still
/// cannot write or renew.
pub async fn who_is_forgotten_stays_out(fixture: &dyn Fixture) {
    let (broker, target) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let guard = Guard { generation: Generation(3), ..target.guard() };
    assert_eq!(target.backend.advance(guard).await, Ok(()));
    let gone = committed(&evict(&broker, &target, target.registration).await);
    for wrong in [target.registration, Version(gone.0 + 1), Version::ABSENT] {
        conflicts(&clear(&broker, &target, wrong).await);
    }
    let outcome = clear(&broker, &target, gone).await;
    assert!(matches!(outcome, WriteOutcome::Committed(_)), "{outcome:?}");
    broker.sees_pulse(target.incarnation, |pulse| pulse.is_none()).await;

    assert_eq!(target.backend.beat(target.next_beat()).await, Err(StoreError::Evicted));
    if target.contract().checks_registration() {
        for generation in [1, 3, 9] {
            let guard = Guard { generation: Generation(generation), ..target.guard() };
            let writes = vec![put(&resource("r"), Version::ABSENT, "x")];
            assert_eq!(target.backend.commit(guard, writes).await, vec![WriteOutcome::Evicted]);
        }
        broker.sees(&resource("r"), Version::ABSENT, None).await;
    }
    conflicts(&clear(&broker, &target, gone).await);
    broker.sees_pulse(target.incarnation, |pulse| pulse.is_none()).await;
}

/// Who lives is not forgotten, whatever version is named.
pub async fn the_living_are_not_forgotten(fixture: &dyn Fixture) {
    let (broker, mut target) = (Broker::join(fixture).await, Broker::join(fixture).await);
    conflicts(&clear(&broker, &target, target.registration).await);
    conflicts(&clear(&broker, &broker, broker.registration).await);
    target.renew().await;
    target.put(&resource("r"), Version::ABSENT, "x").await;
}

/// The guard of an eviction is checked as in a commit: one that was sent before a doubt cannot strike after it.
pub async fn a_stale_eviction_is_stale(fixture: &dyn Fixture) {
    let (broker, target) = (Broker::join(fixture).await, Broker::join(fixture).await);
    if !broker.contract().checks_generation() {
        return;
    }
    let moved = Guard { generation: Generation(2), ..broker.guard() };
    assert_eq!(broker.backend.advance(moved).await, Ok(()));
    assert_eq!(evict(&broker, &target, target.registration).await, WriteOutcome::Stale);
    target.put(&resource("r"), Version::ABSENT, "x").await;
    let outcome = broker.backend.evict(moved, target.incarnation, target.registration).await;
    let gone = committed(&outcome);
    assert_eq!(clear(&broker, &target, gone).await, WriteOutcome::Stale);
    broker.sees_pulse(target.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
}

/// Of many that evict the same silence at once, exactly one does it, or none knows it.
pub async fn an_eviction_happens_once(fixture: &dyn Fixture) {
    let target = Broker::join(fixture).await;
    let mut brokers = Vec::new();
    for _ in 0..6 {
        brokers.push(Broker::join(fixture).await);
    }
    let evictions = brokers.iter().map(|broker| evict(broker, &target, target.registration));
    let outcomes = futures::future::join_all(evictions).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, WriteOutcome::Committed(_))).count();
    assert_eq!(done, 1, "{outcomes:?}");
}
