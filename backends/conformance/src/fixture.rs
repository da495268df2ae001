//! What a backend brings to the suite.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sixpin_core::backend::Backend;
use sixpin_testkit::{Proxy, ServerProcess};

/// What a fixture's methods return.
pub type FixtureFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Groups of behaviours: the contract, and one for each kind of trouble. A fixture is made for one of them, so that it
/// can share a server for [`Group::Contract`] and start one of its own where the test is going to break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// What every store does on a good day.
    Contract,
    /// The connection loses requests and replies.
    Links,
    /// The server is killed and started again.
    Restarts,
    /// The server stands still and goes on.
    Freezes,
    /// The server refuses writes.
    Refusals,
    /// Change hints are lost.
    Hints,
    /// The server loses everything it stored.
    Wipes,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 7] =
        [Group::Contract, Group::Links, Group::Restarts, Group::Freezes, Group::Refusals, Group::Hints, Group::Wipes];
}

/// One namespace of a store, empty when the fixture is made. Whatever must live as long as the test is inside.
///
/// A trouble that the store cannot be put into is `None`. One that is `Some` is exercised.
pub trait Fixture: Send + Sync {
    /// Opens the namespace once more, as one more broker would: a connection and a backend of its own.
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>>;

    /// Backends whose connection can be broken.
    fn link(&self) -> Option<&dyn Link>;

    /// The server can be killed and started again with what it had stored durably. For a store that is
    /// [`Volatile`](sixpin_core::backend::Durability::Volatile) this is `None`.
    fn restarts(&self) -> Option<&dyn Restarts>;

    /// The server can stand still.
    fn freezes(&self) -> Option<&dyn Freezes>;

    /// The server can be made to refuse writes.
    fn refusals(&self) -> Option<&dyn Refusals>;

    /// Hints can be lost.
    fn hints(&self) -> Option<&dyn Hints>;

    /// The store can lose its memory.
    fn wipes(&self) -> Option<&dyn Wipes>;
}

/// Backends behind a network that can be broken.
pub trait Link: Send + Sync {
    /// Opens the namespace through the network.
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>>;

    /// The network.
    fn network(&self) -> &dyn Network;
}

/// A network between a backend and its store. The two traps strike each connection that is open now, once; later
/// connections pass. [`Proxy`] is one.
pub trait Network: Send + Sync {
    /// The next request arrives; its reply is lost, and the connection with it.
    fn cut_next_reply(&self);

    /// The next request is kept back, and its connection is lost.
    fn hold_next_request(&self);

    /// Lets the requests kept back arrive.
    fn release_held(&self) -> FixtureFuture<'_, ()>;

    /// Takes the traps away.
    fn disarm(&self);

    /// How often a trap has struck.
    fn struck(&self) -> usize;

    /// How many requests that had been kept back have arrived and been done.
    fn delivered(&self) -> usize;

    /// Breaks all connections now. New ones pass.
    fn cut_now(&self);
}

impl Network for Proxy {
    fn cut_next_reply(&self) {
        self.cut_next_reply();
    }

    fn hold_next_request(&self) {
        self.hold_next_request();
    }

    fn release_held(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.release_held() })
    }

    fn disarm(&self) {
        self.disarm();
    }

    fn struck(&self) -> usize {
        self.struck()
    }

    fn delivered(&self) -> usize {
        self.delivered()
    }

    fn cut_now(&self) {
        self.cut_now();
    }
}

/// A server that can be killed. [`ServerProcess`] is one.
pub trait Restarts: Send + Sync {
    /// Ends it at once, with no chance to write anything.
    fn kill(&self);

    /// Starts it again, at the same address with the same data.
    fn restart(&self) -> FixtureFuture<'_, ()>;
}

impl Restarts for ServerProcess {
    fn kill(&self) {
        self.kill();
    }

    fn restart(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.restart().await.expect("the server starts again") })
    }
}

/// A server that can stand still with its connections open. [`ServerProcess`] is one.
pub trait Freezes: Send + Sync {
    /// Stops it.
    fn freeze(&self);

    /// Lets it go on.
    fn resume(&self);
}

impl Freezes for ServerProcess {
    fn freeze(&self) {
        self.freeze();
    }

    fn resume(&self) {
        self.resume();
    }
}

/// A server that can be made to refuse writes: full, read-only, short of replicas.
pub trait Refusals: Send + Sync {
    /// From the return on, writes that store something are refused.
    fn refuse(&self) -> FixtureFuture<'_, ()>;

    /// From the return on, writes are accepted again.
    fn accept(&self) -> FixtureFuture<'_, ()>;
}

/// A store whose change hints can be lost: the channel that carries them is broken, or they are not sent.
pub trait Hints: Send + Sync {
    /// Loses hints of all backends that are open now, from the return on.
    fn lose(&self) -> FixtureFuture<'_, ()>;

    /// Delivers hints again, those of changes that happened meanwhile excepted.
    fn deliver(&self) -> FixtureFuture<'_, ()>;
}

/// A store that can lose everything: wiped, re-created, restored empty.
pub trait Wipes: Send + Sync {
    /// Loses everything. When this returns the store is empty, and reachable.
    fn wipe(&self) -> FixtureFuture<'_, ()>;
}
