//! Very many sessions that do nothing but live, at one broker: how many of them are lost, what they cost the store, and
//! how much memory the broker needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::channel::mpsc::unbounded;
use futures::stream::FuturesUnordered;
use sixpin_proto::v1;
use sixpin_proto::v1::lock_service_client::LockServiceClient;
use sixpin_proto::v1::session_request::Body as Ask;
use sixpin_proto::v1::session_response::Body;
use tokio::sync::{Semaphore, watch};
use tonic::transport::{Channel, Endpoint};

use crate::store::journal;
use crate::world::{Plan, World};

/// Sessions opened at the same time.
const OPENING: usize = 256;

/// How many, and for how long.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// How many sessions.
    pub sessions: usize,
    /// Over how many connections.
    pub connections: usize,
    /// Their TTL.
    pub ttl: Duration,
    /// How long they live.
    pub time: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Sessions whose keepalives were all acknowledged before their TTL had passed.
    pub alive: usize,
    /// The others.
    pub lost: usize,
    /// Keepalives acknowledged.
    pub keepalives: u64,
    /// The longest that one took.
    pub slowest: Duration,
    /// How long it took to open all.
    pub opening: Duration,
    /// Requests that changed something in the store, per second, while all sessions lived.
    pub store_writes_per_second: f64,
    /// Resident memory of the broker before the first session, in bytes.
    pub empty_bytes: u64,
    /// And with all of them.
    pub full_bytes: u64,
}

struct Shared {
    ttl: Duration,
    stop: watch::Receiver<bool>,
    opening: Semaphore,
    opened: AtomicUsize,
    keepalives: AtomicU64,
    slowest_us: AtomicU64,
}

/// Opens them, lets them live, and looks.
pub async fn live(plan: &Plan, crowd: &Crowd) -> Found {
    let world = World::start(plan).await;
    let broker = &world.brokers[0].process;
    let pid = broker.pid().expect("the broker runs");
    let mut found = Found { empty_bytes: resident(pid), ..Found::default() };
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        ttl: crowd.ttl,
        stop: stopped,
        opening: Semaphore::new(OPENING),
        opened: AtomicUsize::new(0),
        keepalives: AtomicU64::new(0),
        slowest_us: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let mut sessions = FuturesUnordered::new();
    let connections = crowd.connections.min(crowd.sessions);
    for connection in 0..connections {
        let endpoint = Endpoint::from_shared(format!("http://{}", broker.address())).expect("an address is a URL");
        let channel = endpoint.tcp_nodelay(true).connect().await.expect("the broker answers");
        let share = (crowd.sessions - connection).div_ceil(connections);
        for _ in 0..share {
            sessions.push(tokio::spawn(session(channel.clone(), shared.clone())));
        }
    }
    while shared.opened.load(Ordering::Relaxed) < crowd.sessions {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    found.opening = begun.elapsed();
    let journal = world.store.one().data_dir().join("journal");
    let (before, begun) = (journal::count(&journal), Instant::now());
    tokio::time::sleep(crowd.time).await;
    let written = journal::count(&journal).saturating_sub(before);
    found.store_writes_per_second =
        f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / begun.elapsed().as_secs_f64();
    found.full_bytes = resident(pid);
    stop.send_replace(true);
    while let Some(lived) = sessions.next().await {
        match lived {
            Ok(Some(())) => found.alive += 1,
            _ => found.lost += 1,
        }
    }
    found.keepalives = shared.keepalives.load(Ordering::Relaxed);
    found.slowest = Duration::from_micros(shared.slowest_us.load(Ordering::Relaxed));
    found
}

/// One session on a stream of its own. Absent if it was lost.
async fn session(channel: Channel, shared: Arc<Shared>) -> Option<()> {
    // Counted whether or not it opens, so that nobody waits for one that failed.
    let opened = open(channel, &shared).await;
    shared.opened.fetch_add(1, Ordering::Relaxed);
    let (requests, mut answers) = opened?;
    let mut stop = shared.stop.clone();
    let interval = shared.ttl / 3;
    // Spread over the interval, as those of clients that started at different times are.
    let mut pause = interval.mul_f64(f64::from(rand::random::<u16>()) / 65_536.0);
    let mut heard = Instant::now();
    // The first request opened the session.
    for request in 2.. {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return (heard.elapsed() < shared.ttl).then_some(()),
        }
        let sent = Instant::now();
        let body = Some(Ask::KeepAlive(v1::KeepAlive { move_number: 0 }));
        requests.unbounded_send(v1::SessionRequest { request, body }).ok()?;
        let answer = tokio::time::timeout(shared.ttl, answers.message()).await.ok()?.ok()??;
        let Some(Body::KeptAlive(_)) = answer.body else { return None };
        if heard.elapsed() > shared.ttl {
            return None;
        }
        heard = sent;
        shared.keepalives.fetch_add(1, Ordering::Relaxed);
        shared.slowest_us.fetch_max(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        pause = interval.saturating_sub(sent.elapsed());
    }
    None
}

type Stream = (futures::channel::mpsc::UnboundedSender<v1::SessionRequest>, tonic::Streaming<v1::SessionResponse>);

async fn open(channel: Channel, shared: &Shared) -> Option<Stream> {
    let _turn = shared.opening.acquire().await.ok()?;
    let (requests, outbound) = unbounded();
    let ttl_ms = u32::try_from(shared.ttl.as_millis()).ok();
    let body = Some(Ask::Open(v1::Open { ttl_ms, ..Default::default() }));
    requests.unbounded_send(v1::SessionRequest { request: 1, body }).ok()?;
    let mut answers = LockServiceClient::new(channel).session(outbound).await.ok()?.into_inner();
    let answer = tokio::time::timeout(shared.ttl, answers.message()).await.ok()?.ok()??;
    matches!(answer.body, Some(Body::Opened(_))).then_some((requests, answers))
}

/// Resident memory of a process, in bytes; 0 where that is not told.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
}
