//! The claims of one resource, and the indexes that keep every request cheap.
//!
//! Two functions know all the indexes: [`Table::link`] puts a claim on its queue and into every index that its fields
//! call for, [`Table::unlink`] takes it out again. Whoever changes an indexed field unlinks first and links afterwards.
//! Nothing here knows a lock rule.

use crate::mode::Mode;
use crate::name::{ClaimId, Label, SessionId, Stamp};
use crate::small::{Map, Set};

use super::claim::{Claim, ClaimView, Queue, Slot};
use super::order::{Line, Place};
use super::size;

/// One session and owner that has claims here. Stored once, whatever the number of its claims.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    pub(crate) session: SessionId,
    pub(crate) owner: Label,
    claims: u32,
}

/// Which end of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Head,
    Tail,
}

/// Counters by mode.
type ByMode = [u32; 6];

/// An index of claims by a small key, in queue order within the key.
type Index = Set<(u16, Place, Slot)>;

/// Level number of a holder that wants no blocking notifications. Above every real level.
const DEAF: u16 = 15;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    slots: Vec<Claim>,
    vacant: Vec<Slot>,
    ids: Map<ClaimId, Slot>,

    parties: Vec<Party>,
    vacant_parties: Vec<u32>,
    party_ids: Map<(SessionId, Label), u32>,

    granted: Line,
    converting: Line,
    waiting: Line,

    /// Granted modes on the granted queue, and on the convert queue.
    granted_modes: ByMode,
    converting_modes: ByMode,
    /// Requested modes on the convert queue, and on the wait queue.
    converting_requests: ByMode,
    waiting_requests: ByMode,

    /// Holders by queue, granted mode and level of their last blocking notification.
    holders: Index,
    /// Converters by requested mode.
    converters: Index,
    /// Queued NOORDER claims by queue, granted mode, requested mode and alternate mode: those with one key are granted
    /// under the same conditions.
    unordered: Index,
    /// Orphans by granted mode.
    orphans: Index,

    /// Claims with a stamp of the write that is under way.
    fresh: Vec<Slot>,
    /// Upper estimate of what claims and parties take in a record.
    bytes: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            ids: Map::default(),
            parties: Vec::new(),
            vacant_parties: Vec::new(),
            party_ids: Map::default(),
            granted: Line::default(),
            converting: Line::counted(),
            waiting: Line::counted(),
            granted_modes: ByMode::default(),
            converting_modes: ByMode::default(),
            converting_requests: ByMode::default(),
            waiting_requests: ByMode::default(),
            holders: Index::default(),
            converters: Index::default(),
            unordered: Index::default(),
            orphans: Index::default(),
            fresh: Vec::new(),
            bytes: 0,
        }
    }
}

/// Coming, going and looking up.
impl Table {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Upper estimate of what claims and parties take in a record.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one more claim would add to [`Table::bytes`].
    pub(crate) fn bytes_of(&self, session: SessionId, owner: &Label, label: &Label) -> usize {
        let known = self.party_ids.contains_key(&(session, owner.clone()));
        size::claim(label) + if known { 0 } else { size::party(owner) }
    }

    pub(crate) fn find(&self, id: ClaimId) -> Option<Slot> {
        self.ids.get(&id).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> &Claim {
        #[cfg(test)]
        super::cost::visit();
        &self.slots[slot as usize]
    }

    /// For fields that no index depends on, or while the claim is unlinked.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Claim {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn party(&self, claim: &Claim) -> &Party {
        &self.parties[claim.party as usize]
    }

    /// Upper bound of party indexes in use.
    pub(crate) fn party_slots(&self) -> usize {
        self.parties.len()
    }

    pub(crate) fn view(&self, slot: Slot) -> ClaimView<'_> {
        let claim = self.get(slot);
        ClaimView::new(claim, &self.party(claim).owner)
    }

    /// The claims of a session, orphans included, by number.
    pub(crate) fn of_session(&self, session: SessionId) -> impl Iterator<Item = Slot> + '_ {
        let first = ClaimId { session, number: crate::name::ClaimNumber(0) };
        let last = ClaimId { session, number: crate::name::ClaimNumber(u64::MAX) };
        self.ids.range(first..=last).map(|(_, slot)| *slot)
    }

    /// All claims, by id.
    pub(crate) fn by_id(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ids.values().copied()
    }

    /// Takes in a claim that is on no queue yet. Its id must be new.
    pub(crate) fn insert(&mut self, mut claim: Claim, owner: &Label) -> Slot {
        let id = claim.id;
        self.bytes += size::claim(&claim.label) + size::former(&claim);
        claim.party = self.join_party(id.session, owner);
        let slot = if let Some(slot) = self.vacant.pop() {
            self.slots[slot as usize] = claim;
            slot
        } else {
            if self.slots.is_empty() {
                // Most resources have one claim; a vector would begin with room for four.
                self.slots.reserve_exact(1);
            }
            self.slots.push(claim);
            (self.slots.len() - 1) as Slot
        };
        self.ids.insert(id, slot);
        slot
    }

    /// Removes a claim from its queue and altogether.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.unlink(slot);
        self.forget_former(slot);
        let claim = self.get_mut(slot);
        let (id, party) = (claim.id, claim.party);
        let label = std::mem::take(&mut claim.label);
        self.bytes -= size::claim(&label);
        self.leave_party(party);
        self.ids.remove(&id);
        self.vacant.push(slot);
    }

    /// Drops what an adoption left: the next operation has begun.
    pub(crate) fn forget_former(&mut self, slot: Slot) {
        self.bytes -= size::former(self.get(slot));
        self.get_mut(slot).former = None;
    }

    /// The table of claims that were stored: in queue order, each naming its queue and the index of its session and
    /// owner. Absent if a claim, or a session and owner, is there twice.
    pub(crate) fn restore(claims: Vec<Claim>, parties: Vec<(SessionId, Label)>) -> Option<Self> {
        let mut table = Self::default();
        let mut ids: Vec<(ClaimId, Slot)> = claims.iter().map(|claim| claim.id).zip(0..).collect();
        ids.sort_unstable();
        table.ids = ids.into_iter().collect();
        table.party_ids = parties.iter().cloned().zip(0..).collect();
        if table.ids.len() != claims.len() || table.party_ids.len() != parties.len() {
            return None;
        }
        table.bytes = parties.iter().map(|(_, owner)| size::party(owner)).sum();
        table.parties = parties.into_iter().map(|(session, owner)| Party { session, owner, claims: 0 }).collect();
        table.slots = claims;
        let mut first = 0;
        for queue in [Queue::Granted, Queue::Converting, Queue::Waiting] {
            let count = table.slots[first as usize..].iter().take_while(|claim| claim.queue == queue).count() as u32;
            table.line_mut(queue).fill(first, count);
            for index in 0..count {
                table.restore_claim(first + index, Place::from(index));
            }
            first += count;
        }
        Some(table)
    }

    fn restore_claim(&mut self, slot: Slot, place: Place) {
        let claim = &mut self.slots[slot as usize];
        claim.place = place;
        claim.linked = true;
        self.bytes += size::claim(&claim.label) + size::former(claim);
        self.parties[claim.party as usize].claims += 1;
        self.enter(slot);
    }

    fn join_party(&mut self, session: SessionId, owner: &Label) -> u32 {
        let key = (session, owner.clone());
        if let Some(party) = self.party_ids.get(&key) {
            self.parties[*party as usize].claims += 1;
            return *party;
        }
        self.bytes += size::party(owner);
        let party = Party { session, owner: owner.clone(), claims: 1 };
        let index = if let Some(index) = self.vacant_parties.pop() {
            self.parties[index as usize] = party;
            index
        } else {
            self.parties.push(party);
            (self.parties.len() - 1) as u32
        };
        self.party_ids.insert(key, index);
        index
    }

    fn leave_party(&mut self, index: u32) {
        let party = &mut self.parties[index as usize];
        party.claims -= 1;
        if party.claims == 0 {
            let owner = std::mem::take(&mut party.owner);
            self.bytes -= size::party(&owner);
            self.party_ids.remove(&(party.session, owner));
            self.vacant_parties.push(index);
        }
    }
}

/// Queues and indexes.
impl Table {
    pub(crate) fn line(&self, queue: Queue) -> &Line {
        match queue {
            Queue::Granted => &self.granted,
            Queue::Converting => &self.converting,
            Queue::Waiting => &self.waiting,
        }
    }

    fn line_mut(&mut self, queue: Queue) -> &mut Line {
        match queue {
            Queue::Granted => &mut self.granted,
            Queue::Converting => &mut self.converting,
            Queue::Waiting => &mut self.waiting,
        }
    }

    /// Puts a claim on the queue that it names, and into the indexes.
    pub(crate) fn link(&mut self, slot: Slot, end: End) {
        let queue = self.get(slot).queue;
        let line = self.line_mut(queue);
        let place = match end {
            End::Head => line.push_front(slot),
            End::Tail => line.push_back(slot),
        };
        let claim = self.get_mut(slot);
        claim.place = place;
        claim.linked = true;
        self.enter(slot);
    }

    /// Into the counters and indexes.
    fn enter(&mut self, slot: Slot) {
        self.count(slot, |counter| *counter += 1);
        self.index(slot, |index, key| {
            index.insert(key);
        });
    }

    /// Takes a claim off its queue and out of the indexes. It stays known by its id.
    pub(crate) fn unlink(&mut self, slot: Slot) {
        let claim = self.get_mut(slot);
        if !claim.linked {
            return;
        }
        claim.linked = false;
        let (queue, place) = (claim.queue, claim.place);
        self.count(slot, |counter| *counter -= 1);
        self.index(slot, |index, key| {
            index.remove(&key);
        });
        self.line_mut(queue).remove(place);
    }

    /// Applies `change` to every counter that the claim belongs to.
    fn count(&mut self, slot: Slot, change: impl Fn(&mut u32)) {
        let claim = &self.slots[slot as usize];
        let (holding, requesting) = match claim.queue {
            Queue::Granted => (Some(&mut self.granted_modes), None),
            Queue::Converting => (Some(&mut self.converting_modes), Some(&mut self.converting_requests)),
            Queue::Waiting => (None, Some(&mut self.waiting_requests)),
        };
        for (counters, mode) in [(holding, claim.granted), (requesting, claim.requested)] {
            if let (Some(counters), Some(mode)) = (counters, mode) {
                change(&mut counters[mode as usize]);
            }
        }
    }

    /// Applies `change` to every index that the claim belongs to.
    fn index(&mut self, slot: Slot, change: impl Fn(&mut Index, (u16, Place, Slot))) {
        let claim = &self.slots[slot as usize];
        let place = claim.place;
        if claim.queue != Queue::Waiting {
            change(&mut self.holders, (holder_key(claim), place, slot));
        }
        if claim.queue == Queue::Converting {
            change(&mut self.converters, (mode_key(claim.requested), place, slot));
        }
        if claim.queue != Queue::Granted && claim.no_order {
            change(&mut self.unordered, (unordered_key(claim), place, slot));
        }
        if claim.orphan {
            change(&mut self.orphans, (mode_key(claim.granted), place, slot));
        }
    }

    /// Remembers the level that a holder was told.
    pub(crate) fn set_level(&mut self, slot: Slot, level: Option<Mode>) {
        let claim = &mut self.slots[slot as usize];
        let place = claim.place;
        let old = holder_key(claim);
        claim.level = level;
        let new = holder_key(claim);
        if claim.linked && claim.queue != Queue::Waiting && old != new {
            self.holders.remove(&(old, place, slot));
            self.holders.insert((new, place, slot));
        }
    }
}

/// Questions that the rules ask. None walks along a queue.
impl Table {
    /// Claims that hold `mode` on the granted or the convert queue.
    pub(crate) fn holding(&self, mode: Mode) -> u32 {
        self.granted_modes[mode as usize] + self.converting_modes[mode as usize]
    }

    /// Claims on the granted queue that hold `mode`.
    pub(crate) fn granted_in(&self, mode: Mode) -> u32 {
        self.granted_modes[mode as usize]
    }

    /// Converters that still hold `mode`.
    pub(crate) fn converting_from(&self, mode: Mode) -> u32 {
        self.converting_modes[mode as usize]
    }

    /// Converters that request `mode`.
    pub(crate) fn converting_to(&self, mode: Mode) -> u32 {
        self.converting_requests[mode as usize]
    }

    /// Queued claims that request `mode`.
    pub(crate) fn requesting(&self, mode: Mode) -> u32 {
        self.converting_requests[mode as usize] + self.waiting_requests[mode as usize]
    }

    /// Converters and waiters.
    pub(crate) fn queued(&self) -> usize {
        self.converting.len() + self.waiting.len()
    }

    /// The holders of `mode` on one queue that want notifications and were last told less than `below`.
    pub(crate) fn told_less_than(&self, queue: Queue, mode: Mode, below: Mode) -> impl Iterator<Item = Slot> + '_ {
        let key = holder_base(queue, mode);
        let first = (key, Place::MIN, 0);
        let last = (key + u16::from(below.number()), Place::MIN, 0);
        self.holders.range(first..last).map(|(_, _, slot)| *slot)
    }

    /// The holders of `mode` on one queue: in queue order among those that were told the same level.
    pub(crate) fn holders_of(&self, queue: Queue, mode: Mode) -> impl Iterator<Item = Slot> + '_ {
        let key = holder_base(queue, mode);
        let range = (key, Place::MIN, 0)..=(key + DEAF, Place::MAX, Slot::MAX);
        self.holders.range(range).map(|(_, _, slot)| *slot)
    }

    /// The converters that request `mode`, in queue order.
    pub(crate) fn converters_to(&self, mode: Mode) -> impl Iterator<Item = Slot> + '_ {
        let key = mode_key(Some(mode));
        self.converters.range((key, Place::MIN, 0)..=(key, Place::MAX, Slot::MAX)).map(|(_, _, slot)| *slot)
    }

    /// The first claim of each group of NOORDER claims on one queue, behind `after` if given. The members of a group
    /// are granted under the same conditions.
    pub(crate) fn unordered(&self, queue: Queue, after: Option<Place>) -> impl Iterator<Item = Slot> + '_ {
        let start = after.map_or(Place::MIN, |place| place.saturating_add(1));
        let (mut key, end) = unordered_keys(queue);
        std::iter::from_fn(move || {
            loop {
                let (found, place, slot) = *self.unordered.range((key, start, 0)..(end, Place::MIN, 0)).next()?;
                if place >= start {
                    key = found + 1;
                    return Some(slot);
                }
                // The key's group begins with claims that were passed already: look behind them.
                key = found;
                let behind = self.unordered.range((key, start, 0)..=(key, Place::MAX, Slot::MAX)).next();
                key += 1;
                if let Some((_, _, slot)) = behind {
                    return Some(*slot);
                }
            }
        })
    }

    /// The oldest orphan granted in exactly `mode`: that whose session ended first.
    pub(crate) fn oldest_orphan(&self, mode: Mode) -> Option<Slot> {
        let key = mode_key(Some(mode));
        let range = (key, Place::MIN, 0)..=(key, Place::MAX, Slot::MAX);
        self.orphans.range(range).next().map(|(_, _, slot)| *slot)
    }

    /// All orphans, by mode and age.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = Slot> + '_ {
        self.orphans.iter().map(|(_, _, slot)| *slot)
    }

    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }
}

/// Stamps of the write that is under way.
impl Table {
    /// Notes that a claim was given a stamp by the write that is under way.
    pub(crate) fn stamped(&mut self, slot: Slot) {
        self.fresh.push(slot);
    }

    /// Writes the number into every stamp of the write that is under way. A slot may meanwhile hold another claim; its
    /// stamps are of the same write then, or known.
    pub(crate) fn resolve(&mut self, number: impl Fn(Stamp) -> Stamp) {
        for slot in self.fresh.drain(..) {
            let claim = &mut self.slots[slot as usize];
            claim.fence = claim.fence.map(&number);
            claim.ticket = claim.ticket.map(&number);
        }
    }
}

/// Holders sort by queue, then granted mode, then level.
fn holder_key(claim: &Claim) -> u16 {
    let level = match (claim.blocking && !claim.orphan, claim.level) {
        (false, _) => DEAF,
        (true, None) => 0,
        (true, Some(level)) => u16::from(level.number()),
    };
    claim.granted.map_or(0, |mode| holder_base(claim.queue, mode)) + level
}

fn holder_base(queue: Queue, mode: Mode) -> u16 {
    let queue = u16::from(queue == Queue::Converting);
    queue << 8 | u16::from(mode.number()) << 4
}

fn mode_key(mode: Option<Mode>) -> u16 {
    mode.map_or(0, |mode| u16::from(mode.number()) + 1)
}

/// NOORDER claims sort by queue, then by all that decides whether they can be granted.
fn unordered_key(claim: &Claim) -> u16 {
    let alternate = mode_key(claim.alternate.map(super::claim::Alternate::mode));
    unordered_keys(claim.queue).0 + mode_key(claim.granted) * 64 + mode_key(claim.requested) * 8 + alternate
}

/// The first key of a queue's NOORDER claims and the first beyond them.
fn unordered_keys(queue: Queue) -> (u16, u16) {
    if queue == Queue::Converting { (0, 1000) } else { (1000, 2000) }
}
