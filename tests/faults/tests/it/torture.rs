//! Three brokers, 32 sessions, eight resources: random modes, conversions and cancels. Longer with
//! `sixpin-faults torture`.

use std::time::Duration;

use sixpin_faults::run::{Running, Shape};
use sixpin_faults::world::StoreKind;

use crate::{on_every_store, shape};

async fn across_brokers(store: StoreKind) {
    let shape = Shape { sessions: 32, resources: 8, ..shape(store) };
    let running = Running::start(shape).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let report = running.finish().await;
    report.assert_good(10);
    assert!(report.tally.orders > 0, "no queue was seen: {report}");
    assert!(report.lives.lost.is_empty(), "nothing went wrong, and yet: {report}");
}

on_every_store!(across_brokers);
