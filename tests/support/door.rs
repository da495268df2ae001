//! The way that tests of this run reach a broker: `SIXPIN_TEST_DOOR` is `grpc` (unless said otherwise), over a socket, `frames`,
//! where session streams go without HTTP/2, `http`, where all that HTTP has goes as JSON, or `inside`, as a program does that has its
//! broker inside itself.
//!
//! A test that is about sockets, whatever the run says, connects to the address of its broker, with gRPC.

use std::net::SocketAddr;

use sixpin_proto::frames::{Frames, GREETING};
use sixpin_proto::v1;
use sixpin_server::broker::Broker;
use sixpin_server::frontend::grpc::inside::Services;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;
use tonic::transport::{Channel, Endpoint};
use tower::util::Either;

use super::over_http::OverHttp;

/// Whether this run goes by functions, and not by sockets.
pub fn inside() -> bool {
    door() == "inside"
}

/// Whether session streams of this run are frames.
pub fn frames() -> bool {
    door() == "frames"
}

/// Whether this run goes by JSON, and sessions by WebSocket.
pub fn http() -> bool {
    door() == "http"
}

fn door() -> String {
    let door = std::env::var("SIXPIN_TEST_DOOR").unwrap_or_else(|_| "grpc".to_owned());
    assert!(
        ["grpc", "frames", "http", "inside"].contains(&door.as_str()),
        "SIXPIN_TEST_DOOR is `{door}`: grpc, frames, http or inside"
    );
    door
}

/// A way to a broker.
pub type Way = Either<Either<Channel, OverHttp>, Services>;

/// The way that the run says, without sharing it with anybody.
pub async fn to(broker: &Broker, address: SocketAddr) -> Way {
    if inside() { Way::Right(broker.services()) } else { by_network(address).await }
}

/// By JSON if the run says so, and otherwise a connection.
pub async fn by_network(address: SocketAddr) -> Way {
    if http() { Way::Left(Either::Right(OverHttp::to(address))) } else { by_grpc(address).await }
}

/// A connection.
pub async fn by_grpc(address: SocketAddr) -> Way {
    Way::Left(Either::Left(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()))
}

/// A connection for a session stream without HTTP/2.
pub type FrameWay = Framed<TcpStream, Frames<v1::SessionResponse, v1::SessionRequest>>;

/// A connection whose greeting was answered.
pub async fn greeted(address: SocketAddr) -> FrameWay {
    Framed::new(greet(address).await, Frames::new(16 << 20))
}

/// The same for bytes of one's own.
pub async fn greet(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(&GREETING).await.unwrap();
    let mut answer = [0; GREETING.len()];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, GREETING);
    socket
}
