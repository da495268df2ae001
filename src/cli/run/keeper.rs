//! The keeper: has the session, and with it the lock, and is the parent of the command.

use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Duration;

use sixpin_client::Session;

use super::acquire::{Refused, acquire};
use super::command::{Command, Lock};
use super::front_pipe::Front;
use super::held::Held;
use super::messages::{FromKeeper, Order};
use super::voice::Voice;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// Its subcommand, which nobody types.
pub(super) const NAME: &str = "run-keeper";

/// How long the end of the session may take, with the word that nothing uses what was lost: without it others wait for
/// the TTL.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// The same at a broker that did not answer before.
const LEAVE_WITHIN: Duration = Duration::from_millis(250);

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
        let silent = refused.as_ref().is_some_and(Refused::by_silence);
        let _ = tokio::time::timeout(if silent { LEAVE_WITHIN } else { CLOSE_WITHIN }, end).await;
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

/// Takes the lock and keeps it as long as it is needed. False if something of the command runs on without it.
async fn hold(order: &Order, voice: &Voice, front: &mut Front, session: &mut Option<Session>) -> Result<bool, Refused> {
    let client = order.credentials.client_of(order.endpoints.iter().map(String::as_str))?;
    let guard = tokio::select! {
        granted = acquire(order, voice, &client, session) => granted?,
        () = front.until_gone() => return Ok(true),
    };
    let Some(session) = session else { return Ok(true) };
    voice.settle();
    let mode = guard.mode();
    let id = session.id();
    let lock = Lock { mode: mode.as_str(), fence: guard.fence(), session: &id };
    let command = Command::start(order, &lock)
        .map_err(|error| Failure::new(exit::FAILURE, format_args!("the command can not be started: {error}")))?;
    Ok(Held::new(order, voice, session, guard, command).keep(front).await)
}
