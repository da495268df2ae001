//! What front and keeper tell each other: one JSON document per line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{User, gethostname, getpgrp, getuid};
use serde::{Deserialize, Serialize};
use sixpin_core::limits;
use sixpin_server::runtime::clock;

use super::Task;
use crate::cli::credentials::CredentialArgs;

/// The first line to the keeper: what is to be locked and run, and how.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) endpoints: Vec<String>,
    /// The token, if it is in no file, is in the environment of both.
    pub(super) credentials: CredentialArgs,
    pub(super) lockspace: String,
    pub(super) resource: String,
    pub(super) mode: String,
    /// When the front was started: time since the start of the computer.
    pub(super) started: Duration,
    /// How long to wait from then on; absent: for ever; zero: not at all.
    pub(super) patience: Option<Duration>,
    pub(super) ttl: Duration,
    pub(super) kill_after: Duration,
    /// How long the lock is held at least.
    pub(super) at_least: Duration,
    /// The lock is held until everything that the command started has ended.
    pub(super) until_all_exit: bool,
    pub(super) label: String,
    pub(super) owner: String,
    /// The status when the lock is not granted in time.
    pub(super) conflict_status: u8,
    pub(super) quiet: bool,
    pub(super) command: Vec<OsString>,
    /// Huge pages were off before.
    pub(super) small_pages: bool,
    /// The front's process group: while it has the terminal, the keeper may draw there.
    pub(super) front_group: i32,
}

/// Later lines to the keeper. The end of the pipe says that the front is gone, or wants the lock released at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToKeeper {
    /// The front is about to stop, as with Ctrl-Z: it reads nothing until it goes on.
    Paused,
    /// The front goes on, and wants to know where it is.
    Resumed,
}

/// Lines from the keeper. The end of the pipe says that it is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromKeeper {
    /// There is no lock, and why was told: the exit status.
    Refused { status: u8 },
    /// When the lock is lost unless this line comes again: time since the start of the computer.
    Deadline { at: Duration },
    /// The answer to `Resumed`: the deadline, if the lock is held. Deadlines that were written before it are stale.
    Resumed { at: Option<Duration> },
    /// The lock is held, and the command stands ready, stopped, as this process, which leads its group; and the control
    /// group that it has for itself.
    Ready { pid: i32, cgroup: Option<PathBuf> },
    /// The command was stopped by a signal.
    Stopped { signal: i32 },
    /// The command has ended.
    Ended(Exit),
    /// The lock is being released: nothing of the command is left that needs it.
    Releasing,
    /// The lock is lost.
    Lost { why: String },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Exit {
    /// With this status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

impl Order {
    /// What the arguments ask for.
    pub(super) fn new(task: &Task) -> Self {
        let args = &task.args;
        Self {
            endpoints: args.endpoints.addresses.iter().map(ToString::to_string).collect(),
            credentials: args.credentials.clone(),
            lockspace: args.space.lockspace.to_string(),
            resource: task.resource.to_string(),
            mode: args.mode().to_string(),
            started: clock::now().boot,
            patience: args.patience(),
            ttl: args.ttl,
            kill_after: task.kill_after,
            at_least: args.at_least,
            until_all_exit: args.hold_until_all_exit,
            label: args.label.as_ref().map_or_else(own_label, |label| label.as_str().to_owned()),
            owner: args.owner.as_ref().map(|owner| owner.as_str().to_owned()).unwrap_or_default(),
            conflict_status: args.conflict_exit_code,
            quiet: args.quiet,
            command: task.command.clone(),
            small_pages: task.small_pages,
            front_group: getpgrp().as_raw(),
        }
    }

    /// It does not wait for others.
    pub(super) fn is_try(&self) -> bool {
        self.patience.is_some_and(|patience| patience.is_zero())
    }
}

/// Who has the lock, unless the user says it.
fn own_label() -> String {
    let user = User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name);
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    label(&user, &host, std::process::id())
}

/// `user@host:pid`, with as much of user and host as fits.
fn label(user: &str, host: &str, pid: u32) -> String {
    let plain = |text: &str| text.chars().filter(|char| !char.is_control()).collect::<String>();
    let mut who = format!("{}@{}", plain(user), plain(host));
    let pid = format!(":{pid}");
    while who.len() + pid.len() > limits::LABEL_BYTES_MAX {
        who.pop();
    }
    who + &pid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_who_and_fits() {
        assert_eq!(label("ada", "web1", 42), "ada@web1:42");
        let long = label(&"u".repeat(62), "web1", 4_194_304);
        assert_eq!(long, format!("{}:4194304", "u".repeat(56)));
        // Cut between characters, and not within one.
        let long = label("ada", &"ü".repeat(60), 1);
        assert_eq!(long, format!("ada@{}:1", "ü".repeat(29)));
        for label in [long, label("", "", u32::MAX), label("a\nb", "c\td", 1)] {
            assert!(sixpin_core::name::Label::new(&label).is_ok(), "{label}");
        }
    }
}
