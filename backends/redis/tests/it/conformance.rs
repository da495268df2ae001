//! The contract of a store, on a server with an append-only file that is flushed before each reply; in `cluster` the same
//! server in cluster mode.

use std::sync::Arc;

use sixpin_conformance::{
    Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes, conformance_tests,
};
use sixpin_core::backend::Backend;
use sixpin_redis::RedisConfig;
use sixpin_testkit::{Proxy, ServerProcess, redis};

use crate::support::{command, config, open, start};

mod cluster;

/// A server of its own for each test: a fresh one takes a few milliseconds.
struct RedisFixture {
    server: ServerProcess,
    config: RedisConfig,
    /// Absent where there is no network between that could be broken.
    proxy: Option<Proxy>,
}

async fn fixture(_group: Group) -> RedisFixture {
    let server = start(redis()).await;
    let proxy = Proxy::start(server.address()).await.expect("a proxy can listen");
    RedisFixture { config: config(server.address()), server, proxy: Some(proxy) }
}

impl RedisFixture {
    fn between(&self) -> &Proxy {
        self.proxy.as_ref().expect("only a fixture with a proxy is a link")
    }

    async fn command(&self, words: &[&str]) {
        command(self.server.address(), words).await;
    }
}

impl Fixture for RedisFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { open(&self.config).await })
    }

    fn link(&self) -> Option<&dyn Link> {
        self.proxy.as_ref().map(|_| self as &dyn Link)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        Some(&self.server)
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        Some(&self.server)
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

impl Link for RedisFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { open(&config(self.between().address())).await })
    }

    fn network(&self) -> &dyn Network {
        self.between()
    }
}

impl Refusals for RedisFixture {
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        // A server out of memory.
        Box::pin(self.command(&["CONFIG", "SET", "maxmemory", "1"]))
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["CONFIG", "SET", "maxmemory", "0"]))
    }
}

impl Hints for RedisFixture {
    fn lose(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async {
            self.command(&["ACL", "SETUSER", "default", "-subscribe"]).await;
            self.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        })
    }

    fn deliver(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["ACL", "SETUSER", "default", "+subscribe"]))
    }
}

impl Wipes for RedisFixture {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["FLUSHALL"]))
    }
}

conformance_tests!(fixture: contract, links, restarts, freezes, refusals, hints, wipes);
