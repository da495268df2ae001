//! Whether the process lives, and whether it serves: for whoever restarts it, and for balancers.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::asked::Asked;
use super::routes::Answered;

pub(super) async fn lives(_: Asked) -> Answered {
    Ok(text(StatusCode::OK, "alive\n".into()))
}

pub(super) async fn is_ready(asked: Asked) -> Answered {
    // As it was found last: whoever asks often costs nothing.
    let missing = asked.door.api.found_not_serving();
    if missing.is_empty() {
        return Ok(text(StatusCode::OK, "ready\n".into()));
    }
    // Everybody may ask, so stores have no names here.
    let reasons: BTreeSet<String> = missing.into_iter().map(|(_, why)| format!("not ready: {why}\n")).collect();
    Ok(text(StatusCode::SERVICE_UNAVAILABLE, reasons.into_iter().collect()))
}

fn text(status: StatusCode, text: String) -> Response {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let response = response.header(CACHE_CONTROL, "no-store").body(Body::from(text));
    response.unwrap_or_default()
}
