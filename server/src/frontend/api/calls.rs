//! One request about a session, one answer: for clients without a stream.
//!
//! A call names its session and proves the right to use it by a token. Repeating any of them is safe. A call that is given up by
//! its client is given up by the machine: a lock that still waits is cancelled.

use std::time::Duration;

use sixpin_core::broker::api::{
    CancelResult, ConvertRequest, Done, LockRequest, OpenRequest, Reply, Request, RequestError, ResumeRequest,
    SessionRef, UnlockRequest,
};
use sixpin_core::name::{ClaimNumber, Label, Lockspace, OperationNumber};
use sixpin_core::token::SessionToken;

use super::errors::{invalid, other_store, unexpected};
use super::{Api, Caller, Opened, Resumed, note_denied};

/// What a keepalive is answered with.
#[derive(Debug, Clone)]
pub struct KeptAlive {
    /// The number of the session's newest move.
    pub move_number: u32,
    /// From when the keepalive was sent.
    pub ttl: Duration,
    /// Claims that were taken away and are not confirmed yet.
    pub lost: Vec<ClaimNumber>,
}

impl Api {
    /// Opens a session.
    pub async fn open(&self, from: &Caller, lockspace: &Lockspace, open: OpenRequest) -> Result<Opened, RequestError> {
        if open.bound {
            return Err(invalid("`connection_bound` needs a connection: open the session on a stream"));
        }
        match self.request(from, lockspace, SessionRef::Attached, Request::Open(Box::new(open))).await? {
            Reply::Opened { session, secret } => Ok(self.opened(session, secret, lockspace)),
            other => Err(unexpected(&other)),
        }
    }

    /// Resumes a session, which moves it here if it is elsewhere.
    pub async fn resume(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        resume: ResumeRequest,
    ) -> Result<Resumed, RequestError> {
        match self.request(from, lockspace, SessionRef::Attached, Request::Resume(Box::new(resume))).await? {
            Reply::Resumed { session, move_number, claims } => Ok(self.resumed(session, move_number, claims)),
            other => Err(unexpected(&other)),
        }
    }

    /// The session's client lives.
    pub async fn keep_alive(
        &self,
        from: &Caller,
        by: &SessionToken,
        move_number: u32,
    ) -> Result<KeptAlive, RequestError> {
        match self.ask(from, by, Request::KeepAlive { move_number }).await? {
            Reply::KeptAlive { move_number, ttl, lost } => Ok(KeptAlive { move_number, ttl, lost }),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the session, and everything it holds.
    pub async fn close(&self, from: &Caller, by: &SessionToken) -> Result<(), RequestError> {
        match self.ask(from, by, Request::Close).await? {
            Reply::Closed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Locks, and waits for the end of it.
    pub async fn lock(&self, from: &Caller, by: &SessionToken, lock: LockRequest) -> Result<Done, RequestError> {
        if !self.engine(&lock.resource.lockspace).same(self.engine(&by.lockspace)) {
            return Err(other_store(&lock.resource.lockspace));
        }
        done(self.ask(from, by, Request::Lock { lock, until_done: true }).await?)
    }

    /// Converts, and waits for the end of it.
    pub async fn convert(
        &self,
        from: &Caller,
        by: &SessionToken,
        convert: ConvertRequest,
    ) -> Result<Done, RequestError> {
        done(self.ask(from, by, Request::Convert { convert, until_done: true }).await?)
    }

    /// Releases one claim.
    pub async fn unlock(&self, from: &Caller, by: &SessionToken, unlock: UnlockRequest) -> Result<Done, RequestError> {
        done(self.ask(from, by, Request::Unlock(unlock)).await?)
    }

    /// Releases all claims of the session, or of one owner in it, and says how many.
    pub async fn unlock_all(
        &self,
        from: &Caller,
        by: &SessionToken,
        owner: Option<Label>,
    ) -> Result<u32, RequestError> {
        match self.ask(from, by, Request::UnlockAll { owner }).await? {
            Reply::UnlockedAll { released } => Ok(released),
            other => Err(unexpected(&other)),
        }
    }

    /// Withdraws what a claim waits for; absent: whatever that is.
    pub async fn cancel(
        &self,
        from: &Caller,
        by: &SessionToken,
        claim: ClaimNumber,
        operation: Option<OperationNumber>,
    ) -> Result<CancelResult, RequestError> {
        match self.ask(from, by, Request::Cancel { claim, operation }).await? {
            Reply::Cancelled { result, .. } => Ok(result),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, from: &Caller, by: &SessionToken, request: Request) -> Result<Reply, RequestError> {
        self.request(from, &by.lockspace, SessionRef::Named(by.session, by.secret), request).await
    }

    async fn request(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        session: SessionRef,
        request: Request,
    ) -> Result<Reply, RequestError> {
        let answer = self.engine(lockspace).request(session, from.principal(), request).await;
        answer.inspect_err(|error| note_denied(self.access.audit(), from, error))
    }
}

fn done(reply: Reply) -> Result<Done, RequestError> {
    match reply {
        Reply::Done(done) => Ok(done),
        other => Err(unexpected(&other)),
    }
}
