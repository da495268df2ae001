//! Connections to one address.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::status::innermost;

/// Pings find out that a broker or the way to it is gone: sent after this much silence, and answered within the timeout.
/// Brokers do the same from their side.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to one address.
pub(crate) async fn connect(address: &str, timeout: Duration) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?
        .connect_timeout(timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        // Not only while something is asked: hyper looks whether that is so when the connection moves, perhaps a moment
        // before it notes the request, and a peer that is silent from then on never makes it look again.
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| innermost(&error))
}
