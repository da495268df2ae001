//! What must hold, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sixpin_client::Mode;
use sixpin_core::backend::{Key, Slot};
use sixpin_core::broker::mark::Mark;
use sixpin_core::mode::Mode as CoreMode;
use sixpin_core::name::{ClaimId, ClaimNumber, ResourceId, SessionId, Version};
use sixpin_core::resource::{ClaimView, Resource};

use crate::by_hand::Deed;
use crate::places::Place;
use crate::plan::{Plan, Time};

/// A value that only holders of PW or EX may write, and that refuses lower fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Register {
    count: u64,
    fence: u64,
}

/// What happened, in numbers: a run in which nothing happened proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Locks and conversions granted, as clients saw them.
    pub grants: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Sessions that ended.
    pub sessions_over: u64,
    /// Sessions that moved or resumed.
    pub moves: u64,
    /// Store calls without an answer.
    pub unknowns: u64,
    /// Blocking notifications.
    pub blocking: u64,
    /// Brokers that were evicted or left.
    pub endings: u64,
    /// Brokers that were killed.
    pub kills: u64,
    /// Marks that say dead.
    pub burials: u64,
    /// Claims that left after their session was buried.
    pub buried_claims: u64,
    /// Value blocks written.
    pub values: u64,
    /// Value blocks that became invalid.
    pub invalidated: u64,
    /// Claims and sessions taken away by administrators.
    pub forced: u64,
    /// Times that the store lost everything or its last writes.
    pub losses: u64,
    /// Locks granted to callers without a stream.
    pub caller_grants: u64,
    /// Calls that were cut.
    pub cuts: u64,
    /// Lock requests from which a caller walked away.
    pub walked_away: u64,
    /// Waits that a caller left at their place.
    pub left: u64,
    /// Grants that a caller was told of who had left before.
    pub left_granted: u64,
    /// Records that were deleted by hand.
    pub deleted: u64,
    /// Records that were damaged by hand.
    pub damaged: u64,
    /// Requests that a broker refused for a limit.
    pub refused: u64,
    /// Times that an operator changed the limits of a broker that ran.
    pub limits_changed: u64,
    /// Times that a caller was let listen.
    pub listened: u64,
    /// Events that callers heard of by listening.
    pub overheard: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.grants += other.grants;
        self.sessions += other.sessions;
        self.sessions_over += other.sessions_over;
        self.moves += other.moves;
        self.unknowns += other.unknowns;
        self.blocking += other.blocking;
        self.endings += other.endings;
        self.kills += other.kills;
        self.burials += other.burials;
        self.buried_claims += other.buried_claims;
        self.values += other.values;
        self.invalidated += other.invalidated;
        self.forced += other.forced;
        self.losses += other.losses;
        self.caller_grants += other.caller_grants;
        self.cuts += other.cuts;
        self.walked_away += other.walked_away;
        self.left += other.left;
        self.left_granted += other.left_granted;
        self.deleted += other.deleted;
        self.damaged += other.damaged;
        self.refused += other.refused;
        self.limits_changed += other.limits_changed;
        self.listened += other.listened;
        self.overheard += other.overheard;
    }
}

/// The checker of one schedule.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) violation: Option<String>,
    pub(crate) tally: Tally,
    /// Per resource, the highest fence seen in each mode.
    fences: Vec<[u64; 6]>,
    registers: Vec<Register>,
    /// Per resource, the values that clients wrote, with zeroes behind them.
    written: BTreeSet<(ResourceId, Bytes)>,
    /// The values that stood in a record, by their number.
    seen: BTreeSet<(ResourceId, u64, Bytes)>,
    /// When sessions were buried.
    dead: BTreeMap<SessionId, Time>,
    /// Claims that their client gave up or was asked to.
    let_go: BTreeSet<ClaimId>,
    /// Claims that their client asked to convert: it may have given up PW or EX before it died.
    pub(crate) converted: BTreeSet<ClaimId>,
    /// Claims whose client was told that they are over: by whom, and how.
    pub(crate) told_over: BTreeMap<ClaimId, String>,
    /// Claims of which a broker said that they are granted, whether or not anybody heard it, with their latest such grant: its
    /// number, and its fence if that was said.
    pub(crate) said_granted: BTreeMap<ClaimId, (u32, u64)>,
    /// Claims of which the last call that asked for them was answered by an error, which says nothing of earlier copies.
    pub(crate) said_unknown: BTreeSet<ClaimId>,
    /// Claims from which their caller walked away, and when.
    pub(crate) walked_away: BTreeMap<ClaimId, Time>,
    /// Claims that may be left at their place.
    pub(crate) places: BTreeMap<ClaimId, Place>,
    /// Claims of records that were deleted or damaged by hand, with the number of their resource.
    pub(crate) by_hand: BTreeMap<ClaimId, (usize, Deed)>,
    /// Claims that their client gave up when it moved.
    void: BTreeSet<ClaimId>,
    /// Sessions that moved, or came back on another stream.
    pub(crate) moved: BTreeSet<SessionId>,
    /// Claims that their client asked to release.
    pub(crate) released: BTreeSet<ClaimId>,
    /// Sessions that their clients closed.
    closed: BTreeSet<SessionId>,
    /// Sessions from which an administrator took something.
    pub(crate) forced: BTreeSet<SessionId>,
    lock_delay: Time,
}

impl Check {
    pub(crate) fn new(plan: &Plan) -> Self {
        let resources = plan.resources;
        Self {
            violation: None,
            tally: Tally::default(),
            fences: vec![[0; 6]; resources],
            registers: vec![Register::default(); resources],
            written: BTreeSet::new(),
            seen: BTreeSet::new(),
            dead: BTreeMap::new(),
            let_go: BTreeSet::new(),
            converted: BTreeSet::new(),
            told_over: BTreeMap::new(),
            said_granted: BTreeMap::new(),
            said_unknown: BTreeSet::new(),
            walked_away: BTreeMap::new(),
            places: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            void: BTreeSet::new(),
            moved: BTreeSet::new(),
            released: BTreeSet::new(),
            closed: BTreeSet::new(),
            forced: BTreeSet::new(),
            lock_delay: plan.lock_delay.as_micros() as Time,
        }
    }

    pub(crate) fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// A grant was seen by a client whose session is valid: its fence is larger than that of every earlier grant that
    /// conflicts with it.
    pub(crate) fn fence(&mut self, resource: usize, mode: Mode, fence: u64, who: impl FnOnce() -> String) {
        let seen = &mut self.fences[resource];
        let conflicting = CoreMode::ALL.iter().filter(|other| !core(mode).compatible(**other));
        let highest = conflicting.map(|other| seen[usize::from(other.number())]).max().unwrap_or(0);
        let own = &mut seen[usize::from(core(mode).number())];
        *own = (*own).max(fence);
        if fence <= highest {
            let text = format!("fence {fence} of {} on r{resource} in {mode:?} is not above {highest}", who());
            self.fail(text);
        }
    }

    pub(crate) fn register(&self, resource: usize) -> Register {
        self.registers[resource]
    }

    /// Writes a register back with one more. The writer's lock is valid, so nobody may have written since it read.
    pub(crate) fn write_register(&mut self, resource: usize, fence: u64, read: Register, who: impl FnOnce() -> String) {
        let stored = self.registers[resource];
        if fence < stored.fence {
            let text = format!("{} writes r{resource} with fence {fence}, below {}", who(), stored.fence);
            self.fail(text);
        } else if stored.count != read.count {
            let text =
                format!("{} loses an update of r{resource}: read {}, stands at {}", who(), read.count, stored.count);
            self.fail(text);
        }
        self.registers[resource] = Register { count: read.count + 1, fence };
    }

    /// The client gives a claim up, or loses it to an administrator: from now on it may go for that reason.
    pub(crate) fn let_go(&mut self, session: SessionId, claim: u64) {
        self.let_go.insert(ClaimId { session, number: ClaimNumber(claim) });
    }

    pub(crate) fn is_let_go(&self, session: SessionId, claim: u64) -> bool {
        self.let_go.contains(&ClaimId { session, number: ClaimNumber(claim) }) || self.closed.contains(&session)
    }

    /// The client gives a claim's number up when it moves.
    pub(crate) fn give_up(&mut self, session: SessionId, claim: u64) {
        self.let_go(session, claim);
        self.void.insert(ClaimId { session, number: ClaimNumber(claim) });
    }

    pub(crate) fn is_void(&self, session: SessionId, claim: u64) -> bool {
        self.void.contains(&ClaimId { session, number: ClaimNumber(claim) })
    }

    /// The session was buried, or its client closes it.
    pub(crate) fn is_over(&self, session: SessionId) -> bool {
        self.dead.contains_key(&session) || self.closed.contains(&session)
    }

    /// The client closes its session: all its claims go.
    pub(crate) fn close(&mut self, session: SessionId) {
        self.closed.insert(session);
    }

    /// A client sends these bytes as a value block.
    pub(crate) fn value_sent(&mut self, resource: ResourceId, value: &Bytes) {
        let mut padded = value.to_vec();
        padded.resize(sixpin_core::limits::VALUE_BLOCK_BYTES_DEFAULT, 0);
        self.written.insert((resource, padded.into()));
    }

    /// A client is told a value block: it stood in a record under that number.
    pub(crate) fn value_told(&mut self, resource: ResourceId, seq: u64, bytes: &Bytes) {
        if seq > 0 && !self.seen.contains(&(resource.clone(), seq, bytes.clone())) {
            self.fail(format!("a value block of {resource} was told that never stood there: {seq} {bytes:?}"));
        }
    }

    /// A record was written: it is sound in itself, and the order of those who wait is kept.
    pub(crate) fn stored(&mut self, now: Time, key: &Key, old: &Slot, new: &Slot) {
        if new.version < old.version && !new.version.is_absent() {
            self.fail(format!("the version of {key:?} fell from {} to {}", old.version, new.version));
        }
        match key {
            Key::Session(id) => self.mark_stored(now, *id, old, new),
            Key::Resource(id) => self.record_stored(now, id, old, new),
        }
    }

    fn mark_stored(&mut self, now: Time, id: SessionId, old: &Slot, new: &Slot) {
        let decode = |slot: &Slot| slot.bytes.as_ref().and_then(|bytes| Mark::decode(bytes).ok());
        let (before, after) = (decode(old), decode(new));
        if before == Some(Mark::Dead) && !matches!(after, None | Some(Mark::Dead)) {
            self.fail(format!("session {id} came back from the dead: {after:?}"));
        }
        if let (Some(Mark::Moved { number: old, .. }), Some(Mark::Moved { number: new, .. })) = (&before, &after)
            && new < old
        {
            self.fail(format!("the move number of {id} fell from {old} to {new}"));
        }
        if after == Some(Mark::Dead) && before != Some(Mark::Dead) {
            self.tally.burials += 1;
            self.dead.entry(id).or_insert(now);
        }
        if let Some(Mark::Moved { void, .. }) = after {
            self.let_go.extend(void.into_iter().map(|number| ClaimId { session: id, number }));
        }
    }

    fn record_stored(&mut self, now: Time, id: &ResourceId, old: &Slot, new: &Slot) {
        let decode = |slot: &Slot| match &slot.bytes {
            Some(bytes) => Resource::decode(bytes, slot.version).map_err(|error| error.to_string()),
            None => Ok(Resource::new()),
        };
        let Ok(after) = decode(new) else {
            self.fail(format!("the record of {id} cannot be read back"));
            return;
        };
        // What was in doubt when the record was deleted, and was done after that, is there.
        if !self.by_hand.is_empty() {
            let all = after.granted().chain(after.converting()).chain(after.waiting());
            for view in all {
                self.by_hand.remove(&view.id);
            }
        }
        let Ok(before) = decode(old) else {
            // It replaces a damaged one.
            let bytes = Bytes::copy_from_slice(after.value_bytes());
            self.seen.insert((id.clone(), after.value_seq(), bytes));
            return;
        };
        let queue = |resource: &Resource| resource.waiting().map(|view| view.id).collect::<Vec<ClaimId>>();
        let (waited, waits) = (queue(&before), queue(&after));
        let kept_before: Vec<&ClaimId> = waited.iter().filter(|claim| waits.contains(claim)).collect();
        let kept_after: Vec<&ClaimId> = waits.iter().filter(|claim| waited.contains(claim)).collect();
        if kept_before != kept_after {
            self.fail(format!("the queue of {id} changed its order: {waited:?}, then {waits:?}"));
        }
        // First come, first served: who was granted from the queue was not behind somebody who still waits.
        let granted_later = waited.iter().position(|claim| {
            after.claim(*claim).is_some_and(|view| view.granted.is_some()) && {
                let ahead = waited.iter().take_while(|other| *other != claim);
                ahead.into_iter().any(|other| waits.contains(other))
            }
        });
        if let Some(at) = granted_later {
            self.fail(format!("{} was granted on {id} past somebody who came first", waited[at]));
        }
        let buried = self.buried_claims(now, id, &before, &after);
        self.value_stored(id, &before, &after, new.bytes.is_some(), &buried);
    }

    /// Holders that are not there any more because their session was buried; not before the lock-delay has passed.
    fn buried_claims(&mut self, now: Time, id: &ResourceId, before: &Resource, after: &Resource) -> Vec<CoreMode> {
        let mut buried = Vec::new();
        for view in holders(before).filter(|view| after.claim(view.id).is_none()) {
            let Some(since) = self.dead.get(&view.id.session) else { continue };
            if self.let_go.contains(&view.id) || self.closed.contains(&view.id.session) {
                continue;
            }
            // What nobody was told of was given back, and needs no delay. What the store lost of a grant was taken away when
            // that was found out, which may be long before its session died. If its place in the queue was not lost, it may be
            // granted again once the store is settled: with the same number and another fence, and nobody is told.
            let fence = view.fence.map_or(0, |stamp| stamp.resolve(Version::ABSENT).0);
            match self.said_granted.get(&view.id) {
                Some((said, _)) if *said < view.grant_seq => {}
                Some((said, told)) if *said == view.grant_seq && (*told == 0 || *told == fence) => {}
                _ => continue,
            }
            self.tally.buried_claims += 1;
            buried.extend(view.granted.filter(|_| !self.converted.contains(&view.id)));
            // The delay is counted by a clock that may be 1 % fast.
            let delayed = id.lockspace.as_str() == "slow";
            if delayed && (now - since) * 100 < self.lock_delay * 98 {
                self.violation.get_or_insert(format!("{} on {id} was free before the lock-delay had passed", view.id));
            }
        }
        buried
    }

    /// Values change only by writes of clients, and are invalid when a holder of PW or EX died (section 12).
    fn value_stored(
        &mut self,
        id: &ResourceId,
        before: &Resource,
        after: &Resource,
        exists: bool,
        buried: &[CoreMode],
    ) {
        // If nobody stayed, the resource may have come to an end in between, and its value with it.
        let stayed =
            before.sessions().flat_map(|session| before.claims_of(session)).any(|view| after.claim(view.id).is_some());
        if !exists {
            return;
        }
        let (old, new) = (before.value_seq(), after.value_seq());
        let bytes = Bytes::copy_from_slice(after.value_bytes());
        if new > old {
            self.tally.values += 1;
            if !self.written.contains(&(id.clone(), bytes.clone())) {
                self.fail(format!("the value block of {id} has bytes that nobody wrote: {bytes:?}"));
            }
        } else if new < old && stayed {
            self.fail(format!("the value block of {id} fell from {old} to {new}"));
        } else if new == old && before.value_invalid() && !after.value_invalid() && stayed {
            self.fail(format!("the value block of {id} became valid without a write"));
        }
        self.tally.invalidated += u64::from(after.value_invalid() && !before.value_invalid());
        let wrote = |mode: &CoreMode| matches!(mode, CoreMode::PW | CoreMode::EX);
        if buried.iter().any(wrote) && new == old && !after.value_invalid() && stayed {
            self.fail(format!("the value block of {id} stays valid although a holder of PW or EX died"));
        }
        self.seen.insert((id.clone(), new, bytes));
    }
}

fn holders(resource: &Resource) -> impl Iterator<Item = ClaimView<'_>> {
    resource.granted().chain(resource.converting())
}

pub(crate) fn core(mode: Mode) -> CoreMode {
    match mode {
        Mode::NL => CoreMode::NL,
        Mode::CR => CoreMode::CR,
        Mode::CW => CoreMode::CW,
        Mode::PR => CoreMode::PR,
        Mode::PW => CoreMode::PW,
        Mode::EX => CoreMode::EX,
    }
}

pub(crate) fn compatible(one: Mode, other: Mode) -> bool {
    core(one).compatible(core(other))
}

/// The mode of a number as it is on the wire.
pub(crate) fn mode(number: i32) -> Mode {
    match number {
        2 => Mode::CR,
        3 => Mode::CW,
        4 => Mode::PR,
        5 => Mode::PW,
        6 => Mode::EX,
        _ => Mode::NL,
    }
}

/// What a program surely still has while it converts from one mode to another.
pub(crate) fn meet(held: Mode, wanted: Mode) -> Mode {
    if core(held).at_most(core(wanted)) {
        held
    } else if core(wanted).at_most(core(held)) {
        wanted
    } else {
        Mode::CR
    }
}
