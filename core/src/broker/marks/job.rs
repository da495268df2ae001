//! A job: one write of a session's mark, until its outcome is definite.

use std::collections::{BTreeSet, VecDeque};

use super::mark::Mark;
use crate::backend::{Change, Key, Write};
use crate::name::{SessionId, Version};

/// What a mark is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum MarkPurpose {
    /// A session of this broker is buried.
    BuryOwn,
    /// A session of a broker that is gone is buried.
    BuryStranger,
    /// A session moves here.
    Move,
    /// An administrator takes claims away or ends the session: whoever it moves to must know.
    TakeAway,
    /// A session of this broker was closed, and may have claims that only a sweep finds.
    CloseDead,
    /// A mark that nobody needs any more is deleted.
    Clear,
}

/// A write of a session's mark that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct MarkJob {
    pub(in crate::broker) session: SessionId,
    pub(in crate::broker) purpose: MarkPurpose,
    /// The version to expect.
    pub(in crate::broker) expected: Version,
    /// The new mark; absent: delete it to clear up, or else only look that it is as expected.
    pub(in crate::broker) mark: Option<Mark>,
}

impl MarkJob {
    /// What it asks of the store.
    pub(in crate::broker) fn write(&self) -> Write {
        let change = match &self.mark {
            Some(mark) => Change::Put(mark.encode()),
            None if self.purpose == MarkPurpose::Clear => Change::Delete,
            None => Change::Compare,
        };
        Write { key: Key::Session(self.session), expected: self.expected, change, notify: false }
    }
}

/// The jobs of one lane: those that wait, in their order, and the sessions of those that are in a batch.
#[derive(Debug, Default)]
pub(in crate::broker) struct MarkJobs {
    waiting: VecDeque<MarkJob>,
    in_flight: BTreeSet<SessionId>,
}

impl MarkJobs {
    pub(in crate::broker) fn push(&mut self, job: MarkJob) {
        self.waiting.push_back(job);
    }

    /// Takes the jobs for one batch: as many as it may hold, up to the first one of a session that has one in flight, because
    /// no key is in flight twice.
    pub(in crate::broker) fn take_batch(&mut self, max: usize) -> Vec<MarkJob> {
        let in_flight = &mut self.in_flight;
        let count = self.waiting.iter().take(max).take_while(|job| in_flight.insert(job.session)).count();
        self.waiting.drain(..count).collect()
    }

    /// A batch could take one.
    pub(in crate::broker) fn may_go(&self) -> bool {
        self.waiting.front().is_some_and(|job| !self.in_flight.contains(&job.session))
    }

    /// The batch that the job was in has an outcome.
    pub(in crate::broker) fn landed(&mut self, job: &MarkJob) {
        self.in_flight.remove(&job.session);
    }
}
