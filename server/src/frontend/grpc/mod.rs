//! The gRPC front end: package `sixpin.v1`, health and reflection.
//!
//! # Layout, in reading order
//!
//! * [`protocol`]: what the listener has to know of it;
//! * [`errors`]: what went wrong, as a status;
//! * [`session`]: the stream of one session, the main way in;
//! * [`hold`]: one lock for as long as a call is open;
//! * [`unary`]: the lock service;
//! * [`inspect`]: who holds and who waits;
//! * [`admin`]: the admin service;
//! * [`health`]: whether the engines serve;
//! * [`inside`]: the services for the program that the broker is inside of;
//! * [`echo`]: the floor that locks are measured against.

pub mod admin;
pub mod echo;
pub mod errors;
pub mod health;
pub mod hold;
pub mod inspect;
pub mod inside;
mod protocol;
pub mod session;
pub mod unary;

use sixpin_core::broker::api::RequestError;
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_proto::v1;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Response, Status};
use v1::admin_service_server::AdminServiceServer;
use v1::echo_service_server::EchoServiceServer;
use v1::inspect_service_server::InspectServiceServer;
use v1::lock_service_server::LockServiceServer;

use super::api::admin::Administration;
use super::api::{Api, Caller};
use super::listener::Protocol;
use crate::access::{Access, Who};
use crate::traces::{Door, Origin, TRACEPARENT};
use health::Health;
use inside::Services;

/// Longest answer: to the resume of a session that has as many claims as it may, each with a value block. Listings are
/// cut well before.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What clients reach: locks, inspection, health, reflection.
pub fn for_clients(api: &Api, health: &Health) -> Protocol {
    protocol::of(common_routes(api, health).add_service(locks(api)), api.access().clone())
}

/// What administrators reach: administration, inspection, health, reflection.
pub fn for_administrators(api: &Api, health: &Health, administration: Administration) -> Protocol {
    protocol::of(common_routes(api, health).add_service(admin(administration)), api.access().clone())
}

/// What the program reaches that the broker is inside of: everything.
pub fn for_this_program(api: &Api, health: &Health, administration: Administration) -> Services {
    Services::new(common_routes(api, health).add_service(locks(api)).add_service(admin(administration)))
}

/// A service that only answers: benchmarks measure with it what the transport costs by itself.
pub fn for_benchmarks() -> Protocol {
    let echo = EchoServiceServer::new(echo::Echo).max_decoding_message_size(MESSAGE_BYTES_MAX);
    protocol::of(Routes::new(echo), Access::open())
}

fn locks(api: &Api) -> LockServiceServer<unary::Locks> {
    LockServiceServer::new(unary::Locks::new(api.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX)
}

fn admin(administration: Administration) -> AdminServiceServer<admin::Admin> {
    AdminServiceServer::new(admin::Admin::new(administration)).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

fn common_routes(api: &Api, health: &Health) -> Routes {
    let inspect = InspectServiceServer::new(inspect::Inspect::new(api.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let routes = Routes::new(inspect).add_service(health.service());
    // The descriptors are compiled in; that they can be read is checked by a test. Without them nothing else is worse.
    // Both versions of the service: many programs ask for the older one only.
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the reflection service is missing");
            routes
        }
    }
}

/// Who calls, as the listener says it of every request.
fn caller<T>(request: &tonic::Request<T>) -> Caller {
    let said = request.extensions();
    Caller {
        address: request.remote_addr(),
        client: said.get().copied().unwrap_or_default(),
        // Every way to the services says who asks; one that did not would let nobody do anything.
        who: said.get().cloned().unwrap_or_else(Who::nobody),
        origin: Origin::of(Door::Grpc),
    }
}

/// The same of a request that may be traced.
fn traced<T>(api: &Api, request: &tonic::Request<T>) -> Caller {
    let named = || request.metadata().get_all(TRACEPARENT).into_iter().map(MetadataValue::as_encoded_bytes);
    caller(request).by(api, Door::Grpc, named)
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, RequestError>) -> Answer<T> {
    result.map(Response::new).map_err(|error| errors::status(&error))
}

fn reflection<'a>() -> tonic_reflection::server::Builder<'a> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sixpin_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
