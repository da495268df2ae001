//! Who holds and who waits.

use sixpin_proto::v1;

use super::asked::Asked;
use super::json::write;
use super::routes::{Answered, json};
use crate::frontend::api::errors::missing;

pub(super) async fn resource(asked: Asked) -> Answered {
    let asked = asked.with_resource()?;
    let got = asked.door.inspection.resource(&asked.from, asked.message()?).await?;
    Ok(json(write(&got.state.ok_or_else(|| missing("state"))?)))
}

pub(super) async fn resources(asked: Asked) -> Answered {
    Ok(json(write(&asked.door.inspection.resources(&asked.from, asked.message()?).await?)))
}

pub(super) async fn claims(asked: Asked) -> Answered {
    Ok(json(write(&asked.door.inspection.claims(&asked.from, asked.message()?).await?)))
}

pub(super) async fn sessions(asked: Asked) -> Answered {
    Ok(json(write(&asked.door.inspection.sessions(&asked.from, asked.message()?).await?)))
}

pub(super) async fn brokers(asked: Asked) -> Answered {
    let v1::ListBrokersRequest {} = asked.message()?;
    Ok(json(write(&asked.door.inspection.brokers(&asked.from).await?)))
}

pub(super) async fn status(asked: Asked) -> Answered {
    let v1::GetStatusRequest {} = asked.message()?;
    let got = asked.door.inspection.status(&asked.from).await?;
    Ok(json(write(&got.status.ok_or_else(|| missing("status"))?)))
}

pub(super) async fn waits(asked: Asked) -> Answered {
    Ok(json(write(&asked.door.inspection.waits(&asked.from, asked.message()?).await?)))
}

pub(super) async fn contended(asked: Asked) -> Answered {
    Ok(json(write(&asked.door.inspection.contended(&asked.from, asked.message()?).await?)))
}
