//! Connections on which nothing has been said, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
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

/// A connection to a broker.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<Encrypted>),
}

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
        return Ok(Socket::Plain(tcp));
    };
    let encrypted = tls.encrypt(address, tcp, purpose, until.saturating_duration_since(Instant::now())).await?;
    Ok(Socket::Tls(Box::new(encrypted)))
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

impl Socket {
    /// What the broker chose to speak of what it was offered. Nothing without TLS, or if it does not choose.
    pub(crate) fn spoken(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.spoken(),
        }
    }

    /// Why it failed, if TLS knows.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.trouble(),
        }
    }

    /// Notes there why it fails.
    pub(crate) fn note_in(mut self, trouble: Trouble) -> Self {
        if let Self::Tls(tls) = &mut self {
            tls.note_in(trouble);
        }
        self
    }
}

/// Does the same with either kind.
macro_rules! either {
    ($socket:expr, $io:ident => $does:expr) => {
        match $socket.get_mut() {
            Socket::Plain(tcp) => {
                let $io = Pin::new(tcp);
                $does
            }
            Socket::Tls(tls) => {
                let $io = Pin::new(tls.as_mut());
                $does
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(cx, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }
}
