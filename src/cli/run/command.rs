//! The command as the keeper has it: its child.

use std::os::unix::process::CommandExt as _;
use std::process;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, wait, waitid};
use sixpin_client::TOKEN_VARIABLE;
use tokio::signal::unix::{SignalKind, signal};

use super::cgroup::Cgroup;
use super::family::{Family, own_pid};
use super::messages::{Exit, Order};
use super::pipe::THIS_PROGRAM;
use super::starter;
use crate::cli::exit;

/// Sessions that the command runs under, the outermost first: of the `run` that started it, and of the one around that.
pub(super) const SESSIONS: &str = "SIXPIN_SESSIONS";

/// What the command is told of its lock.
pub(super) struct Lock<'a> {
    pub(super) mode: &'a str,
    pub(super) fence: u64,
    pub(super) session: &'a str,
}

/// A command that was started.
pub(super) struct Command {
    pid: Pid,
    children: tokio::signal::unix::Signal,
    pub(super) family: Family,
    ready: bool,
    pub(super) ended: bool,
    /// There are children: the command, or what it left behind. Everything that it ever started is below them.
    pub(super) has_children: bool,
}

/// What happened to a command.
#[derive(Debug)]
pub(super) enum Happened {
    /// It stands ready, stopped.
    Ready,
    /// It was stopped.
    Stopped(i32),
    /// It has ended.
    Ended(Exit),
}

impl Command {
    /// Starts the starter, in a group of its own.
    pub(super) fn start(order: &Order, lock: &Lock<'_>) -> std::io::Result<Self> {
        prctl::set_child_subreaper(true)?;
        nix::sys::signal::SigSet::from(Signal::SIGCHLD).thread_unblock()?;
        let children = signal(SignalKind::child())?;
        let mut command = process::Command::new(THIS_PROGRAM);
        command.arg0("sixpin").args([starter::NAME, "--parent", &own_pid().to_string()]);
        if order.small_pages {
            command.arg("--small-pages");
        }
        let child = command
            .arg("--")
            .args(&order.command)
            .env("SIXPIN_RESOURCE", &order.resource)
            .env("SIXPIN_LOCKSPACE", &order.lockspace)
            .env("SIXPIN_MODE", lock.mode)
            .env("SIXPIN_FENCE", lock.fence.to_string())
            .env("SIXPIN_SESSION", lock.session)
            .env(SESSIONS, sessions(lock.session))
            // What `run` may do at brokers is not for the command.
            .env_remove(TOKEN_VARIABLE)
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let family = Family::of(own_pid(), pid.as_raw_pid());
        Ok(Self { pid, children, family, ready: false, ended: false, has_children: true })
    }

    /// Resolves when something may have happened to it.
    pub(super) async fn changed(&mut self) {
        self.children.recv().await;
    }

    /// Waits for children that have ended, also for those whose parent has died, and says what became of the command.
    /// `told` hears of its end while its number is still its own.
    pub(super) fn reap(&mut self, mut told: impl FnMut(&mut Self, Happened)) {
        if !self.ended {
            let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if let Ok(Some(status)) = waitid(WaitId::Pid(self.pid), peek) {
                self.ended = true;
                told(self, Happened::Ended(exit(status.terminating_signal(), status.exit_status())));
            }
        }
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid == self.pid => {
                    if let Some(signal) = status.stopping_signal() {
                        if self.ready {
                            told(self, Happened::Stopped(signal));
                        } else {
                            // Before it goes on, everything is prepared. Where there can be no cgroup, the family is
                            // held together without.
                            self.ready = true;
                            self.family.enclose(Cgroup::around(self.pid.as_raw_pid()).ok());
                            told(self, Happened::Ready);
                        }
                    } else if !self.ended {
                        self.ended = true;
                        told(self, Happened::Ended(exit(status.terminating_signal(), status.exit_status())));
                    }
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break self.has_children = true,
                Err(_) => break self.has_children = false,
            }
        }
    }
}

fn exit(signal: Option<i32>, status: Option<i32>) -> Exit {
    let status = status.and_then(|status| u8::try_from(status).ok()).unwrap_or(exit::FAILURE);
    signal.map_or(Exit::Status(status), Exit::Signal)
}

/// The sessions around this process, and one more.
fn sessions(own: &str) -> String {
    match std::env::var(SESSIONS) {
        Ok(outer) if !outer.is_empty() => format!("{outer} {own}"),
        _ => own.to_owned(),
    }
}
