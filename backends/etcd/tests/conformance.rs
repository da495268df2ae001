//! The contract, on a real etcd.

use std::sync::Arc;
use std::time::Duration;

use sixpin_conformance::{
    Fixture, FixtureFuture, Freezes, Group, Hints, Link, Network, Refusals, Restarts, Wipes, conformance_tests,
};
use sixpin_core::backend::Backend;
use sixpin_etcd::Settings;
use sixpin_testkit::{Proxy, ServerProcess};

use crate::support::{admin, field, fresh_prefix, opened, patient_settings, server, shared_server};

struct EtcdFixture {
    group: Group,
    // The one that is shared, unless the test is going to break it.
    own: Option<ServerProcess>,
    shared: &'static ServerProcess,
    proxy: Option<Proxy>,
    settings: Settings,
}

async fn fixture(group: Group) -> EtcdFixture {
    let shared = shared_server().await;
    let own = match group {
        Group::Contract | Group::Links | Group::Hints => None,
        Group::Restarts | Group::Freezes | Group::Refusals | Group::Wipes => Some(server().await),
    };
    let proxy = match group {
        Group::Links => Some(Proxy::start(shared.address()).await.expect("a proxy starts")),
        _ => None,
    };
    let mut settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
    if group == Group::Freezes {
        // The tests of this group wait for it to pass, several times.
        settings.request_timeout = Duration::from_secs(3);
    }
    EtcdFixture { group, own, shared, proxy, settings }
}

impl EtcdFixture {
    fn server(&self) -> &ServerProcess {
        self.own.as_ref().unwrap_or(self.shared)
    }

    fn is(&self, group: Group) -> bool {
        self.group == group
    }

    async fn alarm(&self, action: &str) {
        let address = self.server().address();
        let member = field(&admin(address, "maintenance/status", None, "{}").await, "member_id");
        let body = format!(r#"{{"action":"{action}","memberID":"{member}","alarm":"NOSPACE"}}"#);
        admin(address, "maintenance/alarm", None, &body).await;
    }
}

impl Fixture for EtcdFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        Box::pin(opened(self.server().address(), &self.settings))
    }

    fn link(&self) -> Option<&dyn Link> {
        self.proxy.as_ref().map(|_| self as &dyn Link)
    }

    fn restarts(&self) -> Option<&dyn Restarts> {
        self.own.as_ref().filter(|_| self.is(Group::Restarts)).map(|server| server as &dyn Restarts)
    }

    fn freezes(&self) -> Option<&dyn Freezes> {
        self.own.as_ref().filter(|_| self.is(Group::Freezes)).map(|server| server as &dyn Freezes)
    }

    fn refusals(&self) -> Option<&dyn Refusals> {
        self.is(Group::Refusals).then_some(self as &dyn Refusals)
    }

    // One URL serves requests and the watch, so their networks cannot be broken apart. What happens to hints when the
    // watch breaks is in `watching`.
    fn hints(&self) -> Option<&dyn Hints> {
        None
    }

    fn wipes(&self) -> Option<&dyn Wipes> {
        self.is(Group::Wipes).then_some(self as &dyn Wipes)
    }
}

impl Link for EtcdFixture {
    fn open(&self) -> FixtureFuture<'_, Arc<dyn Backend>> {
        let address = self.proxy.as_ref().map_or(self.shared.address(), Proxy::address);
        Box::pin(opened(address, &self.settings))
    }

    fn network(&self) -> &dyn Network {
        self.proxy.as_ref().expect("the links group has a proxy")
    }
}

impl Refusals for EtcdFixture {
    fn refuse(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.alarm("ACTIVATE"))
    }

    fn accept(&self) -> FixtureFuture<'_, ()> {
        Box::pin(self.alarm("DEACTIVATE"))
    }
}

impl Wipes for EtcdFixture {
    fn wipe(&self) -> FixtureFuture<'_, ()> {
        Box::pin(async { self.server().restart_wiped().await.expect("the server starts again") })
    }
}

conformance_tests!(fixture: contract, links, restarts, freezes, refusals, wipes);
