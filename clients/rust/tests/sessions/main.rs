//! Whole sessions, at a broker of a few lines in this process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dropped;
mod reopen;
mod stub;

use std::time::Duration;

/// Waits for something that should happen at once.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}
