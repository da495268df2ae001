//! What the listener has to know of gRPC: what kind of request a path is, and how a request is refused that never comes
//! to a service.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Version, request};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use tonic::service::Routes;

use super::errors;
use crate::access::Access;
use crate::frontend::api::errors::over_limit;
use crate::frontend::listener::{Dialect, Kind, Protocol, What};

/// The head of a message on the wire.
const MESSAGE_HEAD: usize = 5;

/// These services, for the listener.
pub(super) fn of(routes: Routes, access: Arc<Access>) -> Protocol {
    Protocol {
        dialects: Arc::new([dialect(routes)]),
        request_bytes_max: MESSAGE_BYTES_MAX + MESSAGE_HEAD,
        access,
        greeted: None,
    }
}

/// These services, for a listener that has other front ends as well.
pub(super) fn dialect(routes: Routes) -> Dialect {
    Dialect {
        routes: routes.prepare(),
        is_for,
        what,
        unauthenticated: |_| errors::status(&RequestError::Unauthenticated).into_http(),
        refusal: |limit| errors::status(&over_limit(limit)).into_http(),
        finish: errors::in_our_words,
    }
}

/// gRPC says so, and needs HTTP/2: its pings alone tell a silent client from a dead one.
fn is_for(request: &request::Parts) -> bool {
    if request.version != Version::HTTP_2 {
        return false;
    }
    let kind = request.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

fn what(request: &request::Parts) -> What {
    let what = |kind| What { kind, streams_in: false, for_everybody: false, page: false };
    match request.uri.path() {
        "/sixpin.v1.LockService/Session" => What { streams_in: true, ..what(Kind::Session) },
        "/sixpin.v1.EchoService/Echo" => What { streams_in: true, ..what(Kind::Call) },
        // What the API looks like is no secret.
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
            What { streams_in: true, for_everybody: true, ..what(Kind::Watch) }
        }
        // Balancers ask, and have no credentials.
        "/grpc.health.v1.Health/Watch" => What { for_everybody: true, ..what(Kind::Watch) },
        "/grpc.health.v1.Health/Check" => What { for_everybody: true, ..what(Kind::Call) },
        "/sixpin.v1.InspectService/WatchResource" => what(Kind::Watch),
        "/sixpin.v1.LockService/OpenSession" | "/sixpin.v1.LockService/Hold" => what(Kind::Open),
        path if path.starts_with("/sixpin.v1.InspectService/") => what(Kind::Inspection),
        _ => what(Kind::Call),
    }
}
