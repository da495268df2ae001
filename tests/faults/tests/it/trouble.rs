//! Processes that are killed, frozen and cut off under load.

use std::time::Duration;

use sixpin_faults::faults::{Fault, strike};
use sixpin_faults::run::{Report, Running, Shape};
use sixpin_faults::world::StoreKind;
use tokio::time::sleep;

use crate::{on_every_store, shape};

pub(crate) async fn under(shape: Shape, faults: &[Fault]) -> Report {
    let mut running = Running::start(shape).await;
    for (number, fault) in faults.iter().enumerate() {
        sleep(Duration::from_millis(1_200)).await;
        strike(&mut running, *fault, number).await;
    }
    sleep(Duration::from_millis(1_200)).await;
    let report = running.finish().await;
    report.assert_good(5);
    report
}

/// Clients that live, of whose brokers one is troubled at a time, lose nothing.
async fn nothing_is_lost(shape: Shape, faults: &[Fault]) {
    let report = under(shape, faults).await;
    assert!(report.lives.lost.is_empty(), "a client that is alive lost its session: {report}");
    assert_eq!(report.tally.losses, 0, "{report}");
}

async fn brokers_killed(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::KillBroker; 3]).await;
}

async fn brokers_frozen(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::FreezeBrokerShortly, Fault::FreezeBroker]).await;
}

async fn brokers_cut_off(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::CutStore, Fault::HoldStore, Fault::CutClients, Fault::HoldClients]).await;
}

async fn brokers_drained(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::DrainBroker; 3]).await;
}

async fn store_killed(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::KillStore; 2]).await;
}

async fn store_frozen(store: StoreKind) {
    nothing_is_lost(shape(store), &[Fault::FreezeStore; 2]).await;
}

/// These die, and others get what they held.
async fn clients_killed_and_frozen(store: StoreKind) {
    let ttl = Duration::from_secs(2);
    let shape = Shape { sessions: 6, processes: 3, ttl, ..shape(store) };
    under(shape, &[Fault::KillClient, Fault::FreezeClient, Fault::KillClient]).await;
}

on_every_store!(
    brokers_killed,
    brokers_frozen,
    brokers_cut_off,
    brokers_drained,
    store_killed,
    store_frozen,
    clients_killed_and_frozen,
);
