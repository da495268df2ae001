//! One holder at a time: three workers take turns on one lock, over one session each.
//!
//! Run it against a broker: `cargo run -p sixpin-client --example mutex`, with `SIXPIN_ENDPOINTS` for other addresses.
#![allow(clippy::print_stdout)] // an example talks

use std::time::Duration;

use sixpin_client::{Client, Error, Mode};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let workers: Vec<_> = (1..=3).map(|number| tokio::spawn(work(client.clone(), number))).collect();
    for worker in workers {
        worker.await.expect("a worker does not panic")?;
    }
    Ok(())
}

async fn work(client: Client, number: u32) -> Result<(), Error> {
    let session = client.session().label(format!("worker {number}")).open().await?;
    for _ in 0..3 {
        let guard = session.lock("examples/mutex", Mode::EX).wait(Duration::from_secs(10)).await?;
        println!("worker {number} holds the lock, fence {}", guard.fence());
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Directly before what must not happen twice: is it still ours?
        guard.check()?;
        guard.release().await?;
    }
    session.close().await
}
