//! Which signals `run` deals with, and how it ends of one.

use std::process::ExitCode;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::unistd::getpgrp;

/// Signals that end a wait for the lock, and are handed on to a command.
pub(super) const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// Signals that are handed on to a command, and mean nothing before.
const HANDED_ON: [Signal; 3] = [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
/// Signals of job control and of processes.
const MANAGED: [Signal; 5] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT, Signal::SIGCHLD];

/// Everything that may be held back from `run`, and is let through again to the command.
pub(super) fn all() -> SigSet {
    ENDING.into_iter().chain(HANDED_ON).chain(MANAGED).collect()
}

/// What the front holds back and reads when it has time. What whoever started it has it ignore (`nohup`, a job in the
/// background of a script) stays ignored, by the command too.
pub(super) fn held_back() -> SigSet {
    let ignored = crate::signals::ignored();
    all().iter().filter(|signal| !ignored.contains(&(*signal as i32))).collect()
}

/// Ends this process of a signal, so that whoever waits for it sees that: a shell then ends its loop. `to_all`: the
/// signal came from the terminal and reached only the command, so that the rest of the job gets it now.
///
/// Process 1 of a container does not end of a signal; it ends with the status that a shell would show.
pub(super) fn end_of(signal: Signal, to_all: bool) -> ExitCode {
    // The command may have left an image of its memory, and this process has nothing to add.
    let _ = prctl::set_dumpable(false);
    if to_all {
        let _ = killpg(getpgrp(), signal);
    }
    let _ = SigSet::from(signal).thread_unblock();
    let _ = raise(signal);
    ExitCode::from(128 + signal as u8)
}
