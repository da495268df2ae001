//! Which commit to the store an answer comes of.
//!
//! The machine knows nothing of it. Whatever it says while it is told how a batch ended comes of that batch, so it is enough to note
//! which of its effects those are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sixpin_core::backend::{Lane, WriteOutcome};
use sixpin_core::broker::api::Input;

/// One batch of writes that a store has taken, or refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    /// The backend's name in the configuration.
    pub backend: Arc<str>,
    /// The kind of store.
    pub store: &'static str,
    /// When it was sent.
    pub sent: SystemTime,
    /// How long the store took.
    pub took: Duration,
    /// Writes in it.
    pub writes: usize,
    /// Those of them that found another state than was expected.
    pub conflicts: usize,
}

/// The commits of one engine.
#[derive(Debug)]
pub(crate) struct Commits {
    backend: Arc<str>,
    store: &'static str,
    /// By lane and number, since when.
    under_way: BTreeMap<(Lane, u64), (SystemTime, Instant)>,
    /// Which effects come of which commit, in order, until they are carried out.
    said: Vec<(Range<usize>, Arc<Commit>)>,
}

impl Commits {
    /// None yet.
    pub(crate) fn new(backend: &str, store: &'static str) -> Self {
        Self { backend: backend.into(), store, under_way: BTreeMap::new(), said: Vec::new() }
    }

    /// A batch is sent.
    pub(crate) fn send(&mut self, lane: Lane, batch: u64) {
        self.under_way.insert((lane, batch), (SystemTime::now(), Instant::now()));
    }

    /// The batch that ended, if that is what the machine is told.
    pub(crate) fn ended(&mut self, outcome: &Input) -> Option<Arc<Commit>> {
        let Input::Committed { lane, batch, outcomes } = outcome else { return None };
        let (sent, since) = self.under_way.remove(&(*lane, *batch))?;
        let conflict = |it: &&WriteOutcome| matches!(it, WriteOutcome::Conflict(_) | WriteOutcome::ConflictUnread);
        Some(Arc::new(Commit {
            backend: self.backend.clone(),
            store: self.store,
            sent,
            took: since.elapsed(),
            writes: outcomes.len(),
            conflicts: outcomes.iter().filter(conflict).count(),
        }))
    }

    /// These effects come of it.
    pub(crate) fn said(&mut self, effects: Range<usize>, commit: Arc<Commit>) {
        if !effects.is_empty() {
            self.said.push((effects, commit));
        }
    }

    /// The commit that an effect comes of.
    pub(crate) fn of(&self, effect: usize) -> Option<Arc<Commit>> {
        let place = self.said.partition_point(|(effects, _)| effects.end <= effect);
        let (effects, commit) = self.said.get(place)?;
        effects.contains(&effect).then(|| commit.clone())
    }

    /// All effects were carried out.
    pub(crate) fn carried_out(&mut self) {
        self.said.clear();
    }

    /// Nothing of what is under way counts any more.
    pub(crate) fn forget(&mut self) {
        self.under_way.clear();
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_comes_of_the_commit_that_was_told_before_it() {
        let mut commits = Commits::new("default", "memory");
        let (first, second) = (1, 2);
        let end = |commits: &mut Commits, batch| {
            commits.send(Lane(0), batch);
            let outcomes = vec![WriteOutcome::ConflictUnread; batch as usize];
            commits.ended(&Input::Committed { lane: Lane(0), batch, outcomes }).unwrap()
        };
        let one = end(&mut commits, first);
        commits.said(1..3, one.clone());
        let two = end(&mut commits, second);
        commits.said(3..3, one.clone());
        commits.said(5..6, two.clone());
        let of: Vec<_> = (0..7).map(|effect| commits.of(effect).map(|commit| commit.writes)).collect();
        assert_eq!(of, [None, Some(1), Some(1), None, None, Some(2), None]);
        assert_eq!(two.conflicts, 2);
        commits.carried_out();
        assert_eq!(commits.of(1), None);
        assert!(commits.under_way.is_empty());
    }
}
