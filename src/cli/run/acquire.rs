//! Taking the lock: reaching a broker and waiting for the grant, within one bound.
//!
//! The bound counts from the start of the program. Whether somebody holds the lock or no broker could say so are two
//! answers, with two statuses: a script that takes the one for the other believes that its work is being done elsewhere.

use std::time::Duration;

use sixpin_client::{Client, Error, Guard, NotGranted, Refusal, Session, Tried};
use sixpin_core::name::{Lockspace, ResourceName};
use sixpin_server::runtime::clock;

use super::messages::Order;
use super::voice::Voice;
use super::waiting;
use crate::cli::connect::Space;
use crate::cli::exit;
use crate::cli::failure::{Failure, LOOK_AT_BROKERS};

/// How long a broker may take to answer those who do not want to wait.
const NO_WAIT_WITHIN: Duration = Duration::from_secs(3);
/// How long it may take at least, however short the wait is.
const ANSWER_WITHIN_MIN: Duration = Duration::from_secs(1);
/// A broker is looked for silently for so long, and also by those who wait hardly longer.
const SILENT_FOR: Duration = Duration::from_secs(1);
const SILENT_BELOW: Duration = Duration::from_secs(4);
/// After this long the search begins anew, and says what it met.
const SEARCH_FOR: Duration = Duration::from_secs(10);
/// How often that is said again.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// A name of a trace that is longer is none.
const TRACE_BYTES_MAX: usize = 256;
/// A wait that is worth a word when it is over.
const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// Why there is no lock.
pub(super) enum Refused {
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

impl Refused {
    /// No broker has answered.
    pub(super) fn by_silence(&self) -> bool {
        matches!(self, Self::Otherwise(failure) if failure.status() == exit::UNREACHABLE)
    }
}

/// Takes the lock. A session that is lost while it waits is replaced: its place in the queue is lost with it.
pub(super) async fn acquire(
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
    let until = until(order);
    loop {
        let session = session.insert(open(order, voice, client, until).await?);
        let id = session.id();
        let mut request = session.lock(resource.as_str(), mode).label(&order.label).owner(&order.owner);
        if let Some(trace) = trace() {
            request = request.traceparent(trace);
        }
        if let Some(patience) = order.patience {
            request = request.wait((order.started + patience).saturating_sub(clock::now().boot));
        }
        let answer = tokio::select! {
            answer = request.into_future() => answer,
            () = passed(until.filter(|_| order.is_try())) => {
                return Err(undecided(order, client, session).await.into());
            }
            () = waiting::show_waiting(order, voice, client, &id, &resource, &space) => {
                return Err(waits_for_itself(order).into());
            }
        };
        match answer {
            Ok(guard) => {
                let waited = clock::now().boot.saturating_sub(order.started);
                if waited >= WORTH_A_WORD {
                    let waited = humantime::format_duration(Duration::from_secs(waited.as_secs()));
                    voice.note(format_args!("got {mode} on `{resource}` after {waited}"));
                }
                return Ok(guard);
            }
            Err(Error::Lost(loss)) => voice.warn(format_args!("the place in the queue is lost ({loss}), asking again")),
            Err(Error::NotGranted(refusal)) if refusal.why == Refusal::Undecided => {
                return Err(undecided(order, client, session).await.into());
            }
            // The queue is full: so many others wait that this one may not.
            Err(Error::Limit(refused)) => return Err(conflict(order, format_args!("at once: {refused}"))),
            Err(error) => return Err(failed(order, error)),
        }
    }
}

/// The trace that whoever started the program works in, by the variable that is usual for it.
fn trace() -> Option<String> {
    std::env::var("TRACEPARENT").ok().filter(|trace| trace.len() <= TRACE_BYTES_MAX)
}

/// When an answer is wanted at the latest, on the clock of [`Order::started`]; absent: whenever it comes.
fn until(order: &Order) -> Option<Duration> {
    let patience = if order.is_try() { NO_WAIT_WITHIN } else { order.patience? };
    Some((order.started + patience).max(clock::now().boot + ANSWER_WITHIN_MIN))
}

async fn passed(until: Option<Duration>) {
    match until {
        Some(until) => tokio::time::sleep(until.saturating_sub(clock::now().boot)).await,
        None => std::future::pending().await,
    }
}

/// Opens a session. A broker is waited for as long as the lock is, and the user is told.
async fn open(order: &Order, voice: &Voice, client: &Client, until: Option<Duration>) -> Result<Session, Refused> {
    let addresses = || order.endpoints.join(", ");
    // The first search is short and silent: what is wrong for good shows at once.
    let (mut said, mut search, mut next) = (false, SILENT_FOR, clock::now().boot);
    loop {
        let left = until.map(|until| until.saturating_sub(clock::now().boot));
        let builder = client.session().ttl(order.ttl).label(&order.label).lockspace(&order.lockspace);
        match builder.timeout(left.map_or(search, |left| left.min(search))).open().await {
            Ok(session) => {
                if said {
                    voice.note(format_args!("the broker at {} answers", session.address()));
                }
                return Ok(session);
            }
            Err(error) if may_pass(&error) && left.is_none_or(|left| left > search) => {
                let nobody = matches!(error, Error::Unreachable { .. });
                if nobody && !said {
                    said = left.is_none_or(|left| left > SILENT_BELOW);
                    if said {
                        voice.note(format_args!(
                            "no broker has opened a session yet at {}: waiting for one",
                            addresses()
                        ));
                    }
                } else if clock::now().boot >= next {
                    (said, next) = (true, clock::now().boot + SAY_EVERY);
                    voice.note(format_args!("{error}: waiting for one"));
                }
                search = SEARCH_FOR;
                if !nobody {
                    // What is refused at once must not be asked at once again.
                    tokio::time::sleep(SILENT_FOR).await;
                }
            }
            Err(error) => return Err(failed(order, error)),
        }
    }
}

/// Whether waiting may help. Where TLS does not fit, somebody has to change something first, and whoever waits would not know.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { tried } => !tried.iter().all(Tried::is_about_tls),
        Error::Unavailable(_) | Error::Unknown(_) | Error::Limit(_) => true,
        _ => false,
    }
}

/// Why there is no lock, in the words of `sixpin run`.
fn failed(order: &Order, error: Error) -> Refused {
    let failure = match error {
        Error::NotGranted(refusal) => return not_granted(order, &refusal),
        Error::Unreachable { .. } => Failure::inspecting(error),
        Error::Unavailable(_) | Error::Unknown(_) | Error::Limit(_) => {
            let (mode, resource, within) = (&order.mode, &order.resource, within(order));
            Failure::new(exit::UNREACHABLE, format_args!("{mode} on `{resource}` was not granted {within}: {error}"))
                .hint(LOOK_AT_BROKERS)
        }
        Error::Denied(refused) => Failure::denied(&refused),
        Error::Invalid(_) | Error::Setting(_) => Failure::usage(error),
        _ => Failure::new(exit::FAILURE, error),
    };
    failure.into()
}

/// No broker has said whether the lock is free.
async fn undecided(order: &Order, client: &Client, session: &Session) -> Failure {
    let (mode, resource, address) = (&order.mode, &order.resource, session.address());
    let within = humantime::format_duration(order.patience.filter(|_| !order.is_try()).unwrap_or(NO_WAIT_WITHIN));
    let why = if waiting::broker_settles(&client.inspection()).await {
        " grants nothing yet, in case its store forgot locks"
    } else {
        ", or its store, does not answer"
    };
    Failure::new(
        exit::UNREACHABLE,
        format_args!(
            "no broker said within {within} whether {mode} on `{resource}` can be granted: the one at {address}{why}"
        ),
    )
    .hint(LOOK_AT_BROKERS)
}

fn within(order: &Order) -> String {
    match order.patience {
        Some(patience) if !order.is_try() => format!("within {}", humantime::format_duration(patience)),
        _ => "at once".to_owned(),
    }
}

fn not_granted(order: &Order, refusal: &NotGranted) -> Refused {
    let why = match refusal.why {
        Refusal::TimedOut | Refusal::WouldWait => within(order),
        other => format!("because {other}"),
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
