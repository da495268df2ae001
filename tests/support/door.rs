//! The way that tests of this run reach a broker: `SIXPIN_TEST_DOOR` is `grpc` (unless said otherwise), over a socket, or
//! `inside`, as a program does that has its broker inside itself.
//!
//! A test that is about sockets, whatever the run says, connects to the address of its broker.

use std::net::SocketAddr;

use sixpin_server::broker::Broker;
use sixpin_server::frontend::grpc::inside::Services;
use tonic::transport::{Channel, Endpoint};
use tower::util::Either;

/// Whether this run goes by functions, and not by sockets.
pub fn inside() -> bool {
    match std::env::var("SIXPIN_TEST_DOOR").as_deref() {
        Err(_) | Ok("grpc") => false,
        Ok("inside") => true,
        Ok(other) => panic!("SIXPIN_TEST_DOOR is `{other}`: grpc or inside"),
    }
}

/// A way to a broker.
pub type Way = Either<Channel, Services>;

/// The way that the run says, without sharing it with anybody.
pub async fn to(broker: &Broker, address: SocketAddr) -> Way {
    if inside() { Way::Right(broker.services()) } else { by_network(address).await }
}

/// A connection.
pub async fn by_network(address: SocketAddr) -> Way {
    Way::Left(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}
