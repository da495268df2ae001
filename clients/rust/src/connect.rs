//! Ways to a broker: over the network, or to the one inside this program.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};
use tower_service::Service;

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
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    Network(Channel),
    #[cfg(feature = "embedded")]
    Inside(Services),
}

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
            return Ok(Connection::Inside(services));
        }
        self.dial(address).await.map(Connection::Network)
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

    /// Has the broker inside this program leave its store, if there is one, and waits until it has.
    pub(crate) async fn end(&self) {
        #[cfg(feature = "embedded")]
        if let Some(inside) = &self.inside {
            inside.end().await;
        }
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Network(channel) => channel.poll_ready(context),
            #[cfg(feature = "embedded")]
            Self::Inside(services) => services.poll_ready(context).map_err(|never| match never {}),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self {
            Self::Network(channel) => channel.call(request).boxed(),
            #[cfg(feature = "embedded")]
            Self::Inside(services) => {
                services.call(request).map(|answer| answer.map_err(|never| match never {})).boxed()
            }
        }
    }
}
