//! The contract, on the networked store, as both kinds of store that it can play.

use std::sync::Arc;

use sixpin_conformance::{
    Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes, conformance_tests,
};
use sixpin_core::backend::Backend;
use sixpin_faults::store::backend::NetBackend;
use sixpin_faults::world::net_store;
use sixpin_testkit::{Proxy, ServerProcess};

struct NetFixture {
    server: ServerProcess,
    proxy: Proxy,
}

impl NetFixture {
    async fn start(marking: bool) -> Self {
        let plan = net_store(crate::PROGRAM);
        let plan = if marking { plan.argument("--marking") } else { plan };
        let server = plan.start().await.unwrap();
        let proxy = Proxy::start(server.address()).await.unwrap();
        Self { server, proxy }
    }
}

impl Fixture for NetFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { Arc::new(NetBackend::open(self.server.address()).await.unwrap()) as Arc<dyn Backend> })
    }

    fn link(&self) -> Option<&dyn Link> {
        Some(self)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        Some(&self.server)
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        Some(&self.server)
    }

    fn refusals(&self) -> Option<&dyn Refusals> {
        None
    }

    fn hints(&self) -> Option<&dyn Hints> {
        None
    }

    fn wipes(&self) -> Option<&dyn Wipes> {
        Some(self)
    }
}

impl Link for NetFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(async { Arc::new(NetBackend::open(self.proxy.address()).await.unwrap()) as Arc<dyn Backend> })
    }

    fn network(&self) -> &dyn Network {
        &self.proxy
    }
}

impl Wipes for NetFixture {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.server.restart_wiped().await.unwrap() })
    }
}

mod checking {
    use super::*;

    async fn fixture(_: Group) -> NetFixture {
        NetFixture::start(false).await
    }

    conformance_tests!(fixture: contract, links, restarts, freezes, wipes);
}

mod marking {
    use super::*;

    async fn fixture(_: Group) -> NetFixture {
        NetFixture::start(true).await
    }

    conformance_tests!(fixture: contract, links, restarts, freezes, wipes);
}
