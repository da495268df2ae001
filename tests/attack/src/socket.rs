//! What an attack writes to: TCP, alone or below TLS.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// A connection to the broker: left without TLS, right with it, after its handshake.
pub type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The connection below.
pub fn tcp(socket: &Socket) -> &TcpStream {
    match socket {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    }
}
