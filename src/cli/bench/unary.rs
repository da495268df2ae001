//! The same load over single calls.

use std::time::{Duration, Instant};

use sixpin_proto::v1;
use sixpin_proto::v1::echo_service_client::EchoServiceClient;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use sixpin_proto::v1::session_request::Body;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::plan::Plan;
use super::tally::{Tally, Window, gather, sample};
use super::target::{TTL_MS, Target, refused};
use crate::cli::exit;
use crate::cli::failure::Failure;

/// One slice.
pub(super) async fn slice(plan: &Plan, target: &Target, time: Duration) -> Result<Tally, Failure> {
    let channels = target.channels(plan.sessions).await?;
    let resources = target.resources(plan.name(), plan.sessions, 1, false);
    let (window, meter) = target.window(plan.sessions, time);
    let mut sessions = JoinSet::new();
    for (index, resource) in resources.into_iter().flatten().enumerate() {
        let channel = channels[index % channels.len()].clone();
        let (window, floor, lockspace) = (window.clone(), target.is_floor(), target.lockspace().to_owned());
        sessions.spawn(async move {
            if floor {
                work(Floor { calls: EchoServiceClient::new(channel), resource }, window).await
            } else {
                work(Session::open(channel, &lockspace, resource).await?, window).await
            }
        });
    }
    gather(sessions, meter).await
}

/// What is done in pairs.
pub(super) trait Pairs {
    async fn lock(&mut self, claim: u64) -> Result<(), Failure>;
    async fn unlock(&mut self, claim: u64) -> Result<(), Failure>;
    async fn close(self) -> Result<(), Failure>;
}

pub(super) async fn work(mut pairs: impl Pairs, window: Window) -> Result<Tally, Failure> {
    let open = window.open().await;
    let mut tally = Tally { time: window.time(), ..Default::default() };
    let mut begun = Instant::now();
    for claim in 1.. {
        pairs.lock(claim).await?;
        let locked = Instant::now();
        pairs.unlock(claim).await?;
        let unlocked = Instant::now();
        if open.counts(unlocked) {
            tally.locks.push(sample(locked - begun));
            tally.unlocks.push(sample(unlocked - locked));
        }
        if open.is_over(unlocked) {
            break;
        }
        begun = unlocked;
    }
    pairs.close().await?;
    Ok(tally)
}

/// A session without a stream. Slices are shorter than its TTL, so it needs no keepalive.
struct Session {
    calls: LockServiceClient<Channel>,
    token: String,
    resource: v1::Resource,
}

impl Session {
    async fn open(channel: Channel, lockspace: &str, resource: v1::Resource) -> Result<Self, Failure> {
        let mut calls = LockServiceClient::new(channel);
        let token = open(&mut calls, lockspace).await?;
        Ok(Self { calls, token, resource })
    }
}

/// Opens a session without a stream, and gives its token.
pub(super) async fn open(calls: &mut LockServiceClient<Channel>, lockspace: &str) -> Result<String, Failure> {
    let open = v1::Open {
        ttl_ms: Some(TTL_MS),
        lockspace: lockspace.to_owned(),
        label: "sixpin bench".into(),
        ..Default::default()
    };
    let request = v1::OpenSessionRequest { open: Some(open) };
    let response = calls.open_session(request).await.map_err(|status| refused(&status))?.into_inner();
    Ok(response.opened.unwrap_or_default().token)
}

impl Pairs for Session {
    async fn lock(&mut self, claim: u64) -> Result<(), Failure> {
        let lock = v1::Lock {
            claim,
            operation: 1,
            resource: Some(self.resource.clone()),
            what: Some(v1::Mode::Ex.into()),
            ..Default::default()
        };
        let call = v1::LockRequest { token: self.token.clone(), lock: Some(lock) };
        let reply = self.calls.lock(call).await.map_err(|status| refused(&status))?;
        expect(&reply.into_inner().completion.unwrap_or_default(), v1::Status::Granted)
    }

    async fn unlock(&mut self, claim: u64) -> Result<(), Failure> {
        let unlock = v1::Unlock { claim, operation: 2, ..Default::default() };
        let call = v1::UnlockRequest { token: self.token.clone(), unlock: Some(unlock) };
        let reply = self.calls.unlock(call).await.map_err(|status| refused(&status))?;
        expect(&reply.into_inner().completion.unwrap_or_default(), v1::Status::Released)
    }

    async fn close(mut self) -> Result<(), Failure> {
        let call = v1::CloseSessionRequest { token: self.token };
        self.calls.close_session(call).await.map_err(|status| refused(&status))?;
        Ok(())
    }
}

/// That a lock ended as it should.
pub(super) fn expect(completion: &v1::Completion, status: v1::Status) -> Result<(), Failure> {
    if completion.status() == status {
        return Ok(());
    }
    Err(Failure::new(exit::FAILURE, format_args!("a lock ended as {}", completion.status().as_str_name())))
}

/// Calls that are only answered.
struct Floor {
    calls: EchoServiceClient<Channel>,
    resource: v1::Resource,
}

impl Pairs for Floor {
    async fn lock(&mut self, claim: u64) -> Result<(), Failure> {
        let resource = Some(self.resource.clone());
        let lock = v1::Lock { claim, operation: 1, resource, what: Some(v1::Mode::Ex.into()), ..Default::default() };
        self.call(claim, Body::Lock(lock)).await
    }

    async fn unlock(&mut self, claim: u64) -> Result<(), Failure> {
        self.call(claim, Body::Unlock(v1::Unlock { claim, operation: 2, ..Default::default() })).await
    }

    async fn close(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Floor {
    async fn call(&mut self, request: u64, body: Body) -> Result<(), Failure> {
        let message = v1::SessionRequest { request, body: Some(body) };
        self.calls.call(message).await.map_err(|status| refused(&status))?;
        Ok(())
    }
}
