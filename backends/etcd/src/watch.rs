//! The watch: one stream with the changes of all records, in a task of its own.
//!
//! It remembers the revision up to which it has heard everything and goes on from there after a disconnect, so a broken
//! connection loses no hint. Where that cannot be (the history from there was compacted), everybody who waits is woken
//! and reads again. A watch is never trusted for more than that: members have lost events while looking healthy.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{WatchOptions, WatchStream};
use sixpin_hints::Hints;

use crate::connection::Connection;
use crate::outcome::Failure;
use crate::store::Store;
use crate::wire::WatchResponse;

/// The first pause before the watch is opened again, and the longest. Each is drawn at random from half of it up, so
/// that brokers that lost the same member do not come back all at once.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Listens for changes until the store is known to have lost its memory.
pub(crate) struct Watch {
    pub(crate) connection: Connection,
    pub(crate) store: Arc<Store>,
    pub(crate) hints: Arc<Hints>,
    /// The first revision that was not heard of.
    pub(crate) next: i64,
}

impl Watch {
    /// Listens, and opens the stream again whenever it ends.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE;
        while self.store.remembers().is_ok() {
            let mut heard = false;
            let end = self.listen(&mut heard).await;
            if let Err(failure) = end {
                tracing::debug!(%failure, next = self.next, "the watch ended: opening it again");
            }
            pause = if heard { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
        // Whoever reads again finds out.
        self.hints.ring_all();
    }

    async fn listen(&mut self, heard: &mut bool) -> Result<(), Failure> {
        let range = self.store.keys.records();
        let options = WatchOptions::new()
            .with_range(range.end)
            // Always a revision: "now" is when the server gets to it, and what came before would be lost.
            .with_start_revision(self.next)
            // It tells now and then how far it has come, although nothing happened.
            .with_progress_notify()
            .with_fragment();
        let mut stream = self.connection.watch(range.start, options).await?;
        let end = self.hear_all(&mut stream, heard).await;
        // Whatever ended it, another member may do better.
        self.connection.go_on();
        end
    }

    async fn hear_all(&mut self, stream: &mut WatchStream, heard: &mut bool) -> Result<(), Failure> {
        loop {
            match stream.message().await {
                Ok(Some(response)) => self.hear(response.0).await?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failure::of(&error)),
            }
            *heard = true;
        }
    }

    async fn hear(&mut self, response: WatchResponse) -> Result<(), Failure> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled {
            return Err(self.canceled(&response));
        }
        if response.created {
            // A member that has not come as far as we have heard is behind, or the store lost its memory.
            return if revision < self.next - 1 { self.store.confirm().await } else { Ok(()) };
        }
        for kv in response.events.iter().filter_map(|event| event.kv.as_ref()) {
            // What was deleted has no revision at which it was created.
            self.hints.ring(&kv.key, self.store.version(kv.mod_revision), kv.create_revision == 0);
        }
        // A fragment may end inside a revision, whose other events are still to come.
        if !response.fragment {
            let last = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
            // Without events it tells how far the watch has come.
            self.next = self.next.max(last.unwrap_or(revision) + 1);
        }
        Ok(())
    }

    fn canceled(&mut self, response: &WatchResponse) -> Failure {
        if response.compact_revision > 0 {
            tracing::info!(
                next = self.next,
                compacted = response.compact_revision,
                "history was compacted before the watch had heard it: everything waited for is read again"
            );
            self.next = self.next.max(response.compact_revision);
            self.hints.ring_all();
        }
        if ["permission denied", "auth token", "auth store"].iter().any(|it| response.cancel_reason.contains(it)) {
            // An expired login looks like this as well.
            self.connection.forget_logins();
        }
        Failure::Refused(format!("the server ended the watch: {}", response.cancel_reason))
    }
}
