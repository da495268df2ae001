//! What the listener has to know of gRPC: what kind of request a path is, how a request is refused that never comes to a
//! service, and how an answer ends that was cut short.

use sixpin_core::limits::MESSAGE_BYTES_MAX;
use tonic::service::Routes;

use super::errors;
use crate::frontend::api::errors::over_limit;
use crate::frontend::listener::{Kind, Protocol, What};

/// The head of a message on the wire.
const MESSAGE_HEAD: usize = 5;

/// These services, for the listener.
pub(super) fn of(routes: Routes) -> Protocol {
    Protocol {
        routes: routes.prepare(),
        what,
        request_bytes_max: MESSAGE_BYTES_MAX + MESSAGE_HEAD,
        refusal: |limit| errors::status(&over_limit(limit)).into_http(),
        cut_short: |limit| errors::trailers(&errors::status(&over_limit(limit))),
        finish: errors::in_our_words,
        greeted: None,
    }
}

fn what(path: &str) -> What {
    match path {
        "/sixpin.v1.LockService/Session" => What { kind: Kind::Session, streams_in: true },
        "/sixpin.v1.EchoService/Echo" => What { kind: Kind::Call, streams_in: true },
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
            What { kind: Kind::Watch, streams_in: true }
        }
        "/sixpin.v1.InspectService/WatchResource" | "/grpc.health.v1.Health/Watch" => {
            What { kind: Kind::Watch, streams_in: false }
        }
        "/sixpin.v1.LockService/OpenSession" | "/sixpin.v1.LockService/Hold" => {
            What { kind: Kind::Open, streams_in: false }
        }
        path if path.starts_with("/sixpin.v1.InspectService/") => What { kind: Kind::Inspection, streams_in: false },
        _ => What { kind: Kind::Call, streams_in: false },
    }
}
