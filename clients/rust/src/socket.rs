//! Connections on which nothing has been said, with TLS or without.

use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::either::Either;
use tower_service::Service as _;

use crate::credentials::Security;
use crate::encrypted::{Encrypted, Trouble};
use crate::status::innermost;
use crate::tls::Purpose;

/// Pings of HTTP/2 find out that a broker or the way to it is gone: sent after this much silence, and answered within the timeout.
/// Brokers do the same from their side.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The same without HTTP/2: probes of TCP after that silence, and how many are lost before the connection is.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 2;

/// A connection to a broker: left without TLS, right with it.
pub(crate) type Socket = Either<TcpStream, Box<Encrypted>>;

/// A connection to the first of the host's addresses that answers, with TLS if there is to be TLS. `Err` says, for people, why
/// there is none.
pub(crate) async fn open(
    address: &str,
    security: &Security,
    purpose: Purpose,
    within: Duration,
) -> Result<Socket, String> {
    let until = Instant::now() + within;
    let tcp = tcp(address, within).await?;
    let Some(tls) = &security.tls else {
        if security.token.is_some() && !is_this_host(&tcp) {
            return Err(format!(
                "the token for `{address}` is not sent without TLS: write https:// in front of the address"
            ));
        }
        return Ok(Socket::Left(tcp));
    };
    let encrypted = tls.encrypt(address, tcp, purpose, until.saturating_duration_since(Instant::now())).await?;
    Ok(Socket::Right(Box::new(encrypted)))
}

async fn tcp(address: &str, within: Duration) -> Result<TcpStream, String> {
    let uri = Uri::try_from(format!("http://{address}")).map_err(|error| error.to_string())?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(within));
    // Frames have no pings: the system finds out that a broker or the way to it is gone, about as soon as pings would.
    connector.set_keepalive(Some(PING_INTERVAL));
    connector.set_keepalive_interval(Some(PROBE_INTERVAL));
    connector.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(PING_INTERVAL + PING_TIMEOUT));
    let socket = connector.call(uri).await.map_err(|error| innermost(&error))?;
    Ok(socket.into_inner())
}

/// Nobody else hears what is said to oneself.
fn is_this_host(tcp: &TcpStream) -> bool {
    tcp.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
}

/// What the broker chose to speak of what it was offered. Nothing without TLS, or if it does not choose.
pub(crate) fn spoken(socket: &Socket) -> Option<&[u8]> {
    match socket {
        Either::Left(_) => None,
        Either::Right(tls) => tls.spoken(),
    }
}

/// Why it failed, if TLS knows.
pub(crate) fn trouble(socket: &Socket) -> Option<String> {
    match socket {
        Either::Left(_) => None,
        Either::Right(tls) => tls.trouble(),
    }
}

/// Notes there why it fails.
pub(crate) fn note_in(mut socket: Socket, trouble: Trouble) -> Socket {
    if let Either::Right(tls) = &mut socket {
        tls.note_in(trouble);
    }
    socket
}
