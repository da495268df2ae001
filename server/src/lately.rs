//! What happened on a resource lately, for whoever is on call: what waited and how that ended, what was refused, what was held for long
//! or lost, and what administrators did.
//!
//! It is memory of one broker since its start. Nothing is decided by it, and nothing is counted here.
//!
//! # Invariants
//!
//! * What is granted without standing in a queue, and released soon, costs a comparison and takes no lock.
//! * At most 32 events are kept of each of 4,096 resources, in 32 MiB. A further resource takes the place of the one on which nothing
//!   has happened for longest.
//! * What is refused at once, again and again, is one event with a number: who asks in a loop pushes nothing else out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sixpin_core::broker::api::{Ended, Fact};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, ResourceId, SessionId};

use crate::runtime::clock;

/// So many events are kept of a resource.
const EVENTS_MAX: usize = 32;
/// Of so many resources.
const RESOURCES_MAX: usize = 4_096;
/// A shorter wait is none.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Who holds for less holds as one should.
const HOLD_MIN: Duration = Duration::from_secs(1);
/// Of an administrator's name.
const NAME_BYTES_MAX: usize = 64;

/// Something that happened on a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Tells it from the others of the broker, also when it happens again.
    pub(crate) number: u64,
    /// When, by the wall clock, in milliseconds.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) what: What,
    /// In which mode.
    pub(crate) mode: Option<Mode>,
    /// To whose claims.
    pub(crate) session: Option<SessionId>,
    /// To which of them.
    pub(crate) claim: Option<ClaimNumber>,
    /// How long it was waited or held.
    pub(crate) lasted: Option<Duration>,
    /// How often; the rest says how it was the last time.
    pub(crate) times: u32,
    /// Which administrator did it.
    pub(crate) by: Option<Arc<str>>,
}

/// What happens on resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A lock or a conversion was asked for, and that ended so.
    Asked(Ended),
    /// It was held until then.
    Held,
    /// It was held until then, and lost.
    Lost,
    /// An administrator did this.
    Did(Act),
}

/// What administrators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Asked a holder to let go.
    Notify,
    /// Took claims away.
    ForceUnlock,
    /// Ended a session that had claims there.
    Expire,
    /// Removed orphans.
    Purge,
    /// Removed a damaged record.
    RemoveDamaged,
}

/// Something that an administrator begins to do.
#[derive(Debug, Clone)]
pub(crate) struct Deed(Event);

impl Deed {
    /// Somebody of this name begins now.
    pub(crate) fn begins(act: Act, by: &str) -> Self {
        let end = (0..=by.len().min(NAME_BYTES_MAX)).rev().find(|end| by.is_char_boundary(*end));
        let by = by[..end.unwrap_or_default()].into();
        Self(Event { by: Some(by), ..Event::now(What::Did(act)) })
    }

    /// To a session, or only to this claim of it.
    pub(crate) fn to(self, session: SessionId, claim: Option<ClaimNumber>) -> Self {
        Self(Event { session: Some(session), claim, ..self.0 })
    }
}

impl Event {
    fn now(what: What) -> Self {
        Self {
            number: 0,
            at_ms: clock::wall_ms(),
            what,
            mode: None,
            session: None,
            claim: None,
            lasted: None,
            times: 1,
            by: None,
        }
    }
}

/// What all engines of a broker remember. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lately(Arc<Mutex<Memory>>);

impl Lately {
    /// Remembers what the machine has noted, if anybody may want to hear of it.
    #[inline]
    pub(crate) fn look(&self, fact: &Fact) {
        if is_worth_it(fact) {
            self.remember(fact);
        }
    }

    /// An administrator has done this.
    pub(crate) fn did(&self, on: &ResourceId, deed: Deed) {
        self.memory().add(on, deed.0, false);
    }

    /// What happened on a resource, the newest first.
    pub(crate) fn on(&self, id: &ResourceId) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.memory().resources.get(id).map_or_else(Vec::new, |kept| kept.events.iter().cloned().collect());
        // What an administrator did is known once it is done, and stands where it began.
        events.sort_by_key(|event| std::cmp::Reverse((event.at_ms, event.number)));
        events
    }

    fn remember(&self, fact: &Fact) {
        let (on, claim, event, repeats) = match fact {
            Fact::Asked { on, claim, mode, ended, queued, waited } => {
                let event = Event { mode: *mode, lasted: queued.then_some(*waited), ..Event::now(What::Asked(*ended)) };
                (on, claim, event, !queued)
            }
            Fact::Held { on, claim, mode, lost, held } => {
                let what = if *lost { What::Lost } else { What::Held };
                (on, claim, Event { mode: *mode, lasted: Some(*held), ..Event::now(what) }, false)
            }
            // That is about no resource.
            Fact::Lost { .. } => return,
        };
        let event = Event { session: Some(claim.session), claim: Some(claim.number), ..event };
        self.memory().add(on, event, repeats);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_worth_it(fact: &Fact) -> bool {
    match fact {
        Fact::Asked { ended, queued, waited, .. } => match ended {
            Ended::WouldWait | Ended::Deadlock | Ended::TimedOut | Ended::Lost | Ended::Denied | Ended::Limit => true,
            _ => *queued && *waited >= WAIT_MIN,
        },
        Fact::Held { held, lost, .. } => *lost || *held >= HOLD_MIN,
        Fact::Lost { .. } => false,
    }
}

#[derive(Debug, Default)]
struct Memory {
    resources: HashMap<ResourceId, Kept>,
    /// By when something happened there last.
    order: BTreeMap<u64, ResourceId>,
    /// How much has happened.
    number: u64,
}

#[derive(Debug)]
struct Kept {
    /// The oldest first.
    events: VecDeque<Event>,
    /// Where it stands in the order.
    at: u64,
}

impl Memory {
    /// Something happened. What repeats is the same event as the last one of its kind.
    fn add(&mut self, on: &ResourceId, event: Event, repeats: bool) {
        self.number += 1;
        let number = self.number;
        self.make_newest(on, number);
        if let Some(kept) = self.resources.get_mut(on) {
            kept.add(Event { number, ..event }, repeats);
        }
    }

    /// Makes a resource the one that is forgotten last, and room for it if it is new.
    fn make_newest(&mut self, on: &ResourceId, number: u64) {
        match self.resources.get_mut(on) {
            Some(kept) if self.order.last_key_value().is_some_and(|(newest, _)| *newest == kept.at) => return,
            Some(kept) => {
                self.order.remove(&kept.at);
                kept.at = number;
            }
            None => {
                if self.resources.len() >= RESOURCES_MAX
                    && let Some((_, oldest)) = self.order.pop_first()
                {
                    self.resources.remove(&oldest);
                }
                self.resources.insert(on.clone(), Kept { events: VecDeque::new(), at: number });
            }
        }
        self.order.insert(number, on.clone());
    }
}

impl Kept {
    fn add(&mut self, mut event: Event, repeats: bool) {
        let same = |other: &Event| (other.what, other.mode, other.lasted) == (event.what, event.mode, None);
        if let Some(place) = self.events.iter().position(same).filter(|_| repeats) {
            if let Some(before) = self.events.remove(place) {
                event.number = before.number;
                event.times = before.times.saturating_add(1);
            }
        } else if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use sixpin_core::limits::RESOURCE_NAME_BYTES_MAX;
    use sixpin_core::name::{ClaimId, Incarnation, Lockspace, ResourceName};

    use super::*;

    /// What is said of the whole, with the longest names, and with nothing but what administrators with long names do.
    const BYTES_MAX: usize = 32 * 1024 * 1024;

    fn resource(name: &str) -> ResourceId {
        ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name).unwrap() }
    }

    fn claim(number: u64) -> ClaimId {
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 1_000 };
        ClaimId { session, number: ClaimNumber(number) }
    }

    fn asked(name: &str, number: u64, ended: Ended, queued: bool, waited: Duration) -> Fact {
        Fact::Asked { on: resource(name), claim: claim(number), mode: Some(Mode::EX), ended, queued, waited }
    }

    fn held(name: &str, lost: bool, held: Duration) -> Fact {
        Fact::Held { on: resource(name), claim: claim(1), mode: Some(Mode::EX), lost, held }
    }

    impl Lately {
        fn knows(&self, name: &str) -> bool {
            self.memory().resources.contains_key(&resource(name))
        }
    }

    #[test]
    fn what_waited_was_refused_was_held_for_long_or_lost_is_remembered_and_nothing_else() {
        let (short, wait, long) = (Duration::from_micros(900), WAIT_MIN, HOLD_MIN);
        for (is_worth_it, fact) in [
            (false, asked("r", 1, Ended::Granted, true, short)),
            (true, asked("r", 1, Ended::Granted, true, wait)),
            // The store was slow, and nobody stood in the way.
            (false, asked("r", 1, Ended::Granted, false, long)),
            (false, asked("r", 1, Ended::Unavailable, false, long)),
            (true, asked("r", 1, Ended::Cancelled, true, wait)),
            (false, asked("r", 1, Ended::Cancelled, true, short)),
            (true, asked("r", 1, Ended::WouldWait, false, Duration::ZERO)),
            (true, asked("r", 1, Ended::Deadlock, false, Duration::ZERO)),
            (true, asked("r", 1, Ended::TimedOut, true, wait)),
            (true, asked("r", 1, Ended::Denied, false, Duration::ZERO)),
            (true, asked("r", 1, Ended::Limit, false, Duration::ZERO)),
            (true, asked("r", 1, Ended::Lost, true, wait)),
            (false, held("r", false, wait)),
            (true, held("r", false, long)),
            (true, held("r", true, short)),
        ] {
            let lately = Lately::default();
            lately.look(&fact);
            assert_eq!(lately.knows("r"), is_worth_it, "{fact:?}");
        }
    }

    #[test]
    fn an_event_says_who_waited_for_how_long_and_what_an_administrator_did() {
        let lately = Lately::default();
        let id = resource("r");
        let begun = Deed::begins(Act::ForceUnlock, "token:ops").to(claim(3).session, Some(ClaimNumber(3)));
        lately.look(&held("r", true, HOLD_MIN));
        lately.look(&asked("r", 2, Ended::Granted, true, WAIT_MIN));
        lately.did(&id, begun);
        let events = lately.on(&id);
        assert!(events.is_sorted_by_key(|event| std::cmp::Reverse(event.at_ms)));
        let find = |what| events.iter().find(|event| event.what == what).unwrap();
        let granted = find(What::Asked(Ended::Granted));
        assert_eq!(
            (granted.mode, granted.claim, granted.lasted),
            (Some(Mode::EX), Some(ClaimNumber(2)), Some(WAIT_MIN))
        );
        assert_eq!(find(What::Lost).lasted, Some(HOLD_MIN));
        let forced = find(What::Did(Act::ForceUnlock));
        assert_eq!((forced.by.as_deref(), forced.session), (Some("token:ops"), Some(claim(3).session)));
        assert_eq!(lately.on(&resource("other")), []);
    }

    #[test]
    fn who_asks_in_a_loop_pushes_nothing_else_out() {
        let lately = Lately::default();
        lately.look(&held("r", false, HOLD_MIN));
        for number in 1..=1_000 {
            lately.look(&asked("r", number, Ended::WouldWait, false, Duration::ZERO));
        }
        // One that stood in the queue is an event of its own each time.
        lately.look(&asked("r", 1, Ended::TimedOut, true, WAIT_MIN));
        lately.look(&asked("r", 1, Ended::TimedOut, true, WAIT_MIN));
        let events = lately.on(&resource("r"));
        let times: Vec<u32> = events.iter().map(|event| event.times).collect();
        assert_eq!((events.len(), times.iter().max()), (4, Some(&1_000)), "{events:?}");
        let refused = events.iter().find(|event| event.what == What::Asked(Ended::WouldWait)).unwrap();
        assert_eq!(
            (refused.number, refused.claim),
            (2, Some(ClaimNumber(1_000))),
            "it is the last, under the first one's number"
        );
    }

    #[test]
    fn the_oldest_event_of_a_resource_and_the_resource_that_was_quiet_for_longest_go_first() {
        let lately = Lately::default();
        for number in 1..=EVENTS_MAX as u64 + 3 {
            lately.look(&asked("r", number, Ended::TimedOut, true, WAIT_MIN));
        }
        let mut kept: Vec<u64> = lately.on(&resource("r")).iter().map(|event| event.claim.unwrap().0).collect();
        kept.sort_unstable();
        assert_eq!(kept, (4..=EVENTS_MAX as u64 + 3).collect::<Vec<_>>());

        let lately = Lately::default();
        for number in 0..RESOURCES_MAX {
            lately.look(&held(&format!("r{number}"), false, HOLD_MIN));
        }
        // The first one is not quiet.
        lately.look(&held("r0", false, HOLD_MIN));
        lately.look(&held("new", false, HOLD_MIN));
        lately.look(&held("new", false, HOLD_MIN));
        assert!(lately.knows("r0") && !lately.knows("r1") && lately.knows("r2") && lately.knows("new"));
        let memory = lately.memory();
        assert_eq!((memory.resources.len(), memory.order.len()), (RESOURCES_MAX, RESOURCES_MAX));
    }

    #[test]
    fn the_fullest_memory_takes_no_more_than_is_said() {
        let lately = Lately::default();
        let lockspace = Lockspace::new(&"l".repeat(64)).unwrap();
        for number in 0..RESOURCES_MAX + 100 {
            let name = ResourceName::new(&format!("{number:0>RESOURCE_NAME_BYTES_MAX$}")).unwrap();
            let id = ResourceId { lockspace: Lockspace::new(lockspace.as_str()).unwrap(), name };
            for _ in 0..=EVENTS_MAX {
                lately.did(&id, Deed::begins(Act::ForceUnlock, &"é".repeat(100)).to(claim(1).session, None));
            }
        }
        let memory = lately.memory();
        // A shared text has two counters before it, and the allocator rounds up.
        let text = |bytes: usize| (bytes + 2 * size_of::<usize>()).next_multiple_of(16);
        let kept = |(id, kept): (&ResourceId, &Kept)| {
            let names: usize =
                kept.events.iter().filter_map(|event| event.by.as_deref()).map(|by| text(by.len())).sum();
            let events = kept.events.capacity() * size_of::<Event>();
            names + events + text(id.name.as_str().len()) + text(id.lockspace.as_str().len())
        };
        let entries: usize = memory.resources.iter().map(kept).sum();
        // A map of hashes keeps an eighth free and has a byte for each place; nodes of the other may be half empty.
        let places = memory.resources.capacity() * 8 / 7;
        let maps =
            places * (size_of::<(ResourceId, Kept)>() + 1) + 2 * memory.order.len() * size_of::<(u64, ResourceId)>();
        let bytes = entries + maps;
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX / 2, "{bytes} bytes");
    }
}
