//! The services for the program that the broker is inside of: called as functions, without a socket and without HTTP/2.
//!
//! A stream goes on only while the program looks at it: there is no connection that would do it meanwhile.
//!
//! A program is one client, and a trusted one. Its sessions count as those of any other; its connections and calls do not, since it
//! can only crowd out itself.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use sixpin_core::broker::api::Client;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Error;
use tower_service::Service;

use super::errors;
use crate::access::Who;

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

/// It never fails. Its error is that of a connection, so that callers have one type for both.
impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx).map_err(|never: Infallible| match never {})
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.extensions_mut().insert(THIS_PROGRAM);
        request.extensions_mut().insert(Who::this_program());
        let answer = self.0.call(request);
        answer.map(|answer| answer.map(errors::in_our_words).map_err(|never: Infallible| match never {})).boxed()
    }
}
