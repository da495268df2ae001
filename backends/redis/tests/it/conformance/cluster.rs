//! The contract in cluster mode: sixteen tags, one script per tag. One node has them all, so that a test of its own
//! server takes two seconds and not ten; how tags are found on several nodes is tested apart.
//!
//! Nodes tell their own addresses, so there is no network between to break: the connection is the same as without a
//! cluster, and tested there.

use sixpin_conformance::{Group, conformance_tests};

use super::RedisFixture;
use crate::support::{cluster_config, cluster_node, command, whole};

async fn fixture(_group: Group) -> RedisFixture {
    let server = cluster_node().await;
    command(server.address(), &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    whole(&server).await;
    RedisFixture { config: cluster_config(&[&server]), server, proxy: None }
}

conformance_tests!(fixture: contract, restarts, freezes, refusals, hints, wipes);
