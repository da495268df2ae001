//! The starter: becomes the command, but not before the front lets it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Pid, getppid};

use super::signals;
use crate::cli::failure::Failure;

/// Exit statuses of a command that could not be started, as shells have them.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Its subcommand, which nobody types.
pub(super) const NAME: &str = "run-starter";

/// What the starter takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process of the keeper.
    #[arg(long)]
    parent: i32,
    /// Huge pages were off before `run`, and stay so.
    #[arg(long)]
    small_pages: bool,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Waits for the front's word, then becomes the command.
pub fn run(args: &Args) -> ExitCode {
    // From here on the kernel kills this process, and then the command, when the keeper dies; unless it died before.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != Pid::from_raw(args.parent) {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    // The keeper sees that this process has stopped, prepares everything, and lets the front send SIGCONT.
    if raise(Signal::SIGSTOP).is_err() || getppid() != Pid::from_raw(args.parent) {
        return ExitCode::from(NOT_EXECUTABLE);
    }
    if let Err(errno) = signals::all().thread_unblock() {
        return Failure::new(NOT_EXECUTABLE, format_args!("signals can not be let through: {}", errno.desc())).report();
    }
    // On a kernel without this there is nothing to set back.
    let _ = prctl::set_thp_disable(args.small_pages);
    let [program, arguments @ ..] = args.command.as_slice() else {
        return ExitCode::from(NOT_FOUND);
    };
    let error = Command::new(program).args(arguments).exec();
    let status = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let reason = error.to_string().to_lowercase();
    Failure::new(status, format_args!("`{}` can not be started: {reason}", program.to_string_lossy())).report()
}
