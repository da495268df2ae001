//! What one client may have at once, over all its connections, and what all clients together may.
//!
//! A share that is used up refuses what goes beyond, and the refusal names it. Nobody else is refused anything for it.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sixpin_core::broker::api::Client;
use sixpin_core::limits::{
    CALLS_PER_CLIENT_MAX, FRAMES_PER_SECOND_MAX, HANDSHAKES_PER_SECOND_MAX, INSPECTIONS_AT_ONCE_MAX,
    INSPECTIONS_PER_CLIENT_MAX, OPENING_PER_CLIENT_MAX, OPENS_PER_SECOND_MAX, TRUSTED_FACTOR, TURNS_PER_CLIENT_MAX,
    UNREAD_BYTES_MAX, UNREAD_BYTES_PER_CLIENT_MAX, WATCHES_PER_CLIENT_MAX, WRONG_CREDENTIALS_PER_SECOND_MAX,
};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::runtime::Turns;

/// How much less the kernel gives the inspection thread, so that locks come first where processors are scarce.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// What a wrong credential costs whoever sent it.
const WRONG_CREDENTIAL_COST: Duration = Duration::from_millis(100);
/// Further ones wait for so long.
const WRONG_CREDENTIAL_WAIT_MAX: Duration = Duration::from_secs(5);
/// What a client did not use of its pace within this time it may use at once.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The share of one client.
#[derive(Debug)]
pub(crate) struct Share {
    pub(super) client: Client,
    /// Calls that go on, and streams that have no session yet.
    pub(super) calls: Arc<Semaphore>,
    /// Session streams that have no session yet.
    pub(super) opening: Arc<Semaphore>,
    /// Streams that watch.
    pub(super) watches: Arc<Semaphore>,
    /// Inspections at work or next in line.
    pub(super) inspections: Arc<Semaphore>,
    /// Calls that open a session.
    pub(super) opens: Pace,
    /// Wrong credentials.
    wrong: Pace,
    /// Handshakes of TLS.
    pub(super) handshakes: Pace,
    /// HTTP/2 frames, or messages without HTTP/2, that it sends; absent: as fast as they come.
    pub(super) frames: Option<Pace>,
    /// What its session streams ask the broker.
    pub(super) turns: Turns,
    unread: AtomicUsize,
    total: Arc<UnreadTotal>,
}

/// Bytes of large answers that nobody has read yet, of all clients.
#[derive(Debug, Default)]
pub struct UnreadTotal(AtomicUsize);

impl Share {
    pub(super) fn new(client: Client, total: Arc<UnreadTotal>) -> Self {
        let factor = if client.trusted { TRUSTED_FACTOR } else { 1 };
        let places = |places: usize| Arc::new(Semaphore::new(places * factor));
        Self {
            client,
            calls: places(CALLS_PER_CLIENT_MAX),
            opening: places(OPENING_PER_CLIENT_MAX),
            watches: places(WATCHES_PER_CLIENT_MAX),
            inspections: Arc::new(Semaphore::new(INSPECTIONS_PER_CLIENT_MAX)),
            opens: Pace::new(OPENS_PER_SECOND_MAX * factor as u32),
            wrong: Pace::new(WRONG_CREDENTIALS_PER_SECOND_MAX),
            handshakes: Pace::new(HANDSHAKES_PER_SECOND_MAX * factor as u32),
            frames: (!client.trusted).then(|| Pace::new(FRAMES_PER_SECOND_MAX)),
            turns: Turns::new(TURNS_PER_CLIENT_MAX * factor),
            unread: AtomicUsize::new(0),
            total,
        }
    }

    /// It owes no pace any waiting: who comes anew owes as little.
    pub(super) fn has_rested(&self) -> bool {
        let paces = [Some(&self.opens), Some(&self.wrong), Some(&self.handshakes), self.frames.as_ref()];
        paces.into_iter().flatten().all(Pace::has_rested)
    }

    /// A credential was wrong: whoever sent it is answered no sooner than this lets it, and the next ones later still.
    pub(crate) async fn wrong_credential(&self) {
        tokio::time::sleep(WRONG_CREDENTIAL_COST).await;
        self.wrong.turn(WRONG_CREDENTIAL_WAIT_MAX).await;
    }

    /// Counts a large answer until it is read. Absent if it would be too much, with the limit.
    pub(super) fn large(self: &Arc<Self>, bytes: usize, may_refuse: bool) -> Result<Large, &'static str> {
        let large = Large { share: self.clone(), bytes };
        let mine = self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.total.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if may_refuse && mine > UNREAD_BYTES_PER_CLIENT_MAX {
            return Err("32 MiB of answers to this client are unread");
        }
        if may_refuse && all > UNREAD_BYTES_MAX {
            return Err("128 MiB of answers of this broker are unread");
        }
        Ok(large)
    }
}

/// How fast one client may do something. What comes too fast waits.
#[derive(Debug)]
pub(super) struct Pace {
    /// Between two of them in the long run.
    interval: Duration,
    /// When the last one that was let in would have come at that pace.
    last: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, last: Mutex::new(Instant::now()) }
    }

    fn has_rested(&self) -> bool {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now()
    }

    /// Waits for a turn, but no longer than this: then there is none. What is refused for its pace waits as well, or it would
    /// come again the faster.
    pub(super) async fn turn(&self, at_most: Duration) -> Option<()> {
        let now = Instant::now();
        let wait = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let own = (*last).max(now) + self.interval;
            let wait = own.saturating_duration_since(now + AT_ONCE);
            if wait <= at_most {
                *last = own;
            }
            wait
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(at_most)).await;
        }
        (wait <= at_most).then_some(())
    }

    /// So many came all the same: how long to wait before more may.
    pub(super) fn came(&self, many: u32) -> Duration {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(now) + self.interval * many;
        last.saturating_duration_since(now + AT_ONCE)
    }
}

/// A large answer that is not read yet.
#[derive(Debug)]
pub(super) struct Large {
    share: Arc<Share>,
    bytes: usize,
}

impl Drop for Large {
    fn drop(&mut self) {
        self.share.unread.fetch_sub(self.bytes, Ordering::Relaxed);
        self.share.total.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where inspection is done: on one thread of its own, a few at once, so that whoever looks does not hold up those who
/// lock.
#[derive(Clone)]
pub struct Lane {
    thread: runtime::Handle,
    at_once: Arc<Semaphore>,
    /// Ends the thread when the last one is dropped.
    _stop: Arc<oneshot::Sender<()>>,
}

impl Lane {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("inspection".into()).spawn(move || {
            yield_to_others();
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { thread, at_once: Arc::new(Semaphore::new(INSPECTIONS_AT_ONCE_MAX)), _stop: Arc::new(stop) })
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.at_once.clone().acquire_owned().await.ok()
    }

    /// Does it there.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.thread.spawn(work)
    }
}

#[cfg(target_os = "linux")]
fn yield_to_others() {
    // On Linux this is of the calling thread alone. Where it is not allowed, nothing is lost but the precedence.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_are_counted_until_they_are_dropped() {
        let share = Arc::new(Share::new(Client::default(), Arc::default()));
        let held = share.large(UNREAD_BYTES_PER_CLIENT_MAX, true).unwrap();
        assert!(share.large(1, true).is_err());
        assert!(share.large(1, false).is_ok());
        drop(held);
        assert!(share.large(1, true).is_ok());
        assert_eq!(share.unread.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_too_fast_waits_and_who_would_wait_too_long_is_refused() {
        let pace = Pace::new(40);
        let begin = Instant::now();
        for _ in 0..10 {
            pace.turn(Duration::ZERO).await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO, "what a quarter of a second brings comes at once");
        assert_eq!(pace.turn(Duration::from_millis(20)).await, None);
        assert_eq!(begin.elapsed(), Duration::from_millis(20), "who is refused has waited");
        pace.turn(Duration::from_millis(5)).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_millis(25));
        tokio::time::sleep(Duration::from_secs(60)).await;
        for _ in 0..10 {
            pace.turn(Duration::ZERO).await.unwrap();
        }
        assert_eq!(pace.turn(Duration::ZERO).await, None, "what was not used for longer is gone");
    }

    #[test]
    fn one_client_cannot_use_up_what_all_have() {
        let total = Arc::new(UnreadTotal::default());
        let share = || Arc::new(Share::new(Client::default(), total.clone()));
        let held: Vec<_> = (0..4).map(|_| share().large(UNREAD_BYTES_PER_CLIENT_MAX, true).unwrap()).collect();
        assert!(share().large(1, true).is_err());
        drop(held);
        assert!(share().large(1, true).is_ok());
    }
}
