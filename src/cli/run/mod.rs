//! `sixpin run`: runs a command under a lock, and ends it before the lock is lost.
//!
//! # Three processes
//!
//! ```text
//! shell ── front (`sixpin run`) ── the command, in a process group of its own
//!             │
//!             └── keeper: session, keepalives, release
//! ```
//!
//! The *front* is what the user started: it has the terminal, hands signals on, and ends with the command's status. The
//! *keeper* is the same program once more: it has the session, so that a front that is stopped (Ctrl-Z) does not lose
//! the lock. They talk over the keeper's standard input and output, and each watches the other:
//!
//! * the keeper tells the front the deadline that the session has, each time it moves. The front asks the command to
//!   end (SIGTERM) some time before it, and kills it (SIGKILL) at it, on a clock that goes on during suspend;
//! * a front that was killed closes the pipe: the keeper kills the command, and only then releases the lock. If the
//!   front is stopped when the deadline comes, the keeper kills the command;
//! * a keeper that was killed closes the other pipe: the front kills the command at once;
//! * if both are killed at the same moment, the kernel kills the command, because its parent died.
//!
//! The command is started by a third run of this program, the *starter*, which stops itself before it becomes the
//! command: the keeper knows the process, and the terminal is its own, before it does anything.
//!
//! What is killed is the command's process group, all its descendants, and all processes that have the session in their
//! environment: shells put their jobs into groups of their own. A process that left the group, was adopted by `init`
//! and has cleared its environment is not found. When the command ends by itself, what it left behind is let live.
//!
//! # Layout, in reading order
//!
//! * [`front`]: the loop of the front;
//! * [`keeper`]: the keeper; `waiting`: how it shows for whom it waits;
//! * [`starter`]: the starter;
//! * `words`: what front and keeper tell each other; `pipe`: the front's end of it;
//! * `family`: the command's processes; `terminal`: who has the terminal.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use sixpin_client::Mode;
use sixpin_core::limits;
use sixpin_core::name::{Label, ResourceName};

use super::connect::{Endpoints, Space};
use super::failure::Failure;

pub mod front;
pub mod keeper;
pub mod starter;
mod family;
mod pipe;
mod terminal;
mod waiting;
mod words;

/// How long before the deadline a command is asked to end, unless the TTL is short.
const KILL_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// Told below the options.
const STATUSES: &str = "\
The command has SIXPIN_RESOURCE, SIXPIN_LOCKSPACE, SIXPIN_MODE, SIXPIN_FENCE and SIXPIN_SESSION in its environment.

The exit status is that of the command: 126 or 127 if it could not be started, 128 + n if signal n ended it. Otherwise:
  75  the lock was not granted in time
  74  the lock was lost, and the command was ended
  69  no broker answered";

/// What `sixpin run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub struct Args {
    /// The resource to lock.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    /// The lock mode: nl, cr, cw, pr, pw or ex.
    #[arg(long, value_name = "MODE", default_value = "ex")]
    mode: Mode,
    /// Wait at most this long for the lock, as in `10s`; absent: for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    wait: Option<Duration>,
    /// Do not wait for the lock.
    #[arg(long)]
    no_wait: bool,
    /// How long the lock outlives the last sign of life.
    #[arg(long, value_name = "TIME", value_parser = ttl, default_value = "10s")]
    ttl: Duration,
    /// How long before the lock is lost the command is asked to end (SIGTERM); at its loss it is killed (SIGKILL).
    /// At most a quarter of the TTL [default: 2s, or that quarter]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    kill_after: Option<Duration>,
    /// Who has the lock, for people who look [default: user@host:pid]
    #[arg(long, value_name = "TEXT", value_parser = Label::new)]
    label: Option<Label>,
    /// The task or transaction that the lock is for, for people who look.
    #[arg(long, value_name = "TEXT", value_parser = Label::new)]
    owner: Option<Label>,
    #[command(flatten)]
    endpoints: Endpoints,
    #[command(flatten)]
    space: Space,
    /// The command and its arguments, after `--`.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// Runs a command under a lock; the result is the command's status.
pub fn run(args: Args) -> ExitCode {
    match args.kill_after() {
        Ok(kill_after) => front::run(args, kill_after),
        Err(failure) => failure.report(),
    }
}

impl Args {
    fn kill_after(&self) -> Result<Duration, Failure> {
        let longest = self.ttl / 4;
        match self.kill_after {
            Some(kill_after) if kill_after > longest => {
                let longest = humantime::format_duration(longest);
                Err(Failure::usage(format_args!(
                    "`--kill-after` is more than a quarter of the TTL, which is {longest}"
                ))
                .hint("a longer `--ttl` leaves more time to end"))
            }
            Some(kill_after) => Ok(kill_after),
            None => Ok(KILL_AFTER_DEFAULT.min(longest)),
        }
    }

    /// How long to wait for the lock; absent: for ever.
    fn patience(&self) -> Option<Duration> {
        if self.no_wait { Some(Duration::ZERO) } else { self.wait }
    }
}

/// A session's TTL.
fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (limits::SESSION_TTL_MIN..=limits::SESSION_TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err("a TTL is 1s to 1h".to_owned())
    }
}
