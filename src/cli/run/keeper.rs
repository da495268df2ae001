//! The keeper: has the session, and with it the lock, and is the parent of the command.

use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sixpin_client::{Client, Error, Guard, NotGranted, Refusal, Session};
use sixpin_core::name::{Lockspace, ResourceName};

use super::command::{Command, Lock};
use super::front_pipe::Front;
use super::held::Held;
use super::voice::Voice;
use super::waiting;
use super::words::{FromKeeper, Order};
use crate::cli::connect::Space;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// Its subcommand, which nobody types.
pub(super) const NAME: &str = "run-keeper";

/// How long opening a session may take at most.
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take for those who do not want to wait.
const OPEN_WITHIN_MIN: Duration = Duration::from_secs(3);
/// How long the end of the session may take, with the word that nothing uses what was lost: without it others wait for
/// the TTL.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// A wait that is worth a word when it is over.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// What the keeper takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it hears the front.
    input: RawFd,
    /// Where it answers.
    output: RawFd,
}

/// Keeps a lock for the front that started this process.
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kept = match runtime {
        Ok(runtime) => runtime.block_on(keep(args)),
        Err(error) => Err(Failure::new(exit::FAILURE, format_args!("the runtime can not be started: {error}"))),
    };
    kept.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

async fn keep(args: &Args) -> Result<(), Failure> {
    let misused = |error| Failure::usage(format_args!("this subcommand is only for `sixpin run` itself: {error}"));
    let mut front = Front::take(args.input, args.output).map_err(misused)?;
    let order = front.order().await.map_err(misused)?;
    let voice = Voice::new(order.quiet);
    let mut session = None;
    let refused = match hold(&order, &voice, &mut front, &mut session).await {
        Ok(true) => None,
        // The session is left to its TTL.
        Ok(false) => return Ok(()),
        Err(failure) => Some(failure),
    };
    // Also if nothing was granted: a session that is left alone lives on for its TTL.
    if let Some(session) = session {
        let end = async {
            let _ = session.close().await;
            session.finished().await;
        };
        let _ = tokio::time::timeout(CLOSE_WITHIN, end).await;
    }
    let status = match refused {
        None => return Ok(()),
        Some(Refused::ByOthers(failure)) if order.quiet => failure.status(),
        Some(Refused::ByOthers(failure) | Refused::Otherwise(failure)) => voice.fail(&failure),
    };
    // Said before the front ends.
    drop(voice);
    front.tell(&FromKeeper::Refused { status });
    Ok(())
}

/// Why there is no lock.
enum Refused {
    /// Others have it, or come first.
    ByOthers(Failure),
    /// Something is wrong.
    Otherwise(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Otherwise(failure)
    }
}

/// Takes the lock and keeps it as long as it is needed. False if something of the command runs on without it.
async fn hold(order: &Order, voice: &Voice, front: &mut Front, session: &mut Option<Session>) -> Result<bool, Refused> {
    let client = Client::builder(order.endpoints.iter().cloned())
        .open_timeout(order.patience.map_or(OPEN_WITHIN, |patience| patience.clamp(OPEN_WITHIN_MIN, OPEN_WITHIN)))
        .build()
        .map_err(Failure::usage)?;
    let guard = tokio::select! {
        granted = acquire(order, voice, &client, session) => granted?,
        () = front.until_gone() => return Ok(true),
    };
    let Some(session) = session else { return Ok(true) };
    voice.settle();
    let mode = guard.mode();
    let lock = Lock { mode: mode.as_str(), fence: guard.fence(), session: session.id() };
    let command = Command::start(order, &lock)
        .map_err(|error| Failure::new(exit::FAILURE, format_args!("the command can not be started: {error}")))?;
    Ok(Held::new(order, voice, session, guard, command).keep(front).await)
}

/// Takes the lock. A session that is lost while it waits is replaced: its place in the queue is lost with it.
async fn acquire(
    order: &Order,
    voice: &Voice,
    client: &Client,
    session: &mut Option<Session>,
) -> Result<Guard, Refused> {
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
            () = waiting::show_waiting(order, voice, session.id(), &resource, &space) => {
                return Err(waits_for_itself(order).into());
            }
        };
        match answer {
            Ok(guard) => {
                if started.elapsed() >= WORTH_A_WORD {
                    let waited = humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()));
                    voice.note(format_args!("got {mode} on `{resource}` after {waited}"));
                }
                return Ok(guard);
            }
            Err(Error::Lost(loss)) => voice.warn(format_args!("the place in the queue is lost ({loss}), asking again")),
            // The queue is full: so many others wait that this one may not.
            Err(Error::Limit(refused)) => return Err(conflict(order, format_args!("at once: {refused}"))),
            Err(error) => return Err(failed(order, error)),
        }
    }
}

/// Why there is no lock, in the words of `sixpin run`.
fn failed(order: &Order, error: Error) -> Refused {
    let failure = match error {
        Error::NotGranted(refusal) => return not_granted(order, &refusal),
        Error::Unreachable { endpoints, detail } => {
            // Where there is one address, it need not be said twice.
            let detail = detail.strip_prefix(&format!("{endpoints}: ")).unwrap_or(&detail);
            Failure::new(exit::UNREACHABLE, format_args!("no broker answered at `{endpoints}`: {detail}"))
                .hint("start a broker with `sixpin serve`, or name one with `--endpoints` or SIXPIN_ENDPOINTS")
        }
        Error::Unavailable(_) | Error::Unknown(_) | Error::Limit(_) => Failure::new(exit::UNREACHABLE, error),
        Error::Invalid(_) | Error::Setting(_) => Failure::usage(error),
        _ => Failure::new(exit::FAILURE, error),
    };
    failure.into()
}

fn not_granted(order: &Order, refusal: &NotGranted) -> Refused {
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
    conflict(order, format_args!("{why}{met}"))
}

/// Others have the lock, or come first.
fn conflict(order: &Order, why: impl std::fmt::Display) -> Refused {
    let (mode, resource) = (&order.mode, &order.resource);
    let failure = Failure::new(order.conflict_status, format_args!("{mode} on `{resource}` was not granted {why}"))
        .hint(format_args!("see who holds it with `sixpin show '{resource}'`"));
    Refused::ByOthers(failure)
}

fn waits_for_itself(order: &Order) -> Failure {
    let (mode, resource) = (&order.mode, &order.resource);
    let text = format_args!(
        "{mode} on `{resource}` waits for itself: the `sixpin run` around this one holds the lock until this one ends"
    );
    Failure::usage(text).hint("leave the inner `sixpin run` out, or take modes that go together")
}
