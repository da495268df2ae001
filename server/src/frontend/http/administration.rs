//! What administrators do.

use super::Door;
use super::asked::Asked;
use super::json::write;
use super::problem::Problem;
use super::routes::{Answered, json};
use crate::frontend::messages::administration::AdminCalls;

pub(super) async fn force_unlock(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    Ok(json(write(&calls(&asked.door)?.force_unlock(&asked.from, asked.message()?).await?)))
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

/// Their routes are where administrators are served.
fn calls(door: &Door) -> Result<&AdminCalls, Problem> {
    door.administration.as_ref().ok_or(Problem::NoRoute)
}
