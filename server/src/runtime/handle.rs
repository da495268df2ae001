//! How front ends reach an engine.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use sixpin_core::access::Principal;
use sixpin_core::backend::{Backend, Profile};
use sixpin_core::broker::api::{
    AdminRequest, ConnectionId, Input, Query, Reply, ReplyTo, Request, RequestError, SessionRef,
};
use sixpin_core::limits::{Limits, TURNS_PER_CLIENT_MAX};
use sixpin_core::name::Incarnation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use super::outbox::{End, Outbox, Outgoing};
use super::router::{Answer, Sink};
use crate::traces::Span;

/// Messages that may wait for an engine. Senders wait when it is full, and stop reading from their clients.
pub const INBOX_MAX: usize = 1_024;

/// What front ends send to an engine.
#[derive(Debug)]
pub enum Message {
    /// A connection begins, with its first inputs.
    Connect {
        /// Its number.
        connection: ConnectionId,
        /// Where its answers go.
        sink: Sink,
        /// What it asks first.
        inputs: Vec<Input>,
        /// Given back once they were handled.
        turn: Option<Turn>,
    },
    /// More inputs of a connection.
    Inputs(ConnectionId, Vec<Input>, Option<Turn>),
    /// A connection ended.
    Disconnected(ConnectionId),
    /// Other limits hold from now on.
    Limits(Limits),
}

/// How many inputs of one client may be on their way to engines at once. What goes beyond is not read from its streams, so that
/// a flood of one client is never long in front of another one's request.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

/// The place of some inputs among those of their client.
type Turn = OwnedSemaphorePermit;

impl Turns {
    /// So many inputs.
    pub fn new(inputs: usize) -> Self {
        Self(Arc::new(Semaphore::new(inputs)))
    }
}

/// The way into an engine.
#[derive(Clone)]
struct Inbox {
    sender: mpsc::Sender<Message>,
    /// The runtime of the engine. Whoever drops a connection may be in another one that ends, or in none.
    home: Option<tokio::runtime::Handle>,
}

impl Inbox {
    /// Tells the engine that a connection ended, also when it is full just now: then a task waits for room. There are at most
    /// as many such tasks as there are connections.
    fn disconnect(&self, connection: ConnectionId) {
        match self.sender.try_send(Message::Disconnected(connection)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(message)) => {
                let sender = self.sender.clone();
                if let Some(home) = &self.home {
                    home.spawn(async move {
                        let _ = sender.send(message).await;
                    });
                }
            }
        }
    }
}

/// What an engine and its handles share.
pub struct Shared {
    name: String,
    profile: Profile,
    backend: RwLock<Arc<dyn Backend>>,
    incarnation: AtomicU64,
}

impl Shared {
    /// For an engine on this store.
    pub fn new(name: String, backend: Arc<dyn Backend>) -> Self {
        Self { name, profile: backend.profile(), backend: RwLock::new(backend), incarnation: AtomicU64::new(0) }
    }

    /// The store as it is opened now. Opened anew only after it lost its memory.
    pub fn backend(&self) -> Arc<dyn Backend> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the store.
    pub fn set_backend(&self, backend: Arc<dyn Backend>) {
        *self.backend.write().unwrap_or_else(PoisonError::into_inner) = backend;
    }

    /// Which incarnation runs.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.load(Ordering::Relaxed))
    }

    /// Notes which incarnation runs.
    pub fn set_incarnation(&self, incarnation: Incarnation) {
        self.incarnation.store(incarnation.0, Ordering::Relaxed);
    }
}

/// A way to one engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
    inbox: Inbox,
}

impl EngineHandle {
    /// A handle on the engine at the other end of `sender`.
    pub fn new(shared: Arc<Shared>, sender: mpsc::Sender<Message>) -> Self {
        Self { shared, inbox: Inbox { sender, home: tokio::runtime::Handle::try_current().ok() } }
    }

    /// Resolves when the engine has ended.
    pub async fn ended(&self) {
        self.inbox.sender.closed().await;
    }

    /// The backend's name in the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Facts about the store.
    pub fn profile(&self) -> &Profile {
        &self.shared.profile
    }

    /// The store: what is read there is a hint.
    pub(super) fn backend(&self) -> Arc<dyn Backend> {
        self.shared.backend()
    }

    /// The incarnation that runs now.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation()
    }

    /// True if both handles are of one engine.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Asks for one thing and waits for the answer, which its span is told as well. If the caller gives up, so does the machine.
    pub async fn request(
        &self,
        session: SessionRef,
        principal: Principal,
        request: Request,
        span: Option<&mut Span>,
    ) -> Result<Reply, RequestError> {
        let called =
            self.call(|from| Input::Request { from, session, principal: Some(Box::new(principal)), request }).await;
        if let Some(span) = span {
            match &called {
                Ok(answer) => span.answered(&answer.reply, answer.commit.clone()),
                Err(error) => span.refused(error),
            }
        }
        said(called)
    }

    /// As [`EngineHandle::request`], for an administrator.
    pub async fn admin(&self, request: AdminRequest) -> Result<Reply, RequestError> {
        said(self.call(|from| Input::Admin { from, request }).await)
    }

    /// As [`EngineHandle::request`], for somebody who looks.
    pub async fn query(&self, query: Query) -> Result<Reply, RequestError> {
        said(self.call(|from| Input::Query { from, query }).await)
    }

    /// These limits hold from now on.
    pub async fn limit(&self, limits: Limits) {
        // An engine that has ended has no use for them.
        let _ = self.inbox.sender.send(Message::Limits(limits)).await;
    }

    /// Begins a stream of a client that has these turns.
    pub fn connect(&self, turns: Option<Turns>) -> Connection {
        let outbox = Arc::new(Outbox::default());
        Connection { id: new_connection(), outbox, inbox: self.inbox.clone(), turns, opened: false, sending: None }
    }

    async fn call(&self, input: impl FnOnce(ReplyTo) -> Input) -> Result<Answer, RequestError> {
        let connection = new_connection();
        let (answer, answered) = oneshot::channel();
        let inputs = vec![input(ReplyTo { connection, request: 1 })];
        let message = Message::Connect { connection, sink: Sink::Call(answer), inputs, turn: None };
        let mut guard = CallGuard { connection, inbox: &self.inbox, waiting: false };
        self.inbox.sender.send(message).await.map_err(|_| engine_gone())?;
        guard.waiting = true;
        let answer = answered.await;
        guard.waiting = false;
        answer.map_err(|_| RequestError::Unknown("the broker stopped before it answered: repeat the request".into()))
    }
}

/// What the answer to a call says.
fn said(called: Result<Answer, RequestError>) -> Result<Reply, RequestError> {
    match called?.reply {
        Reply::Error(error) => Err(error),
        reply => Ok(reply),
    }
}

/// Tells the engine when the caller stopped waiting.
struct CallGuard<'a> {
    connection: ConnectionId,
    inbox: &'a Inbox,
    waiting: bool,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.inbox.disconnect(self.connection);
        }
    }
}

/// One stream's way to its engine and back.
pub struct Connection {
    id: ConnectionId,
    outbox: Arc<Outbox>,
    inbox: Inbox,
    turns: Option<Turns>,
    opened: bool,
    /// Waits for its turn, and for room in the engine's inbox.
    sending: Option<Reserving>,
}

type Reserving = Pin<Box<dyn Future<Output = Result<(mpsc::OwnedPermit<Message>, Option<Turn>), RequestError>> + Send>>;

impl Connection {
    /// The number by which the machine knows this stream.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// An input of this stream. It says who asks where that is new.
    pub fn input(&self, request: u64, principal: Option<Principal>, body: Request) -> Input {
        self.input_about(SessionRef::Attached, request, principal, body)
    }

    /// The same, about this session.
    pub fn input_about(&self, session: SessionRef, request: u64, principal: Option<Principal>, body: Request) -> Input {
        let from = ReplyTo { connection: self.id, request };
        Input::Request { from, session, principal: principal.map(Box::new), request: body }
    }

    /// Sends all inputs at once, in order. Pending while the engine has too much to do, or its client has too much on its way:
    /// then nothing was taken.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, inputs: &mut Vec<Input>) -> Poll<Result<(), RequestError>> {
        if inputs.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.sending.is_none()
            && let Ok(turn) = try_turn(self.turns.as_ref(), inputs.len())
            && let Ok(room) = self.inbox.sender.try_reserve()
        {
            room.send(message(self.id, &self.outbox, &mut self.opened, inputs, turn));
            return Poll::Ready(Ok(()));
        }
        let wait = || Box::pin(reserve(self.inbox.sender.clone(), self.turns.clone(), inputs.len())) as Reserving;
        let sending = self.sending.get_or_insert_with(wait);
        let reserved = std::task::ready!(sending.as_mut().poll(cx));
        self.sending = None;
        let (room, turn) = reserved?;
        room.send(message(self.id, &self.outbox, &mut self.opened, inputs, turn));
        Poll::Ready(Ok(()))
    }

    /// Takes all answers that wait; see [`Outbox::poll_take`].
    pub fn poll_take(&self, cx: &mut Context<'_>, taken: &mut VecDeque<Outgoing>) -> Poll<Option<End>> {
        self.outbox.poll_take(cx, taken)
    }
}

/// The first message of a stream also says where its answers go.
fn message(
    id: ConnectionId,
    outbox: &Arc<Outbox>,
    opened: &mut bool,
    inputs: &mut Vec<Input>,
    turn: Option<Turn>,
) -> Message {
    let inputs = std::mem::take(inputs);
    if std::mem::replace(opened, true) {
        Message::Inputs(id, inputs, turn)
    } else {
        Message::Connect { connection: id, sink: Sink::Stream(outbox.clone()), inputs, turn }
    }
}

/// The turn of so many inputs, if it has come.
fn try_turn(turns: Option<&Turns>, inputs: usize) -> Result<Option<Turn>, TryAcquireError> {
    turns.map(|turns| turns.0.clone().try_acquire_many_owned(places(inputs))).transpose()
}

/// Room in an inbox for so many inputs, once their turn has come.
async fn reserve(
    sender: mpsc::Sender<Message>,
    turns: Option<Turns>,
    inputs: usize,
) -> Result<(mpsc::OwnedPermit<Message>, Option<Turn>), RequestError> {
    let turn = match turns {
        Some(turns) => Some(turns.0.acquire_many_owned(places(inputs)).await.map_err(|_| engine_gone())?),
        None => None,
    };
    let room = sender.reserve_owned().await.map_err(|_| engine_gone())?;
    Ok((room, turn))
}

/// A stream reads fewer messages at once than a client has turns.
fn places(inputs: usize) -> u32 {
    u32::try_from(inputs.min(TURNS_PER_CLIENT_MAX)).unwrap_or(u32::MAX)
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.opened {
            self.inbox.disconnect(self.id);
        }
    }
}

fn engine_gone() -> RequestError {
    RequestError::Unavailable("the broker is stopping: go to another one".into())
}

/// Connection numbers count up over the whole process, so that no engine sees one twice.
fn new_connection() -> ConnectionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(sender: &mpsc::Sender<Message>, turns: &Turns) -> Connection {
        let (id, outbox) = (new_connection(), Arc::default());
        let (inbox, turns) = (Inbox { sender: sender.clone(), home: None }, Some(turns.clone()));
        Connection { id, outbox, inbox, turns, opened: false, sending: None }
    }

    fn send(connection: &mut Connection, inputs: u64) -> bool {
        let input =
            |request| connection.input(request, Some(Principal::default()), Request::KeepAlive { move_number: 0 });
        let mut inputs: Vec<Input> = (1..=inputs).map(input).collect();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        connection.poll_send(&mut cx, &mut inputs).is_ready()
    }

    #[test]
    fn a_client_that_floods_is_not_read_and_others_are() {
        let (sender, mut inbox) = mpsc::channel(INBOX_MAX);
        let (flood, honest) = (Turns::new(10), Turns::new(10));
        let (mut first, mut second) = (connection(&sender, &flood), connection(&sender, &flood));
        assert!(send(&mut first, 8));
        assert!(!send(&mut second, 3), "eleven of one client");
        assert!(send(&mut connection(&sender, &honest), 3));
        // Begun with by the engine.
        drop(inbox.try_recv().unwrap());
        assert!(send(&mut second, 3));
    }
}
