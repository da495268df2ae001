//! The store shared between the brokers of one process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Contract, Family, Guard, Key, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};

use crate::hints::{Changes, Hints};
use crate::store::Store;

/// A store in memory. Clones are the same store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    // A lock of the standard library: it is held for a batch of map operations and never over an await.
    store: Mutex<Store>,
    hints: Hints,
}

impl MemoryStore {
    /// An empty store of the usual kind.
    pub fn new() -> Self {
        Self::with_contract(Contract::Checking)
    }

    /// An empty store that keeps another contract.
    pub fn with_contract(contract: Contract) -> Self {
        let store = Mutex::new(Store::new(contract, new_root()));
        Self { inner: Arc::new(Inner { store, hints: Hints::default() }) }
    }

    /// Opens a view. `shared`: brokers other than this one may use the store. One that is alone may trust what it
    /// remembers, which is faster.
    pub fn backend(&self, shared: bool) -> MemoryBackend {
        let (root, profile) = {
            let store = self.lock();
            (store.root().clone(), store.profile(shared))
        };
        MemoryBackend { store: self.clone(), root, profile }
    }

    /// A copy of everything that is stored.
    pub fn snapshot(&self) -> Store {
        self.lock().clone()
    }

    /// Puts a copy in the place of what is stored. Whoever has the store open goes on with it: for tests of what happens
    /// when a store loses what it acknowledged.
    pub fn restore(&self, store: Store) {
        *self.lock() = store;
    }

    /// Loses everything that is stored, root record included, as a server does whose disk was wiped. For tests.
    pub fn wipe(&self) {
        let empty = self.lock().wiped(new_root());
        self.restore(empty);
    }

    /// How many records there are.
    pub fn record_count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // Nothing in the store panics half-way, so a poisoned lock still guards a good store.
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let mut changes = None;
        for write in writes.iter().filter(|write| write.notify) {
            changes.get_or_insert_with(Changes::default).add(&write.key);
        }
        let outcomes = self.lock().commit(now_10us(), guard, writes);
        // Rung also for writes that failed: a hint may be wrong, and this costs less than finding out.
        if let Some(changes) = changes {
            self.inner.hints.ring(&changes);
        }
        outcomes
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// One broker's view of a [`MemoryStore`].
#[derive(Debug, Clone)]
pub struct MemoryBackend {
    store: MemoryStore,
    // As it was when this view was opened.
    root: Root,
    profile: Profile,
}

impl MemoryBackend {
    /// The store that this is a view of.
    pub fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// The store, unless it lost its memory since this view was opened.
    fn same(&self) -> Result<MutexGuard<'_, Store>, StoreError> {
        let store = self.store.lock();
        if *store.root() == self.root {
            return Ok(store);
        }
        Err(StoreError::Amnesia("the root record changed".into()))
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn profile(&self) -> Profile {
        self.profile.clone()
    }

    fn root(&self) -> Root {
        self.root.clone()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        Ok(self.same()?.read(keys))
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        self.store.commit(guard, writes)
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        self.store.lock().advance(guard)
    }

    async fn changed(&self, key: Key, seen: Version) {
        let bell = self.store.inner.hints.bell(&key);
        loop {
            // First listen, then look: a change between the two is heard.
            let mut ring = std::pin::pin!(bell.notified());
            ring.as_mut().enable();
            if self.store.lock().version(&key) != seen {
                return;
            }
            ring.await;
        }
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.same()?.list(family, after, limit)
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.same()?.beat(now_10us(), beat)
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        self.store.lock().leave(now_10us(), broker);
        Ok(())
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.lock().evict(now_10us(), guard, target, seen)
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.lock().clear(guard, target, seen)
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        Ok(self.same()?.pulses())
    }
}

/// The wall clock, in units of 10 µs. Only the floor of versions; nothing is measured with it.
fn now_10us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros() / 10).unwrap_or(u64::MAX)
}

fn new_root() -> Root {
    Root { secret_key: rand::random(), identity: rand::random() }
}
