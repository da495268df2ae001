//! Several servers: replicas, Sentinel, and the nodes of a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use sixpin_conformance::broker::{Broker, committed, delete, put, resource};
use sixpin_conformance::workload;
use sixpin_core::backend::{Backend, Durability, OpenError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_redis::RedisConfig;
use sixpin_testkit::server::Probe;
use sixpin_testkit::{ServerPlan, ServerProcess, redis, until};

use crate::support::{
    PATIENCE, cluster_config, cluster_node, command, config, open, start, text, try_command, try_open, whole,
};

async fn join(backend: Arc<dyn Backend>) -> Broker {
    let mut broker = Broker::with(backend);
    broker.registration = broker.backend.beat(broker.next_beat()).await.expect("a fresh broker registers");
    broker
}

async fn replica_of(master: &ServerProcess) -> ServerProcess {
    let port = master.address().port().to_string();
    let replica =
        start(redis().arguments(["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])).await;
    let in_step = until(PATIENCE, || async {
        text(&command(replica.address(), &["INFO", "replication"]).await).contains("master_link_status:up")
    });
    assert!(in_step.await, "the replica follows");
    replica
}

#[tokio::test]
async fn a_write_that_too_few_replicas_have_is_unknown_and_stands() {
    let master = start(redis()).await;
    let replica = replica_of(&master).await;
    let config = RedisConfig { wait_replicas: 1, wait_timeout: Duration::from_millis(500), ..config(master.address()) };
    let mut broker = join(open(&config).await).await;
    let version = broker.put(&resource("r"), Version::ABSENT, "one").await;
    let copy = command(replica.address(), &["INFO", "keyspace"]).await;
    assert!(text(&copy).contains("keys="), "what was acknowledged is there: {copy:?}");

    replica.kill();
    let outcome = broker.write(put(&resource("r"), version, "two")).await;
    assert!(matches!(&outcome, WriteOutcome::Unknown(text) if text.contains("replicas")), "{outcome:?}");
    let slot = broker.read_patiently(&resource("r")).await;
    assert_eq!(slot.bytes.as_deref(), Some(&b"two"[..]), "it stands all the same");

    replica.restart().await.expect("it starts again");
    broker.settle().await;
    let again = until(PATIENCE, || async {
        let version = broker.read_patiently(&resource("r")).await.version;
        matches!(broker.write(put(&resource("r"), version, "three")).await, WriteOutcome::Committed(_))
    });
    assert!(again.await, "with the replica back, writes count again");
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_unavailable_until_it_is_one_again() {
    let server = start(redis()).await;
    let other = start(redis()).await;
    let broker = join(open(&config(server.address())).await).await;
    // A master that cannot be reached, so that nothing is taken over from it.
    let port = other.address().port().to_string();
    other.kill();
    command(server.address(), &["REPLICAOF", "127.0.0.1", &port]).await;
    for _ in 0..3 {
        let outcome = broker.write(put(&resource("r"), Version::ABSENT, "x")).await;
        assert!(matches!(outcome, WriteOutcome::Unavailable(_)), "{outcome:?}");
    }
    command(server.address(), &["REPLICAOF", "NO", "ONE"]).await;
    let again = until(PATIENCE, || async {
        matches!(broker.write(put(&resource("r"), Version::ABSENT, "x")).await, WriteOutcome::Committed(_))
    });
    assert!(again.await, "a master again is used again");
}

async fn sentinel_of(master: &ServerProcess) -> ServerProcess {
    let port = master.address().port();
    let rule = format!(
        "port {{port}}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {port} 1\n\
         sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 5000\n"
    );
    let plan = ServerPlan {
        program: "redis-server",
        arguments: ["{dir}/sentinel.conf", "--sentinel"].map(String::from).to_vec(),
        files: vec![("sentinel.conf".into(), rule)],
        probe: Probe { question: "PING\r\n".into(), answer: "+PONG" },
    };
    start(plan).await
}

#[tokio::test]
async fn sentinels_are_asked_for_the_master_and_asked_again_after_a_failover() {
    let first = start(redis()).await;
    let second = replica_of(&first).await;
    let sentinel = sentinel_of(&first).await;
    let by_sentinel = RedisConfig {
        response_timeout: Duration::from_millis(1_500),
        ..RedisConfig::new(format!("redis+sentinel://{}/main", sentinel.address()))
    };
    let wrong = RedisConfig::new(format!("redis+sentinel://{}/other", sentinel.address()));
    let error = try_open(&wrong, Durability::CrashSafe).await.expect_err("no such master");
    assert!(matches!(&error, OpenError::BadUrl(text) if text.contains("other")), "{error}");
    let error = try_open(&config(sentinel.address()), Durability::CrashSafe).await.expect_err("a Sentinel is no store");
    assert!(matches!(error, OpenError::Unsafe(_) | OpenError::BadUrl(_) | OpenError::Unreachable(_)), "{error}");
    let error = try_open(&by_sentinel, Durability::PowerSafe).await.expect_err("a failover can lose writes");
    assert!(matches!(&error, OpenError::Unsafe(text) if text.contains("replica")), "{error}");

    let mut broker = join(open(&by_sentinel).await).await;
    assert_eq!(broker.profile().durability, Durability::CrashSafe);
    workload::append(&mut broker, &resource("journal"), "0-0").await;
    let copied = async || {
        let Ok(Value::BulkString(copy)) =
            try_command(second.address(), &["GET", "sixpin:{s0}:r:default/journal"]).await
        else {
            return String::new();
        };
        String::from_utf8_lossy(&copy).into_owned()
    };
    assert!(until(PATIENCE, || async { copied().await.contains("0-0") }).await, "the replica has it");
    // Refused until the Sentinel has found the replica.
    let ordered =
        until(PATIENCE, || async { try_command(sentinel.address(), &["SENTINEL", "FAILOVER", "main"]).await.is_ok() });
    assert!(ordered.await, "the Sentinel can fail over");
    // Until the former master follows, what it acknowledges is lost.
    let moved = until(PATIENCE, || async {
        // A Sentinel ends the connections of a master that it demotes.
        let told = try_command(first.address(), &["INFO", "replication"]).await;
        told.is_ok_and(|told| text(&told).contains("role:slave"))
    });
    assert!(moved.await, "the replica is promoted");
    workload::append(&mut broker, &resource("journal"), "0-1").await;
    broker.renew_patiently().await;
    workload::check_journal(&broker, &resource("journal"), &[2]).await;
    assert!(copied().await.contains("0-1"), "the second write went to the new master");
}

async fn cluster_of_three() -> [ServerProcess; 3] {
    let nodes = [cluster_node().await, cluster_node().await, cluster_node().await];
    for (node, (first, last)) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        command(node.address(), &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
    }
    for other in &nodes[1..] {
        let Value::Array(bus) = command(other.address(), &["CONFIG", "GET", "cluster-port"]).await else {
            panic!("a pair")
        };
        let (port, bus) = (other.address().port().to_string(), text(&bus[1]));
        command(nodes[0].address(), &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
    }
    for node in &nodes {
        whole(node).await;
    }
    nodes
}

#[tokio::test]
async fn a_cluster_keeps_its_parts_on_several_nodes() {
    let nodes = cluster_of_three().await;
    // One node is enough to find the others.
    let config = cluster_config(&[&nodes[1]]);
    let (mut broker, other) = (join(open(&config).await).await, join(open(&config).await).await);
    let keys: Vec<_> = (0..60).map(|number| resource(&format!("r{number}"))).collect();
    let outcomes = broker.commit(keys.iter().map(|key| put(key, Version::ABSENT, "x")).collect()).await;
    let versions: Vec<Version> = outcomes.iter().map(committed).collect();
    for node in &nodes {
        let Value::Int(count) = command(node.address(), &["DBSIZE"]).await else { panic!("a number") };
        assert!(count > 10, "each node has its part");
    }
    for (key, version) in keys.iter().zip(&versions) {
        other.sees(key, *version, Some(b"x")).await;
    }
    broker.settle().await;
    let changed = other.backend.changed(keys[7].clone(), versions[7]);
    let write = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let write = sixpin_conformance::broker::notifying(delete(&keys[7], versions[7]));
        committed(&broker.write(write).await);
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        () = changed => {}
        () = write => panic!("no hint came"),
    }
    // An eviction holds under every tag.
    committed(&broker.backend.evict(broker.guard(), other.incarnation, other.registration).await);
    let writes = keys.iter().map(|key| put(key, Version::ABSENT, "late")).collect();
    assert_eq!(other.commit(writes).await, vec![WriteOutcome::Evicted; 60]);
}

#[tokio::test]
async fn a_part_that_moves_to_another_node_is_followed() {
    let nodes = cluster_of_three().await;
    let config = cluster_config(&[&nodes[0], &nodes[1]]);
    let mut broker = join(open(&config).await).await;
    for number in 0..40 {
        workload::append(&mut broker, &resource(&format!("r{number}")), "0-0").await;
    }
    // {s1} lies in slot 15224, on the third node: it goes to the first.
    let (slot, from, to) = ("15224", nodes[2].address(), nodes[0].address());
    let id = |value: Value| text(&value);
    let (from_id, to_id) = (id(command(from, &["CLUSTER", "MYID"]).await), id(command(to, &["CLUSTER", "MYID"]).await));
    command(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]).await;
    command(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]).await;
    let Value::Array(moving) = command(from, &["CLUSTER", "GETKEYSINSLOT", slot, "1000"]).await else { panic!("keys") };
    assert!(moving.len() > 4, "something is there: {moving:?}");
    for key in &moving {
        let port = to.port().to_string();
        command(from, &["MIGRATE", "127.0.0.1", &port, &text(key), "0", "5000"]).await;
    }
    for node in [to, from, nodes[1].address()] {
        command(node, &["CLUSTER", "SETSLOT", slot, "NODE", &to_id]).await;
    }
    for number in 0..40 {
        workload::append(&mut broker, &resource(&format!("r{number}")), "0-1").await;
    }
    for number in 0..40 {
        workload::check_journal(&broker, &resource(&format!("r{number}")), &[2]).await;
    }
}

#[tokio::test]
async fn a_cluster_and_a_single_server_are_not_taken_for_each_other() {
    let single = start(redis()).await;
    let error = try_open(&cluster_config(&[&single]), Durability::CrashSafe).await.expect_err("no cluster");
    assert!(matches!(&error, OpenError::BadUrl(text) if text.contains("redis://")), "{error}");
    let node = cluster_node().await;
    command(node.address(), &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    whole(&node).await;
    let error = try_open(&config(node.address()), Durability::CrashSafe).await.expect_err("a cluster");
    assert!(matches!(&error, OpenError::BadUrl(text) if text.contains("redis+cluster://")), "{error}");
}
