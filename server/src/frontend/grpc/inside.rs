//! The services for the program that the broker is inside of: called as functions, without a socket and without HTTP/2.
//!
//! A stream goes on only while the program looks at it: there is no connection that would do it meanwhile.
//!
//! A program is one client, and a trusted one. Its sessions count as those of any other; its connections and calls do not, since it
//! can only crowd out itself.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::{Request, Response};
use sixpin_core::broker::api::Client;
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service;

use super::errors;

/// The program itself, as far as shares are concerned.
const THIS_PROGRAM: Client = Client { id: 0, trusted: true };

/// All services of a broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Services(Routes);

impl Services {
    pub(super) fn new(routes: Routes) -> Self {
        Self(routes.prepare())
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.extensions_mut().insert(THIS_PROGRAM);
        self.0.call(request).map_ok(errors::in_our_words).boxed()
    }
}
