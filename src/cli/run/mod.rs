//! `sixpin run`: runs a command under a lock, and ends it before the lock is lost.
//!
//! # Three processes
//!
//! ```text
//! shell ── front (`sixpin run`) ── keeper: session, keepalives, release
//!                                     │
//!                                     └── the command, in a process group of its own, and what it starts
//! ```
//!
//! The *front* is what the user started: it has the terminal, hands signals on, and ends as the command did. The *keeper*
//! is the same program once more: it has the session, so that a front that is stopped (Ctrl-Z) does not lose the lock, and
//! it is the parent of the command and of everything that loses its parent below it. They talk over two pipes, and each
//! watches the other:
//!
//! * the keeper tells the front the deadline that the session has, each time it moves. The front asks the command to
//!   end (SIGTERM) some time before it, and kills it (SIGKILL) at it, on a clock that goes on during suspend;
//! * a front that was killed closes the pipe: the keeper kills the command, and releases the lock when nothing of it
//!   runs any more. If the front is stopped when the deadline comes, the keeper kills the command;
//! * a keeper that was killed closes the other pipe, and the kernel gives its children to the front, which kills them;
//! * if both are killed at the same moment, the kernel kills the command, because its parent died. What the command
//!   started lives on: nobody is left to know of it.
//!
//! The command is started by a third run of this program, the *starter*, which stops itself before it becomes the
//! command: the front knows the process, the terminal is its own, and it is in a control group, if there can be one,
//! before it does anything. `docs/run.md` tells users what is held together by what.
//!
//! # Layout, in reading order
//!
//! * [`front`]: the loop of the front; `terminal`: who has the terminal; `signals`: which are whose; `pipe`: its end of
//!   the pipes to the keeper;
//! * [`keeper`]: the keeper; `acquire`: how it takes the lock; `waiting`: how it shows for whom it waits; `held`: its loop while it has the
//!   lock; `command`: its child; `front_pipe`: its end of the pipes;
//! * [`starter`]: the starter;
//! * `messages`: what front and keeper tell each other; `voice`: what both tell people;
//! * `family`: the command's processes; `cgroup`: a control group for them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::prctl;
use sixpin_client::Mode;
use sixpin_core::limits;
use sixpin_core::name::{Label, ResourceName};

use super::connect::{Endpoints, Space};
use super::credentials::CredentialArgs;
use super::exit;
use super::failure::Failure;

pub mod keeper;
pub mod starter;
mod acquire;
mod cgroup;
mod command;
mod family;
mod front;
mod front_pipe;
mod held;
mod pipe;
mod signals;
mod terminal;
mod voice;
mod waiting;
mod messages;

/// How long before the deadline a command is asked to end, unless the TTL is short.
const KILL_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// How it is called: a name that looks like an option needs a `--` of its own.
const USAGE: &str = "sixpin run [OPTIONS] RESOURCE -- COMMAND...
       sixpin run [OPTIONS] -- RESOURCE -- COMMAND...   (if RESOURCE begins with a dash)";

/// Told below the options.
const STATUSES: &str = "\
The command has SIXPIN_RESOURCE, SIXPIN_LOCKSPACE, SIXPIN_MODE, SIXPIN_FENCE and SIXPIN_SESSION in its environment.
SIXPIN_TOKEN is taken out of it. Where TRACEPARENT is set, the lock is shown in that trace by brokers that trace.

The exit status is that of the command: 126 or 127 if it could not be started, 128 + n if signal n ended it (of SIGINT,
SIGTERM, SIGHUP and SIGQUIT `run` ends itself, which a shell shows as 128 + n). Otherwise:
  75  the lock was not granted in time because others have it, or its queue is full (see --conflict-exit-code)
  74  the lock was lost, and the command was ended
  77  the broker does not know who asks, or does not let them
  69  no broker answered in time, or none could take the request: nobody is known to have the lock
   2  the arguments make no sense, or the lock would wait for itself (`run` within `run`)

A cron job that says nothing when it already runs elsewhere:
  sixpin run --quiet --no-wait --conflict-exit-code 0 nightly-report -- report.sh";

/// What `sixpin run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES, override_usage = USAGE)]
pub struct Args {
    /// The resource to lock.
    #[arg(value_parser = ResourceName::new)]
    resource: Option<ResourceName>,
    /// The lock mode: nl, cr, cw, pr (or shared), pw, ex (or exclusive).
    #[arg(long, value_name = "MODE", default_value = "ex", conflicts_with_all = ["shared", "exclusive"])]
    mode: Mode,
    /// Readers together, without writers: mode pr.
    #[arg(long, short = 's', conflicts_with = "exclusive")]
    shared: bool,
    /// Nobody else: mode ex, which is the default.
    #[arg(long, short = 'x')]
    exclusive: bool,
    /// Wait at most this long for the lock, as in `10s`, from the start of this program to the answer: a broker that can
    /// not be reached is waited for as well, but no longer. Absent: for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    wait: Option<Duration>,
    /// Do not wait for the lock. A broker may take 3s to answer.
    #[arg(long)]
    no_wait: bool,
    /// The exit status when the lock is not granted in time.
    #[arg(long, short = 'E', value_name = "STATUS", default_value_t = exit::NOT_GRANTED)]
    conflict_exit_code: u8,
    /// Say nothing about waiting, doubt and refusal; only what went wrong.
    #[arg(long, short)]
    quiet: bool,
    /// How long the lock outlives the last sign of life, of which one is sent in every third of this time. An interruption
    /// of brokers or network for half of it (less `--kill-after`) does not end the command; if this host dies, others
    /// wait this long.
    #[arg(long, value_name = "TIME", value_parser = ttl, default_value = "10s")]
    ttl: Duration,
    /// How long before the lock is lost the command is asked to end (SIGTERM); at its loss it is killed (SIGKILL).
    /// At most a quarter of the TTL [default: 2s, or that quarter]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    kill_after: Option<Duration>,
    /// Hold the lock at least this long, also if the command ends before: on another host, where the clock differs, the
    /// same job may be about to start.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    at_least: Duration,
    /// Hold the lock until everything that the command started has ended, also in the background.
    #[arg(long)]
    hold_until_all_exit: bool,
    /// Who has the lock, for people who look [default: user@host:pid]
    #[arg(long, value_name = "TEXT", value_parser = Label::new)]
    label: Option<Label>,
    /// The task or transaction that the lock is for, for people who look.
    #[arg(long, value_name = "TEXT", value_parser = Label::new)]
    owner: Option<Label>,
    #[command(flatten)]
    endpoints: Endpoints,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    space: Space,
    /// The command and its arguments, after `--`.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// What is to be done.
struct Task {
    args: Args,
    resource: ResourceName,
    command: Vec<OsString>,
    kill_after: Duration,
    /// Huge pages were off before.
    small_pages: bool,
}

/// Runs a command under a lock; the result is the command's status.
pub fn run(args: Args) -> ExitCode {
    match Task::new(args) {
        Ok(task) => front::run(&task),
        Err(failure) => failure.report(),
    }
}

impl Task {
    fn new(mut args: Args) -> Result<Self, Failure> {
        args.credentials.check()?;
        let kill_after = args.kill_after()?;
        let mut command = std::mem::take(&mut args.command);
        let resource = match args.resource.take() {
            Some(resource) => resource,
            None => resource_of(&mut command)?,
        };
        Ok(Self { args, resource, command, kill_after, small_pages: small_pages() })
    }
}

/// Does without huge pages, which are large for a few small things. The starter sets it back for the command. True if it
/// was so before.
fn small_pages() -> bool {
    static BEFORE: OnceLock<bool> = OnceLock::new();
    *BEFORE.get_or_init(|| {
        let before = prctl::get_thp_disable().unwrap_or(false);
        let _ = prctl::set_thp_disable(true);
        before
    })
}

/// What is better done before the arguments are parsed, which takes memory: it is to be little for `run`.
pub fn prepare() {
    if std::env::args_os().nth(1).is_some_and(|word| word == "run") {
        small_pages();
    }
}

/// Takes the resource from what stands behind the first `--`: `-- RESOURCE -- COMMAND`.
fn resource_of(command: &mut Vec<OsString>) -> Result<ResourceName, Failure> {
    let absent = || Failure::usage("no resource is named").hint(format_args!("usage: {USAGE}"));
    if command.len() < 3 || command[1] != "--" {
        return Err(absent());
    }
    let name = command.drain(..2).next().and_then(|name| name.into_string().ok()).ok_or_else(absent)?;
    ResourceName::new(&name).map_err(Failure::usage)
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

    fn mode(&self) -> Mode {
        match (self.shared, self.exclusive) {
            (true, _) => Mode::PR,
            (_, true) => Mode::EX,
            _ => self.mode,
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
