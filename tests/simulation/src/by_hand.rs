//! People who delete records or damage them, and administrators who have damaged ones removed.
//!
//! Who held a record that was deleted cannot be protected: somebody else may be granted it at once. So whatever the record said
//! is excused from the checks that compare what clients believe with each other and with what is stored, until its client
//! is told; and where nothing else goes wrong, all must have been told when a round of every broker is over.
//!
//! Who held a record that was damaged is protected: nobody else may be granted it while anybody believes. Only the comparison
//! with what is stored means nothing then.

use bytes::Bytes;
use sixpin_core::backend::Key;
use sixpin_core::broker::api::{AdminRequest, ConnectionId, Input, ReplyTo};
use sixpin_core::name::{ClaimId, ClaimNumber, SessionId};
use sixpin_core::resource::Resource;

use crate::plan::{Fault, MS, SECOND, Time};
use crate::world::{Event, World};

/// An administrator who asks again anyway listens to nobody.
const NOBODY: ReplyTo = ReplyTo { connection: ConnectionId(0), request: 0 };
/// How often an administrator looks whether a damaged record is gone.
const LOOKS_AGAIN: Time = 250 * MS;

/// What was done to a record by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Deleted.
    Deleted,
    /// Other bytes were put in its place.
    Damaged,
}

impl World {
    /// What the record of a claim said means nothing any more.
    pub(crate) fn is_touched(&self, session: SessionId, claim: u64) -> bool {
        self.check.by_hand.contains_key(&ClaimId { session, number: ClaimNumber(claim) })
    }

    /// Nobody protects its holder any more.
    pub(crate) fn is_deleted(&self, session: SessionId, claim: u64) -> bool {
        let id = ClaimId { session, number: ClaimNumber(claim) };
        self.check.by_hand.get(&id).is_some_and(|(_, deed)| *deed == Deed::Deleted)
    }

    /// Somebody deletes a record, or damages it. Gives back the claims that it had; absent if there was none.
    fn by_hand(&mut self, resource: usize, deed: Deed) -> Option<Vec<ClaimId>> {
        let id = self.plan.resource(resource);
        let key = Key::Resource(id.clone());
        let slot = self.store.read(std::slice::from_ref(&key)).pop().unwrap_or_default();
        let stored = slot.bytes.as_ref().and_then(|bytes| Resource::decode(bytes, slot.version).ok())?;
        let all = stored.granted().chain(stored.converting()).chain(stored.waiting());
        let claims: Vec<ClaimId> = all.map(|view| view.id).collect();
        self.trace(|| format!("FAULT {id} is {deed:?} by hand, with {claims:?}"));
        let now = self.wall_10us();
        match deed {
            Deed::Deleted => {
                self.store.delete_by_hand(now, &key);
                self.check.tally.deleted += 1;
                // Whatever protected those who held it before goes with the record.
                for (other, known) in self.check.by_hand.values_mut() {
                    if *other == resource {
                        *known = deed;
                    }
                }
            }
            Deed::Damaged => {
                let bytes = slot.bytes.map(|bytes| self.damage(&bytes)).unwrap_or_default();
                self.store.write_by_hand(now, &key, bytes);
                self.check.tally.damaged += 1;
            }
        }
        for claim in &claims {
            self.check.by_hand.entry(*claim).or_insert((resource, deed));
        }
        Some(claims)
    }

    fn damage(&mut self, bytes: &Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        match self.hand_rng.u32(..4) {
            0 => bytes.clear(),
            1 => bytes = b"somebody was here".to_vec(),
            _ => {
                let place = self.hand_rng.usize(..bytes.len());
                bytes[place] ^= 1 << self.hand_rng.u32(..8);
            }
        }
        bytes.into()
    }

    /// A record is damaged, and some time later an administrator has it removed.
    pub(crate) fn damage_record(&mut self) {
        let resource = self.hand_rng.usize(..self.plan.resources);
        if self.by_hand(resource, Deed::Damaged).is_some() {
            let until = self.hand_rng.u64(20 * MS..1_500 * MS);
            self.after(until, Event::Repair { resource });
        }
    }

    /// What was removed may be there again, because the store came back without it.
    pub(crate) fn repair_all(&mut self) {
        if self.plan.faults.has(Fault::DamagedRecords) {
            for resource in 0..self.plan.resources {
                self.after(LOOKS_AGAIN, Event::Repair { resource });
            }
        }
    }

    pub(crate) fn delete_record(&mut self) {
        let resource = self.hand_rng.usize(..self.plan.resources);
        self.by_hand(resource, Deed::Deleted);
    }

    /// An administrator asks some broker to remove a damaged record, until it is gone.
    pub(crate) fn repair(&mut self, resource: usize) {
        let id = self.plan.resource(resource);
        let key = Key::Resource(id.clone());
        let slot = self.store.read(std::slice::from_ref(&key)).pop().unwrap_or_default();
        let damaged = slot.bytes.as_ref().is_some_and(|bytes| Resource::decode(bytes, slot.version).is_err());
        if !damaged {
            return;
        }
        let slot_of_broker = self.hand_rng.usize(..self.plan.brokers);
        let incarnation = self.brokers[slot_of_broker].incarnation;
        let request = AdminRequest::RemoveDamaged { resource: id, version: slot.version, now: false };
        self.trace(|| format!("administrator at b{slot_of_broker}: {request:?}"));
        let input = Box::new(Input::Admin { from: NOBODY, request });
        self.after(0, Event::BrokerInput { slot: slot_of_broker, incarnation, input });
        self.after(LOOKS_AGAIN, Event::Repair { resource });
    }

    /// Nothing is wrong any more: one more record is deleted, while its holders do nothing but keep their sessions alive.
    pub(crate) fn delete_when_well(&mut self) {
        if self.now < self.well_from {
            let at = self.well_from;
            self.at(at, Event::DeleteWhenWell);
            return;
        }
        let held = |node: &crate::client::ClientNode| {
            let mut own = node.held.iter().filter(|(claim, _)| node.valid_mode(**claim, self.now).is_some());
            own.next().map(|(_, held)| held.resource)
        };
        let Some(resource) = self.clients.iter().find_map(held) else {
            if self.now < self.plan.heal_at + self.plan.calm {
                self.after(40 * MS, Event::DeleteWhenWell);
            }
            return;
        };
        let within = 2 * self.plan.broker_ttl.as_micros() as Time + 1_200 * MS;
        let until = self.now + within + SECOND;
        for node in &mut self.clients {
            if node.held.values().any(|held| held.resource == resource) {
                node.idle_until = until;
            }
        }
        let claims = self.by_hand(resource, Deed::Deleted).unwrap_or_default();
        self.after(within, Event::MustKnow { claims });
    }

    /// Everybody has been told of what was deleted.
    pub(crate) fn must_know(&mut self, claims: &[ClaimId]) {
        // Before the store is settled, what is held is not looked at.
        if self.may_miss() {
            return;
        }
        let now = self.now;
        let believes = |id: &ClaimId| {
            // It was done after the record was deleted.
            self.check.by_hand.get(id)?;
            let number = id.number.0;
            let own = |node: &&crate::client::ClientNode| node.session == Some(id.session);
            let client = self.clients.iter().filter(own).find(|node| node.valid_mode(number, now).is_some());
            let caller = || {
                let believes = |node: &crate::unary::Caller| {
                    node.session() == Some(id.session) && node.believes(now).any(|(own, ..)| own == number)
                };
                self.callers.iter().position(believes).map(|caller| format!("u{caller}"))
            };
            client.map(|node| format!("c{}", node.number)).or_else(caller).map(|who| (who, *id))
        };
        if let Some((who, id)) = claims.iter().find_map(believes) {
            self.check.fail(format!("{who} still believes to hold {id}, although its record was deleted long ago"));
        }
    }

    /// How much longer everything may take because of what was done by hand.
    pub(crate) fn patience_by_hand(&self) -> Time {
        if self.plan.faults.has(Fault::DamagedRecords) { 8 * SECOND } else { 0 }
    }
}
