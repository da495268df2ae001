//! The contract, on each kind of store that memory can play. Its troubles come from the wrapper that misbehaves on
//! purpose, so this also shows that the wrapper keeps the contract and that the suite can be passed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sixpin_conformance::{
    Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes, conformance_tests,
};
use sixpin_core::backend::{Backend, Contract};
use sixpin_memory::{Fault, Faulty, MemoryBackend, MemoryStore, Operation};

struct MemoryFixture {
    store: MemoryStore,
    trouble: Arc<Trouble>,
    // The backends that were opened through the network, each with the trap that is set for it.
    linked: Mutex<Vec<Linked>>,
}

struct Linked {
    backend: Arc<Faulty<MemoryBackend>>,
    trap: Arc<Mutex<Option<Fault>>>,
}

#[derive(Default)]
struct Trouble {
    refuses: AtomicBool,
    loses_hints: AtomicBool,
    struck: AtomicUsize,
    delivered: AtomicUsize,
}

impl MemoryFixture {
    fn new(contract: Contract) -> Self {
        Self { store: MemoryStore::with_contract(contract), trouble: Arc::default(), linked: Mutex::default() }
    }

    fn backend(&self) -> Linked {
        let trap = Arc::new(Mutex::new(None::<Fault>));
        let (trouble, set) = (self.trouble.clone(), trap.clone());
        let backend = Faulty::new(self.store.backend(true), move |call| match call.operation {
            Operation::Commit if trouble.refuses.load(Ordering::SeqCst) => Fault::Unavailable,
            Operation::Changed if trouble.loses_hints.load(Ordering::SeqCst) => Fault::LoseHint,
            Operation::Commit | Operation::Beat | Operation::Advance => match set.lock().unwrap().take() {
                Some(fault) => {
                    trouble.struck.fetch_add(1, Ordering::SeqCst);
                    fault
                }
                None => Fault::None,
            },
            _ => Fault::None,
        });
        Linked { backend: Arc::new(backend), trap }
    }

    fn set(&self, fault: Option<Fault>) {
        for linked in self.linked.lock().unwrap().iter() {
            *linked.trap.lock().unwrap() = fault;
        }
    }
}

impl Fixture for MemoryFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { self.backend().backend as Arc<dyn Backend> })
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        None
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        None
    }

    fn refusals(&self) -> Option<&dyn Refusals> {
        Some(self)
    }

    fn hints(&self) -> Option<&dyn Hints> {
        Some(self)
    }

    fn wipes(&self) -> Option<&dyn Wipes> {
        Some(self)
    }
}

impl Link for MemoryFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async {
            let linked = self.backend();
            let backend = linked.backend.clone();
            self.linked.lock().unwrap().push(linked);
            backend as Arc<dyn Backend>
        })
    }

    fn network(&self) -> &dyn Network {
        self
    }
}

impl Network for MemoryFixture {
    fn cut_next_reply(&self) {
        self.set(Some(Fault::ReplyLost));
    }

    fn hold_next_request(&self) {
        self.set(Some(Fault::Late));
    }

    fn release_held(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async {
            let linked: Vec<_> = self.linked.lock().unwrap().iter().map(|linked| linked.backend.clone()).collect();
            for backend in linked {
                let delivered = backend.deliver_late().await;
                self.trouble.delivered.fetch_add(delivered, Ordering::SeqCst);
            }
        })
    }

    fn disarm(&self) {
        self.set(None);
    }

    fn struck(&self) -> usize {
        self.trouble.struck.load(Ordering::SeqCst)
    }

    fn delivered(&self) -> usize {
        self.trouble.delivered.load(Ordering::SeqCst)
    }

    fn cut_now(&self) {
        self.set(Some(Fault::RequestLost));
    }
}

impl Refusals for MemoryFixture {
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.trouble.refuses.store(true, Ordering::SeqCst) })
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.trouble.refuses.store(false, Ordering::SeqCst) })
    }
}

impl Hints for MemoryFixture {
    fn lose(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.trouble.loses_hints.store(true, Ordering::SeqCst) })
    }

    fn deliver(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.trouble.loses_hints.store(false, Ordering::SeqCst) })
    }
}

impl Wipes for MemoryFixture {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.store.wipe() })
    }
}

/// What the memory backend itself is, and Redis and etcd are like.
mod checking {
    use super::*;

    async fn fixture(_: Group) -> MemoryFixture {
        MemoryFixture::new(Contract::Checking)
    }

    conformance_tests!(fixture: contract, links, refusals, hints, wipes);
}

/// What JetStream is like.
mod marking {
    use super::*;

    async fn fixture(_: Group) -> MemoryFixture {
        MemoryFixture::new(Contract::Marking)
    }

    conformance_tests!(fixture: contract, links, refusals, hints, wipes);
}
