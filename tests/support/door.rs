//! The way that tests of this run reach a broker: `SIXPIN_TEST_DOOR` is `grpc` (unless said otherwise), over a socket, or
//! `inside`, as a program does that has its broker inside itself.
//!
//! A test that is about sockets, whatever the run says, connects to the address of its broker.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sixpin_server::broker::Broker;
use sixpin_server::frontend::grpc::inside::Services;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};
use tower_service::Service;

/// Whether this run goes by functions, and not by sockets.
pub fn inside() -> bool {
    match std::env::var("SIXPIN_TEST_DOOR").as_deref() {
        Err(_) | Ok("grpc") => false,
        Ok("inside") => true,
        Ok(other) => panic!("SIXPIN_TEST_DOOR is `{other}`: grpc or inside"),
    }
}

/// A way to a broker.
#[derive(Clone)]
pub enum Way {
    Network(Channel),
    Inside(Services),
}

impl Way {
    /// The way that the run says, without sharing it with anybody.
    pub async fn to(broker: &Broker, address: SocketAddr) -> Self {
        if inside() { Self::Inside(broker.services()) } else { Self::by_network(address).await }
    }

    /// A connection.
    pub async fn by_network(address: SocketAddr) -> Self {
        Self::Network(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
    }
}

impl Service<http::Request<Body>> for Way {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Network(channel) => channel.poll_ready(context),
            Self::Inside(services) => services.poll_ready(context).map_err(|never| match never {}),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self {
            Self::Network(channel) => channel.call(request).boxed(),
            Self::Inside(services) => {
                services.call(request).map(|answer| answer.map_err(|never| match never {})).boxed()
            }
        }
    }
}
