//! What administrators do, in messages: for every front end.

use std::time::Duration;

use sixpin_core::broker::api::RequestError;
use sixpin_core::command::PurgeScope;
use sixpin_core::name::{ClaimNumber, Version};
use sixpin_proto::v1;
use v1::purge_orphans_request::Which;

use super::requests;
use crate::frontend::api::admin::{Administration, Haste};
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Caller, Checked, checks};

/// What administrators of one process can do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AdminCalls {
    administration: Administration,
}

impl AdminCalls {
    /// Does what `administration` can.
    pub(crate) fn new(administration: Administration) -> Self {
        Self { administration }
    }

    pub(crate) async fn force_unlock(
        &self,
        from: &Caller,
        force: v1::ForceUnlockRequest,
    ) -> Result<v1::ForceUnlockResponse, RequestError> {
        let resource = requests::resource(force.resource, &mut Names::default())?;
        let session = checks::session_id("session", &force.session)?;
        let claim = (force.claim != 0).then_some(ClaimNumber(force.claim));
        let haste = Haste { now: force.now, no_wait: force.no_wait };
        let taken = self.administration.force_unlock(from, resource, session, claim, haste).await?;
        Ok(v1::ForceUnlockResponse {
            claims: taken.claims.iter().map(|claim| claim.0).collect(),
            free: taken.free_in.is_zero(),
            free_in_ms: taken.free_in.as_millis() as u64,
        })
    }

    pub(crate) async fn notify_holder(
        &self,
        from: &Caller,
        notify: v1::NotifyHolderRequest,
    ) -> Result<v1::NotifyHolderResponse, RequestError> {
        let resource = requests::resource(notify.resource, &mut Names::default())?;
        let session = checks::session_id("session", &notify.session)?;
        let claim = (notify.claim != 0).then_some(ClaimNumber(notify.claim));
        let notified = self.administration.notify_holder(from, resource, session, claim).await?;
        let numbers = |claims: &[ClaimNumber]| claims.iter().map(|claim| claim.0).collect();
        Ok(v1::NotifyHolderResponse { told: numbers(&notified.told), deaf: numbers(&notified.deaf) })
    }

    pub(crate) async fn expire_session(
        &self,
        from: &Caller,
        expire: v1::ExpireSessionRequest,
    ) -> Result<v1::ExpireSessionResponse, RequestError> {
        let lockspace = Names::default().lockspace(&expire.lockspace)?;
        let session = checks::session_id("session", &expire.session)?;
        let haste = Haste { now: expire.now, no_wait: expire.no_wait };
        let free_in = self.administration.expire_session(from, &lockspace, session, haste).await?.free_in;
        Ok(v1::ExpireSessionResponse { free: free_in.is_zero(), free_in_ms: free_in.as_millis() as u64 })
    }

    pub(crate) async fn purge_orphans(
        &self,
        from: &Caller,
        purge: v1::PurgeOrphansRequest,
    ) -> Result<v1::PurgeOrphansResponse, RequestError> {
        let scope = purge_scope(&purge)?;
        let resource = requests::resource(purge.resource, &mut Names::default())?;
        Ok(v1::PurgeOrphansResponse { purged: self.administration.purge(from, resource, scope).await? })
    }

    pub(crate) async fn remove_damaged(
        &self,
        from: &Caller,
        remove: v1::RemoveDamagedRequest,
    ) -> Result<v1::RemoveDamagedResponse, RequestError> {
        let resource = requests::resource(remove.resource, &mut Names::default())?;
        let free_in = self.administration.remove_damaged(from, resource, Version(remove.version), remove.now).await?;
        Ok(v1::RemoveDamagedResponse { free_in_ms: free_in.as_millis() as u64 })
    }

    pub(crate) async fn drain_broker(
        &self,
        from: &Caller,
        drain: v1::DrainBrokerRequest,
    ) -> Result<v1::DrainBrokerResponse, RequestError> {
        let sessions = self.administration.drain(from, drain.timeout_ms.map(Duration::from_millis)).await?;
        Ok(v1::DrainBrokerResponse { sessions })
    }
}

/// "Everything" is never what a forgotten field means.
fn purge_scope(purge: &v1::PurgeOrphansRequest) -> Checked<PurgeScope> {
    match &purge.which {
        Some(Which::All(true)) => Ok(PurgeScope::All),
        Some(Which::Owner(owner)) if !owner.is_empty() => Ok(PurgeScope::Owner(checks::label("owner", owner)?)),
        Some(Which::Session(session)) => Ok(PurgeScope::Session(checks::session_id("session", session)?)),
        _ => Err(invalid("say which orphans: give an `owner`, a `session` or `all`")),
    }
}
