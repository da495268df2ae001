//! The contract in cluster mode: sixteen tags, one script per tag. One node has them all, so that a test of its own
//! server takes two seconds and not ten; how tags are found on several nodes is tested apart.
//!
//! Nodes tell their own addresses, so there is no network between to break: the connection is the same as without a
//! cluster, and tested there.

use std::sync::Arc;

use sixpin_conformance::{
    Fixture, FixtureFuture, Freezes, Group, Hints, Link, Refusals, Restarts, Wipes, conformance_tests,
};
use sixpin_core::backend::Backend;
use sixpin_testkit::ServerProcess;

use crate::support::{cluster_config, cluster_node, command, open, whole};

struct ClusterFixture {
    server: ServerProcess,
}

async fn fixture(_group: Group) -> ClusterFixture {
    let server = cluster_node().await;
    command(server.address(), &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    whole(&server).await;
    ClusterFixture { server }
}

impl ClusterFixture {
    async fn command(&self, words: &[&str]) {
        command(self.server.address(), words).await;
    }
}

impl Fixture for ClusterFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { open(&cluster_config(&[&self.server])).await })
    }

    fn link(&self) -> Option<&dyn Link> {
        None
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

impl Refusals for ClusterFixture {
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["CONFIG", "SET", "maxmemory", "1"]))
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["CONFIG", "SET", "maxmemory", "0"]))
    }
}

impl Hints for ClusterFixture {
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

impl Wipes for ClusterFixture {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.command(&["FLUSHALL"]))
    }
}

conformance_tests!(fixture: contract, restarts, freezes, refusals, hints, wipes);
