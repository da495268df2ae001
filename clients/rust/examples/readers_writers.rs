//! Readers share, writers exclude, and a writer in the queue is not overtaken by later readers.
//!
//! `cargo run -p sixpin-client --example readers_writers`, with `SIXPIN_ENDPOINTS` for other addresses.
#![allow(clippy::print_stdout)] // an example talks

use std::time::Duration;

use sixpin_client::{Client, Error, Mode, Session};

const NAME: &str = "examples/readers-writers";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let session = Client::from_env()?.session().label("readers and writers").open().await?;

    let first = session.lock(NAME, Mode::PR).await?;
    let second = session.lock(NAME, Mode::PR).await?;
    println!("two readers at once, fences {} and {}", first.fence(), second.fence());

    // A writer waits for both. Readers that come later wait for the writer, although they could share with the first.
    let writer = tokio::spawn(write(session.clone()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let late = session.lock(NAME, Mode::PR).try_lock().await;
    println!("a reader behind the writer: {}", late.err().map_or("granted".to_owned(), |error| error.to_string()));

    first.release().await?;
    second.release().await?;
    writer.await.expect("the writer does not panic")?;
    session.close().await
}

async fn write(session: Session) -> Result<(), Error> {
    let guard = session.lock(NAME, Mode::EX).wait(Duration::from_secs(10)).await?;
    println!("the writer is alone, fence {}", guard.fence());
    guard.release().await
}
