//! Lanes and their generations: what was sent before a doubt cannot strike after it.

use futures::future::join_all;
use sixpin_core::backend::{Generation, Guard, Key, Lane, StoreError, WriteOutcome};
use sixpin_core::name::Version;

use crate::broker::{Broker, committed, put, resource};
use crate::fixture::Fixture;

async fn send(broker: &Broker, lane: u16, generation: u64, name: &str) -> WriteOutcome {
    let guard = Guard { lane: Lane(lane), generation: Generation(generation), ..broker.guard() };
    broker.backend.commit(guard, vec![put(&resource(name), Version::ABSENT, "x")]).await.remove(0)
}

async fn advance(broker: &Broker, lane: u16, generation: u64) -> Result<(), StoreError> {
    broker.backend.advance(Guard { lane: Lane(lane), generation: Generation(generation), ..broker.guard() }).await
}

/// Several batches of one lane may be on their way at once: each is answered for itself.
pub async fn batches_of_a_lane_go_side_by_side(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    for round in 0..10 {
        let keys: Vec<Key> = (0..8).map(|number| resource(&format!("{round}/{number}"))).collect();
        let outcomes = join_all(keys.iter().map(|key| broker.write(put(key, Version::ABSENT, "x")))).await;
        for (key, outcome) in keys.iter().zip(&outcomes) {
            broker.sees(key, committed(outcome), Some(b"x")).await;
        }
    }
}

/// After a lane moved, what is sent under an older generation is stale and not stored. The new one goes on.
pub async fn an_older_generation_is_stale(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    committed(&send(&broker, 0, 1, "first").await);
    assert_eq!(advance(&broker, 0, 2).await, Ok(()));
    if broker.contract().checks_generation() {
        assert_eq!(send(&broker, 0, 1, "stale").await, WriteOutcome::Stale);
        broker.sees(&resource("stale"), Version::ABSENT, None).await;
    }
    committed(&send(&broker, 0, 2, "second").await);
    assert_eq!(advance(&broker, 0, 7).await, Ok(()));
    if broker.contract().checks_generation() {
        for old in [1, 2, 6] {
            assert_eq!(send(&broker, 0, old, "stale").await, WriteOutcome::Stale);
        }
        broker.sees(&resource("stale"), Version::ABSENT, None).await;
    }
    committed(&send(&broker, 0, 7, "third").await);
}

/// All writes of a stale batch are stale.
pub async fn a_stale_batch_is_stale_as_a_whole(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    if !broker.contract().checks_generation() {
        return;
    }
    assert_eq!(advance(&broker, 0, 2).await, Ok(()));
    let keys = ["r1", "r2", "r3"].map(resource);
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    assert_eq!(outcomes, vec![WriteOutcome::Stale; 3]);
    for key in &keys {
        broker.sees(key, Version::ABSENT, None).await;
    }
}

/// Moving to the same generation again changes nothing, and a lane never goes back.
pub async fn moving_a_lane_twice_is_moving_it_once(fixture: &dyn Fixture) {
    let broker = Broker::join(fixture).await;
    for _ in 0..3 {
        assert_eq!(advance(&broker, 0, 5).await, Ok(()));
    }
    // A late copy of an earlier move: whatever it is answered, the lane stays where it is.
    let _ = advance(&broker, 0, 3).await;
    committed(&send(&broker, 0, 5, "fifth").await);
    if broker.contract().checks_generation() {
        assert_eq!(send(&broker, 0, 3, "stale").await, WriteOutcome::Stale);
        assert_eq!(send(&broker, 0, 4, "stale").await, WriteOutcome::Stale);
    }
}

/// A lane moves alone: other lanes, and the same lane of other brokers, stay where they are.
pub async fn a_lane_moves_alone(fixture: &dyn Fixture) {
    let (broker, other) = (Broker::join(fixture).await, Broker::join(fixture).await);
    assert_eq!(advance(&broker, 1, 4).await, Ok(()));
    for lane in [0, 2, 11, u16::MAX] {
        committed(&send(&broker, lane, 1, &format!("lane {lane}")).await);
    }
    committed(&send(&other, 1, 1, "other").await);
    committed(&send(&broker, 1, 4, "moved").await);
}

/// A beat does not touch the lanes.
pub async fn a_beat_leaves_the_lanes_alone(fixture: &dyn Fixture) {
    let mut broker = Broker::join(fixture).await;
    assert_eq!(advance(&broker, 0, 2).await, Ok(()));
    broker.renew().await;
    committed(&send(&broker, 0, 2, "r").await);
    if broker.contract().checks_generation() {
        assert_eq!(send(&broker, 0, 1, "stale").await, WriteOutcome::Stale);
    }
    committed(&send(&broker, 1, 1, "other lane").await);
}

/// A lane can be moved only by a broker that is registered, and moving it registers nobody.
pub async fn moving_a_lane_registers_nobody(fixture: &dyn Fixture) {
    let other = Broker::join(fixture).await;
    let stranger = Broker::with(fixture.open().await);
    let moved = advance(&stranger, 0, 2).await;
    if stranger.contract().checks_generation() {
        assert_eq!(moved, Err(StoreError::Evicted));
    }
    assert_eq!(other.pulse_of(stranger.incarnation).await, None);
    if stranger.contract().checks_registration() {
        assert_eq!(send(&stranger, 0, 2, "r").await, WriteOutcome::Evicted);
    }
}
