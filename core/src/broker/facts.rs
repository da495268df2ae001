//! What happened to locks and sessions is noted for whoever counts. Nothing is decided by it.
//!
//! Invariants: nothing is noted unless somebody wants it, who then has to take it; each request is noted once.

use std::time::Duration;

use super::Broker;
use super::api::{Ended, Fact, LostReason, RequestError};
use super::table::{Claim, Operation};
use crate::mode::Mode;
use crate::name::{ClaimId, Label, OperationNumber, ResourceId, SessionId};

/// What was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Facts {
    wanted: bool,
    noted: Vec<Fact>,
}

impl Facts {
    /// Somebody takes them.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted
    }

    fn note(&mut self, fact: impl FnOnce() -> Fact) {
        if self.wanted {
            self.noted.push(fact());
        }
    }

    /// An operation that was pending has ended.
    pub(super) fn ended(&mut self, now: Duration, on: &ResourceId, operation: &Operation, ended: impl Into<Ended>) {
        let Some(asked) = operation.asked else { return };
        self.note(|| Fact::Asked {
            on: on.clone(),
            mode: operation.mode,
            ended: ended.into(),
            waited: now.saturating_sub(asked),
        });
    }

    /// A claim has left the table.
    pub(super) fn dropped(&mut self, now: Duration, claim: &Claim) {
        if let Some(waited) = &claim.pending {
            self.ended(now, &claim.resource, waited, Ended::Released);
        }
        if let Some(since) = claim.held_since {
            self.note(|| Fact::Held { on: claim.resource.clone(), held: now.saturating_sub(since) });
        }
    }

    /// A claim is lost together with the table.
    pub(super) fn lost_with_all(&mut self, now: Duration, claim: &mut Claim) {
        if let Some(waited) = claim.pending.take() {
            self.ended(now, &claim.resource, &waited, Ended::Lost);
        }
        self.dropped(now, claim);
    }

    /// A session is lost.
    pub(super) fn lost(&mut self, reason: LostReason, session: SessionId, label: &Label) {
        self.note(|| Fact::Lost { reason, sessions: 1, which: Some((session, label.clone())) });
    }

    /// So many sessions are lost together.
    pub(super) fn all_lost(&mut self, reason: LostReason, sessions: usize) {
        self.note(|| Fact::Lost { reason, sessions, which: None });
    }
}

impl Broker {
    /// From now on what happens is noted.
    pub fn want_facts(&mut self) {
        self.facts.wanted = true;
    }

    /// Takes what was noted.
    pub fn take_facts(&mut self) -> impl Iterator<Item = Fact> + '_ {
        self.facts.noted.drain(..)
    }

    /// A request was refused before it was pending. A further copy of one that is pending or has ended is none of its own.
    pub(super) fn refused_at_once(
        &mut self,
        (claim, operation): (ClaimId, OperationNumber),
        on: Option<ResourceId>,
        mode: Mode,
        error: &RequestError,
    ) {
        let known = self.sessions.get(&claim.session).and_then(|session| session.claims.get(&claim.number));
        if known.is_some_and(|known| known.operation >= operation) {
            return;
        }
        if let Some(on) = on {
            self.facts.note(|| Fact::Asked { on, mode: Some(mode), ended: error.into(), waited: Duration::ZERO });
        }
    }

    /// What a claim is on.
    pub(super) fn resource_of(&self, claim: ClaimId) -> Option<ResourceId> {
        let known = self.sessions.get(&claim.session)?.claims.get(&claim.number)?;
        Some(known.resource.clone())
    }
}
