//! Ways to a broker: over the network, or to the one inside this program.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::calls::{Connection, Outside};
use crate::credentials::Security;
use crate::encrypted::Trouble;
use crate::frames::{FrameStream, Unspoken};
#[cfg(feature = "embedded")]
use crate::inside::Inside;
use crate::socket::{self, PING_INTERVAL, PING_TIMEOUT};
use crate::status::innermost;
use crate::tls::Purpose;
use crate::token::Token;

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
    pub(crate) security: Arc<Security>,
    unspoken: Unspoken,
    /// The broker inside this program.
    #[cfg(feature = "embedded")]
    pub(crate) inside: Option<Inside>,
}

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
            security: Arc::default(),
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
            let socket = socket::open(address, &self.security, Purpose::Stream, self.timeout).await?;
            let token = self.security.token.as_ref().map(Token::get);
            if let Some(frames) = self.unspoken.greet(address, socket, token.as_deref()).await? {
                return Ok(Stream::Frames(frames));
            }
        }
        self.connect(address).await.map(Stream::Grpc)
    }

    /// Connects to one address for calls.
    pub(crate) async fn connect(&self, address: &str) -> Result<Connection, String> {
        #[cfg(feature = "embedded")]
        if let Some(inside) = self.inside.as_ref().filter(|_| address == INSIDE) {
            let services = inside.services().ok_or("the broker inside this program has ended")?;
            return Ok(Connection::Inside(services));
        }
        let trouble = Trouble::default();
        let channel = self.dial(address, &trouble).await?;
        let authorization = self.security.token.as_ref().map(|token| token.get().header.clone());
        Ok(Connection::Outside(Outside { channel, authorization, trouble }))
    }

    async fn dial(&self, address: &str, trouble: &Trouble) -> Result<Channel, String> {
        let origin = |scheme: &str| Uri::try_from(format!("{scheme}://{address}")).map_err(|error| error.to_string());
        let scheme = if self.security.tls.is_some() { "https" } else { "http" };
        // TLS is ours, and not to be done once more.
        let endpoint = Endpoint::from(origin("http")?)
            .origin(origin(scheme)?)
            .connect_timeout(self.timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            // Not only while something is asked: hyper looks whether that is so when the connection moves, perhaps a
            // moment before it notes the request, and a peer that is silent from then on never makes it look again.
            .keep_alive_while_idle(true);
        let opening = {
            let (address, security, timeout) = (Arc::<str>::from(address), Arc::clone(&self.security), self.timeout);
            let trouble = trouble.clone();
            service_fn(move |_: Uri| {
                let (address, security, trouble) = (Arc::clone(&address), Arc::clone(&security), trouble.clone());
                async move {
                    let opened = socket::open(&address, &security, Purpose::Calls, timeout).await;
                    // What was wrong with a connection before this one is over.
                    trouble.set(opened.as_ref().err().cloned());
                    opened.map(|socket| TokioIo::new(socket::note_in(socket, trouble)))
                }
            })
        };
        let connected = endpoint.connect_with_connector(opening).await;
        connected.map_err(|error| trouble.get().unwrap_or_else(|| innermost(&error)))
    }
}
