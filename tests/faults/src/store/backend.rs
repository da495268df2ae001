//! A broker's side of the connection.
//!
//! One connection, on which requests are pipelined. When it breaks, whatever was sent on it and could change something
//! is unknown; the next call opens a new one. A call that gets no answer in time breaks the connection as well, so that
//! a server that stands still is noticed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Durability, Family, Guard, Key, Page, Profile, Pulse, Root, Slot, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};
use sixpin_memory::Store;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::frame;
use super::message::{Answer, Ask, Request, Response};
use super::wire;

/// How long a server may take to answer, and to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch rests that found no server: its caller looks again by itself.
const REST: Duration = Duration::from_millis(200);

/// The store at an address, as one broker sees it.
#[derive(Debug)]
pub struct NetBackend {
    address: SocketAddr,
    root: Root,
    profile: Profile,
    next: AtomicU64,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

/// What became of a request.
enum Failure {
    /// It was not sent.
    NotSent(String),
    /// It was sent, and not answered.
    NotAnswered(String),
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(text) => Self::Unavailable(text),
            Failure::NotAnswered(text) => Self::Unknown(text),
        }
    }
}

impl NetBackend {
    /// Connects and reads the root record.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let connection = Connection::open(address).await?;
        let ask = Ask { number: 0, identity: 0, request: Request::Open };
        let answer = timeout(PATIENCE, connection.ask(ask)).await.map_err(io::Error::other)?;
        let Ok(Response::Opened(root, kind)) = answer else {
            return Err(io::Error::other("the server does not say which store it is"));
        };
        let root = wire::root_to(root);
        // What an unoptimized build on a busy machine moves long before its patience ends.
        let batch_bytes_max = 4 * 1024 * 1024;
        let profile = Store::new(kind.contract(), root.clone()).profile(true);
        let durability = Durability::CrashSafe;
        let profile = Profile { name: "net", durability, batch_bytes_max, commit_timeout: PATIENCE, ..profile };
        let connection = tokio::sync::Mutex::new(Some(connection));
        Ok(Self { address, root, profile, next: AtomicU64::new(1), connection })
    }

    async fn connected(&self) -> Result<Arc<Connection>, Failure> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        let not_sent = |error: io::Error| Failure::NotSent(format!("no store at {}: {error}", self.address));
        let connection = Connection::open(self.address).await.map_err(not_sent)?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn call(&self, request: Request) -> Result<Response, Failure> {
        let connection = self.connected().await?;
        let ask = Ask { number: self.number(), identity: self.root.identity, request };
        match timeout(PATIENCE, connection.ask(ask)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::NotAnswered(error.to_string())),
            Err(_) => {
                connection.close();
                Err(Failure::NotAnswered(format!("no answer within {PATIENCE:?}")))
            }
        }
    }

    /// A call that changes nothing: without an answer, nothing happened.
    async fn look(&self, request: Request) -> Result<Response, StoreError> {
        self.call(request).await.map_err(|failure| match failure {
            Failure::NotSent(text) | Failure::NotAnswered(text) => StoreError::Unavailable(text),
        })
    }

    async fn change(&self, count: usize, request: Request) -> Vec<WriteOutcome> {
        match self.call(request).await {
            Ok(Response::Outcomes(outcomes)) if outcomes.len() == count => {
                outcomes.into_iter().map(Into::into).collect()
            }
            Ok(_) => vec![WriteOutcome::Unknown(STRANGE.into()); count],
            Err(Failure::NotSent(text)) => vec![WriteOutcome::Unavailable(text); count],
            Err(Failure::NotAnswered(text)) => vec![WriteOutcome::Unknown(text); count],
        }
    }

    async fn change_one(&self, request: Request) -> WriteOutcome {
        self.change(1, request).await.pop().unwrap_or(WriteOutcome::ConflictUnread)
    }
}

const STRANGE: &str = "the server gave an answer to something else";

fn strange() -> StoreError {
    StoreError::Unknown(STRANGE.into())
}

#[async_trait]
impl Backend for NetBackend {
    fn profile(&self) -> Profile {
        self.profile.clone()
    }

    fn root(&self) -> Root {
        self.root.clone()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        match self.look(Request::Read(keys.iter().map(Into::into).collect())).await? {
            Response::Slots(slots) => Ok(slots?.into_iter().map(wire::slot_to).collect()),
            _ => Err(strange()),
        }
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let count = writes.len();
        let writes = writes.into_iter().map(Into::into).collect();
        self.change(count, Request::Commit(wire::guard_from(guard), writes)).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        match self.call(Request::Advance(wire::guard_from(guard))).await? {
            Response::Done(done) => Ok(done?),
            _ => Err(strange()),
        }
    }

    async fn changed(&self, key: Key, seen: Version) {
        let watched = async {
            let connection = self.connected().await.ok()?;
            let number = self.number();
            let ask = Ask { number, identity: self.root.identity, request: Request::Changed((&key).into(), seen.0) };
            let _watch = Watch { connection: connection.clone(), number };
            connection.ask(ask).await.ok()
        };
        if watched.await.is_none() {
            tokio::time::sleep(REST).await;
        }
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self.look(Request::List(family.into(), after.map(Into::into), limit)).await? {
            Response::Page(page) => Ok(wire::page_to(page?)),
            _ => Err(strange()),
        }
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        match self.call(Request::Beat(beat.into())).await? {
            Response::Beaten(version) => Ok(Version(version?)),
            _ => Err(strange()),
        }
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        match self.call(Request::Leave(broker.0)).await? {
            Response::Done(done) => Ok(done?),
            _ => Err(strange()),
        }
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.change_one(Request::Evict(wire::guard_from(guard), target.0, seen.0)).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.change_one(Request::Clear(wire::guard_from(guard), target.0, seen.0)).await
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        match self.look(Request::Pulses).await? {
            Response::Pulses(pulses) => Ok(pulses?.into_iter().map(Into::into).collect()),
            _ => Err(strange()),
        }
    }
}

/// Tells the server when nobody waits for a change any more.
struct Watch {
    connection: Arc<Connection>,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.connection.waiting().remove(self.number).is_some() {
            let request = Request::GiveUp(self.number);
            let _ = self.connection.asks.send(Ask { number: self.number, identity: 0, request });
        }
    }
}

type Waiting = HashMap<u64, oneshot::Sender<Response>>;

/// One connection. Requests that wait for an answer are in `waiting`; when it closes there are none, and none come.
#[derive(Debug)]
struct Connection {
    asks: mpsc::UnboundedSender<Ask>,
    // Absent once the connection is closed.
    waiting: Mutex<Option<Waiting>>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Arc<Self>> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(io::Error::other)??;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (asks, asked) = mpsc::unbounded_channel();
        let waiting = Mutex::new(Some(Waiting::new()));
        let connection = Arc::new(Self { asks, waiting, tasks: Mutex::default() });
        // Tasks know the connection weakly, so that it ends when nobody uses it.
        let weak = Arc::downgrade(&connection);
        let reading = tokio::spawn(async move {
            read(reader, |answer: Answer| {
                let Some(connection) = weak.upgrade() else { return };
                let asker = connection.waiting().remove(answer.number);
                if let Some(asker) = asker {
                    let _ = asker.send(answer.response);
                }
            })
            .await;
            if let Some(connection) = weak.upgrade() {
                connection.close();
            }
        });
        let writing = tokio::spawn(write(writer, asked));
        let mut tasks = connection.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.extend([reading.abort_handle(), writing.abort_handle()]);
        drop(tasks);
        Ok(connection)
    }

    async fn ask(&self, ask: Ask) -> io::Result<Response> {
        let broken = || io::Error::new(io::ErrorKind::BrokenPipe, "the connection to the store broke");
        let (sender, answer) = oneshot::channel();
        if !self.waiting().insert(ask.number, sender) || self.asks.send(ask).is_err() {
            return Err(broken());
        }
        answer.await.map_err(|_| broken())
    }

    fn is_open(&self) -> bool {
        self.waiting().0.is_some()
    }

    fn waiting(&self) -> OpenWaiting<'_> {
        OpenWaiting(self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everybody who waits hears that nothing more comes.
    fn close(&self) {
        self.waiting().0.take();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Who waits, if the connection is open.
struct OpenWaiting<'a>(MutexGuard<'a, Option<Waiting>>);

impl OpenWaiting<'_> {
    fn insert(&mut self, number: u64, sender: oneshot::Sender<Response>) -> bool {
        self.0.as_mut().map(|waiting| waiting.insert(number, sender)).is_some()
    }

    fn remove(&mut self, number: u64) -> Option<oneshot::Sender<Response>> {
        self.0.as_mut()?.remove(&number)
    }
}

async fn read(reader: OwnedReadHalf, mut answered: impl FnMut(Answer)) {
    let mut reader = BufReader::new(reader);
    while let Ok(answer) = frame::take(&mut reader).await {
        answered(answer);
    }
}

async fn write(mut writer: OwnedWriteHalf, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    while asks.recv_many(&mut batch, 256).await > 0 {
        bytes.clear();
        if batch.drain(..).any(|ask| frame::put(&mut bytes, &ask).is_err()) || writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
