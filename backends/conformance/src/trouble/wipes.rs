//! A store that loses everything while brokers use it.

use sixpin_core::backend::{StoreError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_testkit::until;

use crate::broker::{Broker, clock_10us, delete, patience, put, resource};
use crate::fixture::{Fixture, Wipes};

fn store(fixture: &dyn Fixture) -> &dyn Wipes {
    fixture.wipes().expect("this group is only for fixtures that can do it")
}

/// Once somebody has made a new root, whoever opened the store before finds that out by reading.
pub async fn a_store_that_lost_its_memory_is_noticed(fixture: &dyn Fixture) {
    let before = Broker::join(fixture).await;
    let key = resource("r");
    before.put(&key, Version::ABSENT, "one").await;
    store(fixture).wipe().await;
    let after = Broker::join(fixture).await;
    assert_ne!(before.backend.root().identity, after.backend.root().identity, "a new store has a new root");
    let noticed = until(patience(), || async {
        matches!(before.backend.read(std::slice::from_ref(&key)).await, Err(StoreError::Amnesia(_)))
    });
    assert!(noticed.await, "a changed root must be noticed");
    after.sees(&key, Version::ABSENT, None).await;
}

/// Nobody who was registered before can write afterwards. Only for stores that check the registration.
pub async fn nobody_writes_into_a_store_that_forgot_him(fixture: &dyn Fixture) {
    let before = Broker::join(fixture).await;
    if !before.contract().checks_registration() {
        return;
    }
    let key = resource("r");
    let version = before.put(&key, Version::ABSENT, "one").await;
    store(fixture).wipe().await;
    let after = Broker::join(fixture).await;
    for write in [put(&key, Version::ABSENT, "x"), put(&key, version, "x"), delete(&key, version)] {
        let outcome = before.write(write).await;
        assert!(
            matches!(outcome, WriteOutcome::Evicted | WriteOutcome::Unavailable(_) | WriteOutcome::Unknown(_)),
            "{outcome:?}"
        );
    }
    assert!(before.backend.beat(before.next_beat()).await.is_err(), "a beat never registers anew");
    after.sees(&key, Version::ABSENT, None).await;
}

/// Versions are higher after the loss than before it, so fences rise even then: they start at the clock, which a store
/// that wrote a lot in a moment may be ahead of, for a moment.
pub async fn versions_rise_over_the_loss(fixture: &dyn Fixture) {
    let key = resource("r");
    let mut last = Version::ABSENT;
    for _ in 0..3 {
        let broker = Broker::join(fixture).await;
        for number in 0..20 {
            let expected = if number == 0 { Version::ABSENT } else { last };
            let version = broker.put(&key, expected, format!("{number}")).await;
            assert!(version > last, "{version} is not above {last}");
            last = version;
        }
        assert!(until(patience(), || async { clock_10us() > last.0 }).await, "versions run far ahead of the clock");
        store(fixture).wipe().await;
    }
}
