//! A fixture in memory that behaves like a server in a network: it can be killed, frozen, cut off and wiped.
//!
//! From the broker to the store: a [`Mutant`] for the bugs of a client, the network ([`Faulty`]), a [`Mutant`] for the
//! bugs of a server, the store.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sixpin_conformance::{Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes};
use sixpin_core::backend::Backend;
use sixpin_memory::faults::Call;
use sixpin_memory::{Fault, Faulty, MemoryStore, Operation, Store};

use crate::bug::Bug;
use crate::mutant::Mutant;

type Networked = Faulty<Mutant>;

/// What all backends of one machine share.
pub(crate) struct World {
    pub(crate) bug: Option<Bug>,
    pub(crate) store: MemoryStore,
    pub(crate) refuses: AtomicBool,
    pub(crate) commits: AtomicUsize,
    // What a server with a bad disk comes back with.
    pub(crate) on_disk: Mutex<Option<Store>>,
    dead: AtomicBool,
    frozen: AtomicBool,
    // What was sent to the frozen server arrives when this many more commits have come; 0 if nothing is to arrive.
    thaws_in: AtomicUsize,
    loses_hints: AtomicBool,
    struck: AtomicUsize,
    delivered: AtomicUsize,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    backend: Arc<Networked>,
    trap: Arc<Mutex<Option<Fault>>>,
    linked: bool,
}

impl World {
    fn fault(&self, call: &Call<'_>, trap: &Mutex<Option<Fault>>) -> Fault {
        if self.dead.load(Ordering::SeqCst) {
            return Fault::RequestLost;
        }
        if self.frozen.load(Ordering::SeqCst) {
            return if call.operation == Operation::Changed { Fault::LoseHint } else { Fault::Late };
        }
        match call.operation {
            Operation::Changed if self.loses_hints.load(Ordering::SeqCst) => Fault::LoseHint,
            Operation::Commit | Operation::Beat | Operation::Advance => match trap.lock().unwrap().take() {
                Some(fault) => {
                    self.struck.fetch_add(1, Ordering::SeqCst);
                    fault
                }
                None => Fault::None,
            },
            _ => Fault::None,
        }
    }

    /// Called with each request: what was sent to a frozen server arrives before what is sent later.
    pub(crate) async fn thaw(&self) {
        if self.frozen.load(Ordering::SeqCst) || self.thaws_in.load(Ordering::SeqCst) == 0 {
            return;
        }
        if self.thaws_in.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.deliver().await;
        }
    }

    async fn deliver(&self) -> usize {
        let backends: Vec<_> = self.connections.lock().unwrap().iter().map(|it| it.backend.clone()).collect();
        let mut delivered = 0;
        for backend in backends {
            delivered += backend.deliver_late().await;
        }
        delivered
    }

    fn set(&self, fault: Option<Fault>) {
        for connection in self.connections.lock().unwrap().iter().filter(|connection| connection.linked) {
            *connection.trap.lock().unwrap() = fault;
        }
    }
}

pub(crate) struct Machine {
    world: Arc<World>,
}

impl Machine {
    pub(crate) fn new(_: Group, bug: Option<Bug>) -> Self {
        let world = World {
            bug,
            store: MemoryStore::new(),
            refuses: AtomicBool::default(),
            commits: AtomicUsize::default(),
            on_disk: Mutex::default(),
            dead: AtomicBool::default(),
            frozen: AtomicBool::default(),
            thaws_in: AtomicUsize::default(),
            loses_hints: AtomicBool::default(),
            struck: AtomicUsize::default(),
            delivered: AtomicUsize::default(),
            connections: Mutex::default(),
        };
        Self { world: Arc::new(world) }
    }

    fn connect(&self, linked: bool) -> Arc<dyn Backend> {
        let trap = Arc::new(Mutex::new(None));
        let (world, set) = (self.world.clone(), trap.clone());
        let server = Mutant::server(self.world.clone(), Arc::new(self.world.store.backend(true)));
        let backend = Arc::new(Faulty::new(server, move |call| world.fault(call, &set)));
        self.world.connections.lock().unwrap().push(Connection { backend: backend.clone(), trap, linked });
        Arc::new(Mutant::client(self.world.clone(), backend))
    }
}

impl Fixture for Machine {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { self.connect(false) })
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        Some(self)
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        Some(self)
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

impl Link for Machine {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { self.connect(true) })
    }

    fn network(&self) -> &dyn Network {
        self
    }
}

impl Network for Machine {
    fn cut_next_reply(&self) {
        self.world.set(Some(Fault::ReplyLost));
    }

    fn hold_next_request(&self) {
        self.world.set(Some(Fault::Late));
    }

    fn release_held(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async {
            let delivered = self.world.deliver().await;
            self.world.delivered.fetch_add(delivered, Ordering::SeqCst);
        })
    }

    fn disarm(&self) {
        self.world.set(None);
    }

    fn struck(&self) -> usize {
        self.world.struck.load(Ordering::SeqCst)
    }

    fn delivered(&self) -> usize {
        self.world.delivered.load(Ordering::SeqCst)
    }

    fn cut_now(&self) {
        self.world.set(Some(Fault::RequestLost));
    }
}

impl Restarts for Machine {
    fn kill(&self) {
        self.world.dead.store(true, Ordering::SeqCst);
        if let Some(store) = self.world.on_disk.lock().unwrap().take() {
            self.world.store.restore(store);
        }
    }

    fn restart(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.world.dead.store(false, Ordering::SeqCst) })
    }
}

impl Freezes for Machine {
    fn freeze(&self) {
        self.world.frozen.store(true, Ordering::SeqCst);
    }

    fn resume(&self) {
        let late = self.world.bug == Some(Bug::LateAfterFreeze);
        self.world.thaws_in.store(if late { 25 } else { 1 }, Ordering::SeqCst);
        self.world.frozen.store(false, Ordering::SeqCst);
    }
}

impl Refusals for Machine {
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.world.refuses.store(true, Ordering::SeqCst) })
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.world.refuses.store(false, Ordering::SeqCst) })
    }
}

impl Hints for Machine {
    fn lose(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.world.loses_hints.store(true, Ordering::SeqCst) })
    }

    fn deliver(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async {
            let stays = self.world.bug == Some(Bug::StaysDeaf);
            self.world.loses_hints.store(stays, Ordering::SeqCst);
        })
    }
}

impl Wipes for Machine {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.world.store.wipe() })
    }
}
