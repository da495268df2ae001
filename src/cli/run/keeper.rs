//! The keeper: has the session, and with it the lock.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sixpin_client::{Client, Error, Guard, Loss, NotGranted, Refusal, Session};
use sixpin_core::name::{Lockspace, ResourceName};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;

use super::family::Family;
use super::waiting;
use super::words::{FromKeeper, Order, ToKeeper};
use crate::cli::connect::Space;
use crate::cli::exit;
use crate::cli::failure::{Failure, note, warn};
use crate::runtime::clock;

/// Its subcommand, which nobody types.
pub(super) const NAME: &str = "run-keeper";

/// How long opening a session may take at most.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take for those who do not want to wait.
const OPEN_WITHIN_MIN: Duration = Duration::from_secs(3);
/// How long a release may take.
const RELEASE_WITHIN: Duration = Duration::from_secs(3);
/// How long the end of the session may take, with the word that nothing uses what was lost: without it others wait for
/// the TTL.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long killed processes may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// A wait that is worth a word when it is over.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// Keeps a lock for the front that started this process.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kept = match runtime {
        Ok(runtime) => runtime.block_on(keep()),
        Err(error) => Err(Failure::new(exit::FAILURE, format_args!("the runtime can not be started: {error}"))),
    };
    kept.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

async fn keep() -> Result<(), Failure> {
    let mut front = Front::new()
        .map_err(|error| Failure::usage(format_args!("this subcommand is only for `sixpin run` itself: {error}")))?;
    let order = front.order().await?;
    let client = Client::builder(order.endpoints.iter().cloned())
        .open_timeout(order.patience.map_or(OPEN_WITHIN, |patience| patience.clamp(OPEN_WITHIN_MIN, OPEN_WITHIN)))
        .build()
        .map_err(Failure::usage)?;
    let mut session = None;
    let granted = tokio::select! {
        granted = acquire(&order, &client, &mut session) => granted.map(Some),
        () = front.until_gone() => Ok(None),
    };
    let kept = match granted {
        Ok(Some(guard)) => {
            let name = session.as_ref().map(|session| session.id().to_owned()).unwrap_or_default();
            Held::new(guard, name, &order).keep(&mut front).await;
            Ok(())
        }
        other => other.map(drop),
    };
    // Also if nothing was granted: a session that is left alone lives on for its TTL.
    if let Some(session) = session {
        let end = async {
            let _ = session.close().await;
            session.finished().await;
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, end).await;
    }
    kept
}

/// Takes the lock. A session that is lost while it waits is replaced: its place in the queue is lost with it.
async fn acquire(order: &Order, client: &Client, session: &mut Option<Session>) -> Result<Guard, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::usage(error);
    let resource = ResourceName::new(&order.resource).map_err(|error| broken(&error))?;
    let lockspace = Lockspace::new(&order.lockspace).map_err(|error| broken(&error))?;
    let space = Space { lockspace };
    let mode = order.mode.parse().map_err(|error: sixpin_client::UnknownMode| broken(&error))?;
    let started = Instant::now();
    loop {
        let builder = client.session().ttl(order.ttl).label(&order.label).lockspace(&order.lockspace);
        let session = session.insert(builder.open().await.map_err(|error| failed(order, error))?);
        let mut request = session.lock(resource.as_str(), mode).label(&order.label).owner(&order.owner);
        if let Some(patience) = order.patience {
            request = request.wait(patience.saturating_sub(started.elapsed()));
        }
        let answer = tokio::select! {
            answer = request.into_future() => answer,
            () = waiting::show_waiting(order, session.id(), &resource, &space) => continue,
        };
        match answer {
            Ok(guard) => {
                if started.elapsed() >= WORTH_A_WORD {
                    let waited = humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()));
                    note(format_args!("got {mode} on `{resource}` after {waited}"));
                }
                return Ok(guard);
            }
            Err(Error::Lost(loss)) => warn(format_args!("the place in the queue is lost ({loss}), asking again")),
            Err(error) => return Err(failed(order, error)),
        }
    }
}

/// Why there is no lock, in the words of `sixpin run`.
fn failed(order: &Order, error: Error) -> Failure {
    match error {
        Error::NotGranted(refusal) => not_granted(order, &refusal),
        Error::Unreachable { endpoints, detail } => {
            // Where there is one address, it need not be said twice.
            let detail = detail.strip_prefix(&format!("{endpoints}: ")).unwrap_or(&detail);
            Failure::new(exit::UNREACHABLE, format_args!("no broker answered at `{endpoints}`: {detail}"))
                .hint("start a broker with `sixpin serve`, or name one with `--endpoints` or SIXPIN_ENDPOINTS")
        }
        Error::Unavailable(_) | Error::Unknown(_) => Failure::new(exit::UNREACHABLE, error),
        Error::Invalid(_) | Error::Setting(_) => Failure::usage(error),
        _ => Failure::new(exit::FAILURE, error),
    }
}

fn not_granted(order: &Order, refusal: &NotGranted) -> Failure {
    let why = match (refusal.why, order.patience) {
        (Refusal::TimedOut, Some(patience)) => format!("within {}", humantime::format_duration(patience)),
        (Refusal::WouldWait | Refusal::TimedOut, _) => "at once".to_owned(),
        (other, _) => format!("because {other}"),
    };
    let mut blockers: Vec<String> = refusal.blockers.iter().take(3).map(ToString::to_string).collect();
    if refusal.blockers.len() > blockers.len() {
        blockers.push("others".to_owned());
    }
    let met = if blockers.is_empty() { String::new() } else { format!(": {}", blockers.join(", ")) };
    let (mode, resource) = (&order.mode, &order.resource);
    Failure::new(exit::NOT_GRANTED, format_args!("{mode} on `{resource}` was not granted {why}{met}"))
        .hint(format_args!("see who holds it with `sixpin show '{resource}'`"))
}

/// The lock, while it is held.
struct Held {
    session: String,
    /// Absent once it was released.
    guard: Option<Guard>,
    kill_after: Duration,
    check_every: Duration,
    family: Option<Family>,
    /// The front reads nothing.
    paused: bool,
    /// The newest deadline that the session had.
    deadline: Duration,
    /// Why it is lost, and since when.
    lost: Option<(Loss, Duration)>,
    killed: bool,
}

impl Held {
    fn new(guard: Guard, session: String, order: &Order) -> Self {
        let check_every = (order.ttl / 12).clamp(Duration::from_millis(50), Duration::from_millis(500));
        Self {
            deadline: clock::now().boot + guard.valid_for(),
            session,
            guard: Some(guard),
            kill_after: order.kill_after,
            check_every,
            family: None,
            paused: false,
            lost: None,
            killed: false,
        }
    }

    /// Until the command has ended, or the front is gone.
    async fn keep(mut self, front: &mut Front) {
        front.tell(&FromKeeper::Deadline { at: self.deadline });
        if let Some(guard) = &self.guard {
            let (mode, session) = (guard.mode().to_string(), self.session.clone());
            front.tell(&FromKeeper::Granted { fence: guard.fence(), mode, session });
        }
        let mut check = tokio::time::interval(self.check_every);
        loop {
            tokio::select! {
                biased;
                loss = lost(self.guard.as_ref(), self.lost.is_none()) => self.lose(loss, front),
                _ = check.tick() => self.tell_deadline(front),
                word = front.hear() => match word {
                    Some(ToKeeper::Started { pid }) => self.family = Some(Family::of(pid, &self.session)),
                    Some(ToKeeper::Paused) => self.paused = true,
                    Some(ToKeeper::Resumed) => {
                        self.paused = false;
                        front.tell(&FromKeeper::Resumed { at: Some(self.deadline) });
                    }
                    Some(ToKeeper::Ended) => break,
                    None => {
                        self.kill();
                        break;
                    }
                },
            }
            self.enforce();
        }
        self.let_go().await;
    }

    /// Tells the front when the deadline has moved.
    fn tell_deadline(&mut self, front: &mut Front) {
        let valid_for = self.guard.as_ref().map(Guard::valid_for).filter(|valid_for| !valid_for.is_zero());
        let Some(valid_for) = valid_for else { return };
        let deadline = clock::now().boot + valid_for;
        if deadline > self.deadline + self.check_every / 2 {
            self.deadline = deadline;
            if !self.paused {
                front.tell(&FromKeeper::Deadline { at: deadline });
            }
        }
    }

    fn lose(&mut self, loss: Loss, front: &mut Front) {
        self.lost = Some((loss, clock::now().boot));
        front.tell(&FromKeeper::Lost { why: loss.to_string() });
    }

    /// Kills the command when it must not run any more. If the front can, it has done so before.
    fn enforce(&mut self) {
        let now = clock::now().boot;
        let end = match self.lost {
            Some((_, since)) => self.deadline.min(since + self.kill_after),
            None => self.deadline,
        };
        if !self.killed && now >= end {
            self.kill();
        }
    }

    fn kill(&mut self) {
        if let Some(family) = &mut self.family {
            family.kill();
            self.killed = true;
        }
    }

    /// Releases the lock, or confirms its loss, when nothing of the command runs any more.
    async fn let_go(&mut self) {
        if self.killed {
            let since = Instant::now();
            while self.family.as_ref().is_some_and(|family| !family.is_gone()) && since.elapsed() < GONE_WITHIN {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let Some(guard) = self.guard.take() else { return };
        let near_its_end = clock::now().boot + self.kill_after >= self.deadline;
        let released = tokio::time::timeout(RELEASE_WITHIN, guard.release().into_future()).await;
        match released {
            Ok(Ok(())) => {}
            // The front tells what a loss means. The session confirms it before it ends.
            Ok(Err(_)) if self.lost.is_some() || near_its_end => {}
            Ok(Err(error)) => warn(format_args!("when the command had ended, {error}")),
            Err(_) => warn("no broker acknowledges the release: the lock is free when its TTL has passed"),
        }
    }
}

/// When the lock is lost; never if that is known.
async fn lost(guard: Option<&Guard>, unknown: bool) -> Loss {
    match guard {
        Some(guard) if unknown => guard.lost().await,
        _ => std::future::pending().await,
    }
}

/// The keeper's end of the pipes to the front.
struct Front {
    input: Lines<BufReader<pipe::Receiver>>,
    output: pipe::Sender,
}

impl Front {
    fn new() -> std::io::Result<Self> {
        let input = rustix::io::dup(std::io::stdin())?;
        let output = rustix::io::dup(std::io::stdout())?;
        Ok(Self {
            input: BufReader::new(pipe::Receiver::from_owned_fd(input)?).lines(),
            output: pipe::Sender::from_owned_fd(output)?,
        })
    }

    /// What is to be locked.
    async fn order(&mut self) -> Result<Order, Failure> {
        let line = self.input.next_line().await.ok().flatten().unwrap_or_default();
        serde_json::from_str(&line)
            .map_err(|error| Failure::usage(format_args!("this subcommand is only for `sixpin run` itself: {error}")))
    }

    /// The next word; absent when the front is gone.
    async fn hear(&mut self) -> Option<ToKeeper> {
        let line = self.input.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }

    /// Resolves when the front is gone. Before there is a lock it has nothing else to say.
    async fn until_gone(&mut self) {
        while let Some(word) = self.hear().await {
            if matches!(word, ToKeeper::Resumed) {
                self.tell(&FromKeeper::Resumed { at: None });
            }
        }
    }

    /// Tells it something. A front that stands still reads nothing, and must not hold up the keeper: what does not fit
    /// into the pipe is not said. A line is short enough to be written whole or not at all.
    fn tell(&mut self, word: &FromKeeper) {
        if let Ok(mut line) = serde_json::to_vec(word) {
            line.push(b'\n');
            let _ = self.output.try_write(&line);
        }
    }
}
