//! `LockService`: the calls for clients without streams, and the ways into the two streams.

use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tonic::{Response, Streaming};
use v1::lock_service_server::LockService;

use super::hold::HoldStream;
use super::replies::{self, Replies};
use super::session::SessionStream;
use super::{Answer, answer, requests};
use crate::frontend::api::errors::missing;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller};

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

    async fn open(&self, open: v1::Open, from: &Caller) -> Result<v1::Opened, RequestError> {
        let lockspace = Names::default().lockspace(&open.lockspace)?;
        let opened = self.api.open(&lockspace, requests::open(&open, from, false)?).await?;
        Ok(self.replies.opened(&opened))
    }

    async fn resume(&self, resume: v1::Resume, from: &Caller) -> Result<v1::Resumed, RequestError> {
        let mut names = Names::default();
        let lockspace = names.lockspace(&resume.lockspace)?;
        let resume = requests::resume(resume, &mut names, self.api.limits(), from, false)?;
        let resumed = self.api.resume(&lockspace, resume).await?;
        Ok(self.replies.resumed(resumed))
    }

    async fn keep_alive(&self, call: v1::KeepAliveRequest) -> Result<v1::KeptAlive, RequestError> {
        let by = requests::credential(call.credential, &mut Names::default())?;
        let kept = self.api.keep_alive(&by, call.move_number).await?;
        Ok(replies::kept_alive(kept.move_number, kept.ttl, &kept.lost))
    }

    async fn close(&self, call: v1::CloseSessionRequest) -> Result<v1::Closed, RequestError> {
        let by = requests::credential(call.credential, &mut Names::default())?;
        self.api.close(&by).await?;
        Ok(v1::Closed {})
    }

    async fn lock(&self, call: v1::LockRequest) -> Result<v1::Completion, RequestError> {
        let mut names = Names::default();
        let by = requests::credential(call.credential, &mut names)?;
        let lock = requests::lock(call.lock.ok_or_else(|| missing("lock"))?, &mut names)?;
        Ok(replies::completion(&*self.api.lock(&by, lock).await?))
    }

    async fn convert(&self, call: v1::ConvertRequest) -> Result<v1::Completion, RequestError> {
        let mut names = Names::default();
        let by = requests::credential(call.credential, &mut names)?;
        let convert = requests::convert(call.convert.ok_or_else(|| missing("convert"))?, &mut names)?;
        Ok(replies::completion(&*self.api.convert(&by, convert).await?))
    }

    async fn unlock(&self, call: v1::UnlockRequest) -> Result<v1::Completion, RequestError> {
        let by = requests::credential(call.credential, &mut Names::default())?;
        let unlock = requests::unlock(call.unlock.ok_or_else(|| missing("unlock"))?)?;
        Ok(replies::completion(&*self.api.unlock(&by, unlock).await?))
    }

    async fn unlock_all(&self, call: v1::UnlockAllRequest) -> Result<v1::UnlockedAll, RequestError> {
        let by = requests::credential(call.credential, &mut Names::default())?;
        let all = call.unlock_all.ok_or_else(|| missing("unlock_all"))?;
        let released = self.api.unlock_all(&by, requests::owner(&all)?).await?;
        Ok(v1::UnlockedAll { released })
    }

    async fn cancel(&self, call: v1::CancelRequest) -> Result<v1::Cancelled, RequestError> {
        let by = requests::credential(call.credential, &mut Names::default())?;
        let (claim, operation) = requests::cancel(&call.cancel.ok_or_else(|| missing("cancel"))?)?;
        let result = self.api.cancel(&by, claim, operation).await?;
        Ok(replies::cancelled(claim, result))
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
        let from = requests::caller(&request);
        answer(HoldStream::new(&self.api, request.into_inner(), &from))
    }

    async fn open_session(&self, request: tonic::Request<v1::Open>) -> Answer<v1::Opened> {
        let from = requests::caller(&request);
        answer(self.open(request.into_inner(), &from).await)
    }

    async fn keep_alive(&self, request: tonic::Request<v1::KeepAliveRequest>) -> Answer<v1::KeptAlive> {
        answer(self.keep_alive(request.into_inner()).await)
    }

    async fn close_session(&self, request: tonic::Request<v1::CloseSessionRequest>) -> Answer<v1::Closed> {
        answer(self.close(request.into_inner()).await)
    }

    async fn lock(&self, request: tonic::Request<v1::LockRequest>) -> Answer<v1::Completion> {
        answer(self.lock(request.into_inner()).await)
    }

    async fn convert(&self, request: tonic::Request<v1::ConvertRequest>) -> Answer<v1::Completion> {
        answer(self.convert(request.into_inner()).await)
    }

    async fn unlock(&self, request: tonic::Request<v1::UnlockRequest>) -> Answer<v1::Completion> {
        answer(self.unlock(request.into_inner()).await)
    }

    async fn unlock_all(&self, request: tonic::Request<v1::UnlockAllRequest>) -> Answer<v1::UnlockedAll> {
        answer(self.unlock_all(request.into_inner()).await)
    }

    async fn cancel(&self, request: tonic::Request<v1::CancelRequest>) -> Answer<v1::Cancelled> {
        answer(self.cancel(request.into_inner()).await)
    }

    async fn resume_session(&self, request: tonic::Request<v1::Resume>) -> Answer<v1::Resumed> {
        let from = requests::caller(&request);
        answer(self.resume(request.into_inner(), &from).await)
    }
}
