//! On plain memory a broker's death is the store's: sessions are lost, are told so, and fences go on higher.

use sixpin_client::{Client, Error, Loss, Mode};
use sixpin_faults::world::{PATIENCE, memory_broker};

#[tokio::test]
async fn a_killed_brokers_sessions_are_told_and_fences_go_on_higher() {
    let broker = memory_broker(crate::PROGRAM).start().await.unwrap();
    let client = Client::new([broker.address().to_string()]).unwrap();
    let session = client.session().open().await.unwrap();
    let held = session.lock("r", Mode::EX).await.unwrap();
    let fence = held.fence();
    let waiting = session.lock("r", Mode::PR).into_future();
    broker.kill();
    broker.restart().await.unwrap();
    let loss = tokio::time::timeout(PATIENCE, held.lost()).await.unwrap();
    assert_eq!(loss, Loss::Expired, "told by the broker, not found by the clock");
    assert!(matches!(waiting.await, Err(Error::Lost(_))));
    assert!(session.lock("r", Mode::EX).await.unwrap_err().is_lost());
    let other = client.session().open().await.unwrap();
    assert!(other.lock("r", Mode::EX).await.unwrap().fence() > fence);
}
