//! A store whose change hints are counted, or all lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Family, Guard, Key, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::History;

/// Passes everything on except, where they are lost, the hints.
pub struct Hints {
    pub store: Arc<dyn Backend>,
    pub lost: bool,
    /// How many came.
    pub came: Arc<AtomicUsize>,
}

#[async_trait]
impl Backend for Hints {
    fn profile(&self) -> Profile {
        self.store.profile()
    }

    fn root(&self) -> Root {
        self.store.root()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        self.store.read(keys).await
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        self.store.commit(guard, writes).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        self.store.advance(guard).await
    }

    async fn changed(&self, key: Key, seen: Version) {
        if self.lost {
            std::future::pending::<()>().await;
        }
        self.store.changed(key, seen).await;
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.store.list(family, after, limit).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.store.beat(beat).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        self.store.leave(broker).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.evict(guard, target, seen).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.clear(guard, target, seen).await
    }

    fn history(&self) -> History {
        self.store.history()
    }

    fn trust(&self, history: History) {
        self.store.trust(history);
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        self.store.pulses().await
    }
}
