//! What a slice found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};

use super::process::processor_time;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// Unit of the samples. 32 bits of it are seven minutes.
const UNIT: Duration = Duration::from_nanos(100);
/// Load before a slice counts, so that all sessions are at work.
const SETTLE: Duration = Duration::from_millis(50);

/// Pairs that were completed in a slice, with the times that their parts took.
///
/// Samples are only noted while it counts, and sorted into histograms later: a histogram in every session would drive
/// what is measured out of the caches.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) locks: Vec<u32>,
    pub(super) unlocks: Vec<u32>,
    /// Handed-over locks, from the unlock that made room.
    pub(super) handovers: Vec<u32>,
    /// How long the slice counted.
    pub(super) time: Duration,
    /// What processors spent on the broker meanwhile, if that is known.
    pub(super) server: Option<Duration>,
}

impl Tally {
    /// The findings of several sessions in the same slice.
    pub(super) fn merge(&mut self, other: Self) {
        self.locks.extend(other.locks);
        self.unlocks.extend(other.unlocks);
        self.handovers.extend(other.handovers);
        self.time = self.time.max(other.time);
        self.server = self.server.or(other.server);
    }

    /// Pairs in a second.
    pub(super) fn pairs_per_second(&self) -> f64 {
        count(self.unlocks.len()) / self.time.as_secs_f64()
    }
}

/// When a slice counts, the same for all its sessions.
#[derive(Debug, Clone)]
pub(super) struct Window {
    ready: Arc<Barrier>,
    time: Duration,
}

/// A window that has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    from: Instant,
    until: Instant,
}

impl Window {
    /// For so many sessions.
    pub(super) fn new(sessions: usize, time: Duration) -> Self {
        Self { ready: Arc::new(Barrier::new(sessions)), time }
    }

    /// Waits until all sessions are ready.
    pub(super) async fn open(&self) -> Open {
        self.ready.wait().await;
        let from = Instant::now() + SETTLE;
        Open { from, until: from + self.time }
    }

    /// How long it is open.
    pub(super) fn time(&self) -> Duration {
        self.time
    }
}

impl Open {
    /// Nothing new is begun.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// What ends now counts.
    pub(super) fn counts(&self, now: Instant) -> bool {
        (self.from..self.until).contains(&now)
    }
}

/// Measures what processors spend on a process while a slice counts. It takes part in the slice, as one more session.
#[derive(Debug)]
pub(super) struct Meter(JoinHandle<Option<Duration>>);

impl Meter {
    pub(super) fn start(window: Window, pid: Option<u32>) -> Self {
        Self(tokio::spawn(async move {
            let open = window.open().await;
            let pid = pid?;
            tokio::time::sleep_until(open.from.into()).await;
            let before = processor_time(pid)?;
            tokio::time::sleep_until(open.until.into()).await;
            processor_time(pid)?.checked_sub(before)
        }))
    }

    /// Absent if it is not known which process that is, or the system does not tell.
    pub(super) async fn read(self) -> Option<Duration> {
        self.0.await.ok().flatten()
    }
}

/// What all workers of a slice did, and what the broker needed for it.
pub(super) async fn gather(mut workers: JoinSet<Result<Tally, Failure>>, meter: Meter) -> Result<Tally, Failure> {
    let mut total = Tally::default();
    while let Some(done) = workers.join_next().await {
        total.merge(done.map_err(|error| Failure::new(exit::FAILURE, error))??);
    }
    total.server = meter.read().await;
    Ok(total)
}

/// A time as a sample.
pub(super) fn sample(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() / UNIT.as_nanos()).unwrap_or(u32::MAX)
}

/// How times are spread, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spread {
    #[serde(rename = "p50_us")]
    pub(super) p50: f64,
    #[serde(rename = "p99_us")]
    pub(super) p99: f64,
    #[serde(rename = "p99.9_us")]
    pub(super) p999: f64,
    #[serde(rename = "max_us")]
    pub(super) max: f64,
}

impl Spread {
    /// Of these samples; absent if there are none.
    pub(super) fn of<'a>(samples: impl Iterator<Item = &'a u32>) -> Option<Self> {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, u64::from(u32::MAX), 3).ok()?;
        for sample in samples {
            histogram.saturating_record(u64::from(*sample).max(1));
        }
        let microseconds = |value: u64| Duration::from_nanos(value * UNIT.as_nanos() as u64).as_secs_f64() * 1e6;
        (!histogram.is_empty()).then(|| Self {
            p50: microseconds(histogram.value_at_quantile(0.5)),
            p99: microseconds(histogram.value_at_quantile(0.99)),
            p999: microseconds(histogram.value_at_quantile(0.999)),
            max: microseconds(histogram.max()),
        })
    }
}

/// A count as a number to reckon with. Exact up to 2^53, which no run reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_microseconds() {
        let samples: Vec<u32> = (1..=1000).map(|us| sample(Duration::from_micros(us))).collect();
        let spread = Spread::of(samples.iter()).unwrap();
        assert!((spread.p50 - 500.0).abs() < 1.0, "{spread:?}");
        assert!((spread.p99 - 990.0).abs() < 2.0, "{spread:?}");
        assert!((spread.max - 1000.0).abs() < 2.0, "{spread:?}");
        assert!(Spread::of([].iter()).is_none());
    }
}
