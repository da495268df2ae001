//! What is dropped is given back, at whatever point.

use std::time::Duration;

use sixpin_client::{Client, Mode};

use crate::soon;
use crate::stub::Stub;

async fn released(stub: &Stub, claims: &[u64]) {
    soon(async {
        while stub.released() != claims {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_nobody_took_is_released() {
    let stub = Stub::start().await;
    let session = Client::new([&stub.address]).unwrap().session().open().await.unwrap();
    let first = session.lock("r", Mode::EX).into_future();
    // When the second one is granted, the first one was before, and nobody has looked.
    let second = soon(session.lock("s", Mode::EX).into_future()).await.unwrap();
    assert!(stub.released().is_empty());
    drop(first);
    released(&stub, &[1]).await;
    drop(second);
    released(&stub, &[1, 2]).await;
}

#[tokio::test]
async fn a_lock_that_was_dropped_before_its_grant_is_released() {
    let stub = Stub::start().await;
    let session = Client::new([&stub.address]).unwrap().session().open().await.unwrap();
    drop(session.lock("r", Mode::EX).into_future());
    // Dropped once the broker has been asked, or it would not be asked at all.
    let asked = session.lock("s", Mode::EX).into_future();
    tokio::task::yield_now().await;
    drop(asked);
    let kept = soon(session.lock("t", Mode::EX).into_future()).await.unwrap();
    // Of those that the broker heard of, none is left but the one that is held.
    let before: Vec<u64> = (1..kept.claim()).collect();
    released(&stub, &before).await;
    assert!(kept.is_valid());
}

#[tokio::test]
async fn the_last_guard_ends_the_session() {
    let stub = Stub::start().await;
    let session = Client::new([&stub.address]).unwrap().session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let mut state = session.state();
    drop(session);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(guard.is_valid());
    drop(guard);
    soon(async { while state.changed().await.is_some_and(|state| !state.is_over()) {} }).await;
    released(&stub, &[1]).await;
}
