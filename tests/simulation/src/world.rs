//! Time, events, and what each event does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use sixpin_client::logic::LinkId;
use sixpin_core::access::{Names, Principal, Quotas, Rule, Rules, Verb};
use sixpin_core::backend::{Key, Slot};
use sixpin_core::broker::api::{Input, ReplyTo, Secret};
use sixpin_core::name::{ClaimId, SessionId};
use sixpin_core::standing::History;
use sixpin_memory::Store;
use sixpin_proto::v1::{SessionRequest, SessionResponse};

use crate::broker::{self, BrokerNode};
use crate::calls::{Call, Happening};
use crate::check::Check;
use crate::client::ClientNode;
use crate::listeners::{Ear, Sound};
use crate::losses::{Addressee, Losses};
use crate::network::Stream;
use crate::plan::{Fault, MS, Plan, SECOND, Time};
use crate::planted::{self, Planted};
use crate::unary::Caller;

/// The store's wall clock when a schedule begins, in units of 10 µs.
const EPOCH_10US: u64 = 179_000_000_000_000;
/// How many old states the store keeps for reads that are stale.
const SNAPSHOTS: usize = 16;

/// When an event comes, and which of those of that moment it is.
pub(crate) type Place = (Time, u64);

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A broker's timer.
    BrokerTick { slot: usize },
    /// A broker has drained its inputs.
    BrokerFlush { slot: usize, incarnation: u64 },
    /// Something for a broker machine that did not come from the store.
    BrokerInput { slot: usize, incarnation: u64, input: Box<Input> },
    /// A call reaches the store.
    CallArrives { slot: usize, incarnation: u64, call: u64, to: Addressee, body: Box<broker::Call>, copy: bool },
    /// An answer of the store reaches a broker, from this history; perhaps the number of the write that it acknowledges.
    CallAnswered { slot: usize, incarnation: u64, call: u64, input: Box<Input>, history: History, write: Option<u64> },
    /// A broker has waited long enough for the store.
    CallGivenUp { slot: usize, incarnation: u64, call: u64 },
    /// A broker process starts.
    BrokerStarts { slot: usize },
    /// A client's timer.
    ClientTick { client: usize },
    /// A client's program does something.
    Program { client: usize, life: u32 },
    /// A client process starts.
    ClientStarts { client: usize },
    /// A stream is accepted, or not.
    StreamOpens { stream: u64 },
    /// The client learns that its stream is open, or that it could not be opened.
    StreamOpened { stream: u64, accepted: bool },
    /// A message reaches a broker.
    Up { stream: u64, message: Box<SessionRequest> },
    /// A message reaches a client.
    Down { stream: u64, message: Box<SessionResponse> },
    /// The broker learns that a stream ended.
    UpEnds { stream: u64 },
    /// The client learns that a stream ended.
    DownEnds { stream: u64 },
    /// A caller does something.
    CallerActs { caller: usize },
    /// Something happens to a call.
    Call { id: u64, what: Happening },
    /// Something happens where somebody only listens.
    Ear { id: u64, what: Sound },
    /// Somebody begins to listen, or ends it.
    Listeners,
    /// Something goes wrong.
    Fault,
    /// Everything is well from now on.
    Heal,
    /// The programs stop taking new locks, and leave.
    Leave,
    /// The store remembers how it is, for stale reads.
    Snapshot,
    /// The copy that follows is up to date.
    Backup,
    /// An administrator looks after a damaged record.
    Repair { resource: usize },
    /// A record is deleted by hand while nothing else is wrong.
    DeleteWhenWell,
    /// Whoever held these claims has been told that they are lost.
    MustKnow { claims: Vec<ClaimId> },
}

/// One schedule in progress.
pub struct World {
    pub(crate) plan: Plan,
    /// The rule that is left out.
    pub(crate) planted: Option<Planted>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Time,
    queue: BTreeMap<Place, Event>,
    sequence: u64,
    /// Events so far.
    pub events: u64,
    pub(crate) store: Store,
    pub(crate) snapshots: Vec<Store>,
    pub(crate) losses: Losses,
    pub(crate) store_away_until: Time,
    pub(crate) store_away_since: Time,
    pub(crate) brokers: Vec<BrokerNode>,
    pub(crate) clients: Vec<ClientNode>,
    pub(crate) callers: Vec<Caller>,
    /// Who clients and callers are, where there is access control.
    principals: Vec<Principal>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// The randomness of callers and their calls.
    pub(crate) call_rng: fastrand::Rng,
    /// The randomness of what people do to records.
    pub(crate) hand_rng: fastrand::Rng,
    /// The randomness of who listens, and of administrators who ask holders to let go.
    pub(crate) ear_rng: fastrand::Rng,
    pub(crate) ears: BTreeMap<u64, Ear>,
    /// The secrets of sessions, as their clients were told.
    pub(crate) secrets: BTreeMap<SessionId, Secret>,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) next_stream: u64,
    /// Resumes that are not answered.
    pub(crate) resumes: BTreeSet<ReplyTo>,
    /// Until when a client and a broker cannot reach each other.
    pub(crate) cuts: BTreeMap<(usize, usize), Time>,
    pub(crate) healed: bool,
    /// When the last fault is over: a pause may last longer than the time in which faults begin.
    pub(crate) well_from: Time,
    /// When the newest stored format was first written.
    pub(crate) newest_written: Option<Time>,
    pub(crate) leaving: bool,
    pub(crate) check: Check,
    /// Value blocks that clients made up.
    pub(crate) values: u64,
    trace: Option<Vec<String>>,
    digest: u64,
}

impl World {
    /// The beginning of a schedule.
    pub fn new(plan: Plan, planted: Option<Planted>, traced: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x0dd5_eed5);
        let root = sixpin_core::backend::Root { secret_key: [7; 32], identity: 1 };
        let store = planted::store(Store::new(plan.contract, root), planted);
        let brokers = (0..plan.brokers).map(|slot| BrokerNode::new(slot, &mut rng)).collect();
        let clients = (0..plan.clients).map(|client| ClientNode::new(client, &mut rng)).collect();
        let mut call_rng = fastrand::Rng::with_seed(plan.seed ^ 0x0ca1_15ee);
        let callers = (0..plan.callers).map(|caller| Caller::new(caller, &mut call_rng)).collect();
        let principals = principals(&plan);
        let check = Check::new(&plan);
        let mut world = Self {
            rng,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            events: 0,
            store,
            snapshots: Vec::new(),
            losses: Losses::default(),
            store_away_until: 0,
            store_away_since: 0,
            brokers,
            clients,
            callers,
            principals,
            calls: BTreeMap::new(),
            call_rng,
            hand_rng: fastrand::Rng::with_seed(plan.seed ^ 0x4a2d_15ee),
            ear_rng: fastrand::Rng::with_seed(plan.seed ^ 0x0ea2_15ee),
            ears: BTreeMap::new(),
            secrets: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            resumes: BTreeSet::new(),
            cuts: BTreeMap::new(),
            healed: false,
            well_from: Time::MAX,
            newest_written: None,
            leaving: false,
            check,
            values: 0,
            trace: traced.then(Vec::new),
            digest: 0,
            plan,
            planted,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for slot in 0..self.plan.brokers {
            let at = self.rng.u64(0..20 * MS);
            self.at(at, Event::BrokerStarts { slot });
        }
        for client in 0..self.plan.clients {
            let at = self.rng.u64(50 * MS..400 * MS);
            self.at(at, Event::ClientStarts { client });
        }
        for caller in 0..self.plan.callers {
            let at = self.call_rng.u64(50 * MS..400 * MS);
            self.at(at, Event::CallerActs { caller });
        }
        self.begin_listening();
        let heal = self.plan.heal_at;
        self.at(300 * MS, Event::Fault);
        self.at(heal, Event::Heal);
        self.at(heal + self.plan.calm, Event::Leave);
        if self.plan.faults.has(Fault::StaleReads) {
            self.at(0, Event::Snapshot);
        }
        if self.plan.faults.has(Fault::LostWrites) {
            self.at(0, Event::Backup);
        }
    }

    /// When everything must be over: after the programs have left, brokers need a few TTLs to bury, sweep and clear.
    pub fn end(&self) -> Time {
        self.plan.heal_at + self.plan.calm + 25 * SECOND + self.patience_by_hand()
    }

    pub(crate) fn at(&mut self, time: Time, event: Event) -> Place {
        self.sequence += 1;
        let place = (time.max(self.now), self.sequence);
        self.queue.insert(place, event);
        place
    }

    pub(crate) fn after(&mut self, delay: Time, event: Event) -> Place {
        self.at(self.now + delay, event)
    }

    /// An event that is not wanted any more does not come.
    pub(crate) fn cancel(&mut self, place: Place) {
        self.queue.remove(&place);
    }

    /// Runs the schedule; the text of the first violation, if there is one.
    pub fn run(&mut self) -> Result<(), String> {
        let end = self.end();
        self.run_until(end)?;
        if self.may_keep_what_came_late() {
            self.restart_a_broker();
            self.run_until(end + 30 * SECOND)?;
        }
        self.check_end()
    }

    fn run_until(&mut self, end: Time) -> Result<(), String> {
        while self.next().is_some_and(|time| time <= end) && !(self.leaving && self.is_settled()) {
            self.advance()?;
        }
        Ok(())
    }

    /// A broker that was cut off while the store was wiped may have sent something before that arrives when everybody has swept.
    /// Nothing tells those who are there; whoever starts next finds it.
    fn may_keep_what_came_late(&self) -> bool {
        self.plan.faults.has(Fault::Wipes) && self.has_lost() && self.everybody_left() && !self.store_is_clear()
    }

    /// When something happens next.
    fn next(&self) -> Option<Time> {
        self.queue.first_key_value().map(|((time, _), _)| *time)
    }

    /// Does what comes next; the text of the violation, if it is one.
    pub(crate) fn advance(&mut self) -> Result<(), String> {
        let Some(((time, _), event)) = self.queue.pop_first() else { return Ok(()) };
        self.now = time;
        self.events += 1;
        self.step(event);
        let violation = self.check.violation.take();
        violation.map_or(Ok(()), |violation| Err(format!("at {}: {violation}", seconds(time))))
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::BrokerStarts { slot } => self.broker_starts(slot),
            Event::BrokerTick { slot } => self.broker_tick_comes(slot),
            Event::BrokerFlush { slot, incarnation } => {
                if self.broker_ready(slot, incarnation, || Event::BrokerFlush { slot, incarnation }) {
                    self.broker_flush(slot);
                }
            }
            Event::BrokerInput { slot, incarnation, input } => self.broker_event(slot, incarnation, input),
            Event::CallArrives { slot, incarnation, call, to, body, copy } => {
                self.call_arrives((slot, incarnation, call), to, *body, copy);
            }
            Event::CallAnswered { slot, incarnation, call, input, history, write } => {
                self.call_answered((slot, incarnation, call), input, history, write);
            }
            Event::CallGivenUp { slot, incarnation, call } => {
                if self.broker_ready(slot, incarnation, || Event::CallGivenUp { slot, incarnation, call }) {
                    self.call_given_up(slot, call);
                }
            }
            Event::ClientStarts { client } => self.client_starts(client),
            Event::ClientTick { client } => self.client_tick_comes(client),
            Event::Program { client, life } => {
                if self.client_ready(client, life, || Event::Program { client, life }) {
                    self.program(client);
                }
            }
            Event::StreamOpens { stream } => self.stream_opens(stream),
            Event::StreamOpened { stream, accepted } => self.stream_opened(stream, accepted),
            Event::Up { stream, message } => self.up(stream, message),
            Event::Down { stream, message } => self.down(stream, message),
            Event::UpEnds { stream } => self.up_ends(stream),
            Event::DownEnds { stream } => self.down_ends(stream),
            Event::CallerActs { caller } => self.caller_acts(caller),
            Event::Call { id, what } => self.call_happens(id, what),
            Event::Ear { id, what } => self.ear_happens(id, what),
            Event::Listeners => self.listeners_act(),
            Event::Fault => self.fault(),
            Event::Heal => self.heal(),
            Event::Leave => {
                self.leaving = true;
                self.trace(|| "programs leave".into());
            }
            Event::Snapshot => self.snapshot(),
            Event::Backup => self.backup(),
            Event::Repair { resource } => self.repair(resource),
            Event::DeleteWhenWell => self.delete_when_well(),
            Event::MustKnow { claims } => self.must_know(&claims),
        }
    }

    fn snapshot(&mut self) {
        if self.healed {
            self.snapshots.clear();
            return;
        }
        if self.snapshots.len() == SNAPSHOTS {
            self.snapshots.remove(0);
        }
        self.snapshots.push(self.store.clone());
        self.after(60 * MS, Event::Snapshot);
    }

    /// The store's clock.
    pub(crate) fn wall_10us(&self) -> u64 {
        EPOCH_10US + self.now / 10
    }

    /// Nothing is left to do: everybody has left, and the store is empty.
    fn is_settled(&self) -> bool {
        self.everybody_left() && self.store_is_clear()
    }

    fn everybody_left(&self) -> bool {
        self.clients.iter().all(|client| !client.is_running()) && self.callers.iter().all(Caller::has_left)
    }

    fn store_is_clear(&self) -> bool {
        self.left_over().is_none()
    }

    /// Something that should not be in the store at the end.
    fn left_over(&self) -> Option<Key> {
        use sixpin_core::backend::Family;
        for family in [Family::AllResources, Family::Sessions] {
            let page = self.store.list(&family, None, 1).ok()?;
            if let Some((key, _)) = page.keys.into_iter().next() {
                return Some(key);
            }
        }
        None
    }

    /// Everything that is stored, for people.
    pub(crate) fn stored(&self) -> String {
        use sixpin_core::backend::Family;
        let mut keys = Vec::new();
        for family in [Family::AllResources, Family::Sessions] {
            keys.extend(self.store.list(&family, None, 100).unwrap_or_default().keys.into_iter().map(|(key, _)| key));
        }
        let slots = self.store.read(&keys);
        keys.iter().zip(&slots).map(|(key, slot)| describe_slot(key, slot)).collect::<Vec<_>>().join("; ")
    }

    fn check_end(&mut self) -> Result<(), String> {
        for client in &self.clients {
            if client.is_running() {
                return Err(format!("client {} could not leave: {}", client.number, client.describe()));
            }
        }
        self.check_callers_left()?;
        if let Some(key) = self.left_over() {
            let slot = self.store.read(std::slice::from_ref(&key)).pop().unwrap_or_default();
            return Err(format!("left in the store at the end: {}", describe_slot(&key, &slot)));
        }
        let gone = self.store.pulses().into_iter().filter(|pulse| pulse.gone).count();
        if gone > 0 && self.now > self.plan.heal_at + self.plan.calm + 24 * SECOND {
            return Err(format!("{gone} registrations of brokers that are gone were never cleared"));
        }
        Ok(())
    }

    /// A line of the trace. Also feeds the digest by which two runs of one seed are compared.
    pub(crate) fn trace(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace {
            let mut line = String::new();
            let _ = write!(line, "{} {}", seconds(self.now), text());
            self.digest = line
                .bytes()
                .fold(self.digest, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            lines.push(line);
        }
    }

    /// The trace, if it was asked for.
    pub fn lines(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// What the run did, in numbers.
    pub fn tally(&self) -> &crate::check::Tally {
        &self.check.tally
    }

    /// The newest stream of a client that runs.
    /// Who a client is, or a caller, who are counted after the clients.
    pub(crate) fn principal(&self, asker: usize) -> Principal {
        self.principals.get(asker).cloned().unwrap_or_default()
    }

    pub(crate) fn newest_stream(&self, client: usize) -> Option<u64> {
        let life = self.clients[client].life;
        let own = |stream: &Stream| stream.client == client && stream.life == life && stream.incarnation.is_some();
        self.streams.iter().rev().find(|(_, stream)| own(stream)).map(|(id, _)| *id)
    }

    pub(crate) fn stream_of(&self, client: usize, link: LinkId) -> Option<u64> {
        let life = self.clients[client].life;
        let own = |stream: &Stream| stream.client == client && stream.life == life && stream.link == link;
        self.streams.iter().rev().find(|(_, stream)| own(stream)).map(|(id, _)| *id)
    }
}

/// In every third schedule there is access control: each client and each caller is somebody, who may do everything, with quotas
/// that none of them reaches.
fn principals(plan: &Plan) -> Vec<Principal> {
    if plan.seed % 3 != 1 {
        return Vec::new();
    }
    let everything = Rule {
        role: "everything".into(),
        number: 1,
        lockspace: None,
        names: Names::Under(String::new()),
        allow: Verb::ALL.into_iter().collect(),
    };
    let everything = Arc::new(Rules::new(vec![everything]));
    let askers = 0..plan.clients + plan.callers;
    askers.map(|asker| Principal::new(&format!("p{asker}"), vec![everything.clone()], Quotas::default())).collect()
}

fn seconds(time: Time) -> String {
    format!("{:>3}.{:06}", time / SECOND, time % SECOND)
}

fn describe_slot(key: &Key, slot: &Slot) -> String {
    match (key, &slot.bytes) {
        (Key::Resource(id), Some(bytes)) => {
            let resource = sixpin_core::resource::Resource::decode(bytes, slot.version);
            let claims: Vec<String> = resource
                .iter()
                .flat_map(|resource| resource.granted().chain(resource.converting()).chain(resource.waiting()))
                .map(|view| format!("{} {:?} {:?}", view.id, view.granted, view.requested))
                .collect();
            format!("{id} at {}: {}", slot.version, claims.join(", "))
        }
        (Key::Session(id), Some(bytes)) => {
            format!("mark of {id}: {:?}", sixpin_core::broker::mark::Mark::decode(bytes))
        }
        _ => format!("{key:?}"),
    }
}
