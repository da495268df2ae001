//! Where a server comes from.
//!
//! Today there is one provider: a process on this machine. A provider of containers can stand beside it where a
//! container engine is reachable; tests that ask [`Provider`] and not [`ServerPlan::start`] will run on either.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use crate::server::{ServerPlan, ServerProcess, StartError};
use crate::stores;

/// What a provider returns.
pub type ProviderFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StartError>> + Send + 'a>>;

/// A store that can be started for a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Redis, append-only file, flushed always.
    Redis,
    /// etcd, one member.
    Etcd,
    /// NATS with JetStream.
    Nats,
}

/// A server that a test may treat badly. It is gone when dropped.
pub trait Server: Send + Sync {
    /// Where clients reach it.
    fn address(&self) -> SocketAddr;
    /// Ends it at once, with no chance to write anything.
    fn kill(&self);
    /// Starts it again, at the same address with the same data.
    fn restart(&self) -> ProviderFuture<'_, ()>;
    /// Lets it stand still with its connections open.
    fn freeze(&self);
    /// Lets it go on.
    fn resume(&self);
}

/// Starts servers.
pub trait Provider: Send + Sync {
    /// One more server with its own data.
    fn start(&self, kind: Kind) -> ProviderFuture<'_, Box<dyn Server>>;
}

/// The provider that starts programs of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalProcesses;

impl Provider for LocalProcesses {
    fn start(&self, kind: Kind) -> ProviderFuture<'_, Box<dyn Server>> {
        let plan: ServerPlan = match kind {
            Kind::Redis => stores::redis(),
            Kind::Etcd => stores::etcd(),
            Kind::Nats => stores::nats(),
        };
        Box::pin(async move { Ok(Box::new(plan.start().await?) as Box<dyn Server>) })
    }
}

impl Server for ServerProcess {
    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn kill(&self) {
        self.kill();
    }

    fn restart(&self) -> ProviderFuture<'_, ()> {
        Box::pin(self.restart())
    }

    fn freeze(&self) {
        self.freeze();
    }

    fn resume(&self) {
        self.resume();
    }
}
