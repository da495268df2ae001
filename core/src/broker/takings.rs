//! Administrators who wait for what they take away.
//!
//! Invariant: each of them gets one answer: when it is free, when it is sure to become free, or when the session turned out
//! to live elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broker;
use super::api::{Reply, ReplyTo};
use crate::name::{ClaimId, ClaimNumber, SessionId};

/// Claims that are being taken away, and who wants to know when they are free.
#[derive(Debug)]
struct Forcing {
    to: ReplyTo,
    claims: Vec<ClaimNumber>,
    left: BTreeSet<ClaimId>,
}

/// An administrator who wants no more than to know that it will happen: answered when the session's mark says so.
#[derive(Debug)]
struct Marking {
    session: SessionId,
    to: ReplyTo,
    claims: Vec<ClaimNumber>,
}

/// Who waits, and for what.
#[derive(Debug, Default)]
pub(super) struct Takings {
    forcing: Vec<Forcing>,
    marking: Vec<Marking>,
    /// Sessions that end, and who wants to know when they have.
    ending: BTreeMap<SessionId, Vec<ReplyTo>>,
}

impl Takings {
    pub(super) fn await_free(&mut self, to: ReplyTo, claims: Vec<ClaimNumber>, left: BTreeSet<ClaimId>) {
        self.forcing.push(Forcing { to, claims, left });
    }

    pub(super) fn await_mark(&mut self, to: ReplyTo, session: SessionId, claims: Vec<ClaimNumber>) {
        self.marking.push(Marking { session, to, claims });
    }

    pub(super) fn await_end(&mut self, to: ReplyTo, session: SessionId) {
        self.ending.entry(session).or_default().push(to);
    }

    /// The session's mark says what is taken from it, which will be free then.
    pub(super) fn marked(&mut self, id: SessionId, free_in: Duration) -> Vec<(ReplyTo, Reply)> {
        let marked = self.marking.extract_if(.., |marking| marking.session == id);
        marked.map(|Marking { to, claims, .. }| (to, Reply::Forced { claims, free_in })).collect()
    }

    /// This claim is no more.
    pub(super) fn freed(&mut self, claim: ClaimId) -> Vec<(ReplyTo, Reply)> {
        for forcing in &mut self.forcing {
            forcing.left.remove(&claim);
        }
        self.all_freed()
    }

    /// The session is over: nothing is left to take from it.
    pub(super) fn ended(&mut self, id: SessionId) -> Vec<(ReplyTo, Reply)> {
        let mut answers = self.marked(id, Duration::ZERO);
        for forcing in &mut self.forcing {
            forcing.left.retain(|claim| claim.session != id);
        }
        answers.extend(self.all_freed());
        let ended = || Reply::Forced { claims: Vec::new(), free_in: Duration::ZERO };
        answers.extend(self.ending.remove(&id).unwrap_or_default().into_iter().map(|to| (to, ended())));
        answers
    }

    /// The session turned out to live at another broker, which must be asked: who asked here.
    fn moved(&mut self, id: SessionId) -> Vec<ReplyTo> {
        let marking = self.marking.extract_if(.., |marking| marking.session == id).map(|marking| marking.to);
        let mut askers: Vec<ReplyTo> = marking.collect();
        let of_session = |forcing: &mut Forcing| forcing.left.iter().any(|claim| claim.session == id);
        askers.extend(self.forcing.extract_if(.., of_session).map(|forcing| forcing.to));
        askers.extend(self.ending.remove(&id).unwrap_or_default());
        askers
    }

    fn all_freed(&mut self) -> Vec<(ReplyTo, Reply)> {
        let freed = self.forcing.extract_if(.., |forcing| forcing.left.is_empty());
        freed.map(|Forcing { to, claims, .. }| (to, Reply::Forced { claims, free_in: Duration::ZERO })).collect()
    }
}

impl Broker {
    /// The session moved before the mark said anything: its new broker must be asked.
    pub(super) fn taken_from_moved(&mut self, id: SessionId) {
        for to in self.takings.moved(id) {
            let error = self.not_here_for_admin(id);
            self.reply_error(to, error);
        }
    }
}
