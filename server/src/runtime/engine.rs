//! The loop that drives one machine on one store.
//!
//! Each round takes everything that waits, hands it to the machine, lets it flush, and carries out what it returns;
//! outcomes that are ready at once go back in the same round. Answers are handed to the streams at the end of a round,
//! one wake-up each.
//!
//! When a machine is over because others declared it dead, a new incarnation starts on the same store: everything the
//! old one vouched for resumes, here or elsewhere. When the store lost its memory, the next incarnation grants nothing for as
//! long as the old one said. A panic in here means that the machine is wrong about something: the process
//! aborts, because its locks may not be served by half a broker.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sixpin_core::backend::Backend;
use sixpin_core::broker::Broker;
use sixpin_core::broker::api::{ConnectionId, Effect, Ending, Input, Now, RequestError};
use sixpin_core::standing::History;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::clock;
use super::handle::{EngineHandle, INBOX_MAX, Message, Shared};
use super::incarnation::{Before, EngineConfig, Process, incarnate, log};
use super::outbox::End;
use super::router::{Router, Sink};
use super::store::StoreCalls;
use crate::traces::commit::Commits;

/// Messages taken in one round at most, so that answers go out and store outcomes come in between.
const MESSAGES_PER_ROUND: usize = 64;
/// Inputs that go into one batch on a store that answers at once. A larger one would save nothing there, and what it
/// touches would not fit into the caches of a processor between being asked for, written and answered.
const INPUTS_PER_PROMPT_BATCH: usize = 128;
/// Store outcomes taken in one round at most, for the same reason.
const OUTCOMES_PER_ROUND: usize = 256;
/// Rounds of effects whose outcomes are ready at once, before clients are looked after again.
const ECHOES_PER_ROUND: usize = 64;
/// The shortest life of an incarnation, so that a store that evicts at once is not hammered.
const LIFE_MIN: Duration = Duration::from_secs(1);
/// A broker that is too old for its store tries again after this: the others may have gone.
const OUTDATED_PAUSE: Duration = Duration::from_secs(10);
/// The timer is set this far ahead when nothing is due, so that the loop always has one to wait for.
const FAR_AWAY: Duration = Duration::from_secs(3600);

/// Starts an engine. Its task ends when the last handle is dropped.
pub fn start(config: EngineConfig, backend: Arc<dyn Backend>) -> EngineHandle {
    let (sender, inbox) = mpsc::channel(INBOX_MAX);
    let shared = Arc::new(Shared::new(config.name.clone(), backend));
    let handle = EngineHandle::new(shared.clone(), sender);
    let (name, process) = (config.name.clone(), config.process);
    let mut engine = Engine::new(config, shared, inbox);
    tokio::spawn(async move {
        if std::panic::AssertUnwindSafe(engine.run()).catch_unwind().await.is_err() {
            tracing::error!(
                backend = name,
                ?process,
                "the broker machine failed and ends: half a broker is worse than none"
            );
            if process == Process::Own {
                std::process::abort();
            }
        }
    });
    handle
}

/// What the engine is doing.
#[derive(Clone, Copy)]
enum Phase {
    /// The machine runs.
    Running,
    /// A new incarnation starts at this time; the store is opened anew first if it lost its memory, and nothing is granted
    /// before the second time.
    Pausing { until: Instant, hold_back: Option<Instant> },
    /// The broker left; it refuses everything until the process ends.
    Left,
}

struct Engine {
    config: EngineConfig,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Message>,
    machine: Broker,
    store: StoreCalls,
    router: Router,
    phase: Phase,
    born: Instant,
    /// The machine was not ticked yet.
    fresh: bool,
    /// The history of the store that the machine knows of.
    history: History,
    /// Outcomes that the machine has not seen yet.
    outcomes: Vec<Input>,
    /// Which commits answers come of; absent where nobody traces.
    commits: Option<Commits>,
    /// Inputs of clients since the machine last flushed.
    unsettled: usize,
    // Buffers that keep their memory between rounds.
    messages: Vec<Message>,
    effects: Vec<Effect>,
    too_slow: Vec<ConnectionId>,
}

impl Engine {
    fn new(config: EngineConfig, shared: Arc<Shared>, inbox: mpsc::Receiver<Message>) -> Self {
        let (machine, store) = incarnate(&config, &shared, Before::Nobody);
        let history = shared.backend().history();
        let commits = config.traced.then(|| Commits::new(&config.name, shared.backend().profile().name));
        Self {
            config,
            shared,
            inbox,
            machine,
            store,
            router: Router::default(),
            phase: Phase::Running,
            born: Instant::now(),
            fresh: true,
            history,
            outcomes: Vec::new(),
            commits,
            unsettled: 0,
            messages: Vec::new(),
            effects: Vec::new(),
            too_slow: Vec::new(),
        }
    }

    async fn run(&mut self) {
        let mut timer = Timer::new();
        loop {
            match self.phase {
                Phase::Running => {
                    self.round(clock::now());
                    timer.set_deadline(self.machine.deadline());
                }
                Phase::Pausing { until, hold_back } if until <= Instant::now() => {
                    self.rebirth(hold_back).await;
                    continue;
                }
                Phase::Pausing { until, .. } => {
                    self.refuse_all();
                    timer.set(until);
                }
                Phase::Left => {
                    self.refuse_all();
                    timer.set(Instant::now() + FAR_AWAY);
                }
            }
            let more = !self.outcomes.is_empty() || !self.effects.is_empty();
            tokio::select! {
                biased;
                received = self.inbox.recv_many(&mut self.messages, MESSAGES_PER_ROUND) => {
                    if received == 0 {
                        return;
                    }
                }
                outcome = self.store.next() => self.outcomes.push(outcome),
                () = std::future::ready(()), if more => {}
                () = timer.passed() => {}
            }
            self.store.ready(&mut self.outcomes, OUTCOMES_PER_ROUND);
        }
    }

    /// One round: everything that came in, one flush, and what follows from it.
    fn round(&mut self, now: Now) {
        if self.fresh || self.machine.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.fresh = false;
            self.machine.tick(now, &mut self.effects);
        }
        self.feed_outcomes(now);
        let mut messages = std::mem::take(&mut self.messages);
        let mut waiting = messages.drain(..);
        while matches!(self.phase, Phase::Running)
            && let Some(message) = waiting.next()
        {
            self.take(now, message);
        }
        // What was not taken before the machine was over is refused.
        self.messages.extend(waiting);
        if self.messages.is_empty() {
            self.messages = messages;
        }
        self.settle(now);
        self.dispatch(now);
        let EngineConfig { counts, lately, .. } = &mut self.config;
        self.machine.take_facts().for_each(|fact| {
            lately.look(&fact);
            counts.locks.count(fact);
        });
    }

    fn feed_outcomes(&mut self, now: Now) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for outcome in outcomes.drain(..) {
            let commit = self.commits.as_mut().and_then(|commits| commits.ended(&outcome));
            let first = self.effects.len();
            self.machine.handle(now, outcome, &mut self.effects);
            if let (Some(commits), Some(commit)) = (&mut self.commits, commit) {
                commits.said(first..self.effects.len(), commit);
            }
        }
        self.outcomes = outcomes;
        // After the outcomes: what the history before still answered is told first.
        let history = self.shared.backend().history();
        if std::mem::replace(&mut self.history, history) != history {
            self.machine.handle(now, Input::History(history), &mut self.effects);
        }
    }

    fn take(&mut self, now: Now, message: Message) {
        match message {
            Message::Connect { connection, sink, inputs, turn: _turn } => {
                self.router.connect(connection, sink);
                self.handle_all(now, inputs);
            }
            // A stream that was ended may have more on its way; nobody could be told of the answers.
            Message::Inputs(connection, inputs, _turn) if self.router.knows(connection) => self.handle_all(now, inputs),
            Message::Inputs(..) => {}
            Message::Disconnected(connection) => self.disconnected(now, connection),
            Message::Limits(limits) => self.machine.handle(now, self.config.limit(limits), &mut self.effects),
        }
    }

    fn handle_all(&mut self, now: Now, inputs: Vec<Input>) {
        for input in inputs {
            self.machine.handle(now, input, &mut self.effects);
            self.unsettled += 1;
            if self.unsettled >= INPUTS_PER_PROMPT_BATCH && self.store.is_prompt() {
                self.settle(now);
                self.dispatch(now);
            }
        }
    }

    fn disconnected(&mut self, now: Now, connection: ConnectionId) {
        self.router.remove(connection);
        self.machine.handle(now, Input::Disconnected { connection }, &mut self.effects);
    }

    /// Flushes and carries out effects until nothing follows at once.
    fn settle(&mut self, now: Now) {
        self.unsettled = 0;
        for _ in 0..ECHOES_PER_ROUND {
            self.machine.flush(now, &mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            self.carry_out();
            if !matches!(self.phase, Phase::Running) {
                return;
            }
            self.feed_outcomes(now);
        }
    }

    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for (place, effect) in effects.drain(..).enumerate() {
            let commit = || self.commits.as_ref().and_then(|commits| commits.of(place));
            match effect {
                Effect::Reply { to, reply } => {
                    let commit = commit();
                    self.router.reply(to, reply, commit);
                }
                Effect::Event { connection, event } => {
                    let commit = commit();
                    self.router.event(connection, event, commit);
                }
                Effect::Disconnect { connection } => self.router.disconnect(connection),
                Effect::Note(note) => self.config.audit.note(*note, self.config.process.principal()),
                Effect::Log(line) => log(&self.config.name, &line),
                Effect::Trust(history) => self.shared.backend().trust(history),
                Effect::Over(ending) => {
                    // Nothing after this counts: the machine is over.
                    self.over(ending);
                    break;
                }
                other => {
                    if let (Some(commits), Effect::Commit { guard, batch, .. }) = (&mut self.commits, &other) {
                        commits.send(guard.lane, *batch);
                    }
                    if let Some(outcome) = self.store.start(other) {
                        self.outcomes.push(outcome);
                    }
                }
            }
        }
        self.effects = effects;
        if let Some(commits) = &mut self.commits {
            commits.carried_out();
        }
    }

    /// Hands the answers to the streams. A stream that takes none has ended for the machine.
    fn dispatch(&mut self, now: Now) {
        self.router.dispatch(&mut self.too_slow);
        for connection in std::mem::take(&mut self.too_slow) {
            tracing::warn!(backend = self.config.name, "a client does not take its answers: its stream is cut off");
            self.disconnected(now, connection);
        }
    }

    fn over(&mut self, ending: Ending) {
        let backend = &self.config.name;
        self.phase = match ending {
            Ending::Left => {
                tracing::info!(backend, "left the store");
                self.router.end_all("the broker has left: resume at another one");
                Phase::Left
            }
            Ending::Evicted => {
                tracing::error!(backend, "evicted: other brokers declared this one dead; starting anew");
                self.router.end_all("the broker was declared dead by others: resume here or at another one");
                let until = Instant::now() + LIFE_MIN.saturating_sub(self.born.elapsed());
                Phase::Pausing { until, hold_back: None }
            }
            Ending::Outdated { format } => {
                tracing::error!(
                    backend,
                    format,
                    "other brokers write records that this program cannot read: run the version that they have; trying again"
                );
                self.router.end_all("the broker is older than the records of its store: resume at another one");
                Phase::Pausing { until: Instant::now() + OUTDATED_PAUSE, hold_back: None }
            }
            Ending::Amnesia { text, hold_back } => {
                tracing::error!(
                    backend,
                    text,
                    hold_back_ms = hold_back.as_millis() as u64,
                    "the store lost its memory: all sessions are lost, and nothing is granted until nobody believes in them any more"
                );
                self.router.end_all("the store lost its memory: the session and its locks are lost");
                let now = Instant::now();
                let until = now + LIFE_MIN.saturating_sub(self.born.elapsed());
                Phase::Pausing { until, hold_back: Some(now + hold_back) }
            }
        };
        // Calls of this incarnation may not speak to the next one.
        self.outcomes.clear();
        if let Some(commits) = &mut self.commits {
            commits.forget();
        }
        self.store =
            StoreCalls::new(self.shared.backend(), self.shared.incarnation(), self.config.counts.store.clone());
    }

    /// Starts the next incarnation, or pauses again if the store cannot be opened.
    async fn rebirth(&mut self, hold_back: Option<Instant>) {
        if hold_back.is_some() {
            match (self.config.reopen)().await {
                Ok(backend) => self.shared.set_backend(backend),
                Err(text) => {
                    tracing::error!(backend = self.config.name, text, "the store cannot be opened again: trying on");
                    self.phase = Phase::Pausing { until: Instant::now() + LIFE_MIN, hold_back };
                    return;
                }
            }
        }
        let left = hold_back.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        (self.machine, self.store) = incarnate(&self.config, &self.shared, Before::Another(left));
        self.history = self.shared.backend().history();
        self.born = Instant::now();
        self.fresh = true;
        self.phase = Phase::Running;
    }

    /// Answers for a broker that is not running.
    fn refuse_all(&mut self) {
        self.outcomes.clear();
        self.effects.clear();
        let error = if matches!(self.phase, Phase::Left) {
            RequestError::Draining { address: String::new() }
        } else {
            RequestError::Unavailable("the broker is starting anew: try again, or go to another one".into())
        };
        for message in self.messages.drain(..) {
            match message {
                Message::Connect { sink: Sink::Call(answer), .. } => drop(answer.send(error.clone().into())),
                Message::Connect { sink: Sink::Stream(outbox), .. } => outbox.end(End::BrokerOver(error.to_string())),
                Message::Inputs(..) | Message::Disconnected(_) => {}
                Message::Limits(limits) => drop(self.config.limit(limits)),
            }
        }
    }
}

/// One timer for everything, moved only when what it stands for changes.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Option<Duration>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(FAR_AWAY)), deadline: None }
    }

    /// For a time on the machine's own clock.
    fn set_deadline(&mut self, deadline: Option<Duration>) {
        if self.deadline != deadline || self.sleep.is_elapsed() {
            let wait = deadline.map_or(FAR_AWAY, |deadline| deadline.saturating_sub(clock::now().mono));
            self.set(Instant::now() + wait);
            self.deadline = deadline;
        }
    }

    fn set(&mut self, at: Instant) {
        self.sleep.as_mut().reset(at);
        self.deadline = None;
    }

    async fn passed(&mut self) {
        self.sleep.as_mut().await;
    }
}
