//! The command's processes, and how they are stopped.
//!
//! The keeper is the command's parent and a *subreaper*: a process whose parent dies becomes a child of the keeper. So
//! everything that the command starts stays below the keeper, whatever group, session or environment it gives itself.
//! When the keeper dies, the same processes become children of the front, which is a subreaper too.
//!
//! A process is known by its number and the time of its start, and a signal goes through a handle on exactly that
//! process, so that none reaches a later process of the same number. What may not be signalled (the command has become
//! another user) is told, and counts as running until it has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use super::cgroup::Cgroup;

/// Looks for more processes at most this long before it kills those it knows, which are stopped meanwhile.
const LOOKS_WITHIN: Duration = Duration::from_millis(200);
/// How long killed processes may take to be gone before they are told.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// Processes that are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// A command that runs, or ran.
#[derive(Debug)]
pub(super) struct Family {
    /// The process that everything is below of.
    root: i32,
    /// Children of the root that were there before, and are none of it.
    strangers: BTreeSet<i32>,
    /// The command itself, which leads its group.
    leader: Member,
    cgroup: Option<Cgroup>,
    /// What was seen and has not ended.
    known: BTreeMap<i32, u64>,
    killing_since: Option<Instant>,
    /// Something ran when it was killed.
    killed: bool,
}

/// A process: its number, and when it started, in ticks since the start of the computer.
#[derive(Debug, Clone, Copy)]
struct Member {
    pid: i32,
    started: u64,
}

/// How far a kill has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing of it runs.
    Gone,
    /// Something runs, but not for long.
    Dying,
    /// This runs on, for people.
    Stuck(String),
}

impl Family {
    /// The family of a process that leads its group and was started by `root`.
    pub(super) fn of(root: i32, leader: i32) -> Self {
        let started = process(leader).map(|process| process.started).unwrap_or_default();
        Self {
            root,
            strangers: BTreeSet::new(),
            leader: Member { pid: leader, started },
            cgroup: None,
            known: BTreeMap::new(),
            killing_since: None,
            killed: false,
        }
    }

    /// It has a control group for itself.
    pub(super) fn enclose(&mut self, cgroup: Option<Cgroup>) {
        self.cgroup = cgroup;
    }

    /// The control group that it has for itself.
    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// The former root is dead: its children are children of this process now, beside some that always were.
    pub(super) fn inherit(&mut self, strangers: BTreeSet<i32>) {
        (self.root, self.strangers) = (own_pid(), strangers);
    }

    /// The process that leads it.
    pub(super) fn leader(&self) -> Pid {
        Pid::from_raw(self.leader.pid)
    }

    /// The process that leads it runs no more.
    pub(super) fn leader_has_ended(&self) -> bool {
        !process(self.leader.pid).is_some_and(|process| process.started == self.leader.started && !process.ended)
    }

    /// Something ran when it was killed.
    pub(super) fn was_killed(&self) -> bool {
        self.killed
    }

    /// Hands a signal on to the command's group, as a terminal would; to all of its processes when it has ended itself.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.leader_has_ended() {
            self.look();
            self.send(signal);
        } else {
            // Whom it may not reach, a terminal would not have asked either.
            let _ = killpg(self.leader(), signal);
        }
    }

    /// Asks everything to end. What is stopped goes on, so that it can. Says who could not be asked, for people.
    pub(super) fn ask_to_end(&mut self) -> Option<String> {
        self.look();
        let refused = self.send(Signal::SIGTERM);
        self.send(Signal::SIGCONT);
        (!refused.is_empty()).then(|| described(&refused))
    }

    /// Whether anything of it runs.
    pub(super) fn runs(&mut self) -> bool {
        self.look();
        !self.known.is_empty()
    }

    /// Kills everything, and again what was left the last time. `children`: some are left for certain, also if `/proc`
    /// hides them.
    pub(super) fn kill(&mut self, children: bool) -> Standing {
        let since = *self.killing_since.get_or_insert_with(Instant::now);
        self.look();
        self.killed |= !self.known.is_empty();
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        // Stopped processes start no others, so this comes to an end, and nobody slips away between look and kill.
        let began = Instant::now();
        self.send(Signal::SIGSTOP);
        while self.look() && began.elapsed() < LOOKS_WITHIN {
            self.send(Signal::SIGSTOP);
        }
        self.send(Signal::SIGKILL);
        if self.known.is_empty() && !children {
            Standing::Gone
        } else if since.elapsed() < GONE_WITHIN {
            Standing::Dying
        } else {
            Standing::Stuck(described(&self.known))
        }
    }

    /// Lets what is left live on without the command.
    pub(super) fn let_live(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.dissolve();
        }
    }

    /// Sends a signal to everything that is known. Gives back whom it may not reach.
    fn send(&self, signal: Signal) -> BTreeMap<i32, u64> {
        let refused = |&(&pid, &started): &(&i32, &u64)| Member { pid, started }.send(signal) == Err(Errno::PERM);
        self.known.iter().filter(refused).map(|(pid, started)| (*pid, *started)).collect()
    }

    /// Looks for processes of the family. True if there are some that were not known, so that there may be more.
    fn look(&mut self) -> bool {
        let processes = processes();
        self.known.retain(|pid, started| {
            processes.get(pid).is_some_and(|process| process.started == *started && !process.ended)
        });
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (&pid, process) in &processes {
            children.entry(process.parent).or_default().push(pid);
        }
        let mut parents: Vec<i32> = self.known.keys().copied().chain([self.root]).collect();
        let mut seen: BTreeSet<i32> = parents.iter().copied().collect();
        let mut more = false;
        while let Some(parent) = parents.pop() {
            for &pid in children.get(&parent).into_iter().flatten() {
                let process = processes[&pid];
                if self.strangers.contains(&pid) || !seen.insert(pid) {
                    continue;
                }
                parents.push(pid);
                more |= !process.ended && self.known.insert(pid, process.started).is_none();
            }
        }
        more
    }
}

impl Member {
    /// Sends a signal to this process and no other. Nothing happens if it has ended.
    fn send(self, signal: Signal) -> Result<(), Errno> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return Ok(()) };
        let handle = pidfd_open(pid, PidfdFlags::empty());
        // The handle was taken first: if this is still the same process, so is that of the handle.
        if process(self.pid).is_none_or(|process| process.started != self.started) {
            return Ok(());
        }
        match handle {
            Ok(handle) => match rustix::process::Signal::from_named_raw(signal as i32) {
                Some(signal) => pidfd_send_signal(&handle, signal),
                None => Ok(()),
            },
            Err(Errno::SRCH) => Ok(()),
            // No handles on this kernel, or none left.
            Err(_) => kill(Pid::from_raw(self.pid), signal).map_err(|errno| Errno::from_raw_os_error(errno as i32)),
        }
    }
}

/// Some processes, for people.
fn described(processes: &BTreeMap<i32, u64>) -> String {
    if processes.is_empty() {
        return "processes that `/proc` does not show".to_owned();
    }
    let named: Vec<String> = processes.keys().take(NAMED_MAX).map(|pid| named(*pid)).collect();
    let rest = match processes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{rest}", named.join(", "))
}

fn named(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let user = std::fs::metadata(format!("/proc/{pid}")).map(|folder| format!(", user {}", folder.uid()));
    format!("process {pid} (`{}`{})", name.trim_end(), user.unwrap_or_default())
}

/// The number of this process.
pub(super) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// The children of this process.
pub(super) fn own_children() -> BTreeSet<i32> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if waitid(WaitId::All, look).is_err_and(|errno| errno == Errno::CHILD) {
        return BTreeSet::new();
    }
    processes().into_iter().filter(|(_, process)| process.parent == own_pid()).map(|(pid, _)| pid).collect()
}

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
struct Process {
    parent: i32,
    started: u64,
    /// Only its status is left.
    ended: bool,
}

fn processes() -> BTreeMap<i32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything, also parentheses. Behind it is the third field.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    // One whose first thread has ended looks as if it had ended itself.
    let ended = field(3)?.starts_with(['Z', 'X']) && field(20)?.parse::<u32>().ok()? <= 1;
    Some(Process { parent: field(4)?.parse().ok()?, started: field(22)?.parse().ok()?, ended })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that stands for the keeper, and below it a shell that leads a group and says the number of its job.
    fn shell_with_job(job: &str) -> (Child, i32, i32) {
        let script = format!("set -m; bash -c 'echo $$; {job}' & wait");
        let mut root = Command::new("bash").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(root.stdout.take().unwrap()).lines();
        let mut number = || lines.next().unwrap().unwrap().trim().parse().unwrap();
        let (leader, job) = (number(), number());
        (root, leader, job)
    }

    fn kill_all(family: &mut Family) {
        let begun = Instant::now();
        while family.kill(false) != Standing::Gone {
            assert!(begun.elapsed() < Duration::from_secs(60), "{family:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn runs(pid: i32) -> bool {
        process(pid).is_some_and(|process| !process.ended)
    }

    #[test]
    fn a_descendant_in_a_session_of_its_own_is_killed_too() {
        let (mut root, leader, job) = shell_with_job("setsid env -i bash -c \"echo \\$\\$; exec sleep 1000\" & wait");
        let mut family = Family::of(root.id().cast_signed(), leader);
        assert!(runs(job) && family.runs());
        kill_all(&mut family);
        assert!(family.was_killed() && family.leader_has_ended() && !runs(job));
        root.wait().unwrap();
    }

    #[test]
    fn what_has_ended_was_not_killed() {
        let (mut root, leader, _) = shell_with_job("echo 0; sleep 0.01");
        let mut family = Family::of(root.id().cast_signed(), leader);
        root.wait().unwrap();
        kill_all(&mut family);
        assert!(!family.was_killed());
    }

    #[test]
    fn a_later_process_of_the_same_number_gets_no_signal() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let started = process(pid).unwrap().started;
        Member { pid, started: started + 1 }.send(Signal::SIGKILL).unwrap();
        assert!(runs(pid));
        Member { pid, started }.send(Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
