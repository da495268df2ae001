//! `LockService`: the calls for clients without streams, and the ways into the two streams.

use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tonic::{Response, Streaming};
use v1::lock_service_server::LockService;

use super::hold::HoldStream;
use super::session::SessionStream;
use super::{Answer, answer, caller};
use crate::frontend::api::errors::missing;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller, checks};
use crate::frontend::messages::replies::{self, Replies};
use crate::frontend::messages::requests;

/// The lock service of one process.
#[derive(Clone)]
pub struct Locks {
    api: Api,
    replies: Replies,
}

impl Locks {
    /// Serves what `api` offers.
    pub fn new(api: Api) -> Self {
        Self { replies: Replies::new(api.clone()), api }
    }

    async fn open(
        &self,
        request: v1::OpenSessionRequest,
        from: &Caller,
    ) -> Result<v1::OpenSessionResponse, RequestError> {
        let open = request.open.ok_or_else(|| missing("open"))?;
        let lockspace = Names::default().lockspace(&open.lockspace)?;
        let opened = self.api.open(from, &lockspace, requests::open(&open, from, false)?).await?;
        Ok(v1::OpenSessionResponse { opened: Some(self.replies.opened(&opened)) })
    }

    async fn resume(
        &self,
        request: v1::ResumeSessionRequest,
        from: &Caller,
    ) -> Result<v1::ResumeSessionResponse, RequestError> {
        let resume = request.resume.ok_or_else(|| missing("resume"))?;
        let (lockspace, resume) = requests::resume(resume, &mut Names::default(), from, false)?;
        let resumed = self.api.resume(from, &lockspace, resume).await?;
        Ok(v1::ResumeSessionResponse { resumed: Some(self.replies.resumed(resumed)) })
    }

    async fn keep_alive(
        &self,
        request: v1::KeepAliveRequest,
        from: &Caller,
    ) -> Result<v1::KeepAliveResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let kept = self.api.keep_alive(from, &by, request.move_number).await?;
        Ok(v1::KeepAliveResponse { kept_alive: Some(replies::kept_alive(kept.move_number, kept.ttl, &kept.lost)) })
    }

    async fn close(
        &self,
        request: v1::CloseSessionRequest,
        from: &Caller,
    ) -> Result<v1::CloseSessionResponse, RequestError> {
        self.api.close(from, &checks::token(&request.token)?).await?;
        Ok(v1::CloseSessionResponse {})
    }

    async fn lock(&self, request: v1::LockRequest, from: &Caller) -> Result<v1::LockResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let lock = requests::lock(request.lock.ok_or_else(|| missing("lock"))?, &mut Names::default())?;
        let done = self.api.lock(from, &by, lock).await?;
        Ok(v1::LockResponse { completion: Some(replies::completion(&done)) })
    }

    async fn convert(&self, request: v1::ConvertRequest, from: &Caller) -> Result<v1::ConvertResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let convert = requests::convert(request.convert.ok_or_else(|| missing("convert"))?, &mut Names::default())?;
        let done = self.api.convert(from, &by, convert).await?;
        Ok(v1::ConvertResponse { completion: Some(replies::completion(&done)) })
    }

    async fn unlock(&self, request: v1::UnlockRequest, from: &Caller) -> Result<v1::UnlockResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let unlock = requests::unlock(request.unlock.ok_or_else(|| missing("unlock"))?)?;
        let done = self.api.unlock(from, &by, unlock).await?;
        Ok(v1::UnlockResponse { completion: Some(replies::completion(&done)) })
    }

    async fn unlock_all(
        &self,
        request: v1::UnlockAllRequest,
        from: &Caller,
    ) -> Result<v1::UnlockAllResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let all = request.unlock_all.ok_or_else(|| missing("unlock_all"))?;
        let released = self.api.unlock_all(from, &by, requests::owner(&all)?).await?;
        Ok(v1::UnlockAllResponse { unlocked_all: Some(v1::UnlockedAll { released }) })
    }

    async fn cancel(&self, request: v1::CancelRequest, from: &Caller) -> Result<v1::CancelResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let (claim, operation) = requests::cancel(&request.cancel.ok_or_else(|| missing("cancel"))?)?;
        let result = self.api.cancel(from, &by, claim, operation).await?;
        Ok(v1::CancelResponse { cancelled: Some(replies::cancelled(claim, result)) })
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
        let from = caller(&request);
        answer(HoldStream::new(&self.api, request.into_inner(), &from))
    }

    async fn open_session(&self, request: tonic::Request<v1::OpenSessionRequest>) -> Answer<v1::OpenSessionResponse> {
        let from = caller(&request);
        answer(self.open(request.into_inner(), &from).await)
    }

    async fn keep_alive(&self, request: tonic::Request<v1::KeepAliveRequest>) -> Answer<v1::KeepAliveResponse> {
        let from = caller(&request);
        answer(self.keep_alive(request.into_inner(), &from).await)
    }

    async fn close_session(
        &self,
        request: tonic::Request<v1::CloseSessionRequest>,
    ) -> Answer<v1::CloseSessionResponse> {
        let from = caller(&request);
        answer(self.close(request.into_inner(), &from).await)
    }

    async fn lock(&self, request: tonic::Request<v1::LockRequest>) -> Answer<v1::LockResponse> {
        let from = caller(&request);
        answer(self.lock(request.into_inner(), &from).await)
    }

    async fn convert(&self, request: tonic::Request<v1::ConvertRequest>) -> Answer<v1::ConvertResponse> {
        let from = caller(&request);
        answer(self.convert(request.into_inner(), &from).await)
    }

    async fn unlock(&self, request: tonic::Request<v1::UnlockRequest>) -> Answer<v1::UnlockResponse> {
        let from = caller(&request);
        answer(self.unlock(request.into_inner(), &from).await)
    }

    async fn unlock_all(&self, request: tonic::Request<v1::UnlockAllRequest>) -> Answer<v1::UnlockAllResponse> {
        let from = caller(&request);
        answer(self.unlock_all(request.into_inner(), &from).await)
    }

    async fn cancel(&self, request: tonic::Request<v1::CancelRequest>) -> Answer<v1::CancelResponse> {
        let from = caller(&request);
        answer(self.cancel(request.into_inner(), &from).await)
    }

    async fn resume_session(
        &self,
        request: tonic::Request<v1::ResumeSessionRequest>,
    ) -> Answer<v1::ResumeSessionResponse> {
        let from = caller(&request);
        answer(self.resume(request.into_inner(), &from).await)
    }
}
