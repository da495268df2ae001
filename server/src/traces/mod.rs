//! Traces: a span for each request to lock, to convert and to release, exported by OTLP.
//!
//! # Invariants
//!
//! * Without the setting there is no [`Traces`], and everybody who could begin a span looks once whether there is.
//! * Nothing waits for a collector, and nothing fails for it: what it does not take in time is dropped, and counted.
//! * The machine knows nothing of traces, and nothing of them is stored. A trace goes through several brokers because those who ask
//!   name it to each of them.
//! * No span has a secret; see [`span`].
//!
//! # Layout, in reading order
//!
//! * [`context`]: where a request stands in a trace;
//! * [`commit`]: which commit to the store an answer comes of;
//! * [`span`]: the span of one request; [`stream`]: those of a stream;
//! * this file: which requests have one;
//! * `otlp`: spans as messages; `exporter`: how they come to the collector.

pub mod commit;
pub mod context;
mod exporter;
mod otlp;
pub mod span;
pub mod stream;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use context::Context;
use exporter::{Exporter, Item};
pub use span::Span;
use span::{Record, What};

/// The name of the header, and of what stands for it in the metadata of gRPC.
pub const TRACEPARENT: &str = "traceparent";

/// Spans that may wait for the exporter.
const WAITING_MAX: usize = 8_192;
/// Spans of requests that are not answered yet: whoever names a trace that is kept has them begun.
const OPEN_MAX: usize = 100_000;
/// How long the end of a broker waits for what the collector has not yet.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesConfig {
    /// The collector, which speaks OTLP over gRPC: `http://host:port`.
    pub endpoint: Uri,
    /// Of the traces that begin here, the part that is kept: 0 to 1.
    pub sample: f64,
}

/// How somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// gRPC, or the program that the broker is inside of.
    Grpc,
    /// The session stream without HTTP/2.
    Frames,
    /// JSON.
    Http,
    /// The session stream over WebSocket.
    WebSocket,
}

/// Where a request comes from, as far as traces are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The way in.
    pub door: Door,
    /// The span of whoever asks; absent: a trace begins.
    pub parent: Option<Context>,
}

impl Origin {
    /// By this way, without a trace.
    pub fn of(door: Door) -> Self {
        Self { door, parent: None }
    }
}

/// What is traced of one broker. Cheap to clone.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    /// Traces that begin here are kept if the lower half of their number is below this.
    kept_below: u64,
    queue: mpsc::Sender<Item>,
    open: AtomicUsize,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    /// Begins to export, in a task of this runtime. It ends when nobody can begin a span any more.
    pub fn start(config: &TracesConfig, broker: &str) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(Exporter::new(config.endpoint.clone(), broker, dropped.clone()).run(waiting));
        Self(Arc::new(Inner { kept_below: kept_below(config.sample), queue, open: AtomicUsize::new(0), dropped }))
    }

    /// Begins the span of a request, unless its trace is not kept: whoever began that has decided so.
    pub fn begin(&self, origin: Origin, what: What) -> Option<Span> {
        let (trace, parent) = match origin.parent {
            Some(parent) if parent.sampled => (parent.trace, Some(parent.span)),
            Some(_) => return None,
            None => (Some(rand::random()).filter(|trace: &u128| self.keeps(*trace))?, None),
        };
        if self.0.open.fetch_add(1, Ordering::Relaxed) >= OPEN_MAX {
            self.0.open.fetch_sub(1, Ordering::Relaxed);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let context = Context { trace, span: span_number(), sampled: true };
        Some(Span::new(self.clone(), context, parent, origin.door, what))
    }

    fn keeps(&self, trace: u128) -> bool {
        trace != 0 && (trace as u64) >> 1 < self.0.kept_below
    }

    /// A span that was begun is over.
    fn export(&self, record: Box<Record>) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if self.0.queue.try_send(Item::Span(record)).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans of requests that no collector has got.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the collector has what waits, or does not take it.
    pub async fn flush(&self) {
        let flush = async {
            let (done, flushed) = oneshot::channel();
            if self.0.queue.send(Item::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        // Whatever came of it: the end of a broker waits no longer.
        let _ = timeout(FLUSH_WITHIN, flush).await;
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

/// The number of a new span: not zero, as the standard wants it.
fn span_number() -> u64 {
    rand::random::<u64>().max(1)
}

/// The bound of 63 bits below which this part of all numbers is.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a part of all traces is meant as exactly as an operator can write it, and it is 0 to 1"
)]
fn kept_below(sample: f64) -> u64 {
    const ALL: u64 = 1 << 63;
    if sample >= 1.0 { ALL } else { (sample * ALL as f64) as u64 }
}

#[cfg(test)]
mod tests {
    use sixpin_core::name::ClaimNumber;

    use super::span::Verb;
    use super::*;

    pub(super) fn traces(sample: f64) -> (Traces, mpsc::Receiver<Item>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let inner = Inner { kept_below: kept_below(sample), queue, open: AtomicUsize::new(0), dropped: Arc::default() };
        (Traces(Arc::new(inner)), waiting)
    }

    fn what() -> What {
        What { verb: Verb::Lock, claim: ClaimNumber(1), resource: None, mode: None }
    }

    fn begun(sample: f64, parent: Option<Context>) -> usize {
        let (traces, mut waiting) = traces(sample);
        for _ in 0..1_000 {
            drop(traces.begin(Origin { door: Door::Grpc, parent }, what()));
        }
        std::iter::from_fn(|| waiting.try_recv().ok()).count()
    }

    #[test]
    fn who_began_a_trace_says_whether_it_is_kept() {
        let parent = |sampled| Some(Context { trace: 1, span: 2, sampled });
        assert_eq!((begun(0.0, parent(true)), begun(1.0, parent(false))), (1_000, 0));
        assert_eq!((begun(0.0, None), begun(1.0, None)), (0, 1_000));
        let half = begun(0.5, None);
        assert!((300..700).contains(&half), "{half} of 1000");
    }

    #[test]
    fn a_span_is_part_of_that_of_who_asks() {
        let (traces, mut waiting) = traces(1.0);
        let parent = Context { trace: 7, span: 9, sampled: true };
        drop(traces.begin(Origin { door: Door::Http, parent: Some(parent) }, what()));
        let Ok(Item::Span(record)) = waiting.try_recv() else { panic!("no span") };
        assert_eq!((record.context.trace, record.parent), (7, Some(9)));
        assert_ne!(record.context.span, 9);
    }

    #[test]
    fn no_more_spans_are_open_than_there_may_be() {
        let (traces, _waiting) = traces(1.0);
        let begin = || traces.begin(Origin::of(Door::Grpc), what());
        traces.0.open.store(OPEN_MAX - 1, Ordering::Relaxed);
        let last = begin();
        assert!(last.is_some() && begin().is_none());
        assert_eq!(traces.dropped(), 1);
        drop(last);
        assert!(begin().is_some());
    }

    #[test]
    fn what_has_no_place_is_dropped_and_counted() {
        let (traces, waiting) = traces(1.0);
        for _ in 0..WAITING_MAX + 3 {
            drop(traces.begin(Origin::of(Door::Grpc), what()));
        }
        assert_eq!(traces.dropped(), 3);
        drop(waiting);
        drop(traces.begin(Origin::of(Door::Grpc), what()));
        assert_eq!(traces.dropped(), 4);
    }
}
