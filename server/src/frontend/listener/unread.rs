//! What was answered on a connection and is not on its way yet, because the peer does not read.
//!
//! Every piece of an answer is counted from when it is handed to HTTP/2 until the last byte of it has been written to the
//! socket. A stream that has too much unread waits, and so do all streams of a connection that has; a stream on which
//! nothing moves for a while is cut.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use sixpin_core::limits::{UNREAD_BYTES_PER_CONNECTION_MAX, UNREAD_BYTES_PER_STREAM_MAX};
use tokio::task::AbortHandle;
use tokio::time::Instant;

tokio::task_local! {
    /// The stream that a task answers.
    static STREAM: Arc<Stream>;
}

/// One connection.
#[derive(Debug)]
pub(super) struct Traffic {
    begun: Instant,
    /// Bytes handed out and not written.
    unread: AtomicUsize,
    /// When anything of that moved, in milliseconds after the beginning.
    moved: AtomicU64,
    /// Streams that wait until there is less of that.
    waiting: Mutex<Vec<Waker>>,
    anybody_waits: AtomicBool,
    streams: Mutex<VecDeque<Weak<Stream>>>,
    /// Streams that are answered.
    live: AtomicUsize,
    /// A request has come.
    asked: AtomicBool,
    /// When the last stream ended, in milliseconds after the beginning.
    quiet_since: AtomicU64,
    /// Since when the socket takes nothing; 0 while it does.
    stuck_since: AtomicU64,
    /// Pieces of answers handed out since this was asked last.
    answered: AtomicU32,
}

impl Traffic {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            unread: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            waiting: Mutex::default(),
            anybody_waits: AtomicBool::new(false),
            streams: Mutex::default(),
            live: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            quiet_since: AtomicU64::new(0),
            stuck_since: AtomicU64::new(0),
            answered: AtomicU32::new(0),
        })
    }

    /// Milliseconds after the beginning, never 0.
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }

    fn since(&self, moment: &AtomicU64) -> Option<Duration> {
        match moment.load(Ordering::Relaxed) {
            0 => None,
            moment => Some(Duration::from_millis(self.now().saturating_sub(moment))),
        }
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// How long the connection has been open without any request.
    pub(super) fn silent(&self) -> Option<Duration> {
        (!self.asked.load(Ordering::Relaxed)).then(|| self.begun.elapsed())
    }

    /// How long nothing has gone on.
    pub(super) fn idle(&self) -> Option<Duration> {
        match self.live.load(Ordering::Relaxed) {
            0 => self.since(&self.quiet_since),
            _ => None,
        }
    }

    /// The socket took something, or it did not.
    pub(super) fn wrote(&self, took: bool) {
        if took {
            self.stuck_since.store(0, Ordering::Relaxed);
        } else if self.stuck_since.load(Ordering::Relaxed) == 0 {
            self.stuck_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// How long the socket has taken nothing of what there is to write.
    pub(super) fn stuck(&self) -> Option<Duration> {
        self.since(&self.stuck_since)
    }

    /// Pieces of answers handed out since this was asked last.
    pub(super) fn take_answered(&self) -> u32 {
        self.answered.swap(0, Ordering::Relaxed)
    }

    /// Cuts the streams on which nothing has moved for `patience`, and says how many that were.
    pub(super) fn cut_stalled(&self, patience: Duration) -> usize {
        let mut cut = 0;
        lock(&self.streams).retain(|stream| {
            let Some(stream) = stream.upgrade() else { return false };
            let waits = stream.unread.load(Ordering::Relaxed) > 0;
            let stalled = waits && self.since(&stream.stalled_since).is_some_and(|time| time >= patience);
            if stalled && let Some(task) = stream.task.get() {
                task.abort();
                cut += 1;
            }
            !stalled
        });
        cut
    }

    fn is_full(&self) -> bool {
        self.unread.load(Ordering::Relaxed) >= UNREAD_BYTES_PER_CONNECTION_MAX
    }

    /// How long the connection has been at a standstill, because too much is unread.
    pub(super) fn standstill(&self) -> Option<Duration> {
        if self.is_full() { self.since(&self.moved) } else { None }
    }

    fn wake(&self) {
        if self.anybody_waits.swap(false, Ordering::SeqCst) {
            for waker in std::mem::take(&mut *lock(&self.waiting)) {
                waker.wake();
            }
        }
    }
}

/// Nothing here panics while a lock is held, so what a poisoned one guards is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Traffic>,
    unread: AtomicUsize,
    /// Since when nothing of what is unread has moved; 0 while nothing is.
    stalled_since: AtomicU64,
    task: OnceLock<AbortHandle>,
}

impl Stream {
    /// The stream that this task answers.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    fn is_full(&self) -> bool {
        self.unread.load(Ordering::Relaxed) >= UNREAD_BYTES_PER_STREAM_MAX || self.connection.is_full()
    }

    /// True if more may be handed out; otherwise the task is woken when that may be so.
    pub(super) fn has_room(&self, cx: &Context<'_>) -> bool {
        if !self.is_full() {
            return true;
        }
        lock(&self.connection.waiting).push(cx.waker().clone());
        self.connection.anybody_waits.swap(true, Ordering::SeqCst);
        // What was written in between woke nobody.
        !self.is_full()
    }

    /// The same bytes, counted until the last of them is written.
    pub(super) fn counted(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let length = bytes.len();
        self.connection.answered.fetch_add(1, Ordering::Relaxed);
        if self.connection.unread.fetch_add(length, Ordering::Relaxed) == 0 {
            self.connection.moved.store(self.connection.now(), Ordering::Relaxed);
        }
        if self.unread.fetch_add(length, Ordering::Relaxed) == 0 {
            self.stalled_since.store(self.connection.now(), Ordering::Relaxed);
        }
        Bytes::from_owner(Counted { bytes, stream: self.clone() })
    }
}

/// Bytes that are handed out and not written.
struct Counted {
    bytes: Bytes,
    stream: Arc<Stream>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (stream, length) = (&self.stream, self.bytes.len());
        stream.connection.unread.fetch_sub(length, Ordering::Relaxed);
        stream.connection.moved.store(stream.connection.now(), Ordering::Relaxed);
        let rest = stream.unread.fetch_sub(length, Ordering::Relaxed) - length;
        // Something moved.
        let since = if rest == 0 { 0 } else { stream.connection.now() };
        stream.stalled_since.store(since, Ordering::Relaxed);
        stream.connection.wake();
    }
}

/// Starts a task for each stream of a connection.
#[derive(Debug, Clone)]
pub(super) struct Streams(pub(super) Arc<Traffic>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answering: F) {
        let connection = self.0.clone();
        let stream = Arc::new(Stream {
            connection: connection.clone(),
            unread: AtomicUsize::new(0),
            stalled_since: AtomicU64::new(0),
            task: OnceLock::new(),
        });
        let live = Live::new(connection.clone());
        let task = tokio::spawn(STREAM.scope(stream.clone(), async move {
            answering.await;
            drop(live);
        }));
        let _ = stream.task.set(task.abort_handle());
        let mut streams = lock(&connection.streams);
        // Those that ended are forgotten a few at a time.
        for _ in 0..2 {
            if let Some(first) = streams.pop_front()
                && first.strong_count() > 0
            {
                streams.push_back(first);
            }
        }
        streams.push_back(Arc::downgrade(&stream));
    }
}

/// Something that is answered.
#[derive(Debug)]
pub(super) struct Live(Arc<Traffic>);

impl Live {
    pub(super) fn new(connection: Arc<Traffic>) -> Self {
        connection.live.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use hyper::rt::Executor as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_nothing_moves_is_cut_and_others_are_not() {
        let connection = Traffic::new();
        let hold = |bytes: usize| async move {
            let _unread = Stream::current().unwrap().counted(Bytes::from(vec![0; bytes]));
            std::future::pending::<()>().await;
        };
        Streams(connection.clone()).execute(hold(10));
        Streams(connection.clone()).execute(hold(0));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(connection.cut_stalled(Duration::from_secs(10)), 0);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(connection.cut_stalled(Duration::from_secs(10)), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(connection.live.load(Ordering::Relaxed), 1);
        assert_eq!(connection.unread.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_read_holds_up_all_its_streams() {
        let connection = Traffic::new();
        let (sender, mut handed) = tokio::sync::mpsc::unbounded_channel();
        let streams = UNREAD_BYTES_PER_CONNECTION_MAX / UNREAD_BYTES_PER_STREAM_MAX + 1;
        for _ in 0..streams {
            let sender = sender.clone();
            Streams(connection.clone()).execute(async move {
                let stream = Stream::current().unwrap();
                let room = |cx: &mut Context<'_>| if stream.has_room(cx) { Poll::Ready(()) } else { Poll::Pending };
                std::future::poll_fn(room).await;
                let _ = sender.send(stream.counted(Bytes::from(vec![0; UNREAD_BYTES_PER_STREAM_MAX])));
            });
        }
        let mut held = Vec::new();
        for _ in 1..streams {
            held.push(handed.recv().await.unwrap());
        }
        tokio::task::yield_now().await;
        assert!(connection.is_full() && handed.try_recv().is_err());
        held.pop();
        assert!(handed.recv().await.is_some());
    }
}
