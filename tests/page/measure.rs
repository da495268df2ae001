//! A measurement: `cargo test --release --test it -- --ignored page::measure --nocapture`.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sixpin_client::Mode;

use super::World;

const LOOKS: usize = 21;
const WAITERS: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a while, and says how long the page takes"]
async fn a_hundred_thousand_resources_and_on_one_as_many_waiters_as_a_record_holds() {
    // Brokers let fewer wait; a page that is quick with these is quick with what there can be.
    let mut config = super::config("");
    (config.limits.queued_per_resource, config.limits.record_bytes) = (2 * WAITERS, 16 * 1024 * 1024);
    let world = World::of(config).await;
    let client = world.client();
    let mut held = Vec::new();
    for number in 0..100 {
        let session = client.session().open().await.unwrap();
        for part in 0..10 {
            let lock = |n: usize| session.lock(format!("{number}/{part}/{n}"), Mode::EX).into_future();
            held.extend(join_all((0..100).map(lock)).await.into_iter().map(Result::unwrap));
        }
    }
    held.push(client.session().open().await.unwrap().lock("hot", Mode::EX).await.unwrap());
    let mut waiting = Vec::new();
    for _ in 0..WAITERS / 250 {
        let session = client.session().open().await.unwrap();
        waiting.extend((0..250).map(|_| tokio::spawn(session.lock("hot", Mode::EX).into_future())));
    }
    // Each waits, or there was no room for it.
    loop {
        let status = world.page.get("/v1/status").await.is(200);
        let waits: usize = status["backends"][0]["waiting"].as_str().unwrap().parse().unwrap();
        let refused = waiting.iter().filter(|one| one.is_finished()).count();
        if waits + refused == WAITERS {
            println!("{waits} wait, {refused} were refused");
            if let Some(place) = waiting.iter().position(tokio::task::JoinHandle::is_finished) {
                println!("the first of these: {:?}", waiting.swap_remove(place).await.unwrap().err());
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for path in ["/", "/resource?name=hot", "/resource?name=hot&first=5000", "/resources", "/sessions"] {
        let (mut times, mut bytes) = (Vec::new(), 0);
        for _ in 0..LOOKS {
            let begun = Instant::now();
            bytes = super::html(&world.page.get(path).await, 200).len();
            times.push(begun.elapsed());
        }
        times.sort();
        let (median, longest): (Duration, Duration) = (times[LOOKS / 2], times[LOOKS - 1]);
        println!("{path}: {bytes} bytes, {median:?} (median), {longest:?} (longest)");
    }
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
