//! The description of this door, for tools: `OpenAPI` 3.1.
//!
//! It is made from the table of routes and the proto files, whose comments it has, and is kept in the repository, so that whoever
//! reads a change sees what it does to the API. A test makes it anew and compares.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;

use super::asked::Asked;
use super::routes::Answered;

#[cfg(test)]
mod describe;

const DESCRIPTION: &str = include_str!("../../../../openapi.json");

pub(super) async fn get(_: Asked) -> Answered {
    Ok(Response::builder().header(CONTENT_TYPE, "application/json").body(Body::from(DESCRIPTION)).unwrap_or_default())
}
