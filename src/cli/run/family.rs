//! The command's processes: its group, and those that left the group, as the jobs of a shell do.
//!
//! These are found as descendants, and by the session's name in their environment: when the command has died before it
//! is looked for, its descendants are not seen as such any more. A process that is being replaced by another program has
//! no environment for a moment, so one without is looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Looks for more processes at most this long before it kills those it knows, which are stopped meanwhile.
const LOOKS_WITHIN: Duration = Duration::from_millis(200);
/// The parent of the kernel's own processes, which have no environment.
const KERNEL: i32 = 2;

/// The variable that marks the command's processes.
pub(super) const MARK: &str = "SIXPIN_SESSION";

/// A command that runs, or ran.
#[derive(Debug)]
pub(super) struct Family {
    leader: Pid,
    /// When the leader started; none of its family is older.
    since: u64,
    /// What stands in the environment of its processes.
    mark: Vec<u8>,
    /// Descendants that were seen, with the time of their start, which tells them from later processes of their number.
    known: BTreeMap<i32, u64>,
}

impl Family {
    /// The family of a process that leads its group, marked with its session.
    pub(super) fn of(leader: i32, session: &str) -> Self {
        let mark = format!("{MARK}={session}").into_bytes();
        let since = start_time(leader).unwrap_or_default();
        Self { leader: Pid::from_raw(leader), since, mark, known: BTreeMap::new() }
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
        let began = Instant::now();
        while began.elapsed() < LOOKS_WITHIN {
            match self.look() {
                Sight::Everything => break,
                Sight::More => self.signal_known(Signal::SIGSTOP),
                Sight::Unclear => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.signal(Signal::SIGKILL);
        self.signal_known(Signal::SIGKILL);
    }

    /// Nothing of it runs any more. What was killed may take a moment.
    pub(super) fn is_gone(&self) -> bool {
        let known = self.known.iter().filter(|(pid, started)| start_time(**pid) == Some(**started));
        known.map(|(pid, _)| *pid).chain([self.leader.as_raw()]).all(has_ended)
    }

    fn signal_known(&self, signal: Signal) {
        for (&pid, &started) in &self.known {
            if start_time(pid) == Some(started) {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }

    /// Looks for processes of the family.
    fn look(&mut self) -> Sight {
        let parents = parents();
        let before = self.known.len();
        let mut found = vec![self.leader.as_raw()];
        let mut unclear = false;
        for (&pid, &parent) in &parents {
            // Whose environment we may not read is not ours to kill.
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            if environment.split(|byte| *byte == 0).any(|entry| entry == self.mark) {
                found.push(pid);
            } else if environment.is_empty() && parent != KERNEL {
                unclear |= self.may_be_starting(pid);
            }
        }
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
        match self.known.len() > before {
            true => Sight::More,
            false if unclear => Sight::Unclear,
            false => Sight::Everything,
        }
    }

    /// A process without an environment that is not known: it may be ours, and about to run another program.
    fn may_be_starting(&self, pid: i32) -> bool {
        let young = start_time(pid).is_some_and(|started| started >= self.since);
        young && !self.known.contains_key(&pid) && pid != self.leader.as_raw() && !has_ended(pid)
    }
}

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Processes that were not known, so there may be more.
    More,
    /// None, but of some it cannot be told yet whose they are.
    Unclear,
    /// None.
    Everything,
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
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that leads a group, and the process of its job, which says who it is.
    fn shell_with_job(job: &str) -> (Child, i32) {
        let script = format!("set -m; {job} & wait");
        let mut command = Command::new("bash");
        let mut leader = command.args(["-c", &script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(leader.stdout.take().unwrap()), &mut line).unwrap();
        (leader, line.trim().parse().unwrap())
    }

    fn wait_for_the_end_of(pid: i32) {
        let begun = Instant::now();
        while !has_ended(pid) {
            assert!(begun.elapsed() < Duration::from_secs(60), "process {pid} still runs");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_descendant_in_a_group_of_its_own_is_killed_too() {
        let (mut leader, job) = shell_with_job("bash -c 'echo $$; exec sleep 1000'");
        Family::of(leader.id().try_into().unwrap(), "not found by its mark").kill();
        assert_eq!(leader.wait().unwrap().signal(), Some(9));
        wait_for_the_end_of(job);
    }

    /// The shell is dead, so that only the mark shows whose the job is; and for a moment the job has none, as every
    /// process while one program takes the place of another. Here the moment is long.
    #[test]
    fn a_job_that_is_being_started_while_its_shell_dies_is_killed_too() {
        let session = format!("session of process {}", std::process::id());
        let become_ours = format!("export {MARK}=\"{session}\"; exec sleep 1000");
        let (mut leader, job) = shell_with_job(&format!("env -i bash -c 'echo $$; sleep 0.02; {become_ours}'"));
        let mut family = Family::of(leader.id().try_into().unwrap(), &session);
        leader.kill().unwrap();
        leader.wait().unwrap();
        family.kill();
        wait_for_the_end_of(job);
    }
}
