//! Locks that are lost: the command ends before anybody else can have them.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::{Broker, Process, child_of, soon, uptime};

/// Notes, until it is killed, when it was alive, and that it was asked to end.
const STUBBORN: &str = "trap 'echo asked >> \"$1.asked\"' TERM; \
                        while :; do cut -d' ' -f1 /proc/uptime >> \"$1\"; sleep 0.02; done";

/// Long enough that the margins are more than what a busy machine makes of them.
const TTL: Duration = Duration::from_secs(4);
const TTL_TEXT: &str = "4s";

/// How long after the last acknowledged keepalive nobody else can have the lock.
fn limit() -> Duration {
    sixpin_core::limits::with_tolerance(TTL)
}

struct Stubborn {
    run: Process,
    file: std::path::PathBuf,
}

impl Stubborn {
    fn start(broker: &Broker, ttl: &str) -> Self {
        let file = broker.folder().join("alive");
        let mut command = broker.sixpin(&["run", "r", "--ttl", ttl, "--", "sh", "-c", STUBBORN, "sh"]);
        let run = Process(command.arg(&file).stderr(Stdio::null()).spawn().unwrap());
        let stubborn = Self { run, file };
        soon("a sign of life", || stubborn.last_alive());
        stubborn
    }

    fn last_alive(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines().rfind(|line| line.contains('.')).map(|line| Duration::from_secs_f64(line.parse().unwrap()))
    }

    fn was_asked(&self) -> bool {
        self.file.with_extension("asked").exists()
    }
}

fn lost_with(signal: Signal) {
    let broker = Broker::start();
    let mut stubborn = Stubborn::start(&broker, TTL_TEXT);
    // No keepalive that was acknowledged was sent after this.
    broker.signal(signal);
    let silent = uptime();
    assert_eq!(stubborn.run.wait().code(), Some(74));
    let last = stubborn.last_alive().unwrap();
    assert!(stubborn.was_asked(), "it was killed without having been asked");
    // The clock of the notes counts in hundredths of a second.
    assert!(last < silent + limit(), "it lived until {last:?}, which is too long after {silent:?}");
}

#[test]
fn a_broker_that_dies_takes_the_lock_and_so_the_command() {
    lost_with(Signal::SIGKILL);
}

#[test]
fn a_broker_that_stands_still_takes_the_lock_and_so_the_command() {
    lost_with(Signal::SIGSTOP);
}

#[test]
fn a_keeper_that_stands_still_does_not_keep_the_command_alive() {
    let broker = Broker::start();
    let mut stubborn = Stubborn::start(&broker, TTL_TEXT);
    let keeper = child_of(stubborn.run.pid(), "run-keeper");
    kill(Pid::from_raw(keeper), Signal::SIGSTOP).unwrap();
    let silent = uptime();
    assert_eq!(stubborn.run.wait().code(), Some(74));
    assert!(stubborn.last_alive().unwrap() < silent + limit());
}

#[test]
fn a_run_that_stands_still_does_not_keep_the_command_alive() {
    let broker = Broker::start();
    let mut stubborn = Stubborn::start(&broker, TTL_TEXT);
    stubborn.run.signal(Signal::SIGSTOP);
    broker.signal(Signal::SIGKILL);
    let silent = uptime();
    std::thread::sleep(limit() + Duration::from_millis(500));
    assert!(stubborn.last_alive().unwrap() < silent + limit());
    stubborn.run.signal(Signal::SIGCONT);
    assert_eq!(stubborn.run.wait().code(), Some(74));
}

#[test]
fn a_command_that_listens_ends_by_itself() {
    let broker = Broker::start();
    let file = broker.folder().join("tidied");
    let script = "trap 'touch \"$1\"; exit 0' TERM; while :; do sleep 0.02; done";
    let mut command = broker.sixpin(&["run", "r", "--ttl", TTL_TEXT, "--", "sh", "-c", script, "sh"]);
    let run = command.arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    broker.signal(Signal::SIGKILL);
    let said = super::program::Said::from(run.wait_with_output().unwrap());
    assert_eq!(said.status, Some(74));
    assert!(file.exists());
    assert!(said.stderr.contains("error: the lock on `r` was lost: "), "{said:?}");
    assert!(!said.stderr.contains("killed the command"), "{said:?}");
}

#[test]
fn a_missing_acknowledgement_is_told_long_before_the_loss() {
    let broker = Broker::start();
    let errors = broker.folder().join("errors");
    let mut command = broker.sixpin(&["run", "r", "--ttl", "20s", "--", "sh", "-c", "echo ready; exec cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(std::fs::File::create(&errors).unwrap());
    let mut run = Process(command.spawn().unwrap());
    soon("the lock", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    broker.signal(Signal::SIGSTOP);
    let said = || std::fs::read_to_string(&errors).unwrap();
    soon("a word", || said().contains("no broker acknowledges").then_some(()));
    assert!(!said().contains("is being lost"), "{}", said());
    broker.signal(Signal::SIGCONT);
    soon("another word", || said().contains("a broker acknowledges again that the lock on `r` is held").then_some(()));
    drop(run.0.stdin.take());
    assert!(run.wait().success());
}

#[test]
fn a_dead_holder_keeps_its_lock_for_its_ttl() {
    let ttl = Duration::from_secs(10);
    let broker = Broker::start();
    let holder = broker.hold(&["r", "--ttl", "10s"]);
    let keeper = child_of(holder.process.pid(), "run-keeper");
    // When the broker heard the client last, in terms of the clock here: not before this.
    let asked = uptime();
    let silence = broker.json(&["sessions"])["sessions"][0]["silence_ms"].as_u64().unwrap();
    let heard = asked.saturating_sub(Duration::from_millis(silence));
    for pid in [keeper, holder.process.pid()] {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    }
    for pid in [keeper, holder.process.pid()] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let killed = uptime();
    let mut command: Command = broker.sixpin(&["run", "r", "--wait", "60s", "--", "cat", "/proc/uptime"]);
    let output = command.stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let granted = Duration::from_secs_f64(text.split_whitespace().next().unwrap().parse().unwrap());
    let (after_kill, after_heard) = (granted.saturating_sub(killed), granted.saturating_sub(heard));
    println!("granted {after_kill:?} after the holder was killed, {after_heard:?} after it was heard");
    assert!(after_heard >= ttl, "granted {after_heard:?} after the holder was heard");
}
