//! What became of locks is told to a shell that writes it down, whether or not a client hears of it.
//!
//! Invariant: each grant, and the end of each claim that held something, is told by the broker that vouches for its session, once.
//! Of sessions whose broker died, whoever buries them tells the end.

use super::Broker;
use super::api::{Done, DoneStatus, Effect, Happened, Note, Whose};
use super::table::{Claim, Life};
use crate::command::Outcome;
use crate::name::{ClaimId, ResourceId};

impl Broker {
    /// A mode was granted that was not known before.
    pub(super) fn note_grant(&mut self, id: ClaimId, done: &Done) {
        if !self.config.notes {
            return;
        }
        let claim = self.sessions.get(&id.session).and_then(|session| session.claims.get(&id.number));
        if let Some(resource) = claim.map(|claim| claim.resource.clone()) {
            self.note(Happened::Granted, id, &resource, Some(done));
        }
    }

    /// A claim left the table with this as its last answer.
    pub(super) fn note_end(&mut self, id: ClaimId, claim: &Claim, end: DoneStatus) {
        if !self.config.notes || !claim.is_held() {
            return;
        }
        let closing = self.sessions.get(&id.session).is_some_and(|session| session.life == Life::Closing);
        self.note(what_became(claim, end, closing), id, &claim.resource, None);
    }

    /// A claim stays behind without its session.
    pub(super) fn note_orphan(&mut self, id: ClaimId, claim: &Claim) {
        self.note(Happened::Orphaned, id, &claim.resource, None);
    }

    /// Everything that is held is lost with this broker, except what its clients have given back by closing their sessions.
    pub(super) fn note_all_lost(&mut self) {
        if !self.config.notes {
            return;
        }
        let held = self.sessions.iter().flat_map(|(id, session)| {
            let held = session.claims.iter().filter(|(_, claim)| claim.is_held());
            held.map(|(number, claim)| {
                let became = what_became(claim, DoneStatus::Lost, session.life == Life::Closing);
                (became, ClaimId { session: *id, number: *number }, claim.resource.clone())
            })
        });
        for (became, claim, resource) in held.collect::<Vec<_>>() {
            self.note(became, claim, &resource, None);
        }
    }

    /// What a command did to claims of sessions whose broker died: nobody else tells of these.
    pub(super) fn note_buried(&mut self, resource: &ResourceId, outcomes: &[Outcome]) {
        if !self.config.notes {
            return;
        }
        for outcome in outcomes {
            let (claim, happened) = match outcome {
                Outcome::Removed { claim, held: true } => (*claim, Happened::Lost),
                Outcome::Orphaned { claim } => (*claim, Happened::Orphaned),
                _ => continue,
            };
            if !self.sessions.contains_key(&claim.session) && self.strangers.is_dead(claim.session) {
                self.note(happened, claim, resource, None);
            }
        }
    }

    fn note(&mut self, happened: Happened, claim: ClaimId, resource: &ResourceId, grant: Option<&Done>) {
        if !self.config.notes {
            return;
        }
        let whose = self.sessions.get(&claim.session).map(|session| Whose {
            principal: session.principal.name().to_owned(),
            address: session.client.address.clone(),
        });
        let (mode, fence) = (grant.and_then(|done| done.mode), grant.and_then(|done| done.fence));
        let note = Note { happened, claim, resource: resource.clone(), whose, mode, fence };
        self.out.push(Effect::Note(Box::new(note)));
    }
}

/// What is noted of a claim that ended so.
fn what_became(claim: &Claim, end: DoneStatus, closing: bool) -> Happened {
    if claim.is_lost_by(end, closing) { Happened::Lost } else { Happened::Released }
}
