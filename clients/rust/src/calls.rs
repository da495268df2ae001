//! Ways to a broker for calls: a connection of gRPC, or the broker inside this program.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service;

use crate::encrypted::Trouble;
#[cfg(feature = "embedded")]
use crate::inside::Services;

/// A way to one broker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    /// Over the network.
    Outside(Outside),
    /// The broker inside this program.
    #[cfg(feature = "embedded")]
    Inside(Services),
}

/// A connection over the network, on which each call says who makes it.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    pub(crate) channel: Channel,
    /// Marked as sensitive: it is not shown.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) trouble: Trouble,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<Body>, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self {
            Self::Outside(Outside { channel, trouble, .. }) => {
                channel.poll_ready(cx).map_err(|error| in_words(trouble, error))
            }
            #[cfg(feature = "embedded")]
            Self::Inside(services) => services.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self {
            Self::Outside(Outside { channel, authorization, trouble }) => {
                if let Some(authorization) = authorization {
                    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
                }
                let trouble = trouble.clone();
                channel.call(request).map(move |answer| answer.map_err(|error| in_words(&trouble, error))).boxed()
            }
            #[cfg(feature = "embedded")]
            Self::Inside(services) => services.call(request).map(|answer| answer.map_err(Into::into)).boxed(),
        }
    }
}

/// Why a call failed: in the words of the connection, if it has any.
fn in_words(trouble: &Trouble, error: tonic::transport::Error) -> Failure {
    trouble.get().map_or_else(|| error.into(), |words| Status::unavailable(words).into())
}
