//! The number that a write gets: it rises for ever, and fences are made of it.

use std::collections::BTreeSet;

use sixpin_core::name::Version;

use crate::broker::{Broker, clock_10us, resource, session};
use crate::fixture::Fixture;

/// Every write of a key gets a higher version than the one before, whoever writes.
pub async fn versions_rise_with_every_write(fixture: &dyn Fixture) {
    let (one, two) = (Broker::join(fixture).await, Broker::join(fixture).await);
    for key in [resource("r"), session(1, 2, 3_000)] {
        let mut last = Version::ABSENT;
        for round in 0..100 {
            let broker = if round % 2 == 0 { &one } else { &two };
            let version = broker.put(&key, last, format!("{round}")).await;
            assert!(version > last, "{version} is not above {last}");
            last = version;
        }
    }
}

/// A delete does not make the store forget how far it was; otherwise fences would fall.
pub async fn versions_rise_over_delete_and_create(fixture: &dyn Fixture) {
    let (one, two) = (Broker::join(fixture).await, Broker::join(fixture).await);
    let key = resource("r");
    let mut seen = BTreeSet::new();
    let (mut expected, mut last) = (Version::ABSENT, Version::ABSENT);
    for round in 0..50 {
        let (broker, other) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let created = broker.put(&key, expected, "x").await;
        let updated = broker.put(&key, created, "y").await;
        assert!(created > last && updated > created, "{last}, {created}, {updated} should rise");
        assert!(seen.insert(created) && seen.insert(updated), "a version is given once");
        last = updated;
        expected = other.delete(&key, updated).await;
        assert!(expected.is_absent() || expected > last);
    }
}

/// Versions start near the wall clock in units of 10 µs: so they also rise over a change of store, and 1,024 places fit
/// below each until far beyond this century.
pub async fn versions_start_at_the_clock(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "x").await;
    let day = 24 * 3600 * 100_000;
    let now = clock_10us();
    assert!(version.0 > now - day, "{version} is more than a day behind the clock, {now}");
    assert!(version.0 < now + day, "{version} is more than a day ahead of the clock, {now}");
    assert!(version.0 < 1 << 53, "a fence has 1,024 places for each version and stays below 2^63");
}
