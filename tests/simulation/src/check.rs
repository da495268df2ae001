//! What must hold, whatever goes wrong.

use sixpin_client::Mode;
use sixpin_core::backend::{Key, Slot};
use sixpin_core::mode::Mode as CoreMode;
use sixpin_core::name::ClaimId;
use sixpin_core::resource::Resource;

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
}

impl Check {
    pub(crate) fn new(resources: usize) -> Self {
        Self {
            violation: None,
            tally: Tally::default(),
            fences: vec![[0; 6]; resources],
            registers: vec![Register::default(); resources],
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

    /// A record was written: it is sound in itself, and the order of those who wait is kept.
    pub(crate) fn stored(&mut self, key: &Key, old: &Slot, new: &Slot) {
        if new.version < old.version && !new.version.is_absent() {
            self.fail(format!("the version of {key:?} fell from {} to {}", old.version, new.version));
        }
        match key {
            Key::Session(_) => self.mark_stored(key, old, new),
            Key::Resource(_) => self.record_stored(key, old, new),
        }
    }

    fn mark_stored(&mut self, key: &Key, old: &Slot, new: &Slot) {
        use sixpin_core::broker::mark::Mark;
        let decode = |slot: &Slot| slot.bytes.as_ref().and_then(|bytes| Mark::decode(bytes).ok());
        let (before, after) = (decode(old), decode(new));
        if before == Some(Mark::Dead) && !matches!(after, None | Some(Mark::Dead)) {
            self.fail(format!("{key:?} came back from the dead: {after:?}"));
        }
        if let (Some(Mark::Moved { number: old, .. }), Some(Mark::Moved { number: new, .. })) = (&before, &after)
            && new < old
        {
            self.fail(format!("the move number of {key:?} fell from {old} to {new}"));
        }
        self.tally.burials += u64::from(after == Some(Mark::Dead) && before != Some(Mark::Dead));
    }

    fn record_stored(&mut self, key: &Key, old: &Slot, new: &Slot) {
        let decode = |slot: &Slot| match &slot.bytes {
            Some(bytes) => Resource::decode(bytes, slot.version).map_err(|error| error.to_string()),
            None => Ok(Resource::new()),
        };
        let (Ok(before), Ok(after)) = (decode(old), decode(new)) else {
            self.fail(format!("the record of {key:?} cannot be read back"));
            return;
        };
        let queue = |resource: &Resource| resource.waiting().map(|view| view.id).collect::<Vec<ClaimId>>();
        let (waited, waits) = (queue(&before), queue(&after));
        let kept_before: Vec<&ClaimId> = waited.iter().filter(|claim| waits.contains(claim)).collect();
        let kept_after: Vec<&ClaimId> = waits.iter().filter(|claim| waited.contains(claim)).collect();
        if kept_before != kept_after {
            self.fail(format!("the queue of {key:?} changed its order: {waited:?}, then {waits:?}"));
        }
        // First come, first served: who was granted from the queue was not behind somebody who still waits.
        let granted_later = waited.iter().position(|claim| {
            after.claim(*claim).is_some_and(|view| view.granted.is_some()) && {
                let ahead = waited.iter().take_while(|other| *other != claim);
                ahead.into_iter().any(|other| waits.contains(other))
            }
        });
        if let Some(at) = granted_later {
            self.fail(format!("{} was granted on {key:?} past somebody who came first", waited[at]));
        }
    }
}

fn core(mode: Mode) -> CoreMode {
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
