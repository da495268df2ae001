//! `AdminService`: only on the admin listener.

use std::sync::Arc;
use std::time::Duration;

use sixpin_core::broker::api::{AdminRequest, Reply, RequestError};
use sixpin_core::command::PurgeScope;
use sixpin_core::name::{ClaimNumber, Version};
use sixpin_proto::v1;
use tonic::{Request, Response, Status};
use v1::admin_service_server::AdminService;

use super::errors::{self, invalid};
use super::names::Names;
use super::replies::unexpected;
use super::requests;
use crate::drain::Drain;
use crate::runtime::Runtime;

/// The admin service of one process.
#[derive(Clone)]
pub struct Admin {
    runtime: Runtime,
    drain: Arc<Drain>,
}

impl Admin {
    /// Serves the engines of `runtime`; `drain` ends the process.
    pub fn new(runtime: Runtime, drain: Arc<Drain>) -> Self {
        Self { runtime, drain }
    }

    async fn force_unlock(&self, force: v1::ForceUnlockRequest) -> Result<v1::ForceUnlockReply, RequestError> {
        let resource = Names::default().resource(force.resource)?;
        let engine = self.runtime.engine(&resource.lockspace).clone();
        let request = AdminRequest::ForceUnlock {
            resource,
            session: requests::session_id("session", &force.session)?,
            claim: (force.claim != 0).then_some(ClaimNumber(force.claim)),
            now: force.now,
            no_wait: force.no_wait,
        };
        let (claims, free_in) = forced(engine.admin(request).await?)?;
        let claims = claims.into_iter().map(|claim| claim.0).collect();
        Ok(v1::ForceUnlockReply { claims, free: free_in.is_zero(), free_in_ms: free_in.as_millis() as u64 })
    }

    async fn expire_session(&self, expire: v1::ExpireSessionRequest) -> Result<v1::ExpireSessionReply, RequestError> {
        let lockspace = Names::default().lockspace(&expire.lockspace)?;
        let request = AdminRequest::ExpireSession {
            session: requests::session_id("session", &expire.session)?,
            now: expire.now,
            no_wait: expire.no_wait,
        };
        let (_, free_in) = forced(self.runtime.engine(&lockspace).admin(request).await?)?;
        Ok(v1::ExpireSessionReply { free: free_in.is_zero(), free_in_ms: free_in.as_millis() as u64 })
    }

    async fn purge_orphans(&self, purge: v1::PurgeOrphansRequest) -> Result<v1::PurgeOrphansReply, RequestError> {
        let scope = purge_scope(&purge)?;
        let resource = Names::default().resource(purge.resource)?;
        let engine = self.runtime.engine(&resource.lockspace).clone();
        match engine.admin(AdminRequest::Purge { resource, scope }).await? {
            Reply::Purged { purged } => Ok(v1::PurgeOrphansReply { purged }),
            other => Err(unexpected(&other)),
        }
    }

    async fn remove_damaged(&self, remove: v1::RemoveDamagedRequest) -> Result<v1::RemoveDamagedReply, RequestError> {
        let resource = Names::default().resource(remove.resource)?;
        if remove.version == 0 {
            return Err(invalid("`version` is missing: give the one that was seen damaged"));
        }
        let engine = self.runtime.engine(&resource.lockspace).clone();
        let request = AdminRequest::RemoveDamaged { resource, version: Version(remove.version), now: remove.now };
        match engine.admin(request).await? {
            Reply::DamagedRemoved { free_in } => Ok(v1::RemoveDamagedReply { free_in_ms: free_in.as_millis() as u64 }),
            other => Err(unexpected(&other)),
        }
    }
}

fn forced(reply: Reply) -> Result<(Vec<ClaimNumber>, Duration), RequestError> {
    match reply {
        Reply::Forced { claims, free_in } => Ok((claims, free_in)),
        other => Err(unexpected(&other)),
    }
}

/// Exactly one of the three: "everything" is never what a forgotten field means.
fn purge_scope(purge: &v1::PurgeOrphansRequest) -> Result<PurgeScope, RequestError> {
    match (purge.owner.is_empty(), purge.session.is_empty(), purge.all) {
        (true, true, true) => Ok(PurgeScope::All),
        (false, true, false) => Ok(PurgeScope::Owner(requests::label("owner", &purge.owner)?)),
        (true, false, false) => Ok(PurgeScope::Session(requests::session_id("session", &purge.session)?)),
        _ => Err(invalid("give exactly one of `owner`, `session` and `all`")),
    }
}

fn answer<T>(result: Result<T, RequestError>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| errors::status(&error))
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn force_unlock(
        &self,
        request: Request<v1::ForceUnlockRequest>,
    ) -> Result<Response<v1::ForceUnlockReply>, Status> {
        answer(self.force_unlock(request.into_inner()).await)
    }

    async fn expire_session(
        &self,
        request: Request<v1::ExpireSessionRequest>,
    ) -> Result<Response<v1::ExpireSessionReply>, Status> {
        answer(self.expire_session(request.into_inner()).await)
    }

    async fn purge_orphans(
        &self,
        request: Request<v1::PurgeOrphansRequest>,
    ) -> Result<Response<v1::PurgeOrphansReply>, Status> {
        answer(self.purge_orphans(request.into_inner()).await)
    }

    async fn remove_damaged(
        &self,
        request: Request<v1::RemoveDamagedRequest>,
    ) -> Result<Response<v1::RemoveDamagedReply>, Status> {
        answer(self.remove_damaged(request.into_inner()).await)
    }

    async fn drain_broker(
        &self,
        request: Request<v1::DrainBrokerRequest>,
    ) -> Result<Response<v1::DrainBrokerReply>, Status> {
        let timeout = request.into_inner().timeout_ms.map(Duration::from_millis);
        if timeout.is_some_and(|timeout| timeout > sixpin_core::limits::SESSION_TTL_MAX) {
            return Err(errors::status(&invalid("`timeout_ms` is more than an hour")));
        }
        let sessions = self.drain.begin(timeout).await;
        Ok(Response::new(v1::DrainBrokerReply { sessions }))
    }
}
