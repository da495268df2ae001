//! The task that runs one session: feeds the logic with what the program asks, what brokers say and the time, and
//! carries out what it wants done.
//!
//! Everything that waits is taken in one go before anything is sent, so that many operations share one wake-up and one
//! write. The clock is read before each input, because a process can be stopped between any two of them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sixpin_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep};

use crate::claim::Claim;
use crate::clock;
use crate::command::Command;
use crate::error::Error;
use crate::events::SessionEvent;
use crate::link::{Happened, Link};
use crate::logic::{Config, Done, Grant, Input, Machine, OperationId, Output, State};
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

/// One session at work.
pub(crate) struct Task {
    machine: Machine,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// All handles are gone, or the logic is over: no more commands.
    deaf: bool,
    opening: Option<oneshot::Sender<Result<(), Error>>>,
    closers: Vec<oneshot::Sender<()>>,
    waiters: HashMap<OperationId, Waiter>,
    claims: HashMap<u64, Arc<Claim>>,
    links: Vec<Link>,
    connect_timeout: Duration,
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
        connect_timeout: Duration,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
        opening: oneshot::Sender<Result<(), Error>>,
        at_work: watch::Sender<()>,
    ) -> Self {
        Self {
            machine: Machine::new(config),
            shared,
            commands,
            deaf: false,
            opening: Some(opening),
            closers: Vec::new(),
            waiters: HashMap::new(),
            claims: HashMap::new(),
            links: Vec::new(),
            connect_timeout,
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

    fn carry_out(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Connect { link, address } => {
                    self.links.push(Link::new(link, address, self.connect_timeout));
                }
                Output::Send { link, message } => {
                    if let Some(link) = self.links.iter().find(|other| other.id == link) {
                        link.send(*message);
                    }
                }
                Output::Disconnect { link } => {
                    if let Some(index) = self.links.iter().position(|other| other.id == link) {
                        self.links.swap_remove(index).finish(self.at_work.clone());
                    }
                }
                Output::Opened(opened) => {
                    self.place(opened.address.clone(), opened.broker.clone(), 0);
                    let _ = self.shared.opened.set(opened);
                    if let Some(opening) = self.opening.take() {
                        let _ = opening.send(Ok(()));
                    }
                }
                Output::OpenFailed(error) => {
                    if let Some(opening) = self.opening.take() {
                        let _ = opening.send(Err(error));
                    }
                }
                Output::ValidUntil(until) => self.extend(until),
                Output::State(state) => self.tell_state(state),
                Output::Complete { id, result } => self.complete(id, result),
                Output::Changed(grant) => self.update(*grant),
                Output::ClaimEvent { claim, event } => {
                    if let Some(claim) = self.claims.get(&claim) {
                        claim.tell(event);
                    }
                    self.tell(SessionEvent::Claim { claim, event });
                }
                Output::Resumed { address, broker, move_number } => {
                    self.place(address.clone(), broker.clone(), move_number);
                    self.tell(SessionEvent::Resumed { address, broker, move_number });
                }
                Output::Over => self.end(),
            }
        }
        self.out = out;
    }

    fn extend(&mut self, until: Duration) {
        match self.valid_until.replace(until) {
            None => self.shared.begin(until),
            Some(before) => {
                if !self.shared.extend(before, until) {
                    // A handle has told its program that the deadline has passed: that stays true.
                    self.steps.push(Step::Expired);
                }
            }
        }
    }

    fn tell_state(&mut self, state: State) {
        if state.is_over() {
            self.shared.end(state);
        } else {
            self.shared.state.send_replace(state);
        }
        self.tell(SessionEvent::State(state));
    }

    fn tell(&self, event: SessionEvent) {
        // Without a listener there is nobody to tell.
        let _ = self.shared.events.send(event);
    }

    fn place(&self, address: String, broker: String, move_number: u32) {
        let mut place = self.shared.place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = (address, broker, move_number);
    }

    fn complete(&mut self, id: OperationId, result: Result<Done, Error>) {
        match self.waiters.remove(&id) {
            Some(Waiter::Lock(reply)) => {
                let result = match result {
                    Ok(Done::Granted(grant)) => Ok(self.claim(*grant)),
                    Ok(Done::Released | Done::ReleasedAll { .. }) => Err(Error::Closed),
                    Err(error) => Err(error),
                };
                if let Err(Ok(claim)) = reply.send(result) {
                    // Nobody takes it.
                    let request = v1::UnlockRequest { claim: claim.number, ..v1::UnlockRequest::default() };
                    self.steps.push(Step::Program(Command::Unlock { request: Box::new(request), reply: None }));
                }
            }
            Some(Waiter::Convert(claim, reply)) => {
                let result = match result {
                    Ok(Done::Granted(grant)) => {
                        self.update((*grant).clone());
                        Ok(*grant)
                    }
                    Ok(Done::Released | Done::ReleasedAll { .. }) => Err(Error::Closed),
                    Err(error) => {
                        self.demote(claim, &error);
                        Err(error)
                    }
                };
                let _ = reply.send(result);
            }
            Some(Waiter::Release(reply)) => {
                let _ = reply.send(result);
            }
            None => {}
        }
    }

    fn claim(&mut self, grant: Grant) -> Arc<Claim> {
        let claim = Arc::new(Claim::new(grant));
        self.claims.insert(claim.number, Arc::clone(&claim));
        claim
    }

    /// A claim's grant as its guard shows it. An operation that did not ask for the value block keeps what was known.
    fn update(&self, grant: Grant) {
        if let Some(claim) = self.claims.get(&grant.claim) {
            let mut shown = claim.grant();
            let value = grant.value.clone().or_else(|| shown.value.take());
            *shown = Grant { value, ..grant };
        }
    }

    /// A conversion that was not granted may have cost the claim its mode all the same.
    fn demote(&self, claim: u64, error: &Error) {
        if let Some(mode) = error.not_granted().and_then(|not_granted| not_granted.mode)
            && let Some(claim) = self.claims.get(&claim)
        {
            claim.grant().mode = mode;
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.commands.close();
        self.closers.clear();
        for link in self.links.drain(..) {
            link.finish(self.at_work.clone());
        }
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
