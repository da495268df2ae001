//! The task that runs one session: feeds the logic with what the program asks, what brokers say and the time, and
//! carries out what it wants done.
//!
//! Everything that waits is taken in one go before anything is sent, so that many operations share one wake-up and one
//! write. The clock is read before each input, because a process can be stopped between any two of them.

mod outputs;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};

use crate::claim::Claim;
use crate::clock;
use crate::command::Command;
use crate::connect::Connector;
use crate::error::Error;
use crate::link::{Happened, Link};
use crate::logic::{Config, Done, Grant, Input, Machine, OperationId, Output};
use crate::news::News;
use crate::shared::Shared;

/// How much is taken from one source before the others get their turn.
const CHUNK: usize = 256;

/// The longest that the timer is set to. A deadline that is later is looked at again then.
const ALARM_MAX: Duration = Duration::from_secs(24 * 3600);

/// Who waits for an operation.
enum Waiter {
    Lock(oneshot::Sender<Result<Arc<Claim>, Error>>),
    Convert(u64, oneshot::Sender<Result<Grant, Error>>),
    Release(oneshot::Sender<Result<Done, Error>>),
}

/// What has happened, in order: who waits for what changes in step with the logic, or an answer could meet a waiter that
/// left after it.
enum Step {
    Program(Command),
    Network(Input),
    /// A handle has found that the deadline had passed.
    Expired,
    /// All handles are gone.
    Unheld,
}

/// The task's ends of what connects it with the session's handles.
pub(crate) struct Ends {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    /// Tells how the opening ended.
    pub(crate) opening: oneshot::Sender<Result<(), Error>>,
    /// Dropped when nothing goes on any more.
    pub(crate) at_work: watch::Sender<()>,
}

/// One session at work.
pub(crate) struct Task {
    machine: Machine,
    /// Its number among the sessions of its handle.
    number: u64,
    shared: Arc<Shared>,
    news: Arc<News>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// All handles are gone, or the logic is over: no more commands.
    deaf: bool,
    opening: Option<oneshot::Sender<Result<(), Error>>>,
    closers: Vec<oneshot::Sender<()>>,
    /// The program is done with it.
    closing: bool,
    waiters: HashMap<OperationId, Waiter>,
    claims: HashMap<u64, Arc<Claim>>,
    links: Vec<Link>,
    connector: Connector,
    /// The end of validity that the handles see.
    valid_until: Option<Duration>,
    sleep: Pin<Box<Sleep>>,
    /// What the timer is set to, on the clock of the logic; absent: not at all.
    alarm: Option<Duration>,
    taken: Vec<Command>,
    steps: Vec<Step>,
    out: Vec<Output>,
    over: bool,
    /// Dropped when nothing goes on any more; links that deliver what was sent on them have it too.
    at_work: watch::Sender<()>,
}

impl Task {
    /// The task's own handles are weak or none, so that it ends with the program's.
    pub(crate) fn new(
        config: Config,
        connector: Connector,
        number: u64,
        shared: Arc<Shared>,
        news: Arc<News>,
        ends: Ends,
    ) -> Self {
        let Ends { commands, opening, at_work } = ends;
        Self {
            machine: Machine::new(config),
            connector,
            number,
            shared,
            news,
            commands,
            deaf: false,
            opening: Some(opening),
            closers: Vec::new(),
            closing: false,
            waiters: HashMap::new(),
            claims: HashMap::new(),
            links: Vec::new(),
            valid_until: None,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            alarm: None,
            taken: Vec::with_capacity(CHUNK),
            steps: Vec::with_capacity(CHUNK),
            out: Vec::new(),
            over: false,
            at_work,
        }
    }

    /// Runs until the session is over and nobody needs to be told anything more.
    pub(crate) async fn run(mut self) {
        self.tick();
        while !self.over {
            self.shared.set_unanswered(self.machine.unanswered_since());
            self.set_alarm();
            std::future::poll_fn(|context| self.poll_inputs(context)).await;
            self.tick();
            let mut steps = std::mem::take(&mut self.steps);
            for step in steps.drain(..) {
                self.step(step);
            }
            if self.steps.is_empty() {
                self.steps = steps;
            }
        }
    }

    fn step(&mut self, step: Step) {
        let input = match step {
            Step::Program(command) => self.input_of(command),
            Step::Network(input) => Some(input),
            Step::Expired => Some(Input::Expired),
            Step::Unheld => Some(Input::Close),
        };
        if let Some(input) = input {
            self.closing |= matches!(input, Input::Close);
            self.machine.handle(clock::now(), input, &mut self.out);
            self.carry_out();
        }
    }

    fn tick(&mut self) {
        self.machine.tick(clock::now(), &mut self.out);
        self.carry_out();
    }

    /// Waits until something has happened, and takes all of it.
    fn poll_inputs(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_links(context);
        self.poll_commands(context);
        if !self.steps.is_empty() {
            return Poll::Ready(());
        }
        if self.alarm.is_some() {
            ready!(self.sleep.as_mut().poll(context));
            self.alarm = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn poll_links(&mut self, context: &mut Context<'_>) {
        let mut ended = Vec::new();
        for link in &mut self.links {
            for _ in 0..CHUNK {
                let id = link.id;
                let Poll::Ready(happened) = link.poll(context) else { break };
                let over = matches!(happened, Happened::Ended(_));
                self.steps.push(Step::Network(match happened {
                    Happened::Connected => Input::Connected { link: id },
                    Happened::Received(message) => Input::Received { link: id, message },
                    Happened::Ended(detail) => Input::Disconnected { link: id, detail },
                }));
                if over {
                    ended.push(id);
                    break;
                }
            }
        }
        self.links.retain(|link| !ended.contains(&link.id));
    }

    fn poll_commands(&mut self, context: &mut Context<'_>) {
        if self.deaf {
            return;
        }
        let mut taken = std::mem::take(&mut self.taken);
        match self.commands.poll_recv_many(context, &mut taken, CHUNK) {
            Poll::Ready(0) => {
                self.deaf = true;
                self.steps.push(Step::Unheld);
            }
            Poll::Ready(_) => self.steps.extend(taken.drain(..).map(Step::Program)),
            Poll::Pending => {}
        }
        self.taken = taken;
    }

    /// Notes who waits, and says what the logic is to hear of it.
    fn input_of(&mut self, command: Command) -> Option<Input> {
        Some(match command {
            Command::Lock { id, request, reply } => {
                self.shared.backlog.fetch_sub(1, Ordering::Relaxed);
                self.waiters.insert(id, Waiter::Lock(reply));
                Input::Lock { id, request }
            }
            Command::Convert { id, request, queue, reply } => {
                self.shared.backlog.fetch_sub(1, Ordering::Relaxed);
                self.waiters.insert(id, Waiter::Convert(request.claim, reply));
                Input::Convert { id, request, queue }
            }
            Command::Unlock { request, reply } => {
                self.claims.remove(&request.claim);
                let id = reply.map(|(id, reply)| {
                    self.waiters.insert(id, Waiter::Release(reply));
                    id
                });
                Input::Unlock { id, request }
            }
            Command::UnlockAll { id, owner, reply } => {
                self.waiters.insert(id, Waiter::Release(reply));
                Input::UnlockAll { id, owner }
            }
            Command::Leave { claim } => {
                self.claims.remove(&claim);
                Input::Leave { claim }
            }
            Command::Abandon { id } => {
                self.waiters.remove(&id);
                Input::Abandon { id }
            }
            Command::Cancel { id } => Input::Cancel { id },
            Command::Close { reply } => {
                self.closers.push(reply);
                Input::Close
            }
            Command::Expired => Input::Expired,
            // Waking up is all that it is for: the time is looked at before anything else.
            Command::Wake => return None,
        })
    }

    /// Sets the timer for the logic's next deadline. One that is set for earlier is left alone: waking up too early
    /// costs less than setting it with every message.
    fn set_alarm(&mut self) {
        let Some(deadline) = self.machine.deadline() else { return };
        if self.alarm.is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        let wait = deadline.saturating_sub(clock::now()).min(ALARM_MAX);
        self.sleep.as_mut().reset(Instant::now() + wait);
        self.alarm = Some(deadline);
    }
}
