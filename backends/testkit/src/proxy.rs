//! A TCP proxy on loopback whose network can be broken on purpose.
//!
//! Two kinds of trouble:
//!
//! * a [`Mode`] holds for all connections, or for those of some processes, until it is changed: pass, cut, black hole,
//!   delay;
//! * a trap strikes each connection that is open when it is set, once, and leaves those opened later alone, so that a
//!   client can come back and look: [`Proxy::cut_next_reply`] (the request arrives, its reply does not) and
//!   [`Proxy::hold_next_request`] (the connection breaks, and the request arrives *later*, when
//!   [`Proxy::release_held`] says so).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::callers;

/// Bytes moved at once.
const CHUNK: usize = 64 * 1024;
/// A request may come in several pieces; one is whole when nothing more came for this long.
const QUIET: Duration = Duration::from_millis(50);
/// After a struck connection is closed towards the client, the server is listened to for this long at most, so that it
/// does not notice the break before it has done what it was asked.
const LINGER: Duration = Duration::from_secs(1);

/// What the proxy does with the bytes of all connections, until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwards both ways.
    Pass,
    /// Closes every connection, and each new one at once.
    Cut,
    /// Moves nothing and closes nothing. What was sent meanwhile arrives when this ends.
    BlackHole,
    /// Forwards each piece, both ways, after this long.
    Delay(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trap {
    CutReply,
    HoldRequest,
}

/// The trap in force: it concerns connections that are older than its number.
#[derive(Debug, Clone, Copy)]
struct Traps {
    number: usize,
    trap: Option<Trap>,
}

/// What holds for whom.
#[derive(Debug, Clone)]
struct Rules {
    all: Mode,
    // By process, for those that are an exception.
    callers: BTreeMap<u32, Mode>,
}

impl Rules {
    /// The mode for a connection from this address to that one.
    async fn mode(&self, (client, door): (SocketAddr, SocketAddr)) -> Mode {
        if self.callers.is_empty() {
            return self.all;
        }
        let callers: Vec<u32> = self.callers.keys().copied().collect();
        let owner = tokio::task::spawn_blocking(move || callers::owner(client, door, callers)).await;
        let exception = owner.ok().flatten().and_then(|pid| self.callers.get(&pid));
        exception.copied().unwrap_or(self.all)
    }
}

struct Shared {
    server: watch::Sender<SocketAddr>,
    rules: watch::Sender<Rules>,
    // Counts the orders to close whatever is open.
    cuts: watch::Sender<usize>,
    traps: watch::Sender<Traps>,
    // Counts the releases: a held request goes out when this has moved on.
    releases: watch::Sender<usize>,
    struck: AtomicUsize,
    delivered: AtomicUsize,
}

/// A running proxy. Its listener and its connections end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `server`.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: watch::Sender::new(server),
            rules: watch::Sender::new(Rules { all: Mode::Pass, callers: BTreeMap::new() }),
            cuts: watch::Sender::new(0),
            traps: watch::Sender::new(Traps { number: 0, trap: None }),
            releases: watch::Sender::new(0),
            struck: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        let listener = tokio::spawn(async move {
            // The set is dropped with this task, and its connections with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((client, from)) => { connections.spawn(accepting.clone().serve(client, (from, address))); }
                        Err(_) => sleep(Duration::from_millis(5)).await,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, shared, listener })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards connections opened from now on to another server: for one that must know this address before it starts.
    pub fn forward_to(&self, server: SocketAddr) {
        self.shared.server.send_replace(server);
    }

    /// Changes what happens to all connections. Nobody is an exception any more.
    pub fn set(&self, mode: Mode) {
        self.shared.rules.send_replace(Rules { all: mode, callers: BTreeMap::new() });
        if mode == Mode::Cut {
            self.cut_now();
        }
    }

    /// Changes what happens to the connections that these processes opened or will open. It takes some milliseconds.
    pub fn set_for(&self, processes: impl IntoIterator<Item = u32>, mode: Mode) {
        self.shared.rules.send_modify(|rules| rules.callers.extend(processes.into_iter().map(|pid| (pid, mode))));
    }

    /// Closes every connection that is open now. New ones pass, unless the mode is [`Mode::Cut`].
    pub fn cut_now(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// On each connection that is open now, the next request still reaches the server; its reply is dropped and the
    /// connection closed.
    pub fn cut_next_reply(&self) {
        self.arm(Trap::CutReply);
    }

    /// On each connection that is open now, the next request is kept back and the connection closed. It reaches the
    /// server after [`Proxy::release_held`].
    pub fn hold_next_request(&self) {
        self.arm(Trap::HoldRequest);
    }

    /// Disarms the trap: connections that it has not struck pass again.
    pub fn disarm(&self) {
        self.shared.traps.send_modify(|traps| traps.trap = None);
    }

    /// Delivers the requests that are held. Their replies are dropped.
    pub fn release_held(&self) {
        self.shared.releases.send_modify(|releases| *releases += 1);
    }

    /// How many connections a trap has struck so far. A test that waits for a strike reads this first.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// How many held requests the server has been given, and has had time to answer, so far.
    pub fn delivered(&self) -> usize {
        self.shared.delivered.load(Ordering::SeqCst)
    }

    fn arm(&self, trap: Trap) {
        self.shared.traps.send_modify(|traps| *traps = Traps { number: traps.number + 1, trap: Some(trap) });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// How the forwarding of a connection ended.
enum End {
    /// One side closed, or failed.
    Closed,
    /// A reply was dropped: the client must not hear more.
    ReplyCut,
    /// A request is held: the server must hear it later.
    Held(Vec<u8>),
}

/// One connection, as both pumps see it.
struct Connection {
    shared: Arc<Shared>,
    // What holds for it where somebody is an exception.
    own: watch::Sender<Mode>,
    // Traps up to this number were set before the connection was opened, and do not concern it.
    born: usize,
    // A request was forwarded since the reply trap was set, so the next bytes from the server may be its reply.
    asked: AtomicBool,
}

impl Shared {
    async fn serve(self: Arc<Self>, mut client: TcpStream, ends: (SocketAddr, SocketAddr)) {
        let mut cuts = self.cuts.subscribe();
        cuts.mark_unchanged();
        let mut rules = self.rules.subscribe();
        let now = rules.borrow_and_update().clone();
        let mode = now.mode(ends).await;
        if mode == Mode::Cut {
            return;
        }
        let born = self.traps.borrow().number;
        let target = *self.server.borrow();
        let Ok(mut server) = TcpStream::connect(target).await else {
            return;
        };
        // Pieces are forwarded as they come; waiting for more would add delays that the network does not have.
        if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
            return;
        }
        let own = watch::Sender::new(mode);
        let connection = Connection { shared: self.clone(), own, born, asked: AtomicBool::new(false) };
        let (client_reader, client_writer) = client.split();
        let (server_reader, server_writer) = server.split();
        let end = tokio::select! {
            end = connection.requests(client_reader, server_writer) => end,
            end = connection.replies(server_reader, client_writer) => end,
            _ = cuts.changed() => End::Closed,
            () = connection.obey(rules, ends) => End::Closed,
        };
        match end {
            End::Closed => {}
            End::ReplyCut => {
                self.struck.fetch_add(1, Ordering::SeqCst);
                drop(client);
                linger(server).await;
            }
            End::Held(request) => {
                let mut releases = self.releases.subscribe();
                releases.mark_unchanged();
                self.struck.fetch_add(1, Ordering::SeqCst);
                drop(client);
                if releases.changed().await.is_ok() && server.write_all(&request).await.is_ok() {
                    linger(server).await;
                    self.delivered.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }
}

impl Connection {
    /// Follows the rules. Returns when they cut it.
    async fn obey(&self, mut rules: watch::Receiver<Rules>, ends: (SocketAddr, SocketAddr)) {
        // The sender lives as long as `self`.
        while rules.changed().await.is_ok() {
            let now = rules.borrow_and_update().clone();
            let mode = now.mode(ends).await;
            if mode == Mode::Cut {
                return;
            }
            self.own.send_replace(mode);
        }
    }

    /// Waits until the rules let bytes pass.
    async fn pass(&self) {
        let (mut rules, mut own) = (self.shared.rules.subscribe(), self.own.subscribe());
        loop {
            let own_mode = *own.borrow_and_update();
            let now = {
                let rules = rules.borrow_and_update();
                if rules.callers.is_empty() { rules.all } else { own_mode }
            };
            match now {
                // After a cut the connection is about to be dropped.
                Mode::Pass | Mode::Cut => return,
                Mode::Delay(time) => return sleep(time).await,
                Mode::BlackHole => tokio::select! {
                    _ = rules.changed() => {}
                    _ = own.changed() => {}
                },
            }
        }
    }

    fn trap(&self) -> Option<Trap> {
        let traps = *self.shared.traps.borrow();
        traps.trap.filter(|_| traps.number > self.born)
    }

    async fn requests(&self, mut client: ReadHalf<'_>, mut server: WriteHalf<'_>) -> End {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(length @ 1..) = client.read(&mut buffer).await else {
                return End::Closed;
            };
            self.pass().await;
            match self.trap() {
                Some(Trap::HoldRequest) => {
                    return End::Held(whole_request(&buffer[..length], client).await);
                }
                Some(Trap::CutReply) => self.asked.store(true, Ordering::SeqCst),
                None => {}
            }
            if server.write_all(&buffer[..length]).await.is_err() {
                return End::Closed;
            }
        }
    }

    async fn replies(&self, mut server: ReadHalf<'_>, mut client: WriteHalf<'_>) -> End {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(length @ 1..) = server.read(&mut buffer).await else {
                return End::Closed;
            };
            self.pass().await;
            if self.trap() == Some(Trap::CutReply) && self.asked.load(Ordering::SeqCst) {
                return End::ReplyCut;
            }
            if client.write_all(&buffer[..length]).await.is_err() {
                return End::Closed;
            }
        }
    }
}

/// The piece and what follows it without a pause.
async fn whole_request(first: &[u8], mut client: ReadHalf<'_>) -> Vec<u8> {
    let mut request = first.to_vec();
    let mut buffer = vec![0; CHUNK];
    while let Ok(Ok(length @ 1..)) = timeout(QUIET, client.read(&mut buffer)).await {
        request.extend_from_slice(&buffer[..length]);
    }
    request
}

/// Listens to the server, without answering, until it falls silent.
async fn linger(mut server: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    let _ = timeout(LINGER, async { while let Ok(1..) = server.read(&mut buffer).await {} }).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::until;

    const LONGEST: Duration = Duration::from_secs(10);

    /// A server that remembers what it heard and answers each piece with it.
    async fn echo() -> (SocketAddr, Arc<std::sync::Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hearing = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let hearing = hearing.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        hearing.lock().unwrap().extend_from_slice(&buffer[..length]);
                        stream.write_all(&buffer[..length]).await.unwrap();
                    }
                });
            }
        });
        (address, heard)
    }

    async fn ask(stream: &mut TcpStream, question: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; question.len()];
        if stream.write_all(question).await.is_err() || stream.read_exact(&mut answer).await.is_err() {
            answer.clear();
        }
        answer
    }

    #[tokio::test]
    async fn a_cut_reply_was_heard_and_new_connections_pass() {
        let (server, heard) = echo().await;
        let proxy = Proxy::start(server).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, b"one").await, b"one");
        proxy.cut_next_reply();
        assert_eq!(ask(&mut client, b"two").await, b"");
        assert_eq!(*heard.lock().unwrap(), b"onetwo");
        assert!(until(LONGEST, || async { proxy.struck() == 1 }).await);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, b"three").await, b"three");
    }

    #[tokio::test]
    async fn a_held_request_arrives_when_released() {
        let (server, heard) = echo().await;
        let proxy = Proxy::start(server).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, b"one").await, b"one");
        proxy.hold_next_request();
        assert_eq!(ask(&mut client, b"two").await, b"");
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut other, b"three").await, b"three");
        assert_eq!(*heard.lock().unwrap(), b"onethree");
        proxy.release_held();
        assert!(until(LONGEST, || async { *heard.lock().unwrap() == b"onethreetwo" }).await);
        assert!(until(LONGEST, || async { proxy.delivered() == 1 }).await);
    }

    #[tokio::test]
    async fn a_black_hole_delays_and_a_cut_closes() {
        let (server, heard) = echo().await;
        let proxy = Proxy::start(server).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.set(Mode::BlackHole);
        client.write_all(b"one").await.unwrap();
        assert!(timeout(Duration::from_millis(100), client.read(&mut [0; 8])).await.is_err());
        assert!(heard.lock().unwrap().is_empty());
        proxy.set(Mode::Delay(Duration::from_millis(1)));
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"one");
        proxy.set(Mode::Cut);
        assert_eq!(ask(&mut client, b"two").await, b"");
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut client, b"three").await, b"");
    }
}
