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
    pub(super) fn ended(
        &mut self,
        now: Duration,
        claim: ClaimId,
        on: &ResourceId,
        operation: &Operation,
        ended: impl Into<Ended>,
    ) {
        let Some(asked) = operation.asked else { return };
        self.note(|| Fact::Asked {
            on: on.clone(),
            claim,
            mode: operation.mode,
            ended: ended.into(),
            queued: operation.queued.is_some(),
            waited: now.saturating_sub(asked),
        });
    }

    /// A claim has left the table.
    pub(super) fn dropped(&mut self, now: Duration, id: ClaimId, claim: &Claim, lost: bool) {
        if let Some(waited) = &claim.pending {
            self.ended(now, id, &claim.resource, waited, Ended::Released);
        }
        if let Some(since) = claim.held_since {
            let (on, mode) = (&claim.resource, claim.granted);
            self.note(|| Fact::Held { on: on.clone(), claim: id, mode, lost, held: now.saturating_sub(since) });
        }
    }

    /// A claim ends together with the table; one of a session that its client has closed is not lost.
    pub(super) fn dropped_with_all(&mut self, now: Duration, id: ClaimId, claim: &mut Claim, lost: bool) {
        if let Some(waited) = claim.pending.take() {
            self.ended(now, id, &claim.resource, &waited, Ended::Lost);
        }
        self.dropped(now, id, claim, lost);
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
            let (mode, ended) = (Some(mode), error.into());
            self.facts.note(|| Fact::Asked { on, claim, mode, ended, queued: false, waited: Duration::ZERO });
        }
    }

    /// What a claim is on.
    pub(super) fn resource_of(&self, claim: ClaimId) -> Option<ResourceId> {
        let known = self.sessions.get(&claim.session)?.claims.get(&claim.number)?;
        Some(known.resource.clone())
    }
}
