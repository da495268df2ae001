//! Whether the process lives, and whether it serves: for whoever restarts it, and for balancers.

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
    let missing = asked.door.api.not_serving().await;
    if missing.is_empty() {
        return Ok(text(StatusCode::OK, "ready\n".into()));
    }
    let reasons: Vec<String> = missing.iter().map(|(store, why)| format!("{store}: {why}\n")).collect();
    Ok(text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}", reasons.concat())))
}

fn text(status: StatusCode, text: String) -> Response {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let response = response.header(CACHE_CONTROL, "no-store").body(Body::from(text));
    response.unwrap_or_default()
}
