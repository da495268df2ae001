//! NATS with three servers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Members, ask};
use crate::proxy::Proxy;
use crate::server::ServerPlan;
use crate::stores;

/// The stream that brokers make.
const STREAM: &str = "sixpin";
/// A leader hears from its copies every second.
const HEARD_NS: u64 = 4_000_000_000;

pub(super) fn plan(number: usize, doors: &[[Proxy; 2]]) -> ServerPlan {
    let others = (0..doors.len()).filter(|other| *other != number);
    let routes: Vec<String> = others.map(|other| format!("\"nats://{}\"", doors[other][1].address())).collect();
    stores::nats_with(&format!(
        "server_name: n{number}\njetstream {{ store_dir: \"{{dir}}/jetstream\" }}\n\
         cluster {{ name: c, listen: \"127.0.0.1:{{peer_port}}\", advertise: \"{}\", routes: [{}] }}\n",
        doors[number][1].address(),
        routes.join(", ")
    ))
}

/// Whether a stream with three replicas can be made.
pub(super) async fn can_replicate(members: &Members) -> bool {
    let stream = r#"{"name":"trial","subjects":["trial"],"storage":"memory","num_replicas":3}"#;
    let made = api(members, "STREAM.CREATE.trial", stream).await;
    made.is_some_and(|answer| answer["error"].is_null()) && api(members, "STREAM.DELETE.trial", "").await.is_some()
}

/// The server that leads the stream. One that is cut off says so of itself for a while, but hears of no other.
pub(super) async fn leader(members: &Members) -> Option<usize> {
    for address in members.addresses() {
        let Some(info) = api_at(address, &format!("STREAM.INFO.{STREAM}"), "").await else { continue };
        let heard = |replica: &Value| replica["offline"] != true && replica["active"].as_u64() < Some(HEARD_NS);
        let leader = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n'));
        if info["cluster"]["replicas"].as_array().is_some_and(|replicas| replicas.iter().any(heard)) {
            return leader?.parse().ok();
        }
    }
    None
}

pub(super) async fn is_whole(members: &Members) -> bool {
    let Some(info) = api(members, &format!("STREAM.INFO.{STREAM}"), "").await else { return false };
    // Before the first broker there is no stream.
    let Some(replicas) = info["cluster"]["replicas"].as_array() else { return !info["error"].is_null() };
    let current = |replica: &&Value| replica["current"] == true && replica["offline"] != true;
    info["cluster"]["leader"].is_string() && replicas.iter().filter(current).count() == 2
}

/// The answer to a request of JetStream's API, through the first server that brings one.
async fn api(members: &Members, what: &str, request: &str) -> Option<Value> {
    for address in members.addresses() {
        if let Some(answer) = api_at(address, what, request).await {
            return Some(answer);
        }
    }
    None
}

async fn api_at(address: SocketAddr, what: &str, request: &str) -> Option<Value> {
    let inbox = fresh_subject();
    let question = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB {inbox} 1\r\nPUB $JS.API.{what} {inbox} {}\r\n{request}\r\n",
        request.len()
    );
    payload(&ask(address, &question, |text| payload(text).is_some()).await?)
}

/// The payload of the first message in what a server said, once it is there whole.
fn payload(said: &str) -> Option<Value> {
    let message = &said[said.find("\r\nMSG ")? + 2..];
    let (head, rest) = message.split_once("\r\n")?;
    let length: usize = head.rsplit(' ').next()?.parse().ok()?;
    serde_json::from_str(rest.get(..length)?).ok()
}

/// A subject that no other question is answered on.
fn fresh_subject() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("answer.{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
