//! Why a fence: a writer that was paused for too long comes back and writes, although its lock is lost. What it writes
//! to remembers the largest fence that it has seen, and refuses the late write.
//!
//! `cargo run -p sixpin-client --example fenced_write`, with `SIXPIN_ENDPOINTS` for other addresses.
#![allow(clippy::print_stdout)] // an example talks

use std::time::Duration;

use sixpin_client::{Client, Error, Mode};

/// What the lock protects. It trusts nobody's clock.
#[derive(Default)]
struct Store {
    largest_fence: u64,
    content: String,
}

impl Store {
    fn write(&mut self, fence: u64, content: &str) {
        if fence < self.largest_fence {
            println!("refused `{content}`: fence {fence} is older than {}", self.largest_fence);
            return;
        }
        self.largest_fence = fence;
        content.clone_into(&mut self.content);
        println!("took `{content}`");
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env()?;
    let mut store = Store::default();

    let slow = client.session().ttl(Duration::from_secs(1)).label("slow").open().await?;
    let fast = client.session().label("fast").open().await?;
    let lock = slow.lock("examples/fenced", Mode::EX).await?;
    let old_fence = lock.fence();
    store.write(old_fence, "first words of the slow writer");

    // The slow writer loses its lock: here by letting go of it, in life by a pause that is longer than its TTL.
    lock.release().await?;
    let lock = fast.lock("examples/fenced", Mode::EX).await?;
    store.write(lock.fence(), "words of the fast writer");

    store.write(old_fence, "late words of the slow writer");
    println!("the store holds `{}`", store.content);
    lock.release().await
}
