//! Exploration of small worlds: every state that a few claims can reach, and what must hold after every step.
//!
//! A state is kept as its record, so every step goes through bytes. Two states that differ only in numbers (operations,
//! grants, fences, value sequence) behave alike and count as one. After each step the machine is compared with the naive
//! model, outcome by outcome and field by field, and then the properties are checked on their own.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use sixpin_core::command::{
    CancelReason, Command, Completion, ConversionDeadlock, ConvertCommand, Extras, LockCommand, Options, Outcome,
    PurgeScope, Refusal, Status,
};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimId, Fence, Label, OperationNumber, SessionId, Stamp, Version};
use sixpin_core::resource::{ClaimView, Context, Queue, Resource};

use super::naive::{Claim, INVALID, Naive};

/// Length of value blocks here: short, so that records are.
const VALUE_BYTES: usize = 8;

/// What may happen in a world.
#[derive(Debug, Clone)]
pub struct World {
    /// The session of each claim.
    pub sessions: Vec<u32>,
    /// Modes that are requested.
    pub modes: Vec<Mode>,
    /// Option sets of new requests.
    pub lock: Vec<Options>,
    /// Whether new requests want notifications.
    pub blocking: Vec<bool>,
    /// Option sets of conversions.
    pub convert: Vec<Options>,
    /// Behaviours in conversion deadlock.
    pub deadlock: Vec<Option<ConversionDeadlock>>,
    /// What conversions say of notifications.
    pub convert_blocking: Vec<Option<bool>>,
    /// Option sets of releases.
    pub unlock: Vec<Options>,
    /// Option sets of adoptions.
    pub adopt: Vec<Options>,
    /// Forced releases, removals and purges.
    pub force: bool,
    /// Stop after so many states.
    pub states_max: usize,
    /// Try only so many commands in each state, chosen at random but always the same.
    pub sample: Option<usize>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            sessions: vec![1, 2, 3],
            modes: Mode::ALL.to_vec(),
            lock: vec![Options::empty()],
            blocking: vec![false],
            convert: vec![Options::empty()],
            deadlock: vec![None],
            convert_blocking: vec![None],
            unlock: vec![Options::empty()],
            adopt: vec![],
            force: false,
            states_max: usize::MAX,
            sample: None,
        }
    }
}

/// What an exploration saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub states: usize,
    pub steps: usize,
    pub grants: usize,
    pub notifications: usize,
    pub deadlocks: usize,
    pub demotions: usize,
    pub orphans: usize,
}

/// A state to take steps from, three times: as it is, as bytes, and as the model sees it.
struct From<'a> {
    state: &'a Resource,
    record: &'a Bytes,
    naive: &'a Naive,
}

/// A state that was reached, and how many writes it took.
struct Reached {
    record: Bytes,
    version: u64,
}

impl World {
    /// Visits every state, in order of distance.
    pub fn explore(&self) -> Seen {
        let mut seen = Seen::default();
        let mut known = BTreeSet::new();
        let mut open = VecDeque::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let start = Resource::new();
        known.insert(self.key(&start));
        open.push_back(Reached { record: start.encode(), version: 0 });
        let mut menu = Vec::new();
        while let Some(reached) = open.pop_front() {
            let state = Resource::decode(&reached.record, Version(reached.version)).unwrap();
            menu.clear();
            self.menu(&state, &mut menu);
            let naive = Naive::of(&state, VALUE_BYTES);
            let tries = self.sample.unwrap_or(menu.len());
            for index in 0..tries {
                let command = if self.sample.is_some() {
                    // xorshift: any spread will do, as long as it is the same in each run.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    &menu[(random % menu.len() as u64) as usize]
                } else {
                    &menu[index]
                };
                let version = reached.version + 1;
                let from = From { state: &state, record: &reached.record, naive: &naive };
                let Some((next, record)) = self.step(&from, command, version, &mut seen) else { continue };
                if known.insert(self.key(&next)) {
                    open.push_back(Reached { record, version });
                }
            }
            if known.len() >= self.states_max {
                break;
            }
        }
        seen.states = known.len();
        seen
    }

    fn claims(&self) -> impl Iterator<Item = ClaimId> {
        self.sessions.iter().enumerate().map(|(index, session)| super::claim(*session, index as u64 + 1))
    }

    fn session_ids(&self) -> BTreeSet<SessionId> {
        self.sessions.iter().map(|serial| super::session(*serial)).collect()
    }

    /// The state without numbers, in one: 21 bits a claim and one for the value block. Claims that differ only in their
    /// names are interchangeable: those of one session, or all if each has a session of its own.
    fn key(&self, state: &Resource) -> u64 {
        let orphans: Vec<ClaimId> = state.granted().filter(|view| view.orphan).map(|view| view.id).collect();
        let converting: Vec<ClaimId> = state.converting().map(|view| view.id).collect();
        let waiting: Vec<ClaimId> = state.waiting().map(|view| view.id).collect();
        let mut keys = [(0, 0); 3];
        for (index, id) in self.claims().enumerate() {
            let group = if self.session_ids().len() == self.sessions.len() { 0 } else { self.sessions[index] };
            let key = state.claim(id).map_or(0, |view| match view.queue {
                Queue::Granted => claim_key(&view, 1, &orphans),
                Queue::Converting => claim_key(&view, 2, &converting),
                Queue::Waiting => claim_key(&view, 3, &waiting),
            });
            keys[index] = (group, key);
        }
        keys.sort_unstable();
        keys.iter().fold(u64::from(state.value_invalid()), |key, (_, claim)| key << 21 | claim)
    }
}

fn context() -> Context {
    Context { value_bytes: VALUE_BYTES, ..super::context(0) }
}

/// A claim without its name and numbers, in 21 bits.
fn claim_key(view: &ClaimView<'_>, queue: u64, order: &[ClaimId]) -> u64 {
    let mode = |mode: Option<Mode>| mode.map_or(7, |mode| u64::from(mode.number()));
    let place = order.iter().position(|other| *other == view.id).map_or(3, |place| place as u64);
    let alternate = match view.alternate {
        None => 0,
        Some(Mode::PR) => 1,
        Some(_) => 2,
    };
    let pending = view.queue != Queue::Granted;
    let flags = [
        view.no_order,
        view.blocking,
        view.persistent,
        view.orphan,
        pending && view.value_wanted,
        pending && view.demoted,
    ];
    let flags = flags.into_iter().fold(0, |flags, flag| flags << 1 | u64::from(flag));
    let modes = mode(view.granted) << 6 | mode(view.requested) << 3 | mode(view.blocking_level);
    queue << 19 | place << 17 | modes << 8 | alternate << 6 | flags
}

/// What can be asked in a state.
impl World {
    fn menu(&self, state: &Resource, menu: &mut Vec<Command>) {
        for id in self.claims() {
            match state.claim(id) {
                None => self.menu_absent(id, menu),
                Some(view) => {
                    let operation = OperationNumber(view.operation.0 + 1);
                    self.menu_present(id, operation, menu);
                    if view.queue == Queue::Granted && !view.orphan {
                        self.menu_granted(id, operation, menu);
                    }
                }
            }
        }
        for session in self.session_ids() {
            menu.push(Command::Bury { session });
            if self.force {
                menu.push(Command::UnlockAll { session, owner: None });
                menu.push(Command::Purge { scope: PurgeScope::Session(session) });
            }
        }
        if self.force {
            menu.push(Command::Purge { scope: PurgeScope::All });
            menu.push(Command::Remove { claims: self.claims().take(2).collect() });
        }
    }

    fn menu_absent(&self, claim: ClaimId, menu: &mut Vec<Command>) {
        let operation = OperationNumber(1);
        for mode in self.modes.iter().copied() {
            for options in self.lock.iter().copied() {
                for blocking in self.blocking.iter().copied() {
                    menu.push(Command::Lock(LockCommand {
                        claim,
                        operation,
                        mode,
                        options,
                        conversion_deadlock: None,
                        blocking,
                        owner: Label::default(),
                        label: Label::default(),
                    }));
                }
            }
            for options in self.adopt.iter().copied() {
                menu.push(Command::Adopt {
                    claim,
                    operation,
                    mode,
                    options,
                    blocking: self.blocking[0],
                    owner: Label::default(),
                    label: Label::default(),
                });
            }
        }
    }

    fn menu_present(&self, claim: ClaimId, operation: OperationNumber, menu: &mut Vec<Command>) {
        let bytes = Bytes::copy_from_slice(&operation.0.to_le_bytes());
        // Refused in each of these states but the granted one, where it is the plainest of many.
        menu.push(Command::Convert(ConvertCommand {
            claim,
            operation,
            mode: self.modes[0],
            options: Options::empty(),
            conversion_deadlock: None,
            blocking: None,
            value: None,
        }));
        for options in self.unlock.iter().copied() {
            let value = options.contains(Options::VALUE_BLOCK).then(|| bytes.clone());
            menu.push(Command::Unlock { claim, operation, options, value, force: false });
        }
        menu.push(Command::Cancel { claim, operation: None, reason: CancelReason::Cancelled });
        menu.push(Command::Cancel {
            claim,
            operation: Some(OperationNumber(operation.0 - 1)),
            reason: CancelReason::TimedOut,
        });
        if self.force {
            let options = Options::empty();
            menu.push(Command::Unlock { claim, operation, options, value: None, force: true });
            menu.push(Command::Remove { claims: vec![claim] });
            menu.push(Command::Purge { scope: PurgeScope::Claim(claim) });
        }
    }

    fn menu_granted(&self, claim: ClaimId, operation: OperationNumber, menu: &mut Vec<Command>) {
        let bytes = Bytes::copy_from_slice(&operation.0.to_le_bytes());
        for mode in self.modes.iter().copied() {
            for options in self.convert.iter().copied() {
                let value = options.contains(Options::VALUE_BLOCK).then(|| bytes.clone());
                for conversion_deadlock in self.deadlock.iter().copied() {
                    for blocking in self.convert_blocking.iter().copied() {
                        let value = value.clone();
                        menu.push(Command::Convert(ConvertCommand {
                            claim,
                            operation,
                            mode,
                            options,
                            conversion_deadlock,
                            blocking,
                            value,
                        }));
                    }
                }
            }
        }
    }
}

/// One step, and everything that must hold.
impl World {
    /// Takes the step; the next state and its record, unless nothing changed.
    fn step(&self, from: &From<'_>, command: &Command, version: u64, seen: &mut Seen) -> Option<(Resource, Bytes)> {
        seen.steps += 1;
        let mut next = from.state.clone();
        let mut outcomes = Vec::new();
        let changed = next.apply(command, &context(), &mut outcomes);

        let mut naive = from.naive.clone();
        let expected = naive.apply(command);
        let told = || format!("{command:?}\nin {:?}\n", from.naive);
        assert_eq!(plain(&outcomes), plain(&expected), "{}", told());
        let record = next.encode();
        assert_eq!(changed, record != from.record, "{}", told());
        if !changed {
            assert_eq!(naive, *from.naive, "{}", told());
            return None;
        }
        assert!(record.len() <= next.encoded_len_max(), "{}", told());
        next.committed(Version(version));
        let read = Resource::decode(&record, Version(version)).unwrap();
        let fence = Fence::new(Version(version), 0);
        naive.committed(|_| fence);
        assert_eq!(Naive::of(&read, VALUE_BYTES), naive, "{}", told());
        let known = read.encode();
        assert_eq!(known, next.encode(), "{}", told());

        self.check_state(&naive, &told);
        check_blockers(&read);
        check_fences(from.state, &naive, fence);
        check_completions(&read, &outcomes, fence);
        check_at_once(from.naive, command, &outcomes);
        check_crash_is_a_release(from, command, &outcomes);
        Self::check_repeat(&read, command, &outcomes, fence);
        count(&outcomes, seen);
        seen.demotions += usize::from(naive.converting.iter().any(|claim| claim.demoted));
        seen.orphans += usize::from(read.has_orphans());
        Some((read, known))
    }

    /// Checklist 2, 4, 5, 15, 29 to 31, on what the machine shows.
    fn check_state(&self, state: &Naive, told: &dyn Fn() -> String) {
        for (index, one) in state.holders().enumerate() {
            for other in state.holders().skip(index + 1) {
                assert!(one.granted.unwrap().compatible(other.granted.unwrap()), "{state:?}");
            }
        }
        assert!(state.granted.iter().all(|claim| claim.granted.is_some() && claim.requested.is_none()));
        assert!(state.converting.iter().all(|claim| claim.granted.is_some() && claim.requested.is_some()));
        assert!(state.waiting.iter().all(|claim| claim.granted.is_none() && claim.requested.is_some()));
        let ids: BTreeSet<ClaimId> = state.all().map(|claim| claim.id).collect();
        assert_eq!(ids.len(), state.all().count(), "a claim is on one queue only");
        for claim in state.queued() {
            assert_eq!(state.passes(claim), None, "{claim:?} should have been granted in {state:?}\nafter {}", told());
        }
        if let (Some(head), false) = (state.converting.first(), self.deadlock.contains(&Some(ConversionDeadlock::Wait)))
        {
            let blocks = |holder: &Claim| !holder.granted.unwrap().compatible(head.requested.unwrap());
            assert!(state.granted.iter().any(blocks), "a silent hang: {state:?}\nafter {}", told());
        }
        for holder in &state.granted {
            if let Some(level) = holder.level {
                assert!(holder.blocking && !level.compatible(holder.granted.unwrap()), "{holder:?}");
            }
            if holder.blocking && !holder.orphan {
                let due = state.level_due(holder).map_or(0, Mode::number);
                assert!(holder.level.map_or(0, Mode::number) >= due, "{holder:?} was not told in {state:?}");
            }
        }
    }

    /// Checklist 33: the same command once more changes nothing and is answered the same.
    fn check_repeat(state: &Resource, command: &Command, first: &[Outcome], fence: Fence) {
        let mut again = state.clone();
        let mut outcomes = Vec::new();
        let would_wait =
            |outcome: &Outcome| matches!(outcome, Outcome::Completed(Completion { status: Status::WouldWait, .. }));
        if first.iter().any(would_wait) {
            return;
        }
        assert!(!again.apply(command, &context(), &mut outcomes), "{command:?} twice");
        assert_eq!(again.encode(), state.encode(), "{command:?} twice");
        let (claim, operation) = match command {
            Command::Lock(lock) => (lock.claim, lock.operation),
            Command::Convert(convert) => (convert.claim, convert.operation),
            Command::Adopt { claim, operation, .. } => (*claim, *operation),
            Command::Unlock { .. } => return assert!(matches!(outcomes[..], [Outcome::Gone { .. }])),
            Command::Cancel { .. } => {
                return assert!(matches!(outcomes[..], [Outcome::Gone { .. } | Outcome::AlreadyGranted { .. }]));
            }
            _ => return assert_eq!(outcomes, []),
        };
        let own = |outcome: &&Outcome| match outcome {
            Outcome::Completed(completion) => completion.claim == claim && completion.operation == operation,
            Outcome::Queued { claim: other, .. } => *other == claim,
            _ => false,
        };
        let answer = first.iter().rev().find(own).unwrap();
        match (answer, &outcomes[..]) {
            (Outcome::Completed(answer), [Outcome::Completed(again)]) => {
                assert!(again.repeated);
                assert_eq!(settled(answer, fence), settled(again, fence));
            }
            (Outcome::Queued { ticket, .. }, [Outcome::Queued { ticket: again, repeated: true, .. }]) => {
                assert_eq!(ticket.resolve(Version(fence.0 / 1024)), again.resolve(Version(0)));
            }
            _ => panic!("{command:?} was answered {answer:?}, then {outcomes:?}"),
        }
    }
}

/// X1: grants of this write have its fence, and it is larger than all earlier ones.
fn check_blockers(state: &Resource) {
    let ahead = |one: &ClaimView<'_>, other: &ClaimView<'_>| {
        one.queue == Queue::Converting && other.queue == Queue::Waiting || one.queue == other.queue
    };
    for claim in state.converting().chain(state.waiting()) {
        let blocker = state.blocker_of(claim.id).unwrap_or_else(|| panic!("nobody is in the way of {claim:?}"));
        let conflicts = blocker.granted.is_some_and(|held| !held.compatible(claim.requested.unwrap()));
        assert!(blocker.id != claim.id && (conflicts || ahead(&blocker, &claim)), "{blocker:?} and {claim:?}");
    }
    assert!(state.granted().all(|claim| state.blocker_of(claim.id).is_none()));
}

fn check_fences(before: &Resource, after: &Naive, fence: Fence) {
    let newest = before.granted().chain(before.converting()).filter_map(|view| view.fence);
    assert!(newest.into_iter().all(|stamp| matches!(stamp, Stamp::Known(earlier) if earlier < fence)));
    for holder in after.holders() {
        let Some(Stamp::Known(now)) = holder.fence else { panic!("a holder without a fence") };
        assert!(now <= fence);
        let held = before.claim(holder.id).and_then(|view| view.granted);
        let raised = held.is_none_or(|held| !holder.granted.unwrap().at_most(held));
        if raised {
            assert_eq!(now, fence, "a grant that others conflict with has a fence of its own");
        }
    }
}

/// A broker that only reads the record can tell its client exactly what the writer knew.
fn check_completions(read: &Resource, outcomes: &[Outcome], fence: Fence) {
    for outcome in outcomes {
        if let Outcome::Completed(completion) = outcome
            && completion.status == Status::Granted
        {
            let told = read.completion(completion.claim).unwrap();
            assert_eq!(settled(completion, fence), settled(&told, fence));
        }
    }
}

/// Checklist 9: conversions down or to the same mode are granted at once from every state.
fn check_at_once(before: &Naive, command: &Command, outcomes: &[Outcome]) {
    let Command::Convert(convert) = command else { return };
    let claim = before.granted.iter().find(|claim| claim.id == convert.claim);
    let Some(held) = claim.and_then(|claim| claim.granted) else { return };
    if !convert.mode.at_most(held) || convert.options.contains(Options::QUEUE_CONVERSION) {
        return;
    }
    let at_once = |outcome: &Outcome| match outcome {
        Outcome::Completed(completion) => completion.immediate && completion.mode == Some(convert.mode),
        Outcome::Refused { .. } => true,
        _ => false,
    };
    assert!(outcomes.first().is_some_and(at_once), "{command:?} in {before:?}");
}

/// Checklist 37: the end of a session leads to the same grants in the same order as if it had released everything.
fn check_crash_is_a_release(from: &From<'_>, command: &Command, outcomes: &[Outcome]) {
    let Command::Bury { session } = command else { return };
    if from.naive.all().any(|claim| claim.id.session == *session && claim.persistent) {
        return;
    }
    let mut released = from.state.clone();
    let mut others = Vec::new();
    released.apply(&Command::UnlockAll { session: *session, owner: None }, &context(), &mut others);
    let grants = |outcomes: &[Outcome]| -> Vec<_> {
        let granted = |outcome: &Outcome| match outcome {
            Outcome::Completed(done) if done.status == Status::Granted => Some((done.claim, done.mode, done.alternate)),
            _ => None,
        };
        outcomes.iter().filter_map(granted).collect()
    };
    assert_eq!(grants(outcomes), grants(&others), "{command:?} in {:?}", from.naive);
}

/// A completion without what differs between a first and a second telling.
fn settled(completion: &Completion, fence: Fence) -> Completion {
    let mut completion = completion.clone();
    completion.fence = completion.fence.map(|stamp| match stamp {
        Stamp::ThisWrite(_) => Stamp::Known(fence),
        Stamp::Known(_) => stamp,
    });
    let extras = &completion.extras;
    completion.extras = Extras::new(extras.value().cloned(), Vec::new(), extras.adopted());
    completion.repeated = false;
    completion
}

/// Outcomes without the words of refusals; of repeats only what kind of answer they are.
fn plain(outcomes: &[Outcome]) -> Vec<Outcome> {
    let plain = |outcome: &Outcome| match outcome {
        Outcome::Refused { refusal: Refusal::Invalid(_) } => Outcome::Refused { refusal: INVALID },
        other => other.clone(),
    };
    outcomes.iter().map(plain).collect()
}

fn count(outcomes: &[Outcome], seen: &mut Seen) {
    for outcome in outcomes {
        match outcome {
            Outcome::Completed(completion) => match completion.status {
                Status::Granted => seen.grants += 1,
                Status::Deadlock => seen.deadlocks += 1,
                _ => {}
            },
            Outcome::Blocking { .. } => seen.notifications += 1,
            _ => {}
        }
    }
}
