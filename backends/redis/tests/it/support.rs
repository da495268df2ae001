//! What the tests share: servers, backends on them, and a plain client to look behind their back.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use sixpin_core::backend::{Backend, Durability, OpenError};
use sixpin_redis::{RedisBackend, RedisConfig};
use sixpin_testkit::{ServerPlan, ServerProcess};

/// The longest that anything may take which has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Settings for a server, with timeouts that keep the tests short and are long enough for a busy machine.
pub(crate) fn config(address: std::net::SocketAddr) -> RedisConfig {
    RedisConfig { response_timeout: Duration::from_millis(1_500), ..RedisConfig::new(format!("redis://{address}/0")) }
}

/// Opens a store that is crash-safe at least.
pub(crate) async fn open(config: &RedisConfig) -> Arc<dyn Backend> {
    Arc::new(try_open(config, Durability::CrashSafe).await.expect("the store opens"))
}

/// Opens a store.
pub(crate) async fn try_open(config: &RedisConfig, require: Durability) -> Result<RedisBackend, OpenError> {
    RedisBackend::open(config, require).await
}

/// Starts a server.
pub(crate) async fn start(plan: ServerPlan) -> ServerProcess {
    plan.start().await.expect("redis-server starts")
}

/// Sends one command to a server, on a connection of its own.
pub(crate) async fn command(address: std::net::SocketAddr, words: &[&str]) -> Value {
    try_command(address, words).await.expect("the server obeys")
}

/// The same, and what went wrong.
pub(crate) async fn try_command(address: std::net::SocketAddr, words: &[&str]) -> redis::RedisResult<Value> {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(10)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    connection.send_packed_command(&command).await?.extract_error()
}

/// A string that the server sent.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("not a string: {other:?}"),
    }
}

/// Starts a server in cluster mode that has no slots yet.
pub(crate) async fn cluster_node() -> ServerProcess {
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", "{peer_port}", "--cluster-node-timeout", "2000"];
    start(sixpin_testkit::redis().arguments(cluster)).await
}

/// Waits until a node says that all slots are served.
pub(crate) async fn whole(node: &ServerProcess) {
    let whole = sixpin_testkit::until(PATIENCE, || async {
        text(&command(node.address(), &["CLUSTER", "INFO"]).await).contains("cluster_state:ok")
    });
    assert!(whole.await, "the cluster becomes whole");
}

/// Settings for a cluster of these nodes.
pub(crate) fn cluster_config(nodes: &[&ServerProcess]) -> RedisConfig {
    let hosts: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
    RedisConfig {
        response_timeout: Duration::from_millis(1_500),
        ..RedisConfig::new(format!("redis+cluster://{}", hosts.join(",")))
    }
}
