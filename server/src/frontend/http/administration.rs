//! What administrators do.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use sixpin_core::access::{Place, Verb};

use super::asked::Asked;
use super::json::write;
use super::problem::Problem;
use super::routes::{Answered, json};
use super::{Administrators, Door};
use crate::frontend::messages::administration::AdminCalls;
use crate::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;

pub(super) async fn force_unlock(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    Ok(json(write(&calls(&asked.door)?.force_unlock(&asked.from, asked.message()?).await?)))
}

pub(super) async fn notify_holder(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    Ok(json(write(&calls(&asked.door)?.notify_holder(&asked.from, asked.message()?).await?)))
}

pub(super) async fn purge_orphans(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    Ok(json(write(&calls(&asked.door)?.purge_orphans(&asked.from, asked.message()?).await?)))
}

pub(super) async fn remove_damaged(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    Ok(json(write(&calls(&asked.door)?.remove_damaged(&asked.from, asked.message()?).await?)))
}

pub(super) async fn expire_session(asked: Asked) -> Answered {
    let asked = asked.with_named("session")?;
    Ok(json(write(&calls(&asked.door)?.expire_session(&asked.from, asked.message()?).await?)))
}

pub(super) async fn drain(asked: Asked) -> Answered {
    Ok(json(write(&calls(&asked.door)?.drain_broker(&asked.from, asked.message()?).await?)))
}

pub(super) async fn metrics(asked: Asked) -> Answered {
    asked.door.api.check(&asked.from, Verb::Metrics, Place::Everywhere)?;
    let text = administrators(&asked.door)?.metrics.text().await;
    let response = Response::builder().header(CONTENT_TYPE, CONTENT_TYPE_OF_METRICS).body(Body::from(text));
    Ok(response.unwrap_or_default())
}

/// Their routes are where administrators are served.
fn calls(door: &Door) -> Result<&AdminCalls, Problem> {
    Ok(&administrators(door)?.calls)
}

fn administrators(door: &Door) -> Result<&Administrators, Problem> {
    door.administrators.as_ref().ok_or(Problem::NoRoute)
}
