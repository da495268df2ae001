//! Sessions and their claims.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use sixpin_proto::v1;

use super::asked::Asked;
use super::json::write;
use super::problem::Problem;
use super::routes::{Answered, json};
use crate::frontend::api::calls::Progress;
use crate::frontend::api::errors::missing;
use crate::frontend::messages::replies;

/// How long one request waits for a lock. What is in between cuts what takes a minute.
const PATIENCE: Duration = Duration::from_secs(55);
/// Where a caller says that it waits less (RFC 7240, section 4.3).
const PREFER: &str = "prefer";

pub(super) async fn open(asked: Asked) -> Answered {
    let open: v1::Open = asked.message()?;
    let repeats = asked.repeats();
    repeats
        .once(asked, async move |asked| {
            let request = v1::OpenSessionRequest { open: Some(open) };
            let opened = asked.door.locks.open(request, &asked.from).await?.opened;
            Ok(json(write(&opened.ok_or_else(|| missing("opened"))?)))
        })
        .await
}

pub(super) async fn keep_alive(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let v1::KeepAlive { move_number } = asked.message()?;
    let kept = asked.door.locks.keep_alive(v1::KeepAliveRequest { token, move_number }, &asked.from).await?;
    Ok(json(write(&kept.kept_alive.ok_or_else(|| missing("keptAlive"))?)))
}

pub(super) async fn resume(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let resume = v1::Resume { token, ..asked.message()? };
    let resumed = asked.door.locks.resume(v1::ResumeSessionRequest { resume: Some(resume) }, &asked.from).await?;
    Ok(json(write(&resumed.resumed.ok_or_else(|| missing("resumed"))?)))
}

pub(super) async fn close(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let v1::Close {} = asked.message()?;
    asked.door.locks.close(v1::CloseSessionRequest { token }, &asked.from).await?;
    Ok(json(write(&v1::Closed {})))
}

pub(super) async fn lock(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let request = v1::LockRequest { token, lock: Some(asked.message()?) };
    progressed(&asked.door.locks.lock_within(request, &asked.from, patience(&asked)).await?)
}

pub(super) async fn convert(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let asked = asked.with_named("claim")?;
    let request = v1::ConvertRequest { token, convert: Some(asked.message()?) };
    progressed(&asked.door.locks.convert_within(request, &asked.from, patience(&asked)).await?)
}

pub(super) async fn unlock(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let asked = asked.with_named("claim")?;
    let request = v1::UnlockRequest { token, unlock: Some(asked.message()?) };
    let completion = asked.door.locks.unlock(request, &asked.from).await?.completion;
    Ok(json(write(&completion.ok_or_else(|| missing("completion"))?)))
}

pub(super) async fn unlock_all(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let request = v1::UnlockAllRequest { token, unlock_all: Some(asked.message()?) };
    let released = asked.door.locks.unlock_all(request, &asked.from).await?;
    Ok(json(write(&released.unlocked_all.ok_or_else(|| missing("unlockedAll"))?)))
}

pub(super) async fn cancel(mut asked: Asked) -> Answered {
    let token = asked.token_of("session")?;
    let asked = asked.with_named("claim")?;
    let request = v1::CancelRequest { token, cancel: Some(asked.message()?) };
    let cancelled = asked.door.locks.cancel(request, &asked.from).await?;
    Ok(json(write(&cancelled.cancelled.ok_or_else(|| missing("cancelled"))?)))
}

/// As long as the caller would wait for an answer.
fn patience(asked: &Asked) -> Duration {
    let preferences = asked.parts.headers.get(PREFER).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let wait = preferences.split([',', ';']).find_map(|preference| preference.trim().strip_prefix("wait="));
    wait.and_then(|seconds| seconds.parse().ok()).map_or(PATIENCE, |seconds| PATIENCE.min(Duration::from_secs(seconds)))
}

/// What still waits is told its place.
fn progressed(progress: &Progress) -> Answered {
    match progress {
        Progress::Done(done) => completed(replies::completion(done)),
        Progress::Queued(queued) => {
            let mut response = json(write(&replies::queued(queued)));
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
    }
}

/// What was granted is an answer; what was not is a "no" with the reason.
fn completed(completion: v1::Completion) -> Answered {
    match completion.status() {
        v1::Status::Granted | v1::Status::Released => Ok::<Response, Problem>(json(write(&completion))),
        _ => Err(Problem::No(Box::new(completion))),
    }
}
