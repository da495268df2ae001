//! etcd with three members.

use serde_json::Value;

use super::{Members, ask};
use crate::proxy::Proxy;
use crate::server::ServerPlan;
use crate::stores;

pub(super) fn plan(number: usize, doors: &[[Proxy; 2]]) -> ServerPlan {
    let peer = |number: usize| format!("http://{}", doors[number][1].address());
    let cluster: Vec<String> = (0..doors.len()).map(|number| format!("m{number}={}", peer(number))).collect();
    // The last value of an argument counts.
    stores::etcd().arguments([
        "--name",
        &format!("m{number}"),
        "--initial-advertise-peer-urls",
        &peer(number),
        "--initial-cluster",
        &cluster.join(","),
    ])
}

/// The member that says that it leads.
pub(super) async fn leader(members: &Members) -> Option<usize> {
    for (number, address) in members.addresses().enumerate() {
        let question =
            "POST /v3/maintenance/status HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
        let answer = ask(address, question, |text| body(text).is_some()).await;
        let Some(status) = answer.and_then(|answer| body(&answer)) else { continue };
        if !status["leader"].is_null() && status["leader"] == status["header"]["member_id"] {
            return Some(number);
        }
    }
    None
}

pub(super) async fn is_whole(members: &Members) -> bool {
    for address in members.addresses() {
        let question = "GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
        if ask(address, question, |text| text.contains("\"health\":\"true\"")).await.is_none() {
            return false;
        }
    }
    leader(members).await.is_some()
}

/// The JSON in an answer, whether it came in chunks or not.
fn body(answer: &str) -> Option<Value> {
    let (start, end) = (answer.find('{')?, answer.rfind('}')?);
    serde_json::from_str(&answer[start..=end]).ok()
}
