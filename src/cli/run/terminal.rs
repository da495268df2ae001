//! Who has the terminal: the shell's job control, for one command.
//!
//! A process group that does not have the terminal is stopped when it reads from it, so a command in a group of its own
//! must be given it, and the front must take it back before it ends or stops.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal as _;

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    device: File,
}

impl Terminal {
    /// The controlling terminal, if there is one.
    pub(super) fn open() -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { device })
    }

    /// Gives it to a command that will surely want it: one that reads from it and writes to it, while this is the job
    /// in front. Others get it when they ask for it; until then, a pager behind `|` can have it.
    pub(super) fn offer(&self, group: Pid) {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            self.give(group);
        }
    }

    /// Gives it to a command, if it is ours to give. True if the command has it now.
    pub(super) fn give(&self, group: Pid) -> bool {
        match tcgetpgrp(&self.device) {
            Ok(now) if now == group => true,
            Ok(now) if now == getpgrp() => tcsetpgrp(&self.device, group).is_ok(),
            _ => false,
        }
    }

    /// Takes it back from a command. True if the command had it.
    pub(super) fn take_back(&self, group: Pid) -> bool {
        // SIGTTOU is blocked in the front, or this would stop it.
        tcgetpgrp(&self.device) == Ok(group) && tcsetpgrp(&self.device, getpgrp()).is_ok()
    }
}

/// Stops the whole job as Ctrl-Z does, and returns when it goes on. Where nobody could make it go on, the kernel does
/// not stop it, and this returns at once.
pub(super) fn stop_job() {
    let stop: SigSet = Signal::SIGTSTP.into();
    let _ = killpg(getpgrp(), Signal::SIGTSTP);
    // It was held back until here.
    let _ = stop.thread_unblock();
    let _ = stop.thread_block();
}
