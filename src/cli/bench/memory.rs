//! What idle sessions and held locks cost the broker in memory: locks when they were just taken, and when they have been held for a
//! while.

use std::time::Duration;

use serde::Serialize;
use sixpin_proto::v1;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::plan::Plan;
use super::process::resident_kib;
use super::spawn::Spawned;
use super::tally::count;
use super::target::{Target, refused};
use super::{Args, unary};
use crate::cli::exit;
use crate::cli::failure::Failure;

/// Calls at the same time.
const AT_ONCE: usize = 64;
/// Claims of one session, below what a broker allows.
const CLAIMS_PER_SESSION: usize = 5_000;

/// Longer than it takes a broker to make small what is held and not used.
const REST: Duration = Duration::from_secs(15);

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) sessions: usize,
    pub(super) locks: usize,
    pub(super) empty_kib: u64,
    pub(super) with_sessions_kib: u64,
    pub(super) with_locks_kib: u64,
    pub(super) at_rest_kib: u64,
    pub(super) bytes_per_session: f64,
    /// Just taken.
    pub(super) bytes_per_lock: f64,
    /// Held for a while.
    pub(super) bytes_per_lock_at_rest: f64,
}

/// Opens sessions, holds locks, and looks at the broker's resident memory after each.
pub(super) async fn measure(
    plan: &Plan,
    target: &Target,
    args: &Args,
    spawned: Option<&Spawned>,
) -> Result<Memory, Failure> {
    let Some(pid) = spawned.and_then(Spawned::pid) else {
        return Err(Failure::usage("the memory of a broker can only be seen where it runs")
            .hint("measure one on the memory store with `--spawn`"));
    };
    let channels = target.channels(AT_ONCE).await?;
    let locks = args.locks as usize;
    let mut resources = target.resources(plan.name(), 1, locks + 1, false).remove(0);
    // The first session and the first lock bring what is there once.
    let first = open(&channels, target, 1).await?;
    lock(&channels, &first, &resources.split_off(locks)).await?;
    let empty_kib = resident_kib(pid)?;
    let idle = open(&channels, target, plan.sessions).await?;
    let with_sessions_kib = resident_kib(pid)?;
    let holders = open(&channels, target, locks.div_ceil(CLAIMS_PER_SESSION)).await?;
    lock(&channels, &holders, &resources).await?;
    let with_locks_kib = resident_kib(pid)?;
    tokio::time::sleep(REST).await;
    let at_rest_kib = resident_kib(pid)?;
    let per = |kib: u64, number: usize| count(usize::try_from(kib * 1024).unwrap_or_default()) / count(number);
    Ok(Memory {
        sessions: idle.len(),
        locks,
        empty_kib,
        with_sessions_kib,
        with_locks_kib,
        at_rest_kib,
        bytes_per_session: per(with_sessions_kib.saturating_sub(empty_kib), idle.len()),
        bytes_per_lock: per(with_locks_kib.saturating_sub(with_sessions_kib), locks),
        bytes_per_lock_at_rest: per(at_rest_kib.saturating_sub(with_sessions_kib), locks),
    })
}

/// Holds a lock on each of these in sessions of their own, until the broker ends or their TTL has passed.
pub(super) async fn hold(target: &Target, resources: &[v1::Resource]) -> Result<(), Failure> {
    let channels = target.channels(AT_ONCE).await?;
    let holders = open(&channels, target, resources.len().div_ceil(CLAIMS_PER_SESSION)).await?;
    lock(&channels, &holders, resources).await
}

async fn open(channels: &[Channel], target: &Target, number: usize) -> Result<Vec<String>, Failure> {
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE.min(number) {
        let mut calls = LockServiceClient::new(channels[worker % channels.len()].clone());
        let lockspace = target.lockspace().to_owned();
        let share = (number - worker).div_ceil(AT_ONCE.min(number));
        workers.spawn(async move {
            let mut opened = Vec::new();
            for _ in 0..share {
                opened.push(unary::open(&mut calls, &lockspace).await?);
            }
            Ok::<_, Failure>(opened)
        });
    }
    let mut sessions = Vec::new();
    while let Some(done) = workers.join_next().await {
        sessions.extend(done.map_err(|error| Failure::new(exit::FAILURE, error))??);
    }
    Ok(sessions)
}

/// Holds a lock on each resource.
async fn lock(channels: &[Channel], sessions: &[String], resources: &[v1::Resource]) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    let chunk = resources.len().div_ceil(AT_ONCE).min(CLAIMS_PER_SESSION);
    for (worker, resources) in resources.chunks(chunk).enumerate() {
        let mut calls = LockServiceClient::new(channels[worker % channels.len()].clone());
        let token = sessions[(worker * chunk / CLAIMS_PER_SESSION).min(sessions.len() - 1)].clone();
        let first = worker * chunk % CLAIMS_PER_SESSION;
        let resources = resources.to_vec();
        workers.spawn(async move {
            for (index, resource) in resources.into_iter().enumerate() {
                let claim = (first + index + 1) as u64;
                let what = Some(v1::Mode::Ex.into());
                let lock = v1::Lock { claim, operation: 1, resource: Some(resource), what, ..Default::default() };
                let call = v1::LockRequest { token: token.clone(), lock: Some(lock) };
                let reply = calls.lock(call).await.map_err(|status| refused(&status))?;
                unary::expect(&reply.into_inner().completion.unwrap_or_default(), v1::Status::Granted)?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(|error| Failure::new(exit::FAILURE, error))??;
    }
    Ok(())
}
