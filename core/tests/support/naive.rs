//! The lock rules once more, as plainly as possible: three vectors, and every rule a walk over them.
//!
//! This is what the real machine is compared with. It shares the words with it (commands, outcomes, modes) and no code.
//! It knows no records, no indexes and no limits, and it is slow.

use std::fmt;

use bytes::Bytes;
use sixpin_core::command::{
    Blocker, CancelReason, Command, Completion, ConversionDeadlock, ConvertCommand, Extras, LockCommand, Options,
    Outcome, PurgeScope, Refusal, Status, Value,
};
use sixpin_core::mode::{ConversionKind, Mode, ValueMove, value_on_grant, value_on_release};
use sixpin_core::name::{ClaimId, Fence, Label, OperationNumber, SessionId, Stamp};
use sixpin_core::resource::{ClaimView, Ended, OperationKind, Queue, Resource};

/// One claim. Queues are vectors of these.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: ClaimId,
    pub granted: Option<Mode>,
    pub requested: Option<Mode>,
    pub alternate: Option<Mode>,
    pub no_order: bool,
    pub operation: OperationNumber,
    pub kind: OperationKind,
    pub ended: Option<Ended>,
    pub value_wanted: bool,
    pub fence: Option<Stamp>,
    pub grant_seq: u32,
    pub ticket: Option<Stamp>,
    pub blocking: bool,
    pub level: Option<Mode>,
    pub owner: Label,
    pub label: Label,
    pub demoted: bool,
    pub persistent: bool,
    pub orphan: bool,
    pub adopted: Option<ClaimId>,
}

impl Claim {
    fn new(id: ClaimId, operation: OperationNumber, kind: OperationKind) -> Self {
        Self {
            id,
            granted: None,
            requested: None,
            alternate: None,
            no_order: false,
            operation,
            kind,
            ended: None,
            value_wanted: false,
            fence: None,
            grant_seq: 0,
            ticket: None,
            blocking: false,
            level: None,
            owner: Label::default(),
            label: Label::default(),
            demoted: false,
            persistent: false,
            orphan: false,
            adopted: None,
        }
    }

    fn seen(view: &ClaimView<'_>) -> Self {
        Self {
            id: view.id,
            granted: view.granted,
            requested: view.requested,
            alternate: view.alternate,
            no_order: view.no_order,
            operation: view.operation,
            kind: view.kind,
            ended: view.ended,
            value_wanted: view.value_wanted,
            fence: view.fence,
            grant_seq: view.grant_seq,
            ticket: view.ticket,
            blocking: view.blocking,
            level: view.blocking_level,
            owner: view.owner.clone(),
            label: view.label.clone(),
            demoted: view.demoted,
            persistent: view.persistent,
            orphan: view.orphan,
            adopted: view.adopted,
        }
    }

    fn holds_write_mode(&self) -> bool {
        matches!(self.granted, Some(Mode::PW | Mode::EX))
    }
}

/// The resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Naive {
    pub granted: Vec<Claim>,
    pub converting: Vec<Claim>,
    pub waiting: Vec<Claim>,
    pub value: Vec<u8>,
    pub seq: u64,
    pub invalid: bool,
    /// What claims granted by this step carry.
    now: Stamp,
    value_length: usize,
}

impl fmt::Debug for Naive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, queue) in [("G", &self.granted), ("C", &self.converting), ("W", &self.waiting)] {
            writeln!(f, "{name}:")?;
            for claim in queue {
                writeln!(f, "    {claim:?}")?;
            }
        }
        write!(f, "value {:?} seq {} invalid {}", self.value, self.seq, self.invalid)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.id.session.serial, self.id.number)?;
        write!(f, " holds {:?} wants {:?} or {:?}", self.granted, self.requested, self.alternate)?;
        write!(f, ", {:?} {} {:?}", self.kind, self.operation.0, self.ended)?;
        write!(f, ", grant {} {:?} ticket {:?}", self.grant_seq, self.fence, self.ticket)?;
        write!(f, ", told {:?}", self.level)?;
        for (set, word) in [
            (self.no_order, "no_order"),
            (self.value_wanted, "value"),
            (self.blocking, "blocking"),
            (self.demoted, "demoted"),
            (self.persistent, "persistent"),
            (self.orphan, "orphan"),
        ] {
            if set {
                write!(f, " {word}")?;
            }
        }
        Ok(())
    }
}

impl Naive {
    /// What the real machine shows.
    pub fn of(resource: &Resource, value_length: usize) -> Self {
        let queue = |views: &mut dyn Iterator<Item = ClaimView<'_>>| views.map(|view| Claim::seen(&view)).collect();
        Self {
            granted: queue(&mut resource.granted()),
            converting: queue(&mut resource.converting()),
            waiting: queue(&mut resource.waiting()),
            value: resource.value_bytes().to_vec(),
            seq: resource.value_seq(),
            invalid: resource.value_invalid(),
            now: Stamp::ThisWrite(0),
            value_length,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.granted.is_empty() && self.converting.is_empty() && self.waiting.is_empty()
    }

    /// All claims, queue by queue.
    pub fn all(&self) -> impl Iterator<Item = &Claim> {
        self.granted.iter().chain(&self.converting).chain(&self.waiting)
    }

    /// The holder set.
    pub fn holders(&self) -> impl Iterator<Item = &Claim> {
        self.granted.iter().chain(&self.converting)
    }

    /// Converters, then waiters.
    pub fn queued(&self) -> impl Iterator<Item = &Claim> {
        self.converting.iter().chain(&self.waiting)
    }

    /// The stamps of this write are known.
    pub fn committed(&mut self, fence: impl Fn(u16) -> Fence) {
        let known = |stamp: &mut Option<Stamp>| {
            if let Some(Stamp::ThisWrite(index)) = *stamp {
                *stamp = Some(Stamp::Known(fence(index)));
            }
        };
        for claim in self.granted.iter_mut().chain(&mut self.converting).chain(&mut self.waiting) {
            known(&mut claim.fence);
            known(&mut claim.ticket);
        }
    }
}

/// The grant test, line by line.
impl Naive {
    /// G2 and G3.
    fn conflict(&self, id: ClaimId, mode: Mode) -> bool {
        self.holders().filter(|other| other.id != id).any(|other| !other.granted.unwrap().compatible(mode))
    }

    fn test_new(&self, id: ClaimId, mode: Mode, options: Options) -> bool {
        if options.contains(Options::EXPEDITE) {
            return true; // G1
        }
        if self.conflict(id, mode) {
            return false; // G2, G3
        }
        if options.contains(Options::NO_ORDER) {
            return true; // G7
        }
        self.converting.is_empty() && self.waiting.is_empty() // G9
    }

    fn test_conversion(&self, id: ClaimId, mode: Mode, options: Options) -> bool {
        if self.conflict(id, mode) {
            return false; // G2, G3
        }
        if !options.contains(Options::QUEUE_CONVERSION) {
            return true; // G5
        }
        self.converting.is_empty() // G6
    }

    fn test_queued(&self, claim: &Claim, mode: Mode) -> bool {
        if self.conflict(claim.id, mode) {
            return false; // G2, G3
        }
        if claim.no_order {
            return true; // G7
        }
        if claim.granted.is_some() {
            return self.converting[0].id == claim.id; // G8
        }
        self.converting.is_empty() && self.waiting[0].id == claim.id // G10
    }

    /// The mode in which a queued claim passes, if any (N2).
    pub fn passes(&self, claim: &Claim) -> Option<Mode> {
        let modes = [claim.requested, claim.alternate];
        modes.into_iter().flatten().find(|mode| self.test_queued(claim, *mode))
    }
}

fn alternate(mode: Mode, options: Options) -> Option<Mode> {
    if options.contains(Options::ALTERNATE_PR) && mode != Mode::PR {
        return Some(Mode::PR);
    }
    if options.contains(Options::ALTERNATE_CW) && mode != Mode::CW {
        return Some(Mode::CW);
    }
    None
}

fn completion(claim: ClaimId, operation: OperationNumber, status: Status) -> Completion {
    Completion {
        claim,
        operation,
        status,
        mode: None,
        fence: None,
        grant_seq: 0,
        immediate: false,
        demoted: false,
        alternate: false,
        extras: Extras::default(),
        repeated: false,
    }
}

fn blocker(claim: &Claim) -> Blocker {
    Blocker {
        claim: claim.id,
        granted: claim.granted,
        requested: claim.requested,
        owner: claim.owner.clone(),
        label: claim.label.clone(),
    }
}

fn refused(refusal: Refusal, outcomes: &mut Vec<Outcome>) {
    outcomes.push(Outcome::Refused { refusal });
}

/// Refusals for bad arguments are compared without their words.
pub const INVALID: Refusal = Refusal::Invalid("");

/// Grants, passes and notifications.
impl Naive {
    /// Grants a claim that is on no queue at the moment.
    fn grant(&mut self, mut claim: Claim, mode: Mode, immediate: bool, outcomes: &mut Vec<Outcome>) {
        let alternate = claim.requested != Some(mode);
        let before = claim.granted;
        claim.granted = Some(mode);
        claim.requested = None;
        claim.alternate = None;
        claim.no_order = false;
        claim.ticket = None;
        claim.level = None;
        claim.ended = Some(Ended::Granted);
        claim.grant_seq += 1;
        let new_fence = match before.map(|before| before.conversion(mode)) {
            None | Some(ConversionKind::Up | ConversionKind::Sideways) => true,
            Some(ConversionKind::Down | ConversionKind::Same) => false,
        };
        if new_fence {
            claim.fence = Some(self.now);
        }
        let mut done = completion(claim.id, claim.operation, Status::Granted);
        done.mode = Some(mode);
        done.fence = claim.fence;
        done.grant_seq = claim.grant_seq;
        done.immediate = immediate;
        done.demoted = claim.demoted;
        done.alternate = alternate;
        let read = value_on_grant(before, mode) == ValueMove::Read;
        done.extras = Extras::new(claim.value_wanted.then(|| self.report(read)), Vec::new(), claim.adopted);
        outcomes.push(Outcome::Completed(done));
        self.granted.push(claim);
    }

    fn report(&self, read: bool) -> Value {
        Value { bytes: read.then(|| Bytes::copy_from_slice(&self.value)), seq: self.seq, invalid: self.invalid }
    }

    /// P3: from the head; after a pass that granted something, again.
    fn regrant_converters(&mut self, outcomes: &mut Vec<Outcome>) {
        loop {
            let mut any = false;
            let mut index = 0;
            while index < self.converting.len() {
                let claim = self.converting[index].clone();
                if let Some(mode) = self.passes(&claim) {
                    self.converting.remove(index);
                    self.grant(claim, mode, false, outcomes);
                    any = true;
                } else {
                    index += 1;
                }
            }
            if !any {
                return;
            }
        }
    }

    /// P3 and P4.
    fn regrant(&mut self, outcomes: &mut Vec<Outcome>) {
        self.regrant_converters(outcomes);
        let mut index = 0;
        while index < self.waiting.len() {
            let claim = self.waiting[index].clone();
            if let Some(mode) = self.passes(&claim) {
                self.waiting.remove(index);
                self.grant(claim, mode, false, outcomes);
            } else {
                index += 1;
            }
        }
    }

    /// B3.
    pub fn level_due(&self, holder: &Claim) -> Option<Mode> {
        let held = holder.granted?;
        let requests = self.queued().filter_map(|claim| claim.requested);
        requests.filter(|requested| !requested.compatible(held)).max_by_key(|requested| requested.number())
    }

    /// B2 to B5.
    fn notify(&mut self, outcomes: &mut Vec<Outcome>) {
        for index in 0..self.granted.len() {
            let holder = &self.granted[index];
            if !holder.blocking || holder.orphan {
                continue;
            }
            let Some(wanted) = self.level_due(holder) else { continue };
            if holder.level.is_none_or(|level| level.number() < wanted.number()) {
                let holder = &mut self.granted[index];
                holder.level = Some(wanted);
                let (claim, grant_seq) = (holder.id, holder.grant_seq);
                outcomes.push(Outcome::Blocking { claim, grant_seq, wanted, own: false });
            }
        }
    }

    /// B6.
    fn notify_refused(&mut self, id: ClaimId, wanted: Mode, outcomes: &mut Vec<Outcome>) {
        for holder in self.granted.iter_mut().chain(&mut self.converting) {
            let blocks = holder.id != id && !holder.granted.unwrap().compatible(wanted);
            let listens = holder.blocking && !holder.orphan;
            if blocks && listens && holder.level.is_none_or(|level| level.number() < wanted.number()) {
                holder.level = Some(wanted);
                let (claim, grant_seq) = (holder.id, holder.grant_seq);
                outcomes.push(Outcome::Blocking { claim, grant_seq, wanted, own: false });
            }
        }
    }

    /// Holders in conflict, then, where order counts, who is ahead.
    fn met(&self, id: ClaimId, mode: Mode, converters: bool, waiters: bool) -> Vec<Blocker> {
        let mut met: Vec<Blocker> = Vec::new();
        let mut add = |claim: &Claim| {
            if claim.id != id && met.iter().all(|blocker| blocker.claim != claim.id) {
                met.push(blocker(claim));
            }
        };
        self.holders().filter(|holder| !holder.granted.unwrap().compatible(mode)).for_each(&mut add);
        if converters {
            self.converting.iter().take_while(|claim| claim.id != id).for_each(&mut add);
        }
        if waiters {
            self.waiting.iter().take_while(|claim| claim.id != id).for_each(&mut add);
        }
        met.truncate(8);
        met
    }
}

/// Commands.
impl Naive {
    /// Applies the command at this place of its write.
    pub fn apply_at(&mut self, command: &Command, index: u16) -> Vec<Outcome> {
        self.now = Stamp::ThisWrite(index);
        let outcomes = self.apply(command);
        self.now = Stamp::ThisWrite(0);
        outcomes
    }

    /// Applies one command, the first of its write.
    pub fn apply(&mut self, command: &Command) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        match command {
            Command::Lock(lock) => self.lock(lock, &mut outcomes),
            Command::Convert(convert) => self.convert(convert, &mut outcomes),
            Command::Unlock { claim, operation, options, value, force } => {
                self.unlock(*claim, *operation, *options, value.as_ref(), *force, &mut outcomes);
            }
            Command::Cancel { claim, operation, reason } => self.cancel(*claim, *operation, *reason, &mut outcomes),
            Command::Adopt { .. } => self.adopt(command, &mut outcomes),
            Command::Bury { session } => self.bury(*session, &mut outcomes),
            Command::Remove { claims } => {
                let gone = claims.iter().copied().filter(|id| self.all().any(|claim| claim.id == *id)).collect();
                self.take_away(gone, &mut outcomes);
            }
            Command::UnlockAll { session, owner } => self.unlock_all(*session, owner.as_ref(), &mut outcomes),
            Command::Purge { scope } => self.purge(scope, &mut outcomes),
        }
        self.notify(&mut outcomes);
        if self.is_idle() {
            self.value.clear();
            self.seq = 0;
            self.invalid = false;
        }
        outcomes
    }

    fn find(&self, id: ClaimId) -> Option<(Queue, Claim)> {
        let find = |queue: &[Claim]| queue.iter().find(|claim| claim.id == id).cloned();
        find(&self.granted)
            .map(|claim| (Queue::Granted, claim))
            .or_else(|| find(&self.converting).map(|claim| (Queue::Converting, claim)))
            .or_else(|| find(&self.waiting).map(|claim| (Queue::Waiting, claim)))
    }

    /// Takes a claim off its queue.
    fn take(&mut self, id: ClaimId) -> Claim {
        let (_, claim) = self.find(id).unwrap();
        self.granted.retain(|claim| claim.id != id);
        self.converting.retain(|claim| claim.id != id);
        self.waiting.retain(|claim| claim.id != id);
        claim
    }

    fn lock(&mut self, lock: &LockCommand, outcomes: &mut Vec<Outcome>) {
        if let Some((queue, claim)) = self.find(lock.claim) {
            return self.known(queue, &claim, lock.operation, OperationKind::Lock, outcomes);
        }
        let options = lock.options;
        let expedite = options.contains(Options::EXPEDITE);
        if options.contains(Options::QUEUE_CONVERSION)
            || lock.conversion_deadlock.is_some()
            || expedite && (lock.mode != Mode::NL || options.contains(Options::TRY))
        {
            return refused(INVALID, outcomes);
        }
        let mut claim = Claim::new(lock.claim, lock.operation, OperationKind::Lock);
        claim.requested = Some(lock.mode);
        claim.blocking = lock.blocking;
        claim.owner = lock.owner.clone();
        claim.label = lock.label.clone();
        claim.persistent = options.contains(Options::PERSISTENT);
        claim.value_wanted = options.contains(Options::VALUE_BLOCK);
        let alternate = alternate(lock.mode, options);
        for mode in [Some(lock.mode), alternate].into_iter().flatten() {
            if self.test_new(lock.claim, mode, options) {
                self.create();
                return self.grant(claim, mode, true, outcomes);
            }
        }
        let unordered = options.contains(Options::NO_ORDER);
        if options.contains(Options::TRY) {
            let mut done = completion(lock.claim, lock.operation, Status::WouldWait);
            done.extras = Extras::of_blockers(self.met(lock.claim, lock.mode, !unordered, !unordered));
            outcomes.push(Outcome::Completed(done));
            if options.contains(Options::NOTIFY_ON_REFUSAL) {
                self.notify_refused(lock.claim, lock.mode, outcomes);
            }
            return;
        }
        self.create();
        claim.alternate = alternate;
        claim.no_order = unordered;
        claim.ticket = Some(self.now);
        let head = options.contains(Options::HEAD_OF_QUEUE);
        let ahead = if head { 0 } else { self.waiting.len() };
        outcomes.push(Outcome::Queued {
            claim: claim.id,
            operation: claim.operation,
            position: (self.converting.len() + ahead) as u32,
            ticket: self.now,
            repeated: false,
        });
        self.waiting.insert(ahead, claim);
        if head {
            self.regrant(outcomes);
        }
    }

    /// V7.
    fn create(&mut self) {
        if self.is_idle() {
            self.value = vec![0; self.value_length];
        }
    }

    /// A new request for a claim that exists.
    fn known(
        &self,
        queue: Queue,
        claim: &Claim,
        operation: OperationNumber,
        kind: OperationKind,
        outcomes: &mut Vec<Outcome>,
    ) {
        if claim.orphan {
            refused(INVALID, outcomes);
        } else if operation < claim.operation {
            refused(Refusal::StaleOperation, outcomes);
        } else if operation == claim.operation && kind == claim.kind {
            self.repeat(queue, claim, outcomes);
        } else if operation > claim.operation && queue != Queue::Granted {
            refused(Refusal::Busy, outcomes);
        } else {
            refused(INVALID, outcomes);
        }
    }

    /// The state does not tell everything that the first answer said, so the caller of this model looks at repeats
    /// himself; here only what kind of answer it is.
    fn repeat(&self, queue: Queue, claim: &Claim, outcomes: &mut Vec<Outcome>) {
        let ahead = |queue: &[Claim]| queue.iter().position(|other| other.id == claim.id).unwrap();
        let position = match queue {
            Queue::Granted => {
                let mut done = completion(claim.id, claim.operation, Status::Granted);
                done.repeated = true;
                return outcomes.push(Outcome::Completed(done));
            }
            Queue::Converting => ahead(&self.converting),
            Queue::Waiting => self.converting.len() + ahead(&self.waiting),
        };
        outcomes.push(Outcome::Queued {
            claim: claim.id,
            operation: claim.operation,
            position: position as u32,
            ticket: claim.ticket.unwrap(),
            repeated: true,
        });
    }

    fn convert(&mut self, convert: &ConvertCommand, outcomes: &mut Vec<Outcome>) {
        let Some((queue, claim)) = self.find(convert.claim).filter(|(_, claim)| !claim.orphan) else {
            return refused(Refusal::NotFound, outcomes);
        };
        if convert.operation < claim.operation {
            return refused(Refusal::StaleOperation, outcomes);
        }
        if convert.operation == claim.operation {
            if claim.kind == OperationKind::Convert {
                return self.repeat(queue, &claim, outcomes);
            }
            return refused(INVALID, outcomes);
        }
        if queue != Queue::Granted {
            return refused(Refusal::Busy, outcomes);
        }
        let from = claim.granted.unwrap();
        if self.bad_conversion(convert, from) {
            return refused(INVALID, outcomes);
        }
        let options = convert.options;
        let a_try = options.contains(Options::TRY);
        if self.test_conversion(claim.id, convert.mode, options) {
            return self.convert_now(convert, convert.mode, outcomes);
        }
        let deadlock = !a_try && self.deadlock(convert, from);
        match convert.conversion_deadlock.unwrap_or_default() {
            ConversionDeadlock::Error if deadlock => return self.deadlock_error(convert, from, outcomes),
            ConversionDeadlock::Demote if deadlock => return self.demote(convert, outcomes),
            _ => {}
        }
        let alternate = alternate(convert.mode, options);
        if let Some(mode) = alternate.filter(|mode| self.test_conversion(claim.id, *mode, options)) {
            return self.convert_now(convert, mode, outcomes);
        }
        if a_try {
            let mut done = completion(claim.id, convert.operation, Status::WouldWait);
            done.mode = claim.granted;
            done.fence = claim.fence;
            done.grant_seq = claim.grant_seq;
            let ordered = options.contains(Options::QUEUE_CONVERSION);
            done.extras = Extras::of_blockers(self.met(claim.id, convert.mode, ordered, false));
            outcomes.push(Outcome::Completed(done));
            if options.contains(Options::NOTIFY_ON_REFUSAL) {
                self.notify_refused(claim.id, convert.mode, outcomes);
            }
            return;
        }
        self.queue_conversion(convert, false, outcomes);
        let claim = self.find(convert.claim).unwrap().1;
        if deadlock && claim.blocking {
            let (wanted, grant_seq) = (convert.mode, claim.grant_seq);
            outcomes.push(Outcome::Blocking { claim: claim.id, grant_seq, wanted, own: true });
        }
    }

    /// A1 to A6.
    fn bad_conversion(&self, convert: &ConvertCommand, from: Mode) -> bool {
        let has = |option| convert.options.contains(option);
        let demote = convert.conversion_deadlock == Some(ConversionDeadlock::Demote);
        let queues = has(Options::QUEUE_CONVERSION);
        let stronger = |mode: Mode| from != mode && from.at_most(mode);
        let bytes = convert.value.as_ref().map_or(0, Bytes::len);
        let writes = value_on_grant(Some(from), convert.mode) == ValueMove::Write;
        demote && has(Options::TRY)
            || has(Options::EXPEDITE)
            || queues && convert.mode.at_most(from)
            || queues && (has(Options::HEAD_OF_QUEUE) || has(Options::NO_ORDER))
            || has(Options::ALTERNATE_PR) && !stronger(Mode::PR)
            || has(Options::ALTERNATE_CW) && !stronger(Mode::CW)
            || bytes > self.value_length
            || writes && has(Options::VALUE_BLOCK) && !has(Options::INVALIDATE_VALUE) && bytes == 0
    }

    /// D2: nobody who would be overtaken stands in the way.
    fn may_overtake(&self, convert: &ConvertCommand) -> bool {
        let in_the_way = |claim: &Claim| !claim.granted.unwrap().compatible(convert.mode);
        convert.options.contains(Options::HEAD_OF_QUEUE) && !self.converting.iter().any(in_the_way)
    }

    /// D1.
    fn deadlock(&self, convert: &ConvertCommand, from: Mode) -> bool {
        !self.may_overtake(convert) && self.converting.iter().any(|claim| !claim.requested.unwrap().compatible(from))
    }

    fn accept(&mut self, convert: &ConvertCommand) -> Claim {
        let mut claim = self.take(convert.claim);
        claim.operation = convert.operation;
        claim.kind = OperationKind::Convert;
        claim.requested = Some(convert.mode);
        claim.value_wanted = convert.options.contains(Options::VALUE_BLOCK);
        claim.demoted = false;
        claim.adopted = None;
        claim.persistent |= convert.options.contains(Options::PERSISTENT);
        claim.blocking = convert.blocking.unwrap_or(claim.blocking);
        if !claim.blocking {
            claim.level = None;
        }
        claim
    }

    fn convert_now(&mut self, convert: &ConvertCommand, mode: Mode, outcomes: &mut Vec<Outcome>) {
        let claim = self.accept(convert);
        let moved = value_on_grant(claim.granted, mode);
        self.write(moved, convert.options, convert.value.as_ref());
        self.grant(claim, mode, true, outcomes);
        self.regrant(outcomes);
    }

    fn write(&mut self, moved: ValueMove, options: Options, bytes: Option<&Bytes>) {
        if moved != ValueMove::Write {
            return;
        }
        if options.contains(Options::INVALIDATE_VALUE) {
            self.invalid = true;
        } else if options.contains(Options::VALUE_BLOCK) {
            self.value = bytes.unwrap().to_vec();
            self.value.resize(self.value_length, 0);
            self.seq += 1;
            self.invalid = false;
        }
    }

    fn deadlock_error(&mut self, convert: &ConvertCommand, from: Mode, outcomes: &mut Vec<Outcome>) {
        let blockers = self.converting.iter().filter(|claim| !claim.requested.unwrap().compatible(from));
        let blockers: Vec<Blocker> = blockers.take(8).map(blocker).collect();
        let claim = self.granted.iter_mut().find(|claim| claim.id == convert.claim).unwrap();
        claim.operation = convert.operation;
        claim.kind = OperationKind::Convert;
        claim.ended = Some(Ended::Deadlock);
        claim.value_wanted = false;
        claim.demoted = false;
        claim.adopted = None;
        let mut done = completion(claim.id, claim.operation, Status::Deadlock);
        done.mode = claim.granted;
        done.fence = claim.fence;
        done.grant_seq = claim.grant_seq;
        done.extras = Extras::of_blockers(blockers);
        outcomes.push(Outcome::Completed(done));
    }

    /// D5.
    fn demote(&mut self, convert: &ConvertCommand, outcomes: &mut Vec<Outcome>) {
        let mut claim = self.accept(convert);
        let requested = claim.requested.take();
        claim.granted = Some(Mode::NL);
        claim.demoted = true;
        self.granted.push(claim);
        self.regrant_converters(outcomes);
        let modes = [requested, alternate(convert.mode, convert.options)];
        let passing =
            modes.into_iter().flatten().find(|mode| self.test_conversion(convert.claim, *mode, convert.options));
        if let Some(mode) = passing {
            let mut claim = self.take(convert.claim);
            claim.requested = requested;
            self.grant(claim, mode, true, outcomes);
        } else {
            self.queue_conversion(convert, true, outcomes);
        }
        self.regrant(outcomes);
    }

    fn queue_conversion(&mut self, convert: &ConvertCommand, demoted: bool, outcomes: &mut Vec<Outcome>) {
        let head = self.may_overtake(convert);
        let mut claim = self.accept(convert);
        claim.demoted = demoted;
        claim.alternate = alternate(convert.mode, convert.options);
        claim.no_order = convert.options.contains(Options::NO_ORDER);
        claim.ticket = Some(self.now);
        claim.ended = None;
        let ahead = if head { 0 } else { self.converting.len() };
        outcomes.push(Outcome::Queued {
            claim: claim.id,
            operation: claim.operation,
            position: ahead as u32,
            ticket: self.now,
            repeated: false,
        });
        self.converting.insert(ahead, claim);
    }

    fn unlock(
        &mut self,
        id: ClaimId,
        operation: OperationNumber,
        options: Options,
        value: Option<&Bytes>,
        force: bool,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some((queue, claim)) = self.find(id).filter(|(_, claim)| !claim.orphan) else {
            return outcomes.push(Outcome::Gone { claim: id });
        };
        if operation < claim.operation {
            return refused(Refusal::StaleOperation, outcomes);
        }
        if operation == claim.operation {
            return refused(INVALID, outcomes);
        }
        if queue != Queue::Granted && !force {
            return refused(Refusal::Busy, outcomes);
        }
        let moved = claim.granted.map_or(ValueMove::Nothing, value_on_release);
        let bytes = value.map_or(0, Bytes::len);
        let wanted = options.contains(Options::VALUE_BLOCK);
        let writes = moved == ValueMove::Write && wanted && !options.contains(Options::INVALIDATE_VALUE);
        if bytes > self.value_length || writes && bytes == 0 {
            return refused(INVALID, outcomes);
        }
        if queue != Queue::Granted {
            Self::withdrawn(&claim, outcomes);
        }
        self.take(id);
        self.write(moved, options, value);
        let mut done = completion(id, operation, Status::Released);
        done.grant_seq = claim.grant_seq;
        done.extras = Extras::new(wanted.then(|| self.report(false)), Vec::new(), None);
        outcomes.push(Outcome::Completed(done));
        self.regrant(outcomes);
    }

    fn withdrawn(claim: &Claim, outcomes: &mut Vec<Outcome>) {
        let mut done = completion(claim.id, claim.operation, Status::Cancelled);
        done.grant_seq = claim.grant_seq;
        done.demoted = claim.demoted;
        outcomes.push(Outcome::Completed(done));
    }

    fn cancel(
        &mut self,
        id: ClaimId,
        operation: Option<OperationNumber>,
        reason: CancelReason,
        outcomes: &mut Vec<Outcome>,
    ) {
        let Some((queue, claim)) = self.find(id).filter(|(_, claim)| !claim.orphan) else {
            return outcomes.push(Outcome::Gone { claim: id });
        };
        if queue == Queue::Granted || operation.is_some_and(|operation| operation != claim.operation) {
            return outcomes.push(Outcome::AlreadyGranted { claim: id });
        }
        let status = match reason {
            CancelReason::Cancelled => Status::Cancelled,
            CancelReason::TimedOut => Status::TimedOut,
        };
        let mut done = completion(id, claim.operation, status);
        if reason == CancelReason::TimedOut {
            let ordered = !claim.no_order;
            done.extras = Extras::of_blockers(self.met(
                id,
                claim.requested.unwrap(),
                ordered,
                ordered && queue == Queue::Waiting,
            ));
        }
        let claim = self.take(id);
        if queue == Queue::Converting {
            done.mode = claim.granted;
            done.fence = claim.fence;
            done.grant_seq = claim.grant_seq;
            done.demoted = claim.demoted;
            let ended = match reason {
                CancelReason::Cancelled => Ended::Cancelled,
                CancelReason::TimedOut => Ended::TimedOut,
            };
            self.back(claim, ended);
        }
        outcomes.push(Outcome::Completed(done));
        self.regrant(outcomes);
    }

    fn back(&mut self, mut claim: Claim, ended: Ended) {
        claim.requested = None;
        claim.alternate = None;
        claim.no_order = false;
        claim.ticket = None;
        claim.level = None;
        claim.value_wanted = false;
        claim.ended = Some(ended);
        self.granted.push(claim);
    }

    /// F7.
    fn adopt(&mut self, command: &Command, outcomes: &mut Vec<Outcome>) {
        let Command::Adopt { claim: id, operation, mode, options, blocking, owner, label } = command else { return };
        if let Some((queue, claim)) = self.find(*id) {
            return self.known(queue, &claim, *operation, OperationKind::Adopt, outcomes);
        }
        if !self.all().any(|claim| claim.orphan) {
            return refused(Refusal::NotFound, outcomes);
        }
        let orphan = self.granted.iter().find(|claim| claim.orphan && claim.granted == Some(*mode));
        let Some(orphan) = orphan.cloned() else {
            return outcomes.push(Outcome::Completed(completion(*id, *operation, Status::WouldWait)));
        };
        self.take(orphan.id);
        outcomes.push(Outcome::Removed { claim: orphan.id, held: true });
        let mut claim = Claim::new(*id, *operation, OperationKind::Adopt);
        claim.requested = Some(*mode);
        claim.grant_seq = orphan.grant_seq;
        claim.adopted = Some(orphan.id);
        claim.blocking = *blocking;
        claim.owner = owner.clone();
        claim.label = label.clone();
        claim.persistent = options.contains(Options::PERSISTENT);
        claim.value_wanted = options.contains(Options::VALUE_BLOCK);
        self.grant(claim, *mode, true, outcomes);
    }

    /// H2 and F6.
    fn bury(&mut self, session: SessionId, outcomes: &mut Vec<Outcome>) {
        let mut own: Vec<ClaimId> = self.claims_of(session, None);
        own.retain(|id| {
            let (queue, claim) = self.find(*id).unwrap();
            if !claim.persistent || queue == Queue::Waiting {
                return true;
            }
            let mut claim = self.take(*id);
            claim.orphan = true;
            claim.blocking = false;
            claim.level = None;
            if queue == Queue::Converting {
                self.back(claim, Ended::Cancelled);
            } else {
                self.granted.push(claim);
            }
            outcomes.push(Outcome::Orphaned { claim: *id });
            false
        });
        self.take_away(own, outcomes);
    }

    /// Live claims of a session by number.
    fn claims_of(&self, session: SessionId, owner: Option<&Label>) -> Vec<ClaimId> {
        let own = self.all().filter(|claim| claim.id.session == session && !claim.orphan);
        let mut own: Vec<ClaimId> =
            own.filter(|claim| owner.is_none_or(|owner| claim.owner == *owner)).map(|claim| claim.id).collect();
        own.sort();
        own
    }

    /// V9: what leaves without a release, then one pass.
    fn take_away(&mut self, claims: Vec<ClaimId>, outcomes: &mut Vec<Outcome>) {
        for id in claims {
            let claim = self.take(id);
            self.invalid |= claim.holds_write_mode();
            outcomes.push(Outcome::Removed { claim: id, held: claim.granted.is_some() });
        }
        self.regrant(outcomes);
    }

    fn purge(&mut self, scope: &PurgeScope, outcomes: &mut Vec<Outcome>) {
        let meant = |claim: &&Claim| {
            claim.orphan
                && match scope {
                    PurgeScope::All => true,
                    PurgeScope::Session(session) => claim.id.session == *session,
                    PurgeScope::Owner(owner) => claim.owner == *owner,
                    PurgeScope::Claim(id) => claim.id == *id,
                }
        };
        let mut claims: Vec<&Claim> = self.granted.iter().filter(meant).collect();
        claims.sort_by_key(|claim| claim.granted.unwrap().number());
        let claims = claims.into_iter().map(|claim| claim.id).collect();
        self.take_away(claims, outcomes);
    }

    fn unlock_all(&mut self, session: SessionId, owner: Option<&Label>, outcomes: &mut Vec<Outcome>) {
        let own = self.claims_of(session, owner);
        for id in &own {
            let (queue, claim) = self.find(*id).unwrap();
            if queue != Queue::Granted {
                Self::withdrawn(&claim, outcomes);
            }
            outcomes.push(Outcome::Removed { claim: *id, held: claim.granted.is_some() });
            self.take(*id);
        }
        if !own.is_empty() {
            self.regrant(outcomes);
        }
    }
}
