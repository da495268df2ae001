//! A store whose change hints are counted, or all lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sixpin_core::backend::{
    Backend, BackendFuture, Beat, Family, Guard, Key, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
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

impl Backend for Hints {
    fn profile(&self) -> Profile {
        self.store.profile()
    }

    fn root(&self) -> Root {
        self.store.root()
    }

    fn read<'a>(&'a self, keys: &'a [Key]) -> BackendFuture<'a, Result<Vec<Slot>, StoreError>> {
        self.store.read(keys)
    }

    fn commit(&self, guard: Guard, writes: Vec<Write>) -> BackendFuture<'_, Vec<WriteOutcome>> {
        self.store.commit(guard, writes)
    }

    fn advance(&self, guard: Guard) -> BackendFuture<'_, Result<(), StoreError>> {
        self.store.advance(guard)
    }

    fn changed(&self, key: Key, seen: Version) -> BackendFuture<'_, ()> {
        if self.lost {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            self.store.changed(key, seen).await;
            self.came.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn list<'a>(
        &'a self,
        family: &'a Family,
        after: Option<&'a str>,
        limit: usize,
    ) -> BackendFuture<'a, Result<Page, StoreError>> {
        self.store.list(family, after, limit)
    }

    fn beat(&self, beat: Beat) -> BackendFuture<'_, Result<Version, StoreError>> {
        self.store.beat(beat)
    }

    fn leave(&self, broker: Incarnation) -> BackendFuture<'_, Result<(), StoreError>> {
        self.store.leave(broker)
    }

    fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> BackendFuture<'_, WriteOutcome> {
        self.store.evict(guard, target, seen)
    }

    fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> BackendFuture<'_, WriteOutcome> {
        self.store.clear(guard, target, seen)
    }

    fn history(&self) -> History {
        self.store.history()
    }

    fn trust(&self, history: History) {
        self.store.trust(history);
    }

    fn pulses(&self) -> BackendFuture<'_, Result<Vec<Pulse>, StoreError>> {
        self.store.pulses()
    }
}
