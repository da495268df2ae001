//! A histogram that is counted without a lock: the one of the library takes one for each observation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// In which steps something is counted.
#[derive(Debug)]
pub(super) struct Steps {
    /// The upper end of each bucket but the last, which has none.
    bounds: &'static [u64],
    /// How many make one in the text.
    per_unit: f64,
}

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// How long locks are waited for and held, in microseconds: their sum has room for all that anybody may hold.
pub(super) static LOCKS: Steps = Steps {
    bounds: &[
        MILLISECOND,
        2_500,
        5 * MILLISECOND,
        10 * MILLISECOND,
        25 * MILLISECOND,
        50 * MILLISECOND,
        100 * MILLISECOND,
        250 * MILLISECOND,
        500 * MILLISECOND,
        SECOND,
        2_500 * MILLISECOND,
        5 * SECOND,
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        3_600 * SECOND,
    ],
    per_unit: 1e6,
};

/// How long a store takes for a batch, in microseconds.
pub(super) static COMMITS: Steps = Steps {
    bounds: &[
        100,
        250,
        500,
        MILLISECOND,
        2_500,
        5 * MILLISECOND,
        10 * MILLISECOND,
        25 * MILLISECOND,
        50 * MILLISECOND,
        100 * MILLISECOND,
        250 * MILLISECOND,
        500 * MILLISECOND,
        SECOND,
        2_500 * MILLISECOND,
        5 * SECOND,
        10 * SECOND,
    ],
    per_unit: 1e6,
};

/// How many writes a batch has.
pub(super) static WRITES: Steps = Steps { bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024], per_unit: 1.0 };

/// Counts in steps. Cheap to clone: all clones count together.
#[derive(Debug, Clone)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    steps: &'static Steps,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Nothing was counted yet.
    pub(super) fn new(steps: &'static Steps) -> Self {
        let buckets = (0..=steps.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { steps, buckets, sum: AtomicU64::new(0) }))
    }

    /// One more took so long.
    pub(super) fn took(&self, time: Duration) {
        self.count(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// One more was so large.
    pub(super) fn count(&self, size: u64) {
        let Inner { steps, buckets, sum } = &*self.0;
        let bucket = steps.bounds.partition_point(|bound| *bound < size);
        buckets[bucket].fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(size, Ordering::Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Inner { steps, buckets, sum } = &*self.0;
        let ends = steps.bounds.iter().map(|bound| *bound as f64 / steps.per_unit).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.zip(buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))).collect();
        // Not kept for itself, so that it is never another number than the buckets say.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = sum.load(Ordering::Relaxed) as f64 / steps.per_unit;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn the_end_of_a_step_belongs_to_it_and_what_is_larger_than_all_is_counted() {
        let histogram = Histogram::new(&LOCKS);
        for micros in [0, 1_000, 1_001, 3_600_000_000, 3_600_000_001] {
            histogram.took(Duration::from_micros(micros));
        }
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("h", "help", histogram);
        encode(&mut text, &registry).unwrap();
        for line in [
            "h_bucket{le=\"0.001\"} 2\n",
            "h_bucket{le=\"0.0025\"} 3\n",
            "h_bucket{le=\"3600.0\"} 4\n",
            "h_bucket{le=\"+Inf\"} 5\n",
            "h_count 5\n",
            "h_sum 7200.002002\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
