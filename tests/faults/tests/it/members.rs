//! Stores of several members, one of which is killed, frozen or cut off at a time, the leader most often. Longer with
//! `sixpin-faults torture`.
//!
//! That no client loses its session meanwhile is checked by the report, for sessions of ten seconds and more.

use std::time::Duration;

use sixpin_faults::faults::Fault;
use sixpin_faults::run::Shape;
use sixpin_faults::world::{Plan, StoreKind};

use crate::{plan, shape, trouble};

async fn one_member_at_a_time(store: StoreKind, faults: &[Fault]) {
    // As operators have it: what is promised is promised for these.
    let plan = Plan { broker_ttl: Duration::from_secs(5), ..plan(store) };
    let report = trouble::under(Shape { plan, ttl: Duration::from_secs(25), ..shape(store) }, faults).await;
    assert_eq!(report.struck.len(), faults.len(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd3() {
    one_member_at_a_time(StoreKind::Etcd3, &[Fault::FreezeLeader, Fault::KillLeader, Fault::CutLeader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats3() {
    one_member_at_a_time(StoreKind::Nats3, &[Fault::FreezeLeader, Fault::KillLeader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel() {
    one_member_at_a_time(StoreKind::Sentinel, &[Fault::FreezeLeader, Fault::KillLeader]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_cluster() {
    one_member_at_a_time(StoreKind::RedisCluster, &[Fault::FreezeLeader, Fault::KillLeader]).await;
}
