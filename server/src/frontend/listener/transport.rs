//! What carries the bytes of a connection: TCP, alone or below TLS.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// A connection on which bytes travel: left without TLS, right with it, after its handshake.
pub(crate) type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Whether it has TLS.
pub(super) fn is_encrypted(transport: &Transport) -> bool {
    matches!(transport, Either::Right(_))
}

/// The connection below.
pub(super) fn tcp(transport: &Transport) -> &TcpStream {
    match transport {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    }
}
