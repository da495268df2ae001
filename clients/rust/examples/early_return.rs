//! A program that may end anywhere, with a `?` or a panic, and still lets go of its lock at once.
//!
//! Run it against a broker: `cargo run -p sixpin-client --example early_return -- fail`, with `SIXPIN_ENDPOINTS` for other
//! addresses. `sixpin show examples/early-return` then says that the lock is free. Without [`Client::run`] it would be
//! held for the session's TTL: the runtime ends with `main`, before anything that was dropped has been released.
#![allow(clippy::print_stdout)] // an example talks

use std::error::Error;

use sixpin_client::{Client, Mode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env()?;
    client.run(work(&client)).await
}

async fn work(client: &Client) -> Result<(), Box<dyn Error>> {
    let session = client.session().label("early return").open().await?;
    let guard = session.lock("examples/early-return", Mode::EX).await?;
    println!("at work, fence {}", guard.fence());
    if std::env::args().any(|argument| argument == "fail") {
        Err("the work has failed")?;
    }
    guard.release().await?;
    Ok(())
}
