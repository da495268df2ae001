//! Whether the process lives, and whether it serves: for whoever restarts it, and for balancers.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::asked::Asked;
use super::routes::Answered;

pub(super) async fn lives(_: Asked) -> Answered {
    text(StatusCode::OK, "alive\n".into())
}

pub(super) async fn is_ready(asked: Asked) -> Answered {
    let missing = asked.door.api.not_serving().await;
    if missing.is_empty() {
        return text(StatusCode::OK, "ready\n".into());
    }
    let reasons: String = missing.iter().map(|(store, why)| format!("{store}: {why}\n")).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{reasons}"))
}

fn text(status: StatusCode, text: String) -> Answered {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8");
    let response = response.header(CACHE_CONTROL, "no-store").body(Body::from(text));
    Ok(response.unwrap_or_default())
}
