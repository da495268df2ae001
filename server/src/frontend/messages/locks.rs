//! Calls about a session, in messages: for every front end that has calls.

use std::time::Duration;

use futures::Stream;
use sixpin_core::broker::api::{Event, RequestError};
use sixpin_proto::v1;

use super::replies::{self, Replies};
use super::requests;
use crate::frontend::api::calls::Progress;
use crate::frontend::api::errors::missing;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller, checks};

/// What one process answers to calls about sessions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LockCalls {
    api: Api,
    replies: Replies,
}

impl LockCalls {
    /// Serves what `api` offers.
    pub(crate) fn new(api: Api) -> Self {
        Self { replies: Replies::new(api.clone()), api }
    }

    pub(crate) async fn open(
        &self,
        request: v1::OpenSessionRequest,
        from: &Caller,
    ) -> Result<v1::OpenSessionResponse, RequestError> {
        let open = request.open.ok_or_else(|| missing("open"))?;
        let lockspace = Names::default().lockspace(&open.lockspace)?;
        let opened = self.api.open(from, &lockspace, requests::open(&open, from, false)?).await?;
        Ok(v1::OpenSessionResponse { opened: Some(self.replies.opened(&opened)) })
    }

    pub(crate) async fn resume(
        &self,
        request: v1::ResumeSessionRequest,
        from: &Caller,
    ) -> Result<v1::ResumeSessionResponse, RequestError> {
        let resume = request.resume.ok_or_else(|| missing("resume"))?;
        let (lockspace, resume) = requests::resume(resume, &mut Names::default(), from, false)?;
        let resumed = self.api.resume(from, &lockspace, resume).await?;
        Ok(v1::ResumeSessionResponse { resumed: Some(self.replies.resumed(resumed)) })
    }

    pub(crate) async fn keep_alive(
        &self,
        request: v1::KeepAliveRequest,
        from: &Caller,
    ) -> Result<v1::KeepAliveResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let kept = self.api.keep_alive(from, &by, request.move_number).await?;
        Ok(v1::KeepAliveResponse { kept_alive: Some(replies::kept_alive(kept.move_number, kept.ttl, &kept.lost)) })
    }

    pub(crate) async fn close(
        &self,
        request: v1::CloseSessionRequest,
        from: &Caller,
    ) -> Result<v1::CloseSessionResponse, RequestError> {
        self.api.close(from, &checks::token(&request.token)?).await?;
        Ok(v1::CloseSessionResponse {})
    }

    pub(crate) async fn lock(&self, request: v1::LockRequest, from: &Caller) -> Result<v1::LockResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let lock = request.lock.ok_or_else(|| missing("lock"))?;
        let from = from.in_trace(&lock.traceparent);
        let done = self.api.lock(&from, &by, requests::lock(lock, &mut Names::default())?).await?;
        Ok(v1::LockResponse { completion: Some(replies::completion(&done)) })
    }

    /// The same, but it waits no longer than this: then it says where in the queue the claim stands, and keeps.
    pub(crate) async fn lock_within(
        &self,
        request: v1::LockRequest,
        from: &Caller,
        patience: Duration,
    ) -> Result<Progress, RequestError> {
        let by = checks::token(&request.token)?;
        let lock = request.lock.ok_or_else(|| missing("lock"))?;
        let from = from.in_trace(&lock.traceparent);
        self.api.lock_within(&from, &by, requests::lock(lock, &mut Names::default())?, patience).await
    }

    pub(crate) async fn convert(
        &self,
        request: v1::ConvertRequest,
        from: &Caller,
    ) -> Result<v1::ConvertResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let convert = request.convert.ok_or_else(|| missing("convert"))?;
        let from = from.in_trace(&convert.traceparent);
        let done = self.api.convert(&from, &by, requests::convert(convert, &mut Names::default())?).await?;
        Ok(v1::ConvertResponse { completion: Some(replies::completion(&done)) })
    }

    /// The same, but it waits no longer than this.
    pub(crate) async fn convert_within(
        &self,
        request: v1::ConvertRequest,
        from: &Caller,
        patience: Duration,
    ) -> Result<Progress, RequestError> {
        let by = checks::token(&request.token)?;
        let convert = request.convert.ok_or_else(|| missing("convert"))?;
        let from = from.in_trace(&convert.traceparent);
        self.api.convert_within(&from, &by, requests::convert(convert, &mut Names::default())?, patience).await
    }

    pub(crate) async fn unlock(
        &self,
        request: v1::UnlockRequest,
        from: &Caller,
    ) -> Result<v1::UnlockResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let unlock = request.unlock.ok_or_else(|| missing("unlock"))?;
        let from = from.in_trace(&unlock.traceparent);
        let done = self.api.unlock(&from, &by, requests::unlock(unlock)?).await?;
        Ok(v1::UnlockResponse { completion: Some(replies::completion(&done)) })
    }

    pub(crate) async fn unlock_all(
        &self,
        request: v1::UnlockAllRequest,
        from: &Caller,
    ) -> Result<v1::UnlockAllResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let all = request.unlock_all.ok_or_else(|| missing("unlock_all"))?;
        let released = self.api.unlock_all(from, &by, requests::owner(&all)?).await?;
        Ok(v1::UnlockAllResponse { unlocked_all: Some(v1::UnlockedAll { released }) })
    }

    /// What a session's client may have missed, and the events from then on.
    pub(crate) async fn listen(
        &self,
        token: &str,
        from: &Caller,
    ) -> Result<(v1::Listening, impl Stream<Item = Result<Event, RequestError>> + Send + use<>), RequestError> {
        let (standing, events) = self.api.listen(from, &checks::token(token)?).await?;
        Ok((replies::listening(&standing), events))
    }

    pub(crate) async fn cancel(
        &self,
        request: v1::CancelRequest,
        from: &Caller,
    ) -> Result<v1::CancelResponse, RequestError> {
        let by = checks::token(&request.token)?;
        let (claim, operation) = requests::cancel(&request.cancel.ok_or_else(|| missing("cancel"))?)?;
        let result = self.api.cancel(from, &by, claim, operation).await?;
        Ok(v1::CancelResponse { cancelled: Some(replies::cancelled(claim, result)) })
    }
}
