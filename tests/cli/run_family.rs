//! `sixpin run` and everything that its command starts: what is killed, what can not be, and what is said of it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::{Broker, Process, Said, child_of, is_running, soon};

/// A run whose command has said the number of a process, with its standard error in a file.
struct Run {
    process: Process,
    keeper: i32,
    number: i32,
    errors: PathBuf,
}

impl Run {
    /// `around` is what the run is started by: words before `sixpin`.
    fn start(broker: &Broker, around: &[&str], ttl: &str, command: &[&str]) -> Self {
        let errors = broker.folder().join("errors");
        let words = [around, &[env!("CARGO_BIN_EXE_sixpin"), "run", "r", "--ttl", ttl, "--"], command].concat();
        let mut starting = Command::new(words[0]);
        starting.args(&words[1..]).env("SIXPIN_ENDPOINTS", &broker.address).env("NO_COLOR", "1");
        starting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap());
        let mut process = Process(starting.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = std::fs::read_to_string(&errors).unwrap();
        let number = line.trim().parse().unwrap_or_else(|_| panic!("`{line}` is no number: {said}"));
        let keeper = child_of(process.pid(), "run-keeper");
        Self { process, keeper, number, errors }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap()
    }
}

fn is_free(broker: &Broker) -> bool {
    broker.ask(&["run", "r", "--no-wait", "--", "true"]).status == Some(0)
}

/// Nothing of the shell that started it is left with it: not its parent, not its group, not its session, not its
/// environment.
const ESCAPING: &str = "(setsid env -i sh -c 'echo $$; exec sleep 1000' &); sleep 1000";

#[test]
fn who_left_everything_behind_is_killed_with_a_killed_run() {
    let broker = Broker::start();
    let mut run = Run::start(&broker, &[], "60s", &["sh", "-c", ESCAPING]);
    run.process.signal(Signal::SIGKILL);
    run.process.wait();
    soon("its end", || (!is_running(run.number)).then_some(()));
    // Long before the TTL, and not before everything has ended.
    soon("the lock", || is_free(&broker).then_some(()));
    soon("the end of the keeper", || (!is_running(run.keeper)).then_some(()));
}

#[test]
fn who_left_everything_behind_is_killed_without_a_keeper() {
    let broker = Broker::start();
    let mut run = Run::start(&broker, &[], "60s", &["sh", "-c", ESCAPING]);
    kill(Pid::from_raw(run.keeper), Signal::SIGKILL).unwrap();
    assert_eq!(run.process.wait().code(), Some(74));
    assert!(!is_running(run.number));
    let said = run.said();
    assert!(said.contains("killed the command") && said.contains("the process that kept it has died"), "{said}");
}

#[test]
fn who_left_everything_behind_is_killed_when_the_lock_is_lost() {
    let broker = Broker::start();
    let mut run = Run::start(&broker, &[], "4s", &["sh", "-c", &format!("trap '' TERM; {ESCAPING}")]);
    broker.signal(Signal::SIGSTOP);
    assert_eq!(run.process.wait().code(), Some(74));
    assert!(!is_running(run.number));
    broker.signal(Signal::SIGCONT);
}

/// `nobody`, whom a root without the right to kill others may not kill.
const AS_SOMEBODY_ELSE: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "sh",
    "-c",
    "trap '' TERM; echo $$; exec sleep 1000",
];
/// Takes that right, and control groups, from root.
const WITHOUT_RIGHTS: &[&str] = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "umount -a -t cgroup2 2>/dev/null; exec setpriv --bounding-set=-kill \"$@\"",
    "sh",
];

fn needs_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test becomes other users: run it as root");
}

/// The test ends it, who may.
struct KilledAtLast(i32);

impl Drop for KilledAtLast {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL);
    }
}

#[test]
fn what_can_not_be_killed_keeps_the_lock_of_a_killed_run() {
    needs_root();
    let broker = Broker::start();
    let mut run = Run::start(&broker, WITHOUT_RIGHTS, "4s", AS_SOMEBODY_ELSE);
    let command = KilledAtLast(run.number);
    run.process.signal(Signal::SIGKILL);
    run.process.wait();
    let said = soon("a word", || Some(run.said()).filter(|said| said.contains("can not be killed")));
    assert!(said.contains(&format!("process {} (`sleep`, user 65534)", command.0)), "{said}");
    assert!(said.contains("is kept until it has ended") && !said.contains("killed the command"), "{said}");
    // Beyond the TTL.
    std::thread::sleep(Duration::from_secs(6));
    assert!(is_running(command.0) && !is_free(&broker));
    kill(Pid::from_raw(command.0), Signal::SIGKILL).unwrap();
    soon("the lock", || is_free(&broker).then_some(()));
}

#[test]
fn what_can_not_be_killed_is_told_when_the_lock_is_lost() {
    needs_root();
    let broker = Broker::start();
    let mut run = Run::start(&broker, WITHOUT_RIGHTS, "2s", AS_SOMEBODY_ELSE);
    let command = KilledAtLast(run.number);
    broker.signal(Signal::SIGSTOP);
    let said = soon("a word", || Some(run.said()).filter(|said| said.contains("can not be killed")));
    assert!(said.contains(&format!("process {} (`sleep`, user 65534)", command.0)), "{said}");
    assert!(said.contains("runs on without the lock"), "{said}");
    assert!(run.process.ended().is_none() && is_running(command.0), "it ended before its command");
    kill(Pid::from_raw(command.0), Signal::SIGKILL).unwrap();
    assert_eq!(run.process.wait().code(), Some(74));
    let said = run.said();
    assert!(!said.contains("killed the command"), "{said}");
    broker.signal(Signal::SIGCONT);
}

/// Control groups of ours, wherever they are.
fn cgroups(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    folders
        .flat_map(|folder| {
            let ours = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sixpin-run-"));
            let inner = cgroups(&folder);
            ours.then_some(folder).into_iter().chain(inner)
        })
        .collect()
}

#[test]
fn a_control_group_kills_whoever_the_command_has_become() {
    needs_root();
    let broker = Broker::start();
    // The same root as above, but with control groups.
    let mut run = Run::start(&broker, &["setpriv", "--bounding-set=-kill"], "60s", AS_SOMEBODY_ELSE);
    let own = format!("sixpin-run-{}", run.keeper);
    let is_own = |folder: &PathBuf| folder.ends_with(&own);
    let has_group = cgroups(Path::new("/sys/fs/cgroup")).iter().any(is_own);
    assert!(has_group, "root can make no cgroup v2 here: mount one at /sys/fs/cgroup, writable, with `cgroup.kill`");
    run.process.signal(Signal::SIGKILL);
    run.process.wait();
    soon("the end of the command", || (!is_running(run.number)).then_some(()));
    soon("the lock", || is_free(&broker).then_some(()));
    soon("the end of the group", || (!cgroups(Path::new("/sys/fs/cgroup")).iter().any(is_own)).then_some(()));
}

#[test]
fn a_run_in_a_run_that_would_wait_for_itself_is_told() {
    let broker = Broker::start();
    let inner = env!("CARGO_BIN_EXE_sixpin");
    let said = broker.ask(&["run", "r", "--", inner, "run", "other", "--", inner, "run", "r", "--", "echo", "ran"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("error: EX on `r` waits for itself: "), "{said:?}");
    assert!(said.stderr.contains("hint: "), "{said:?}");
    // Also when it is quiet.
    let said = broker.ask(&["run", "r", "--quiet", "--", inner, "run", "--quiet", "r", "--", "echo", "ran"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    // What goes together does not wait.
    let said = broker.ask(&["run", "r", "--shared", "--", inner, "run", "r", "--mode", "shared", "--", "echo", "ran"]);
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "ran\n", ""), "{said:?}");
}

#[test]
fn a_run_that_waits_for_somebody_who_waits_for_the_run_around_it_is_told() {
    let broker = Broker::start();
    let inner = env!("CARGO_BIN_EXE_sixpin");
    // Between the two shared locks somebody asks for an exclusive one, and comes first.
    let script = "touch \"$1.held\"; while ! test -e \"$1.asked\"; do sleep 0.02; done; \
                  exec \"$2\" run r --shared -- echo ran";
    let mut outer = broker.sixpin(&["run", "r", "--shared", "--", "sh", "-c", script, "sh"]);
    let file = broker.folder().join("file");
    let outer = outer.arg(&file).arg(inner).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    soon("the outer lock", || file.with_extension("held").exists().then_some(()));
    let mut between = broker.sixpin(&["run", "r", "--", "true"]);
    let mut between = Process(between.stderr(Stdio::null()).spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    std::fs::write(file.with_extension("asked"), "").unwrap();
    let said = Said::from(outer.wait_with_output().unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("waits for itself"), "{said:?}");
    assert!(between.wait().success());
}

/// The variable that shows what is around may be older than the locks it names.
#[test]
fn what_outlived_the_run_around_it_may_lock_again() {
    let broker = Broker::start();
    let script = "setsid sh -c 'while test -e \"$2\"; do sleep 0.02; done; exec \"$1\" run r -- touch \"$2.ran\"' sh \
                  \"$1\" \"$2\" >/dev/null 2>&1 &";
    let file = broker.folder().join("held");
    std::fs::write(&file, "").unwrap();
    let mut run = broker.sixpin(&["run", "r", "--", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_sixpin")]);
    assert!(run.arg(&file).status().unwrap().success());
    std::fs::remove_file(&file).unwrap();
    soon("its turn", || file.with_extension("ran").exists().then_some(()));
}
