//! Compaction of the history, for operators who do not let etcd do it.
//!
//! Off by default. Every write adds to the history of the whole cluster, and etcd's own auto-compaction is off by
//! default too; without either the database grows to its quota, and then refuses to store anything.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Store;

/// Compacts this often, and keeps as much history. Several brokers may do it: the second finds nothing to do.
pub(crate) async fn run(store: Arc<Store>, every: Duration) {
    let mut before = store.highest();
    loop {
        tokio::time::sleep(every).await;
        let now = store.highest();
        match store.compact(before).await {
            Ok(()) => tracing::debug!(revision = before, "compacted the history"),
            // Done by another broker, or by etcd itself.
            Err(failure) if failure.to_string().contains("has been compacted") => {}
            Err(failure) => tracing::warn!(%failure, "the history could not be compacted"),
        }
        before = now;
    }
}
