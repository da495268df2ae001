//! The HTTP door.

mod access;
mod leases;
mod listening;
mod protocol;
mod script;
mod sessions;
mod watch;
mod websocket;

use serde_json::{Value, json};

use crate::support::Broker;
use crate::support::http::Http;

/// A broker, and one who asks it. The door has sockets only.
async fn broker() -> (Broker, Http) {
    let broker = Broker::start().await;
    broker.use_sockets();
    let http = Http::clients_of(&broker);
    (broker, http)
}

/// A session, its path, and one who asks for it.
async fn session(http: &Http) -> (String, Http) {
    let opened = http.post("/v1/sessions", json!({ "ttl": "30s", "label": "test" })).await.is(200);
    (format!("/v1/sessions/{}", opened["session"].as_str().unwrap()), http.of(opened["token"].as_str().unwrap()))
}

fn lock(claim: u64, name: &str, mode: &str) -> Value {
    json!({ "claim": claim, "operation": 1, "resource": { "name": name }, "mode": mode })
}
