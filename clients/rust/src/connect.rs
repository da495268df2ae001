//! Ways to a broker: over the network, or to the one inside this program.

use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
#[cfg(feature = "embedded")]
use tower::util::Either;
use tower_service::Service as _;

use crate::frames::{FrameStream, Unspoken};
#[cfg(feature = "embedded")]
use crate::inside::{Inside, Services};
use crate::status::innermost;

/// Pings of HTTP/2 find out that a broker or the way to it is gone: sent after this much silence, and answered within the timeout.
/// Brokers do the same from their side.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The same without HTTP/2: probes of TCP after that silence, and how many are lost before the connection is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;
/// Stands for the address of the broker inside this program.
#[cfg(feature = "embedded")]
pub(crate) const INSIDE: &str = "embedded";

/// Connects to brokers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    /// How long one address may take to answer.
    pub(crate) timeout: Duration,
    /// Sessions go over gRPC, too.
    pub(crate) grpc: bool,
    unspoken: Unspoken,
    /// The broker inside this program.
    #[cfg(feature = "embedded")]
    pub(crate) inside: Option<Inside>,
}

/// A way to one broker. Cheap to clone.
#[cfg(feature = "embedded")]
pub(crate) type Connection = Either<Channel, Services>;
#[cfg(not(feature = "embedded"))]
pub(crate) type Connection = Channel;

/// A way to one broker for a session.
pub(crate) enum Stream {
    /// Calls, of which the session's stream is one.
    Grpc(Connection),
    /// The stream itself.
    Frames(FrameStream),
}

impl Connector {
    /// To brokers of the network alone.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            grpc: false,
            unspoken: Unspoken::default(),
            #[cfg(feature = "embedded")]
            inside: None,
        }
    }

    /// Connects to one address for a session.
    pub(crate) async fn stream(&self, address: &str) -> Result<Stream, String> {
        #[cfg(feature = "embedded")]
        let outside = address != INSIDE;
        #[cfg(not(feature = "embedded"))]
        let outside = true;
        if outside && !self.grpc && !self.unspoken.is(address) {
            let socket = self.socket(address).await?;
            if let Some(frames) = self.unspoken.greet(address, socket).await {
                return Ok(Stream::Frames(frames));
            }
        }
        self.connect(address).await.map(Stream::Grpc)
    }

    /// A connection on which nothing has been said, to the first of the host's addresses that answers.
    async fn socket(&self, address: &str) -> Result<TcpStream, String> {
        let uri = Uri::try_from(format!("http://{address}")).map_err(|error| error.to_string())?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.timeout));
        // Frames have no pings: the system finds out that a broker or the way to it is gone, about as soon as pings would.
        connector.set_keepalive(Some(PING_INTERVAL));
        connector.set_keepalive_interval(Some(PROBE_INTERVAL));
        connector.set_keepalive_retries(Some(PROBES));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(PING_INTERVAL + PING_TIMEOUT));
        let socket = connector.call(uri).await.map_err(|error| innermost(&error))?;
        Ok(socket.into_inner())
    }

    /// Connects to one address for calls.
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
