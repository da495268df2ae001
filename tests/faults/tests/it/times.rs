//! A lock is never given away too early. How late it is given away is measured by `sixpin-faults times`.

use std::time::Duration;

use sixpin_faults::times::{freed, moved};
use sixpin_faults::world::StoreKind;

use crate::{on_every_store, plan};

const TTL: Duration = Duration::from_secs(2);

async fn a_dead_clients_lock_is_not_given_away_before_its_ttl(store: StoreKind) {
    let plan = plan(store);
    let (alone, with_broker) = tokio::join!(freed(&plan, TTL, false), freed(&plan, TTL, true));
    assert!(alone.since_keepalive >= TTL, "{alone:?}");
    assert!(with_broker.since_keepalive >= TTL, "{with_broker:?}");
}

async fn a_live_client_keeps_lock_and_place_when_its_broker_is_killed(store: StoreKind) {
    let moved = moved(&plan(store), Duration::from_secs(25)).await;
    assert!(moved.kept_lock && moved.kept_place, "{moved:?}");
}

on_every_store!(
    a_dead_clients_lock_is_not_given_away_before_its_ttl,
    a_live_client_keeps_lock_and_place_when_its_broker_is_killed,
);
