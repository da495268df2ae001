//! Redis with Sentinel, and Redis Cluster.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Members, ask};
use crate::proxy::Proxy;
use crate::server::{Probe, ServerPlan};
use crate::stores;
use crate::wait::until;

/// The name by which Sentinels know the master.
pub(super) const MASTER: &str = "main";
/// Members of one master and its replicas; after them come the Sentinels.
const SERVERS: usize = 3;
/// How long a server must be silent before another takes its place.
const SILENCE_MS: u32 = 2_000;
/// The slot of `{s0}`, the first part of a store in a cluster.
const FIRST_PART: u16 = 11_097;

/// In a file, because Sentinels write there who follows whom, and a restarted server must know.
pub(super) fn plan_with_sentinels(number: usize, doors: &[[Proxy; 2]]) -> ServerPlan {
    let (own, master) = (doors[number][0].address().port(), doors[0][0].address().port());
    let (name, rules) = if number < SERVERS {
        let follows = if number == 0 { String::new() } else { format!("replicaof 127.0.0.1 {master}\n") };
        // A master that is cut off from its replicas stops before another one is named.
        let rules = format!(
            "dir {{dir}}\nappendonly yes\nappendfsync always\nsave \"\"\nmaxmemory-policy noeviction\n\
             repl-diskless-sync-delay 0\nrepl-timeout 5\nrepl-ping-replica-period 1\n\
             min-replicas-to-write 1\nmin-replicas-max-lag 2\n\
             replica-announce-ip 127.0.0.1\nreplica-announce-port {own}\n{follows}"
        );
        ("redis.conf", rules)
    } else {
        let rules = format!(
            "dir {{dir}}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} {SILENCE_MS}\nsentinel failover-timeout {MASTER} 3000\n\
             sentinel announce-ip 127.0.0.1\nsentinel announce-port {own}\n"
        );
        ("sentinel.conf", rules)
    };
    let mut arguments = vec![format!("{{dir}}/{name}")];
    arguments.extend((number >= SERVERS).then(|| "--sentinel".to_owned()));
    ServerPlan {
        program: "redis-server",
        arguments,
        files: vec![(name.into(), format!("port {{port}}\nbind 127.0.0.1\n{rules}"))],
        probe: Probe { question: "PING\r\n".into(), answer: "+PONG" },
    }
}

pub(super) fn plan_of_cluster(number: usize, doors: &[[Proxy; 2]]) -> ServerPlan {
    let [clients, bus] = &doors[number];
    stores::redis().arguments([
        "--repl-diskless-sync-delay",
        "0",
        "--repl-timeout",
        "5",
        "--repl-ping-replica-period",
        "1",
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        &SILENCE_MS.to_string(),
        "--cluster-port",
        "{peer_port}",
        "--cluster-announce-ip",
        "127.0.0.1",
        "--cluster-announce-port",
        &clients.address().port().to_string(),
        "--cluster-announce-bus-port",
        &bus.address().port().to_string(),
    ])
}

/// Makes a cluster of six servers that do not know each other: each of the first three has one of the others.
pub(super) async fn make_cluster(members: &Members) {
    let addresses: Vec<SocketAddr> = members.addresses().collect();
    let order = async |server: usize, order: String| {
        let obeyed = until(Duration::from_secs(30), async || {
            command(addresses[server], &order).await.is_some_and(|answer| answer.starts_with("+OK"))
        });
        assert!(obeyed.await, "redis-server does not take `{order}`");
    };
    for (server, slots) in ["0 5460", "5461 10922", "10923 16383"].into_iter().enumerate() {
        order(server, format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
    }
    for member in &members.members[1..] {
        let [clients, bus] = &member.doors;
        order(0, format!("CLUSTER MEET 127.0.0.1 {} {}", clients.address().port(), bus.address().port())).await;
    }
    for (server, address) in addresses.iter().take(3).enumerate() {
        let name = command(*address, "CLUSTER MYID").await.unwrap_or_default();
        let name = name.lines().nth(1).unwrap_or_default();
        // Refused until it has heard of that one.
        order(server + 3, format!("CLUSTER REPLICATE {name}")).await;
    }
}

/// The answer to a command, as it travels.
async fn command(address: SocketAddr, words: &str) -> Option<String> {
    ask(address, &format!("{words}\r\n"), |text| match text.strip_prefix('$') {
        None => text.ends_with("\r\n"),
        Some(rest) => rest
            .split_once("\r\n")
            .is_some_and(|(length, body)| length.parse::<usize>().is_ok_and(|length| body.len() >= length + 2)),
    })
    .await
}

/// A field in an answer of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

/// What the first Sentinel that answers says of the master: `status=ok,address=127.0.0.1:6379,slaves=2,sentinels=3`.
async fn said_by(sentinel: SocketAddr) -> Option<String> {
    let info = command(sentinel, "INFO sentinel").await?;
    Some(field(&info, "master0")?.to_owned())
}

fn master_in(members: &Members, said: &str) -> Option<usize> {
    let address = said.split(',').find_map(|part| part.strip_prefix("address="))?;
    members.at_door(address.rsplit(':').next()?.parse().ok()?)
}

pub(super) async fn master_of_sentinels(members: &Members) -> Option<usize> {
    for sentinel in members.addresses().skip(SERVERS) {
        let Some(said) = said_by(sentinel).await else { continue };
        let Some(master) = master_in(members, &said) else { continue };
        let info = command(members.process(master).address(), "INFO replication").await;
        if info.is_some_and(|info| field(&info, "role") == Some("master")) {
            return Some(master);
        }
    }
    None
}

pub(super) async fn sentinels_are_content(members: &Members) -> bool {
    let Some(master) = master_of_sentinels(members).await else { return false };
    for sentinel in members.addresses().skip(SERVERS) {
        let Some(said) = said_by(sentinel).await else { return false };
        let content = ["status=ok", "slaves=2", "sentinels=3"].iter().all(|word| said.contains(word));
        if !content || master_in(members, &said) != Some(master) {
            return false;
        }
    }
    let info = command(members.process(master).address(), "INFO replication").await.unwrap_or_default();
    info.matches("state=online").count() == 2
}

/// A member of a cluster that says that it is master of something.
struct Owner {
    member: usize,
    first_part: bool,
    // Of two that say so of the same part, the one with the larger epoch is right.
    epoch: u64,
}

async fn owners(members: &Members) -> Vec<Owner> {
    let mut owners = Vec::new();
    for (member, address) in members.addresses().enumerate() {
        let nodes = command(address, "CLUSTER NODES").await.unwrap_or_default();
        let Some(own) = nodes.lines().find(|line| line.contains("myself,master")) else { continue };
        let words: Vec<&str> = own.split_ascii_whitespace().collect();
        let ranges: Vec<(u16, u16)> = words.iter().skip(8).filter_map(|word| range(word)).collect();
        let first_part = ranges.iter().any(|(first, last)| (*first..=*last).contains(&FIRST_PART));
        let epoch = words.get(6).and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        if !ranges.is_empty() {
            owners.push(Owner { member, first_part, epoch });
        }
    }
    owners
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

pub(super) async fn masters(members: &Members) -> Vec<usize> {
    owners(members).await.into_iter().map(|owner| owner.member).collect()
}

pub(super) async fn master_of_first_part(members: &Members) -> Option<usize> {
    let owners = owners(members).await.into_iter().filter(|owner| owner.first_part);
    owners.max_by_key(|owner| owner.epoch).map(|owner| owner.member)
}

pub(super) async fn cluster_is_whole(members: &Members) -> bool {
    let mut masters = 0;
    for address in members.addresses() {
        let state = command(address, "CLUSTER INFO").await.unwrap_or_default();
        let nodes = command(address, "CLUSTER NODES").await.unwrap_or_default();
        let known = state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:6");
        if !known || nodes.contains("fail") || nodes.contains("handshake") {
            return false;
        }
        let info = command(address, "INFO replication").await.unwrap_or_default();
        match field(&info, "role") {
            Some("master") if info.contains("state=online") => masters += 1,
            Some("slave") if field(&info, "master_link_status") == Some("up") => {}
            _ => return false,
        }
    }
    masters == 3
}
