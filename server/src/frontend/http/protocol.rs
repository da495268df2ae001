//! What the listener has to know of HTTP: what kind of request a path is, and how a request is refused that never comes to a route.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::request;
use sixpin_core::broker::api::RequestError;
use tonic::service::Routes;

use super::asked::Asked;
use super::path::{Found, find};
use super::problem::Problem;
use super::{Door, page, path};
use crate::frontend::api::errors::over_limit;
use crate::frontend::listener::{Dialect, Kind, Protocol, What};

/// What is beside gRPC on a listener.
pub(super) fn beside(protocol: Protocol, door: Arc<Door>) -> Protocol {
    let for_administrators = door.administrators.is_some();
    let what = if for_administrators { what_for_administrators } else { what_for_clients };
    let router = Router::new().fallback(answer).with_state(door);
    let own = Dialect {
        routes: Routes::from(router).prepare(),
        // It answers what nobody else does.
        is_for: |_| false,
        what,
        unauthenticated: if for_administrators {
            unknown_administrator
        } else {
            |_| refusal(RequestError::Unauthenticated)
        },
        refusal: |limit| refusal(over_limit(limit)),
        finish: |response| response,
    };
    let mut dialects: Vec<Dialect> = protocol.dialects.iter().cloned().collect();
    dialects.push(own);
    Protocol { dialects: dialects.into(), ..protocol }
}

fn refusal(error: RequestError) -> http::Response<tonic::body::Body> {
    Problem::from(error).into_response().map(tonic::body::Body::new)
}

fn what_for_clients(request: &request::Parts) -> What {
    what(request, false)
}

fn what_for_administrators(request: &request::Parts) -> What {
    page::what(request).unwrap_or_else(|| what(request, true))
}

/// A browser is shown where to sign in.
fn unknown_administrator(request: &request::Parts) -> http::Response<tonic::body::Body> {
    match page::what(request) {
        Some(_) => page::unauthenticated().map(tonic::body::Body::new),
        None => refusal(RequestError::Unauthenticated),
    }
}

fn what(request: &request::Parts, for_administrators: bool) -> What {
    match find(&request.method, request.uri.path(), for_administrators) {
        Found::Route(route) => {
            What { kind: route.kind, streams_in: false, for_everybody: route.for_everybody, page: false }
        }
        Found::OtherMethods(_) | Found::Nothing => {
            What { kind: Kind::Call, streams_in: false, for_everybody: true, page: false }
        }
    }
}

async fn answer(State(door): State<Arc<Door>>, request: Request) -> Response {
    let request = match door.administrators {
        Some(_) => match page::answer(&door, request).await {
            Ok(response) => return response,
            Err(other) => other,
        },
        None => request,
    };
    let answered = match path::find(request.method(), request.uri().path(), door.administrators.is_some()) {
        Found::Route(route) => match Asked::new(door, route, request).await {
            Ok(asked) => (route.answer)(asked).await,
            Err(problem) => Err(problem),
        },
        Found::OtherMethods(methods) => {
            let methods: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            Err(Problem::OtherMethods(methods.join(", ")))
        }
        Found::Nothing => Err(Problem::NoRoute),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}
