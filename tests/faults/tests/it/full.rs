//! Redis out of memory: sessions live on, locks are released and handed over, and who wants a new one is told why not.

use std::time::Duration;

use sixpin_client::Mode;
use sixpin_faults::world::{StoreKind, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::plan;

async fn set_maxmemory(world: &World, bytes: u64) {
    let mut stream = TcpStream::connect(world.store.one().address()).await.unwrap();
    stream.write_all(format!("CONFIG SET maxmemory {bytes}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_keeps_what_it_has() {
    let world = World::start(&plan(StoreKind::Redis)).await;
    let ttl = Duration::from_secs(10);
    let first = world.client(0).session().ttl(ttl).open().await.unwrap();
    let second = world.client(1).session().ttl(ttl).open().await.unwrap();
    let held = first.lock("held", Mode::EX).await.unwrap();
    let alone = first.lock("alone", Mode::EX).await.unwrap();
    let waiting = second.lock("held", Mode::EX).into_future();
    sixpin_faults::times::queued(&world, "held", 2).await;
    set_maxmemory(&world, 1).await;

    // Longer than a broker waits for its store before it says why it takes no lock.
    let refused = second.lock("new", Mode::EX).wait(Duration::from_secs(12)).await.unwrap_err();
    assert!(!refused.is_lost() && refused.to_string().contains("out of memory"), "{refused}");
    // Longer than the broker's own life without a beat, and than the session's without a keepalive.
    tokio::time::sleep(ttl).await;
    assert!(held.check().is_ok() && second.check().is_ok());
    // A session that is not lost with its broker either.
    world.brokers[0].process.kill();
    alone.release().await.unwrap();
    held.release().await.unwrap();
    let handed = waiting.await.unwrap();
    handed.release().await.unwrap();

    set_maxmemory(&world, 0).await;
    second.lock("new", Mode::EX).await.unwrap().release().await.unwrap();
    for session in [first, second] {
        session.close().await.unwrap();
    }
}
