//! `LockService`: the calls for clients without streams, and the ways into the two streams.
//!
//! A call names its session and proves the right to use it. Repeating any of them is safe. A call that is given up by
//! its client is given up by the machine: a lock that still waits is cancelled.

use sixpin_core::broker::api::{ClientInfo, Reply, Request, RequestError, SessionRef};
use sixpin_core::name::Lockspace;
use sixpin_proto::v1;
use tonic::{Response, Status, Streaming};
use v1::lock_service_server::LockService;

use super::errors::{self, invalid};
use super::hold::HoldStream;
use super::names::Names;
use super::replies::{self, Replies, unexpected};
use super::requests;
use super::session::{SessionStream, other_store};
use crate::runtime::{EngineHandle, Runtime};

/// The lock service of one process.
#[derive(Clone)]
pub struct Locks {
    runtime: Runtime,
    replies: Replies,
}

impl Locks {
    /// Serves the engines of `runtime`.
    pub fn new(runtime: Runtime) -> Self {
        Self { replies: Replies::new(runtime.clone()), runtime }
    }

    /// Asks the engine of the session's store.
    async fn ask(&self, caller: &Caller, request: Request) -> Result<Reply, RequestError> {
        caller.engine.request(caller.session, request).await
    }

    fn caller(&self, credential: Option<v1::Credential>, names: &mut Names) -> Result<Caller, RequestError> {
        let (session, lockspace) = requests::credential(credential, names)?;
        Ok(Caller { session, engine: self.runtime.engine(&lockspace).clone() })
    }

    async fn open(&self, open: v1::OpenRequest, from: &ClientInfo) -> Result<v1::Opened, RequestError> {
        if open.connection_bound {
            return Err(invalid("`connection_bound` needs a connection: open the session on a stream"));
        }
        let lockspace = Names::default().lockspace(&open.lockspace)?;
        let request = requests::open(&open, from, false)?;
        let anybody = SessionRef::Attached;
        match self.runtime.engine(&lockspace).request(anybody, request).await? {
            Reply::Opened { session, secret } => Ok(self.replies.opened(session, &secret, &lockspace)),
            other => Err(unexpected(&other)),
        }
    }

    async fn resume(&self, resume: v1::ResumeRequest, from: &ClientInfo) -> Result<v1::Resumed, RequestError> {
        let mut names = Names::default();
        let lockspace: Lockspace = names.lockspace(&resume.lockspace)?;
        let request = requests::resume(resume, &mut names, self.runtime.limits(), from, false)?;
        match self.runtime.engine(&lockspace).request(SessionRef::Attached, request).await? {
            Reply::Resumed { session, move_number, claims } => Ok(self.replies.resumed(session, move_number, claims)),
            other => Err(unexpected(&other)),
        }
    }

    async fn keep_alive(&self, call: v1::KeepAliveCall) -> Result<v1::KeptAlive, RequestError> {
        let caller = self.caller(call.credential, &mut Names::default())?;
        match self.ask(&caller, Request::KeepAlive { move_number: call.move_number }).await? {
            Reply::KeptAlive { move_number, ttl, lost } => Ok(replies::kept_alive(move_number, ttl, &lost)),
            other => Err(unexpected(&other)),
        }
    }

    async fn close(&self, call: v1::CloseCall) -> Result<v1::Closed, RequestError> {
        let caller = self.caller(call.credential, &mut Names::default())?;
        match self.ask(&caller, Request::Close).await? {
            Reply::Closed => Ok(v1::Closed {}),
            other => Err(unexpected(&other)),
        }
    }

    async fn lock(&self, call: v1::LockCall) -> Result<v1::Completion, RequestError> {
        let mut names = Names::default();
        let caller = self.caller(call.credential, &mut names)?;
        let lock = requests::lock(call.lock.ok_or_else(|| invalid("`lock` is missing"))?, &mut names)?;
        if !self.runtime.engine(&lock.resource.lockspace).same(&caller.engine) {
            return Err(other_store(&lock.resource.lockspace));
        }
        done(self.ask(&caller, Request::Lock { lock, until_done: true }).await?)
    }

    async fn convert(&self, call: v1::ConvertCall) -> Result<v1::Completion, RequestError> {
        let mut names = Names::default();
        let caller = self.caller(call.credential, &mut names)?;
        let convert = requests::convert(call.convert.ok_or_else(|| invalid("`convert` is missing"))?, &mut names)?;
        done(self.ask(&caller, Request::Convert { convert, until_done: true }).await?)
    }

    async fn unlock(&self, call: v1::UnlockCall) -> Result<v1::Completion, RequestError> {
        let caller = self.caller(call.credential, &mut Names::default())?;
        let unlock = requests::unlock(call.unlock.ok_or_else(|| invalid("`unlock` is missing"))?)?;
        done(self.ask(&caller, Request::Unlock(unlock)).await?)
    }

    async fn unlock_all(&self, call: v1::UnlockAllCall) -> Result<v1::UnlockedAll, RequestError> {
        let caller = self.caller(call.credential, &mut Names::default())?;
        let all = call.unlock_all.ok_or_else(|| invalid("`unlock_all` is missing"))?;
        match self.ask(&caller, requests::unlock_all(&all)?).await? {
            Reply::UnlockedAll { released } => Ok(v1::UnlockedAll { released }),
            other => Err(unexpected(&other)),
        }
    }

    async fn cancel(&self, call: v1::CancelCall) -> Result<v1::Cancelled, RequestError> {
        let caller = self.caller(call.credential, &mut Names::default())?;
        let cancel = call.cancel.ok_or_else(|| invalid("`cancel` is missing"))?;
        match self.ask(&caller, requests::cancel(&cancel)?).await? {
            Reply::Cancelled { claim, result } => Ok(replies::cancelled(claim, result)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Who calls, and where the session lives.
struct Caller {
    session: SessionRef,
    engine: EngineHandle,
}

fn done(reply: Reply) -> Result<v1::Completion, RequestError> {
    match reply {
        Reply::Done(done) => Ok(replies::completion(&done)),
        other => Err(unexpected(&other)),
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, RequestError>) -> Answer<T> {
    result.map(Response::new).map_err(|error| errors::status(&error))
}

#[tonic::async_trait]
impl LockService for Locks {
    type SessionStream = SessionStream;
    type HoldStream = HoldStream;

    async fn session(&self, request: tonic::Request<Streaming<v1::ClientMessage>>) -> Answer<SessionStream> {
        Ok(Response::new(SessionStream::new(self.runtime.clone(), request)))
    }

    async fn hold(&self, request: tonic::Request<v1::HoldRequest>) -> Answer<HoldStream> {
        let from = requests::caller(&request);
        answer(HoldStream::new(&self.runtime, request.into_inner(), &from))
    }

    async fn open_session(&self, request: tonic::Request<v1::OpenRequest>) -> Answer<v1::Opened> {
        let from = requests::caller(&request);
        answer(self.open(request.into_inner(), &from).await)
    }

    async fn keep_alive(&self, request: tonic::Request<v1::KeepAliveCall>) -> Answer<v1::KeptAlive> {
        answer(self.keep_alive(request.into_inner()).await)
    }

    async fn close_session(&self, request: tonic::Request<v1::CloseCall>) -> Answer<v1::Closed> {
        answer(self.close(request.into_inner()).await)
    }

    async fn lock(&self, request: tonic::Request<v1::LockCall>) -> Answer<v1::Completion> {
        answer(self.lock(request.into_inner()).await)
    }

    async fn convert(&self, request: tonic::Request<v1::ConvertCall>) -> Answer<v1::Completion> {
        answer(self.convert(request.into_inner()).await)
    }

    async fn unlock(&self, request: tonic::Request<v1::UnlockCall>) -> Answer<v1::Completion> {
        answer(self.unlock(request.into_inner()).await)
    }

    async fn unlock_all(&self, request: tonic::Request<v1::UnlockAllCall>) -> Answer<v1::UnlockedAll> {
        answer(self.unlock_all(request.into_inner()).await)
    }

    async fn cancel(&self, request: tonic::Request<v1::CancelCall>) -> Answer<v1::Cancelled> {
        answer(self.cancel(request.into_inner()).await)
    }

    async fn resume_session(&self, request: tonic::Request<v1::ResumeRequest>) -> Answer<v1::Resumed> {
        let from = requests::caller(&request);
        answer(self.resume(request.into_inner(), &from).await)
    }
}
