//! What is written to stores.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use sixpin_core::backend::WriteOutcome;
use tokio::time::Instant;

use super::histogram::{COMMITS, Histogram, WRITES};
use super::labels::{Histograms, label};

/// What all engines count together.
#[derive(Debug, Clone)]
pub(super) struct Stores {
    commits: Histograms,
    writes: Histogram,
    conflicts: Counter,
    unknowns: Counter,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            commits: Histograms::new_with_constructor(|| Histogram::new(&COMMITS)),
            writes: Histogram::new(&WRITES),
            conflicts: Counter::default(),
            unknowns: Counter::default(),
        }
    }
}

impl Stores {
    pub(super) fn of(&self, backend: &str) -> StoreCounts {
        StoreCounts {
            commit: self.commits.get_or_create_owned(&label("backend", backend)),
            writes: self.writes.clone(),
            conflicts: self.conflicts.clone(),
            unknowns: self.unknowns.clone(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "How long stores took for batches of writes";
        registry.register("sixpin_store_commit_seconds", help, self.commits.clone());
        registry.register("sixpin_batch_writes", "Writes in a batch", self.writes.clone());
        let help = "Writes that found another state than was expected, and were decided anew";
        registry.register("sixpin_store_conflicts", help, self.conflicts.clone());
        let help = "Writes of which the store did not say whether they were done";
        registry.register("sixpin_store_unknowns", help, self.unknowns.clone());
    }
}

/// What is counted of one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreCounts {
    commit: Histogram,
    writes: Histogram,
    conflicts: Counter,
    unknowns: Counter,
}

impl StoreCounts {
    /// A batch of so many writes is sent.
    pub fn send(&self, writes: usize) -> Sent {
        self.writes.count(writes as u64);
        Sent { counts: self.clone(), since: Instant::now(), unknown: writes }
    }
}

/// A batch that is under way. One that is given up has an unknown outcome.
#[derive(Debug)]
pub struct Sent {
    counts: StoreCounts,
    since: Instant,
    unknown: usize,
}

impl Sent {
    /// It is over, and came out so.
    pub fn answered(mut self, outcomes: &[WriteOutcome]) {
        let count = |which: fn(&WriteOutcome) -> bool| outcomes.iter().filter(|outcome| which(outcome)).count();
        let conflicts = count(|it| matches!(it, WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread));
        self.counts.conflicts.inc_by(conflicts as u64);
        self.unknown = count(|it| matches!(it, WriteOutcome::Unknown(_)));
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.counts.commit.took(self.since.elapsed());
        self.counts.unknowns.inc_by(self.unknown as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_that_is_given_up_has_an_unknown_outcome() {
        let counts = Stores::default().of("default");
        counts.send(3).answered(&[
            WriteOutcome::ConflictUnread,
            WriteOutcome::Unknown(String::new()),
            WriteOutcome::Stale,
        ]);
        assert_eq!((counts.conflicts.get(), counts.unknowns.get()), (1, 1));
        drop(counts.send(2));
        assert_eq!((counts.conflicts.get(), counts.unknowns.get()), (1, 3));
    }
}
