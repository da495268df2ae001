//! `LockService`: the calls for clients without streams, and the ways into the two streams.

use sixpin_proto::v1;
use tonic::{Response, Streaming};
use v1::lock_service_server::LockService;

use super::hold::HoldStream;
use super::session::SessionStream;
use super::{Answer, answer, caller, traced};
use crate::frontend::api::Api;
use crate::frontend::messages::locks::LockCalls;

/// The lock service of one process.
#[derive(Clone)]
pub struct Locks {
    api: Api,
    calls: LockCalls,
}

impl Locks {
    /// Serves what `api` offers.
    pub fn new(api: Api) -> Self {
        Self { calls: LockCalls::new(api.clone()), api }
    }
}

#[tonic::async_trait]
impl LockService for Locks {
    type SessionStream = SessionStream;
    type HoldStream = HoldStream;

    async fn session(&self, request: tonic::Request<Streaming<v1::SessionRequest>>) -> Answer<SessionStream> {
        Ok(Response::new(SessionStream::new(self.api.clone(), request)))
    }

    async fn hold(&self, request: tonic::Request<v1::HoldRequest>) -> Answer<HoldStream> {
        let from = traced(&self.api, &request);
        answer(HoldStream::new(&self.api, request.into_inner(), &from))
    }

    async fn open_session(&self, request: tonic::Request<v1::OpenSessionRequest>) -> Answer<v1::OpenSessionResponse> {
        let from = caller(&request);
        answer(self.calls.open(request.into_inner(), &from).await)
    }

    async fn keep_alive(&self, request: tonic::Request<v1::KeepAliveRequest>) -> Answer<v1::KeepAliveResponse> {
        let from = caller(&request);
        answer(self.calls.keep_alive(request.into_inner(), &from).await)
    }

    async fn close_session(
        &self,
        request: tonic::Request<v1::CloseSessionRequest>,
    ) -> Answer<v1::CloseSessionResponse> {
        let from = caller(&request);
        answer(self.calls.close(request.into_inner(), &from).await)
    }

    async fn lock(&self, request: tonic::Request<v1::LockRequest>) -> Answer<v1::LockResponse> {
        let from = traced(&self.api, &request);
        answer(self.calls.lock(request.into_inner(), &from).await)
    }

    async fn convert(&self, request: tonic::Request<v1::ConvertRequest>) -> Answer<v1::ConvertResponse> {
        let from = traced(&self.api, &request);
        answer(self.calls.convert(request.into_inner(), &from).await)
    }

    async fn unlock(&self, request: tonic::Request<v1::UnlockRequest>) -> Answer<v1::UnlockResponse> {
        let from = traced(&self.api, &request);
        answer(self.calls.unlock(request.into_inner(), &from).await)
    }

    async fn unlock_all(&self, request: tonic::Request<v1::UnlockAllRequest>) -> Answer<v1::UnlockAllResponse> {
        let from = caller(&request);
        answer(self.calls.unlock_all(request.into_inner(), &from).await)
    }

    async fn cancel(&self, request: tonic::Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        let from = caller(&request);
        answer(self.calls.cancel(request.into_inner(), &from).await)
    }

    async fn resume_session(
        &self,
        request: tonic::Request<v1::ResumeSessionRequest>,
    ) -> Answer<v1::ResumeSessionResponse> {
        let from = caller(&request);
        answer(self.calls.resume(request.into_inner(), &from).await)
    }
}
