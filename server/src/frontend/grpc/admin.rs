//! `AdminService`: only on the admin listener.

use sixpin_proto::v1;
use tonic::Request;
use v1::admin_service_server::AdminService;

use super::{Answer, answer, caller};
use crate::frontend::api::admin::Administration;
use crate::frontend::messages::administration::AdminCalls;

/// The admin service of one process.
#[derive(Clone)]
pub struct Admin {
    calls: AdminCalls,
}

impl Admin {
    /// Serves what administrators can do.
    pub fn new(administration: Administration) -> Self {
        Self { calls: AdminCalls::new(administration) }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn force_unlock(&self, request: Request<v1::ForceUnlockRequest>) -> Answer<v1::ForceUnlockResponse> {
        answer(self.calls.force_unlock(&caller(&request), request.into_inner()).await)
    }

    async fn notify_holder(&self, request: Request<v1::NotifyHolderRequest>) -> Answer<v1::NotifyHolderResponse> {
        answer(self.calls.notify_holder(&caller(&request), request.into_inner()).await)
    }

    async fn expire_session(&self, request: Request<v1::ExpireSessionRequest>) -> Answer<v1::ExpireSessionResponse> {
        answer(self.calls.expire_session(&caller(&request), request.into_inner()).await)
    }

    async fn purge_orphans(&self, request: Request<v1::PurgeOrphansRequest>) -> Answer<v1::PurgeOrphansResponse> {
        answer(self.calls.purge_orphans(&caller(&request), request.into_inner()).await)
    }

    async fn remove_damaged(&self, request: Request<v1::RemoveDamagedRequest>) -> Answer<v1::RemoveDamagedResponse> {
        answer(self.calls.remove_damaged(&caller(&request), request.into_inner()).await)
    }

    async fn drain_broker(&self, request: Request<v1::DrainBrokerRequest>) -> Answer<v1::DrainBrokerResponse> {
        answer(self.calls.drain_broker(&caller(&request), request.into_inner()).await)
    }
}
