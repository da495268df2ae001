//! A counter in a value block: everybody keeps an NL claim, converts up to read, and down to write and let others go.
//!
//! From NL, conversions queue among themselves, so that they are served in order and cannot deadlock.
//!
//! `cargo run -p sixpin-client --example convert_value_block`, with `SIXPIN_ENDPOINTS` for other addresses.
#![allow(clippy::print_stdout)] // an example talks

use sixpin_client::{Client, Error, Mode, ValueBlock};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let workers: Vec<_> = (1..=4).map(|number| tokio::spawn(count(client.clone(), number))).collect();
    for worker in workers {
        worker.await.expect("a worker does not panic")?;
    }
    Ok(())
}

async fn count(client: Client, number: u32) -> Result<(), Error> {
    let session = client.session().label(format!("counter {number}")).open().await?;
    let guard = session.lock("examples/counter", Mode::NL).await?;
    for _ in 0..5 {
        let grant = guard.convert(Mode::EX).value_block().await?;
        let counter = read(grant.value.as_ref()) + 1;
        guard.convert(Mode::NL).value(counter.to_le_bytes().to_vec()).await?;
        println!("counter {number} wrote {counter}");
    }
    guard.release().await?;
    session.close().await
}

/// The number in a value block. One that nobody has written is all zeroes; an invalid one is the last that is known.
fn read(value: Option<&ValueBlock>) -> u64 {
    let bytes = value.and_then(|value| value.bytes.as_ref()).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
