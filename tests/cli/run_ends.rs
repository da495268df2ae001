//! How `sixpin run` ends: signals, and the death of each of its processes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::{Broker, Process, child_of, is_running, soon};

/// A run whose command has said a line.
fn started(broker: &Broker, arguments: &[&str]) -> (Process, String) {
    started_by(broker.sixpin(arguments))
}

fn started_by(mut command: Command) -> (Process, String) {
    let mut run = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(run.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (run, line.trim().to_owned())
}

fn waits_until_free(broker: &Broker, resource: &str) {
    let status = broker.ask(&["run", resource, "--wait", "30s", "--", "true"]).status;
    assert_eq!(status, Some(0), "{resource} did not become free");
}

#[test]
fn signals_go_on_to_the_command() {
    let broker = Broker::start();
    let script = "for s in INT TERM HUP QUIT USR1 USR2; do trap \"exit 7\" $s; done; echo ready; \
                  while :; do sleep 0.05; done";
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2] {
        let (mut run, _) = started(&broker, &["run", "r", "--", "sh", "-c", script]);
        run.signal(signal);
        assert_eq!(run.wait().code(), Some(7), "{signal}");
    }
}

#[test]
fn a_signal_that_the_command_does_not_catch_shows_in_the_status() {
    let broker = Broker::start();
    let (mut run, _) = started(&broker, &["run", "r", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    run.signal(Signal::SIGINT);
    assert_eq!(run.wait().signal(), Some(2), "a shell would not end its loop");
}

#[test]
fn a_signal_that_comes_with_the_lock_is_not_lost() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let mut command = broker.sixpin(&["run", "r", "--", "sleep", "1000"]);
    let mut run = Process(command.stderr(Stdio::null()).spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    // While it stands still the lock comes and then the signal, so that it hears of both at once.
    run.signal(Signal::SIGSTOP);
    assert!(holder.release().success());
    soon("the grant", || (broker.json(&["ls"])["resources"][0]["granted"] == 1).then_some(()));
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGCONT);
    assert_eq!(run.wait().signal(), Some(2));
}

#[test]
fn a_wait_can_be_interrupted_and_leaves_nobody_in_the_queue() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let mut command = broker.sixpin(&["run", "r", "--", "true"]);
    let mut waiter = Process(command.stderr(Stdio::null()).spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    waiter.signal(Signal::SIGINT);
    assert_eq!(waiter.wait().signal(), Some(2));
    assert_eq!(broker.json(&["ls"])["resources"][0]["waiting"], 0);
    assert!(holder.release().success());
}

#[test]
fn a_killed_run_takes_its_command_along_and_frees_the_lock() {
    let broker = Broker::start();
    let script = "sleep 1000 & echo $$ $!; wait";
    let (mut run, line) = started(&broker, &["run", "r", "--ttl", "60s", "--", "sh", "-c", script]);
    let pids: Vec<i32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let keeper = child_of(run.pid(), "run-keeper");
    run.signal(Signal::SIGKILL);
    run.wait();
    for pid in pids {
        soon("the end of the command", || (!is_running(pid)).then_some(()));
    }
    // Well before the TTL: the keeper saw the command die, and let go.
    waits_until_free(&broker, "r");
    soon("the end of the keeper", || (!is_running(keeper)).then_some(()));
}

#[test]
fn a_job_in_a_group_of_its_own_is_killed_too() {
    let broker = Broker::start();
    let script = "set -m; sleep 1000 & echo $!; wait";
    let (mut run, line) = started(&broker, &["run", "r", "--", "bash", "-c", script]);
    let job: i32 = line.parse().unwrap();
    run.signal(Signal::SIGKILL);
    run.wait();
    soon("the end of the job", || (!is_running(job)).then_some(()));
}

#[test]
fn without_its_keeper_the_command_is_killed() {
    let broker = Broker::start();
    let (mut run, line) = started(&broker, &["run", "r", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    let keeper = child_of(run.pid(), "run-keeper");
    kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
    assert_eq!(run.wait().code(), Some(74));
    assert!(!is_running(line.parse().unwrap()));
}

#[test]
fn if_everything_of_ours_is_killed_the_command_dies_all_the_same() {
    let broker = Broker::start();
    let (run, line) = started(&broker, &["run", "r", "--ttl", "1s", "--", "sh", "-c", "echo $$; exec sleep 1000"]);
    let keeper = child_of(run.pid(), "run-keeper");
    // Stopped first, so that neither sees the other die.
    for pid in [run.pid(), keeper] {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    }
    for pid in [keeper, run.pid()] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    soon("the end of the command", || (!is_running(line.parse().unwrap())).then_some(()));
    waits_until_free(&broker, "r");
}

#[test]
fn a_stopped_run_keeps_its_lock_beyond_the_ttl() {
    let broker = Broker::start();
    let (mut run, line) =
        started(&broker, &["run", "r", "--ttl", "10s", "--", "sh", "-c", "echo $$; sleep 20; exit 3"]);
    run.signal(Signal::SIGSTOP);
    // Beyond the TTL and its tolerance. The TTL is long enough for a keeper, a broker and a store on a busy machine.
    std::thread::sleep(Duration::from_secs(12));
    assert!(is_running(line.parse().unwrap()));
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(75));
    run.signal(Signal::SIGCONT);
    assert_eq!(run.wait().code(), Some(3));
}

#[test]
fn what_a_command_leaves_in_the_background_lives_on() {
    let broker = Broker::start();
    let (mut run, line) = started(&broker, &["run", "r", "--", "sh", "-c", "sleep 1000 >/dev/null & echo $!"]);
    assert_eq!(run.wait().code(), Some(0));
    let left = line.parse().unwrap();
    assert!(is_running(left));
    kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
}

/// One that waits, started by a shell that ignores a signal, as `nohup` and shells for their background jobs do.
fn waiter_that_ignores(broker: &Broker, signals: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' {signals}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_sixpin")]);
    command.args(["run", "r", "--", "sh", "-c", "grep SigIgn /proc/self/status; exit 5"]);
    command.env("SIXPIN_ENDPOINTS", &broker.address).stderr(Stdio::null()).stdout(Stdio::piped());
    let waiter = Process(command.spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    waiter
}

#[test]
fn a_signal_that_is_ignored_ends_nothing() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let mut waiter = waiter_that_ignores(&broker, "HUP INT QUIT");
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        waiter.signal(signal);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiter.ended().is_none());
    assert!(holder.release().success());
    let mut line = String::new();
    BufReader::new(waiter.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mask = u64::from_str_radix(line.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & 0b111, 0b111, "the command does not ignore them: {line}");
    assert_eq!(waiter.wait().code(), Some(5));
}

#[test]
fn a_signal_that_is_not_ignored_ends_a_wait() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    for (signal, number) in [(Signal::SIGHUP, 1), (Signal::SIGQUIT, 3), (Signal::SIGTERM, 15)] {
        let mut waiter = waiter_that_ignores(&broker, "USR1");
        waiter.signal(signal);
        assert_eq!(waiter.wait().signal(), Some(number));
    }
    assert!(holder.release().success());
}

#[test]
fn the_lock_is_held_until_everything_has_ended() {
    let broker = Broker::start();
    let script = "setsid env -i sh -c 'echo $$; exec sleep 1000' & exit 4";
    let (mut run, line) = started(&broker, &["run", "r", "--hold-until-all-exit", "--", "sh", "-c", script]);
    let left: i32 = line.parse().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(run.ended().is_none());
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(75));
    // Signals reach what is left.
    run.signal(Signal::SIGTERM);
    soon("the end of what was left", || (!is_running(left)).then_some(()));
    assert_eq!(run.wait().code(), Some(4));
    waits_until_free(&broker, "r");
}

#[test]
fn the_lock_is_held_at_least_as_long_as_it_is_to_be() {
    let broker = Broker::start();
    let begun = std::time::Instant::now();
    let (mut run, _) = started(&broker, &["run", "r", "--at-least", "3s", "--", "sh", "-c", "echo done; exit 4"]);
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(75));
    assert_eq!(run.wait().code(), Some(4));
    assert!(begun.elapsed() >= Duration::from_secs(3));
    // Who does not want to wait for that says so.
    let (mut run, _) = started(&broker, &["run", "r", "--at-least", "1h", "--", "echo", "done"]);
    std::thread::sleep(Duration::from_millis(200));
    run.signal(Signal::SIGINT);
    assert_eq!(run.wait().signal(), Some(2));
    waits_until_free(&broker, "r");
}

/// As process 1 of a container. Needs the right to make namespaces.
#[test]
fn process_1_leaves_no_zombies_and_hears_signals() {
    let broker = Broker::start();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_sixpin"), "run", "r", "--"]);
    let script = "echo ready; read line; cat /proc/[0-9]*/status | grep -c '^State:.Z'; exec sleep 1000";
    command.args(["sh", "-c", script]).env("SIXPIN_ENDPOINTS", &broker.address);
    let mut run = Process(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(run.0.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    assert_eq!(lines.next().as_deref(), Some("ready"), "no right to make namespaces: run this as root");
    let first = child_of(run.pid(), "run");
    // An orphan that is none of the command's, as of `docker exec`.
    let namespace = format!("--pid=/proc/{first}/ns/pid");
    assert!(Command::new("nsenter").args([&namespace, "sh", "-c", "(sleep 0.1 &)"]).status().unwrap().success());
    std::thread::sleep(Duration::from_secs(1));
    writeln!(run.0.stdin.take().unwrap(), "go on").unwrap();
    assert_eq!(lines.next().as_deref(), Some("0"), "zombies");
    kill(Pid::from_raw(first), Signal::SIGTERM).unwrap();
    assert_eq!(run.wait().code(), Some(128 + 15));
}
