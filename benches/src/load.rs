//! Pairs in flight, and how long each took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// Load before a slice counts, so that all places are at work.
const SETTLE: Duration = Duration::from_millis(200);

/// When a slice counts. Pairs that end outside of it are done and not counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    until: Instant,
}

impl Window {
    /// Opens soon, for this long.
    pub(crate) fn new(slice: Duration) -> Self {
        let from = Instant::now() + SETTLE;
        Self { from, until: from + slice }
    }

    /// How long until it closes.
    pub(crate) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// No new pair is begun.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        now >= self.until
    }
}

/// What one way did in one slice.
#[derive(Debug)]
pub(crate) struct Tally {
    /// How long each pair took, in microseconds.
    pub(crate) times: Histogram<u32>,
    window: Window,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new(window: Window) -> Self {
        let times = Histogram::new_with_max(60_000_000, 3).expect("three digits of a minute");
        Self { times, window }
    }

    /// A pair was completed.
    pub(crate) fn pair(&mut self, begun: Instant, ended: Instant) {
        if ended >= self.window.from && ended < self.window.until {
            self.times.saturating_record(u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Adds what another place did in the same slice.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.times += &other.times;
    }

    /// Pairs in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / (self.window.until - self.window.from).as_secs_f64()
    }
}

/// So many places, each of which does one pair after the other. `pair` is made for each place by its number.
pub(crate) async fn closed_loop<P, F>(places: usize, slice: Duration, mut pair: impl FnMut(usize) -> P) -> Tally
where
    P: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let window = Window::new(slice);
    let mut working = JoinSet::new();
    for place in 0..places {
        let mut pair = pair(place);
        working.spawn(async move {
            let mut tally = Tally::new(window);
            let mut begun = Instant::now();
            while !window.is_over(begun) {
                pair().await;
                let ended = Instant::now();
                tally.pair(begun, ended);
                begun = ended;
            }
            tally
        });
    }
    let mut total = Tally::new(window);
    while let Some(done) = working.join_next().await {
        total.merge(&done.expect("no pair fails"));
    }
    total
}
