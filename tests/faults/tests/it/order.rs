//! Waiters are served in the order in which they came, whichever broker they came through; also if every hint is lost.

use sixpin_client::Mode;
use sixpin_faults::times::queued;
use sixpin_faults::world::{PATIENCE, StoreKind, World};

use crate::{on_every_store, plan};

const WAITERS: usize = 9;

async fn first_come_first_served(store: StoreKind) {
    let world = World::start(&plan(store)).await;
    let holder = world.client(0).session().open().await.unwrap();
    let held = holder.lock("r", Mode::EX).await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..WAITERS {
        let session = world.client(number).session().open().await.unwrap();
        let lock = session.lock("r", Mode::EX).into_future();
        waiting.push(tokio::spawn(async move {
            let guard = lock.await.unwrap();
            let fence = guard.fence();
            guard.release().await.unwrap();
            session.close().await.unwrap();
            fence
        }));
        queued(&world, "r", number + 2).await;
    }
    let mut last = held.fence();
    held.release().await.unwrap();
    for (number, waiter) in waiting.into_iter().enumerate() {
        let fence = tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap();
        assert!(fence > last, "waiter {number} was served before one that came first");
        last = fence;
    }
    holder.close().await.unwrap();
    world.nothing_is_left().await.unwrap();
}

on_every_store!(first_come_first_served);
