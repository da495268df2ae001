//! Signs of life.

use std::time::Duration;

use sixpin_core::backend::{Beat, StoreError, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, info, put, resource, standing};
use crate::fixture::Fixture;

/// A registration shows to everybody, with all that the broker said of itself.
pub async fn a_registration_is_seen_by_all(fixture: &dyn Fixture) {
    let (one, two) = (Broker::join(fixture).await, Broker::join(fixture).await);
    for observer in [&one, &two] {
        for broker in [&one, &two] {
            let pulse = observer.sees_pulse(broker.incarnation, |pulse| pulse.is_some()).await.expect("it was seen");
            assert_eq!(pulse.version, broker.registration);
            assert!(!pulse.gone);
            assert_eq!(pulse.beat, 0);
            assert_eq!(pulse.broker_ttl, Duration::from_secs(5));
            assert_eq!(pulse.round_trip, Duration::from_millis(3));
            assert_eq!(pulse.standing, standing());
            assert_eq!(pulse.info, info(broker.incarnation));
        }
    }
}

/// A beat renews: a new version, a new number, and what the broker says of itself now.
pub async fn a_beat_renews(fixture: &dyn Fixture) {
    let (mut broker, observer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let mut last = broker.registration;
    for number in 1..=20 {
        let version = broker.renew().await;
        assert!(version > last, "every beat raises the version of the registration");
        last = version;
        let pulse = observer.sees_pulse(broker.incarnation, |it| it.is_some_and(|it| it.beat == number)).await;
        assert_eq!(pulse.map(|pulse| pulse.version), Some(version));
    }
    let beat =
        Beat { round_trip: Duration::from_micros(1_234_567), broker_ttl: Duration::from_secs(9), ..broker.next_beat() };
    let version = broker.backend.beat(beat.clone()).await.expect("a beat may say something else");
    let pulse = observer.sees_pulse(broker.incarnation, |it| it.is_some_and(|it| it.version == version)).await;
    let pulse = pulse.expect("it was seen");
    assert_eq!((pulse.broker_ttl, pulse.round_trip), (beat.broker_ttl, beat.round_trip));
}

/// A repeat of a beat whose answer was lost finds its own number stored: a success, at the version of the first copy.
pub async fn a_repeated_beat_is_one_beat(fixture: &dyn Fixture) {
    let mut broker = Broker::with(fixture.open().await);
    let registration = broker.next_beat();
    let version = broker.backend.beat(registration.clone()).await.expect("a fresh broker can register");
    assert_eq!(broker.backend.beat(registration).await, Ok(version));
    broker.registration = version;

    let beat = broker.next_beat();
    let renewed = broker.backend.beat(beat.clone()).await.expect("a beat on the right version succeeds");
    for _ in 0..3 {
        assert_eq!(broker.backend.beat(beat.clone()).await, Ok(renewed));
    }
    assert_eq!(broker.pulse_of(broker.incarnation).await.map(|pulse| pulse.version), Some(renewed));
}

/// A beat on a version that is not the stored one, under another number, changes nothing.
pub async fn a_beat_on_a_wrong_version_changes_nothing(fixture: &dyn Fixture) {
    let mut broker = Broker::join(fixture).await;
    let first = broker.registration;
    let second = broker.renew().await;
    for wrong in [first, Version(second.0 + 1_000), Version(1)] {
        let beat = Beat { expected: wrong, number: 9, ..broker.next_beat() };
        let answer = broker.backend.beat(beat).await;
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_) | StoreError::Amnesia(_) | StoreError::Evicted)),
            "{answer:?}"
        );
    }
    let pulse = broker.sees_pulse(broker.incarnation, |it| it.is_some_and(|it| it.version == second)).await;
    assert_eq!(pulse.map(|pulse| pulse.beat), Some(1));
}

/// Only number 0 registers, and only where nothing is: a later beat that finds nothing was evicted and forgotten, and a
/// second registration of one incarnation is a mistake.
pub async fn a_beat_never_registers_again(fixture: &dyn Fixture) {
    let (mut broker, observer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let stranger = Broker::with(broker.backend.clone());
    for expected in [Version(5), broker.registration] {
        let beat = Beat { expected, number: 3, ..stranger.next_beat() };
        assert_eq!(broker.backend.beat(beat).await, Err(StoreError::Evicted));
    }
    assert_eq!(observer.pulse_of(stranger.incarnation).await, None);

    let registration = Beat { expected: Version::ABSENT, number: 0, ..broker.next_beat() };
    let version = broker.renew().await;
    assert_eq!(broker.backend.beat(registration).await, Err(StoreError::Evicted));
    observer.sees_pulse(broker.incarnation, |it| it.is_some_and(|it| it.version == version && !it.gone)).await;
}

/// A broker that left is gone; leaving again changes nothing; its commits, lanes and beats are refused from then on.
pub async fn who_left_is_gone(fixture: &dyn Fixture) {
    let (broker, observer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let version = broker.put(&key, Version::ABSENT, "one").await;
    for _ in 0..2 {
        assert_eq!(broker.backend.leave(broker.incarnation).await, Ok(()));
    }
    let pulse = observer.sees_pulse(broker.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
    assert!(pulse.is_some_and(|pulse| pulse.version > broker.registration));
    assert_eq!(broker.backend.beat(broker.next_beat()).await, Err(StoreError::Evicted));
    if broker.contract().checks_registration() {
        assert_eq!(broker.write(put(&key, version, "two")).await, WriteOutcome::Evicted);
        assert_eq!(broker.backend.advance(broker.guard()).await, Err(StoreError::Evicted));
        observer.sees(&key, version, Some(b"one")).await;
    }
    observer.put(&key, version, "two").await;
}

/// Leaving needs no version: it works after beats whose answers were lost.
pub async fn leaving_needs_no_version(fixture: &dyn Fixture) {
    let (broker, observer) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let beat = broker.next_beat();
    broker.backend.beat(beat).await.expect("a beat on the right version succeeds");
    assert_eq!(broker.backend.leave(broker.incarnation).await, Ok(()));
    observer.sees_pulse(broker.incarnation, |pulse| pulse.is_some_and(|pulse| pulse.gone)).await;
}

/// Who never registered cannot write. Only for stores that check the registration.
pub async fn a_stranger_cannot_write(fixture: &dyn Fixture) {
    let stranger = Broker::with(fixture.open().await);
    if !stranger.contract().checks_registration() {
        return;
    }
    let keys = ["r1", "r2"].map(resource);
    let outcomes = stranger.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    assert_eq!(outcomes, vec![WriteOutcome::Evicted; 2]);
    stranger.sees(&keys[0], Version::ABSENT, None).await;
    stranger.sees(&keys[1], Version::ABSENT, None).await;
}
