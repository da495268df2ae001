//! The command's processes: its group, and those that left the group, as the jobs of a shell do.
//!
//! These are found as descendants, and by the session's name in their environment: when the command has died before it
//! is looked for, its descendants are not seen as such any more.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Looks for new descendants at most this often before it kills those it knows.
const ROUNDS_MAX: usize = 16;

/// The variable that marks the command's processes.
pub(super) const MARK: &str = "SIXPIN_SESSION";

/// A command that runs, or ran.
#[derive(Debug)]
pub(super) struct Family {
    leader: Pid,
    /// What stands in the environment of its processes.
    mark: Vec<u8>,
    /// Descendants that were seen, with the time of their start, which tells them from later processes of their number.
    known: BTreeMap<i32, u64>,
}

impl Family {
    /// The family of a process that leads its group, marked with its session.
    pub(super) fn of(leader: i32, session: &str) -> Self {
        let mark = format!("{MARK}={session}").into_bytes();
        Self { leader: Pid::from_raw(leader), mark, known: BTreeMap::new() }
    }

    /// The process that leads it.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// Hands a signal on to the command's group, as a terminal would.
    pub(super) fn signal(&self, signal: Signal) {
        // A command that has just ended needs no signal.
        let _ = killpg(self.leader, signal);
    }

    /// Asks everything to end. What is stopped goes on, so that it can.
    pub(super) fn ask_to_end(&mut self) {
        self.look();
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            self.signal(signal);
            self.signal_known(signal);
        }
    }

    /// Kills everything.
    pub(super) fn kill(&mut self) {
        // Stopped processes start no others, so this comes to an end, and nobody slips away between look and kill.
        self.signal(Signal::SIGSTOP);
        for _ in 0..ROUNDS_MAX {
            if !self.look() {
                break;
            }
            self.signal_known(Signal::SIGSTOP);
        }
        self.signal(Signal::SIGKILL);
        self.signal_known(Signal::SIGKILL);
    }

    /// Nothing of it runs any more. What was killed may take a moment.
    pub(super) fn is_gone(&self) -> bool {
        let known = self.known.iter().filter(|(pid, started)| start_time(**pid) == Some(**started));
        known.map(|(pid, _)| *pid).chain([self.leader.as_raw()]).all(has_ended)
    }

    fn is_marked(&self, pid: i32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == self.mark)
    }

    fn signal_known(&self, signal: Signal) {
        for (&pid, &started) in &self.known {
            if start_time(pid) == Some(started) {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }

    /// Looks for processes of the family; true if there are any that were not known.
    fn look(&mut self) -> bool {
        let parents = parents();
        let before = self.known.len();
        let mut found = vec![self.leader.as_raw()];
        found.extend(parents.keys().filter(|pid| self.is_marked(**pid)));
        let mut seen = BTreeSet::new();
        while let Some(pid) = found.pop() {
            if !seen.insert(pid) {
                continue;
            }
            if let Some(started) = start_time(pid).filter(|_| pid != self.leader.as_raw()) {
                self.known.insert(pid, started);
            }
            found.extend(parents.iter().filter(|(_, parent)| **parent == pid).map(|(child, _)| *child));
        }
        self.known.len() > before
    }
}

/// All processes, with their parents.
fn parents() -> BTreeMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, field(pid, 4)?.try_into().ok()?))).collect()
}

/// When a process started, in ticks since the start of the computer.
fn start_time(pid: i32) -> Option<u64> {
    field(pid, 22)
}

/// There is no such process, or only its status is left.
fn has_ended(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, behind_name)| behind_name.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(true)
}

/// A field of `/proc/PID/stat`, counted from 1 as in its manual page. Only fields behind the name.
fn field(pid: i32, number: usize) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, also parentheses.
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_descendant_in_a_group_of_its_own_is_killed_too() {
        let script = "set -m; sleep 1000 & echo $!; wait";
        let mut leader =
            Command::new("bash").args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(leader.stdout.take().unwrap()), &mut line).unwrap();
        let descendant: i32 = line.trim().parse().unwrap();
        let started = start_time(descendant).unwrap();

        Family::of(leader.id().try_into().unwrap(), "none").kill();

        assert_eq!(leader.wait().unwrap().signal(), Some(9));
        while start_time(descendant) == Some(started) && !has_ended(descendant) {
            std::thread::yield_now();
        }
    }
}
