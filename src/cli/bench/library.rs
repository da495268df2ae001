//! The same load through the client library.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sixpin_client::{Client, Error, Mode, Session};
use tokio::task::JoinSet;

use super::plan::{Carrier, Plan, Workload};
use super::stream::Handover;
use super::tally::{Tally, Window, gather, sample};
use super::target::{TTL_MS, Target};
use crate::cli::exit;
use crate::cli::failure::Failure;

/// One slice.
pub(super) async fn slice(plan: &Plan, target: &Target, time: Duration) -> Result<Tally, Failure> {
    let contended = plan.workload == Workload::Contended;
    let client = target.client(plan.carrier == Carrier::Frames)?;
    let (window, meter) = target.window(plan.sessions * plan.in_flight, time);
    let handover = Arc::new(Handover::new());
    let mut places = JoinSet::new();
    let mut sessions = Vec::new();
    for resources in target.resources(plan.name(), plan.sessions, plan.in_flight, contended) {
        let session = open(&client, target).await?;
        for resource in resources {
            let (window, session) = (window.clone(), session.clone());
            let handover = contended.then(|| handover.clone());
            places.spawn(async move {
                let done = work(&session, resource.name, &window, handover.as_deref()).await;
                done.map_err(|error| failed(&error))
            });
        }
        sessions.push(session);
    }
    let total = gather(places, meter).await?;
    for session in sessions {
        session.close().await.map_err(|error| failed(&error))?;
    }
    Ok(total)
}

/// A session that lives as long as a measurement.
pub(super) async fn open(client: &Client, target: &Target) -> Result<Session, Failure> {
    let builder = client.session().ttl(Duration::from_millis(TTL_MS.into())).lockspace(target.lockspace());
    builder.label("sixpin bench").open().await.map_err(|error| failed(&error))
}

async fn work(session: &Session, name: String, window: &Window, handover: Option<&Handover>) -> Result<Tally, Error> {
    let mut tally = Tally { time: window.time(), ..Default::default() };
    let open = window.open().await;
    let mut begun = Instant::now();
    loop {
        let guard = session.lock(name.as_str(), Mode::EX).await?;
        let locked = Instant::now();
        if open.counts(locked) {
            tally.locks.push(sample(locked - begun));
            tally.handovers.extend(handover.map(|handover| sample(handover.took(locked))));
        }
        if let Some(handover) = handover {
            handover.released(locked);
        }
        guard.release().await?;
        let unlocked = Instant::now();
        if open.counts(unlocked) {
            tally.unlocks.push(sample(unlocked - locked));
        }
        if open.is_over(unlocked) {
            return Ok(tally);
        }
        begun = unlocked;
    }
}

pub(super) fn failed(error: &Error) -> Failure {
    Failure::new(exit::FAILURE, error)
}
