//! What the listener has to know of gRPC: what kind of request a path is, how a request is refused that never comes to a
//! service, and how an answer ends that was cut short.

use std::sync::Arc;

use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use tonic::service::Routes;

use super::errors;
use crate::access::Access;
use crate::frontend::api::errors::over_limit;
use crate::frontend::listener::{Kind, Protocol, What};

/// The head of a message on the wire.
const MESSAGE_HEAD: usize = 5;

/// These services, for the listener.
pub(super) fn of(routes: Routes, access: Arc<Access>) -> Protocol {
    Protocol {
        routes: routes.prepare(),
        what,
        request_bytes_max: MESSAGE_BYTES_MAX + MESSAGE_HEAD,
        access,
        unauthenticated: || errors::status(&RequestError::Unauthenticated).into_http(),
        refusal: |limit| errors::status(&over_limit(limit)).into_http(),
        cut_short: |limit| errors::trailers(&errors::status(&over_limit(limit))),
        finish: errors::in_our_words,
        greeted: None,
    }
}

fn what(path: &str) -> What {
    let what = |kind| What { kind, streams_in: false, for_everybody: false };
    match path {
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
