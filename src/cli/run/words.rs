//! What front and keeper tell each other: one JSON document per line.

use std::time::Duration;

use nix::unistd::{User, gethostname, getpgrp, getuid};
use serde::{Deserialize, Serialize};
use sixpin_core::limits;

use super::Args;

/// The first line to the keeper: what is to be locked, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) endpoints: Vec<String>,
    pub(super) lockspace: String,
    pub(super) resource: String,
    pub(super) mode: String,
    /// How long to wait; absent: for ever.
    pub(super) patience: Option<Duration>,
    pub(super) ttl: Duration,
    pub(super) kill_after: Duration,
    pub(super) label: String,
    pub(super) owner: String,
    /// The front's process group: while it has the terminal, the keeper may draw there.
    pub(super) front_group: i32,
}

/// Later lines to the keeper. The end of the pipe says that the front is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToKeeper {
    /// The command is about to run as this process, which leads its group.
    Started { pid: i32 },
    /// The front is about to stop, as with Ctrl-Z: it reads nothing until it goes on.
    Paused,
    /// The front goes on, and wants to know where it is.
    Resumed,
    /// Nothing of the command runs any more under the lock.
    Ended,
}

/// Lines from the keeper. The end of the pipe says that it is gone, with its status if nothing was granted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromKeeper {
    /// The lock is held.
    Granted { fence: u64, mode: String, session: String },
    /// When the lock is lost unless this line comes again: time since the start of the computer.
    Deadline { at: Duration },
    /// The answer to `Resumed`: the deadline, if the lock is held. Deadlines that were written before it are stale.
    Resumed { at: Option<Duration> },
    /// The lock is lost.
    Lost { why: String },
}

impl Order {
    /// What the arguments ask for.
    pub(super) fn new(args: &Args, kill_after: Duration) -> Self {
        Self {
            endpoints: args.endpoints.addresses.iter().map(ToString::to_string).collect(),
            lockspace: args.space.lockspace.to_string(),
            resource: args.resource.to_string(),
            mode: args.mode.to_string(),
            patience: args.patience(),
            ttl: args.ttl,
            kill_after,
            label: args.label.as_ref().map_or_else(own_label, |label| label.as_str().to_owned()),
            owner: args.owner.as_ref().map(|owner| owner.as_str().to_owned()).unwrap_or_default(),
            front_group: getpgrp().as_raw(),
        }
    }
}

/// Who has the lock, unless the user says it: `user@host:pid`, with as much of the host as fits.
fn own_label() -> String {
    let user = User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name);
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    let (before, behind) = (format!("{user}@"), format!(":{}", std::process::id()));
    let space = limits::LABEL_BYTES_MAX.saturating_sub(before.len() + behind.len());
    let host: String = host.chars().filter(char::is_ascii_graphic).take(space).collect();
    format!("{before}{host}{behind}")
}
