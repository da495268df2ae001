//! One request about a session, one answer: for clients without a stream.
//!
//! A call names its session and proves the right to use it by a token. Repeating any of them is safe. A call that is given up by
//! its client is given up by the machine: a lock that still waits is cancelled, unless it was asked for so that it keeps its place.

use std::pin::Pin;
use std::time::Duration;

use sixpin_core::broker::api::{
    CancelResult, ConvertRequest, Done, LockRequest, OpenRequest, Query, Reply, Request, RequestError, ResumeRequest,
    SessionRef, UnlockRequest,
};
use sixpin_core::name::{ClaimNumber, Fence, Label, Lockspace, OperationNumber, ResourceId};
use sixpin_core::token::SessionToken;
use tokio::sync::oneshot;

use super::errors::{invalid, other_store, unexpected};
use super::{Api, Caller, Opened, Resumed, note_denied};
use crate::traces::Span;
use crate::traces::span::What;

/// How long after a refusal it is tried again to leave a claim at its place.
const LEFT_AGAIN: Duration = Duration::from_millis(200);

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

/// How far a lock has come.
#[derive(Debug, Clone)]
pub enum Progress {
    /// It ended.
    Done(Done),
    /// It waits in the queue.
    Queued(Queued),
}

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The claim that waits.
    pub claim: ClaimNumber,
    /// Its operation.
    pub operation: OperationNumber,
    /// Claims ahead of it when it was queued.
    pub position: u32,
    /// The order of tickets is that of the queue.
    pub ticket: Fence,
}

impl Api {
    /// Opens a session.
    pub async fn open(&self, from: &Caller, lockspace: &Lockspace, open: OpenRequest) -> Result<Opened, RequestError> {
        if open.bound {
            return Err(invalid("`connection_bound` needs a connection: open the session on a stream"));
        }
        match self.request(from, lockspace, SessionRef::Attached, Request::Open(Box::new(open)), None).await? {
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
        match self.request(from, lockspace, SessionRef::Attached, Request::Resume(Box::new(resume)), None).await? {
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
        self.check_store(&lock.resource.lockspace, by)?;
        done(self.ask(from, by, Request::Lock { lock, until_done: true }).await?)
    }

    /// What became of a lock, by a copy of its request.
    pub async fn locked(&self, from: &Caller, by: &SessionToken, copy: LockRequest) -> Result<Done, RequestError> {
        done(self.ask_in(None, from, by, Request::Lock { lock: copy, until_done: true }).await?)
    }

    /// Locks, and waits for the end of it, but no longer than this: then the claim keeps its place, and the same request again goes
    /// on waiting there. It keeps it as well if its caller goes away; the session's TTL ends it then.
    pub async fn lock_within(
        &self,
        from: &Caller,
        by: &SessionToken,
        lock: LockRequest,
        patience: Duration,
    ) -> Result<Progress, RequestError> {
        self.check_store(&lock.resource.lockspace, by)?;
        self.within(from, by, Waited::Lock(lock), patience).await
    }

    /// Converts in the same way.
    pub async fn convert_within(
        &self,
        from: &Caller,
        by: &SessionToken,
        convert: ConvertRequest,
        patience: Duration,
    ) -> Result<Progress, RequestError> {
        self.within(from, by, Waited::Convert(convert), patience).await
    }

    async fn within(
        &self,
        from: &Caller,
        by: &SessionToken,
        waited: Waited,
        patience: Duration,
    ) -> Result<Progress, RequestError> {
        let request = waited.request(false);
        let mut span = self.span(from, by, &request);
        let begun = progress(self.ask_in(span.as_mut(), from, by, request).await?)?;
        if matches!(begun, Progress::Done(_)) {
            return Ok(begun);
        }
        let (tell, told) = oneshot::channel();
        // Goes on without its caller until the claim is left at its place.
        tokio::spawn(self.clone().wait_in_queue(from.clone(), by.clone(), waited, patience, tell, span));
        told.await.map_err(|_| RequestError::Unknown("the wait was given up: repeat the request".into()))?
    }

    async fn wait_in_queue(
        self,
        from: Caller,
        by: SessionToken,
        waited: Waited,
        patience: Duration,
        mut tell: oneshot::Sender<Result<Progress, RequestError>>,
        mut span: Option<Span>,
    ) {
        let waiting = self.ask_in(span.as_mut(), &from, &by, waited.request(true));
        tokio::pin!(waiting);
        let ended = tokio::select! {
            ended = &mut waiting => Some(ended),
            () = tell.closed() => None,
            () = tokio::time::sleep(patience) => None,
        };
        let progressed = match ended {
            Some(ended) => ended.and_then(progress),
            None => {
                let copy = || self.ask_in(None, &from, &by, waited.request(false));
                leave_in_queue(waiting, copy).await.and_then(progress)
            }
        };
        // Whoever went away asks again.
        let _ = tell.send(progressed);
    }

    fn check_store(&self, lockspace: &Lockspace, by: &SessionToken) -> Result<(), RequestError> {
        if self.engine(lockspace).same(self.engine(&by.lockspace)) { Ok(()) } else { Err(other_store(lockspace)) }
    }

    /// The resource of a claim of the session, if the session has it here.
    pub async fn resource_of(&self, by: &SessionToken, claim: ClaimNumber) -> Result<Option<ResourceId>, RequestError> {
        let after = ClaimNumber(claim.0.saturating_sub(1));
        let query = Query::Claims { session: by.session, after, limit: 1 };
        match self.engine(&by.lockspace).query(query).await? {
            Reply::Claims(claims) => Ok(claims.into_iter().find(|(number, _)| *number == claim).map(|(_, id)| id)),
            other => Err(unexpected(&other)),
        }
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
        let mut span = self.span(from, by, &request);
        self.ask_in(span.as_mut(), from, by, request).await
    }

    /// The span of a request, if it has one.
    fn span(&self, from: &Caller, by: &SessionToken, request: &Request) -> Option<Span> {
        let mut span = self.traces()?.begin(from.origin, What::of(request)?)?;
        span.of_session(Some(by.session));
        Some(span)
    }

    async fn ask_in(
        &self,
        span: Option<&mut Span>,
        from: &Caller,
        by: &SessionToken,
        request: Request,
    ) -> Result<Reply, RequestError> {
        self.request(from, &by.lockspace, SessionRef::Named(by.session, by.secret), request, span).await
    }

    async fn request(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        session: SessionRef,
        request: Request,
        span: Option<&mut Span>,
    ) -> Result<Reply, RequestError> {
        let answer = self.engine(lockspace).request(session, from.principal(), request, span).await;
        answer.inspect_err(|error| note_denied(self.access.audit(), from, error))
    }
}

/// What may be left at its place in a queue.
enum Waited {
    Lock(LockRequest),
    Convert(ConvertRequest),
}

impl Waited {
    /// A copy of its request, which waits for its end or not.
    fn request(&self, until_done: bool) -> Request {
        match self {
            Self::Lock(lock) => Request::Lock { lock: lock.clone(), until_done },
            Self::Convert(convert) => Request::Convert { convert: convert.clone(), until_done },
        }
    }
}

/// A newer copy, which waits for nothing, takes the place of the one that waits: so that one gives nothing up when it ends. A
/// copy that was refused took no place: then the one that waits is not ended, and another copy is sent a little later.
async fn leave_in_queue<W, C>(mut waiting: Pin<&mut W>, mut copy: impl FnMut() -> C) -> Result<Reply, RequestError>
where
    W: Future<Output = Result<Reply, RequestError>>,
    C: Future<Output = Result<Reply, RequestError>>,
{
    loop {
        let answer = copy().await;
        if !matches!(answer, Err(RequestError::Limit(_) | RequestError::Unavailable(_))) {
            return answer;
        }
        tokio::select! {
            ended = &mut waiting => return ended,
            () = tokio::time::sleep(LEFT_AGAIN) => {}
        }
    }
}

fn progress(reply: Reply) -> Result<Progress, RequestError> {
    match reply {
        Reply::Done(done) => Ok(Progress::Done(done)),
        Reply::Queued { claim, operation, position, ticket } => {
            Ok(Progress::Queued(Queued { claim, operation, position, ticket }))
        }
        other => Err(unexpected(&other)),
    }
}

fn done(reply: Reply) -> Result<Done, RequestError> {
    match reply {
        Reply::Done(done) => Ok(done),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::pin::pin;

    use super::*;

    fn queued() -> Reply {
        Reply::Queued { claim: ClaimNumber(1), operation: OperationNumber(1), position: 0, ticket: Fence(7) }
    }

    fn refused() -> RequestError {
        RequestError::Limit("requests waiting for the store at this broker".into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_not_ended_before_a_copy_has_taken_its_place() {
        let mut answers =
            [Err(refused()), Err(RequestError::Unavailable("moving here".into())), Ok(queued())].into_iter();
        let copy = || future::ready(answers.next().expect("nothing is asked once the place is kept"));
        let waiting = pin!(future::pending());
        assert_eq!(leave_in_queue(waiting, copy).await, Ok(queued()));
        assert_eq!(answers.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_may_end_while_no_copy_is_let_in() {
        let done = Done {
            claim: ClaimNumber(1),
            operation: OperationNumber(1),
            status: sixpin_core::broker::api::DoneStatus::Gone,
            mode: None,
            fence: None,
            grant_seq: 0,
            immediate: false,
            demoted: false,
            alternate: false,
            extras: sixpin_core::command::Extras::default(),
        };
        let waiting = pin!(async {
            tokio::time::sleep(LEFT_AGAIN * 3 / 2).await;
            Ok(Reply::Done(done.clone()))
        });
        let copy = || future::ready(Err(refused()));
        assert_eq!(leave_in_queue(waiting, copy).await, Ok(Reply::Done(done.clone())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_of_a_session_that_is_not_here_is_not_repeated() {
        let gone = || RequestError::NotFound("no such session".into());
        let copy = || future::ready(Err(gone()));
        assert_eq!(leave_in_queue(pin!(future::pending()), copy).await, Err(gone()));
    }
}
