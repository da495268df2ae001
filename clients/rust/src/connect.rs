//! Ways to a broker: over the network, or to the one inside this program.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
#[cfg(feature = "embedded")]
use tower::util::Either;

#[cfg(feature = "embedded")]
use crate::inside::{Inside, Services};
use crate::status::innermost;

/// Pings find out that a broker or the way to it is gone: sent after this much silence, and answered within the timeout.
/// Brokers do the same from their side.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Stands for the address of the broker inside this program.
#[cfg(feature = "embedded")]
pub(crate) const INSIDE: &str = "embedded";

/// Connects to brokers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    /// How long one address may take to answer.
    pub(crate) timeout: Duration,
    /// The broker inside this program.
    #[cfg(feature = "embedded")]
    pub(crate) inside: Option<Inside>,
}

/// A way to one broker. Cheap to clone.
#[cfg(feature = "embedded")]
pub(crate) type Connection = Either<Channel, Services>;
#[cfg(not(feature = "embedded"))]
pub(crate) type Connection = Channel;

impl Connector {
    /// To brokers of the network alone.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            #[cfg(feature = "embedded")]
            inside: None,
        }
    }

    /// Connects to one address.
    pub(crate) async fn connect(&self, address: &str) -> Result<Connection, String> {
        #[cfg(feature = "embedded")]
        if let Some(inside) = self.inside.as_ref().filter(|_| address == INSIDE) {
            let services = inside.services().ok_or("the broker inside this program has ended")?;
            return Ok(Either::Right(services));
        }
        let channel = self.dial(address).await?;
        #[cfg(feature = "embedded")]
        let channel = Either::Left(channel);
        Ok(channel)
    }

    async fn dial(&self, address: &str) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(self.timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            // Not only while something is asked: hyper looks whether that is so when the connection moves, perhaps a
            // moment before it notes the request, and a peer that is silent from then on never makes it look again.
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        endpoint.connect().await.map_err(|error| innermost(&error))
    }
}
