//! What this broker writes into sessions' marks, and what it finds there instead.
//!
//! A mark decides where a session lives and whether it is dead, so all writes of one are compare-and-swaps, and each is a *job*
//! (`job`) that stays in the table of its lane until its outcome is definite:
//!
//! 1. A job is **pushed** to the lane of its session, by whatever wants the mark to say something ([`Broker::push_mark`]).
//! 2. It is **taken** into the lane's next batch, before the records, because these may depend on what it decides
//!    ([`job::MarkJobs::take_batch`]).
//! 3. It was **written**, or its outcome is unknown and it is pushed again, or something else stands there. For that case
//!    there is one decision, [`decision::verdict`], which sees the job, what was found and what is known of the session, and
//!    nothing else. `outcome` carries it out ([`Broker::mark_outcome`]).
//!
//! A copy of a job that was stored although its outcome was unknown is met by the next copy as a conflict with the job's own
//! mark. So [`decision::Verdict::Written`] is not only for what an answer confirmed.
//!
//! Invariants (rules 1, 5 and 6 of the liveness rules): dead is final; no job is given up while its outcome is open; a mark
//! that cannot be understood is left alone, and so is its session.

pub(super) mod decision;
mod job;
pub mod mark;
mod outcome;

use super::Broker;
use super::api::LogLevel;
use crate::backend::Key;
use crate::name::SessionId;
use mark::{Mark, MarkError};

pub(super) use job::{MarkJob, MarkJobs, MarkPurpose};

impl Broker {
    /// Puts a mark in its session's lane.
    pub(super) fn push_mark(&mut self, job: MarkJob) {
        let at = self.lane(&Key::Session(job.session));
        self.shards[at].marks.push(job);
    }

    /// What this broker has to say of a session that is in its table.
    pub(super) fn own_mark(&self, id: SessionId) -> Option<Mark> {
        Some(self.sessions.get(&id)?.own_mark(self.config.incarnation))
    }

    /// A mark that cannot be understood is left alone, and people are told of it.
    pub(super) fn mark_unreadable(&mut self, id: SessionId, error: &MarkError) {
        self.log(LogLevel::Error, "mark refused", id.to_string(), error.to_string());
    }
}
