//! Reaching a broker: endpoints that hang, are full or are not there, and how long commands wait.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sixpin_memory::{Fault, Faulty, MemoryStore, Operation};
use sixpin_testkit::ports::Port;
use tempfile::TempDir;

use super::program::{Broker, PATIENCE, Process, Said, program, soon};
use crate::support;
use crate::support::endpoints::{Hung, limited};
use crate::support::store::{Place, Reason};

/// Far longer than anything here may take, and far shorter than for ever.
const HANG: Duration = Duration::from_secs(30);

/// What a command says, and that it does not hang. The time it took is printed.
#[expect(clippy::print_stdout, reason = "what was measured is for whoever looks")]
fn timed(mut command: Command) -> Said {
    let started = Instant::now();
    let said = Said::from(command.output().unwrap());
    let took = started.elapsed();
    println!("{took:?}: {:?}", command.get_args());
    assert!(took < HANG, "{command:?} took {took:?}: {said:?}");
    said
}

fn sixpin(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).env("SIXPIN_ENDPOINTS", endpoints);
    command
}

/// Every command, with this endpoint before those of a broker.
fn every_command_passes(broker: &Broker, bad: &str) {
    let endpoints = format!("{bad},{}", broker.address);
    let admin_endpoints = format!("{bad},{}", broker.admin_address);
    let ask = |arguments: &[&str]| {
        let mut command = sixpin(&endpoints, arguments);
        command.env("SIXPIN_ADMIN_ENDPOINTS", &admin_endpoints);
        let said = timed(command);
        assert_eq!(said.status, Some(0), "{arguments:?}: {said:?}");
        said
    };
    ask(&["run", "r", "--no-wait", "--", "true"]);
    ask(&["run", "r", "--wait", "20s", "--", "true"]);
    for arguments in [vec!["ls"], vec!["show", "r"], vec!["status"], vec!["brokers"], vec!["sessions"]] {
        ask(&arguments);
    }
    ask(&["purge", "r", "--all"]);
    for take in ["unlock", "expire"] {
        let mut holder = broker.hold(&["r", "--ttl", "60s"]);
        let session = broker.json(&["show", "r"])["claims"][0]["session"].as_str().unwrap().to_owned();
        match take {
            "unlock" => ask(&["unlock", "r", "--session", &session, "--force"]),
            _ => ask(&["expire", &session]),
        };
        assert_eq!(holder.process.wait().code(), Some(74), "the lock was not taken away");
    }
    let mut command = sixpin(&endpoints, &["watch", "r"]);
    let mut watch = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with("  free"));
}

#[test]
fn an_endpoint_that_hangs_holds_up_no_command() {
    let (broker, hung) = (Broker::start(), Hung::start());
    every_command_passes(&broker, &hung.address().to_string());
}

#[test]
fn a_connection_that_a_limit_closes_sends_every_command_on() {
    let broker = Broker::start();
    // Closed when it asks for anything, and closed after it has shown that it is alive.
    for answers in [0, 1] {
        every_command_passes(&broker, &limited(answers).to_string());
    }
}

#[test]
fn an_error_says_what_was_met_at_each_endpoint() {
    let hung = Hung::start();
    let endpoints = format!("127.0.0.1:1,{},{}", hung.address(), limited(0));
    for arguments in [vec!["ls"], vec!["run", "r", "--wait", "4s", "--", "true"]] {
        let said = timed(sixpin(&endpoints, &arguments));
        assert_eq!(said.status, Some(69), "{said:?}");
        assert!(said.stderr.contains("no broker answered at "), "{said:?}");
        assert!(said.stderr.contains("127.0.0.1:1 (connection refused"), "{said:?}");
        assert!(said.stderr.contains(&format!("{} (no answer", hung.address())), "{said:?}");
        assert!(said.stderr.contains("hint: start a broker with `sixpin serve`, or name one"), "{said:?}");
    }
}

#[test]
fn a_wait_is_a_bound_also_where_nobody_answers() {
    let hung = Hung::start();
    for patience in [["--wait", "1s"].as_slice(), &["--wait", "50ms"], &["--no-wait"]] {
        let arguments = [&["run", "r"], patience, &["--", "true"]].concat();
        let said = timed(sixpin(&hung.address().to_string(), &arguments));
        assert_eq!(said.status, Some(69), "{said:?}");
        assert!(said.stderr.contains(&format!("no broker answered at {} (no answer)", hung.address())), "{said:?}");
    }
}

#[test]
fn a_wait_is_a_bound_at_a_frozen_broker() {
    let broker = Broker::start();
    let holder = broker.hold(&["r", "--ttl", "60s"]);
    // This one has heard that somebody has it.
    let mut command = broker.sixpin(&["run", "r", "--ttl", "60s", "--wait", "15s", "--", "true"]);
    let waiter = command.stderr(Stdio::piped()).spawn().unwrap();
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    broker.signal(Signal::SIGSTOP);
    // These hear nothing.
    for patience in [["--wait", "1s"].as_slice(), &["--no-wait"]] {
        let arguments = [&["run", "r", "--ttl", "60s"], patience, &["--", "true"]].concat();
        let said = timed(broker.sixpin(&arguments));
        assert_eq!(said.status, Some(69), "{said:?}");
        assert!(!said.stderr.contains("was not granted"), "nobody is known to hold it: {said:?}");
    }
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!(said.status, Some(75), "{said:?}");
    assert!(said.stderr.contains("error: EX on `r` was not granted within 15s"), "{said:?}");
    broker.signal(Signal::SIGCONT);
    assert!(holder.release().success());
}

/// A broker at this address, as soon as it answers.
fn serve(folder: &Path, place: &Place, address: &str) -> Process {
    let ready = folder.join("ready");
    let _ = std::fs::remove_file(&ready);
    let mut command = program();
    command.args(["serve", "--listen", address, "--admin-listen", "127.0.0.1:0", "--log-level", "error"]);
    let process = Process(command.envs(place.variables()).arg("--ready-file").arg(&ready).spawn().unwrap());
    soon("the ready file", || ready.exists().then_some(()));
    process
}

fn until_said(lines: &mut Lines<BufReader<ChildStderr>>, what: &str) {
    let mut before = String::new();
    for line in lines.by_ref().map(Result::unwrap) {
        if line.contains(what) {
            return;
        }
        before.push_str(&line);
    }
    panic!("`{what}` was not said: {before}");
}

#[test]
fn run_waits_for_a_broker_and_says_so() {
    let (port, folder) = (Port::take().unwrap(), TempDir::with_prefix("sixpin-test-").unwrap());
    let address = format!("127.0.0.1:{}", port.number());
    let mut waiting: Vec<_> = [vec![], vec!["--wait", "60s"]]
        .iter()
        .map(|patience| {
            let arguments = [&["run", "r"], patience.as_slice(), &["--", "echo", "ran"]].concat();
            let mut command = sixpin(&address, &arguments);
            let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
            let lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
            (process, lines)
        })
        .collect();
    for (_, lines) in &mut waiting {
        until_said(lines, &format!("sixpin: no broker has opened a session yet at {address}: waiting for one"));
    }
    let _broker = serve(folder.path(), &Place::new(), &address);
    for (process, lines) in &mut waiting {
        until_said(lines, &format!("sixpin: the broker at {address} answers"));
        assert!(process.wait().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_waits_while_its_broker_vouches_for_nobody() {
    let store = MemoryStore::new();
    let backend = Arc::new(Faulty::new(store.backend(true), |_| Fault::None));
    let broker = support::Broker::behind(backend.clone(), "broker_ttl = \"1s\"").await;
    let address = broker.server.address.to_string();
    backend.set_plan(|_| Fault::Unavailable);
    // Until the broker has found out.
    support::until("the broker to vouch for nobody", async || {
        let address = address.clone();
        let said =
            tokio::task::spawn_blocking(move || timed(sixpin(&address, &["run", "r", "--wait", "1s", "--", "true"])));
        let said = said.await.unwrap();
        assert_eq!(said.status, Some(69), "nobody is known to hold it: {said:?}");
        assert!(!said.stderr.contains("hold"), "{said:?}");
        said.stderr.contains("vouch")
    })
    .await;
    let mut command = sixpin(&address, &["run", "r", "--wait", "60s", "--", "echo", "ran"]);
    let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let process = tokio::task::spawn_blocking(move || {
        until_said(&mut lines, "waiting for one");
        process
    });
    let mut process = process.await.unwrap();
    backend.set_plan(|_| Fault::None);
    assert!(tokio::task::spawn_blocking(move || process.wait()).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn run_says_that_its_broker_grants_nothing_yet() {
    let broker = support::Broker::in_memory(Reason::OwnReport, "first_start_grace = \"6s\"").await;
    let address = broker.server.address.to_string();
    let asked = tokio::task::spawn_blocking(move || {
        let status = timed(sixpin(&address, &["status"]));
        let refused = timed(sixpin(&address, &["run", "--wait", "500ms", "r", "--", "true"]));
        (status, refused, timed(sixpin(&address, &["run", "r", "--", "echo", "ran"])))
    });
    let (status, refused, ran) = asked.await.unwrap();
    assert!(status.stdout.contains("settling"), "{status:?}");
    assert_eq!(refused.status, Some(69), "{refused:?}");
    assert!(refused.stderr.contains(" grants nothing yet, in case its store forgot locks\n"), "{refused:?}");
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(0), "ran\n"), "{ran:?}");
    assert!(ran.stderr.contains("the broker grants nothing yet, in case its store forgot locks"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_it_while_the_store_stalls() {
    let store = MemoryStore::new();
    let backend = Arc::new(Faulty::new(store.backend(true), |_| Fault::None));
    let broker = support::Broker::behind(backend.clone(), "broker_ttl = \"60s\"").await;
    let address = broker.server.address.to_string();
    // The broker is well and answers, but can not look who has what.
    backend.set_plan(|call| match call.operation {
        Operation::Commit => Fault::Delay(PATIENCE),
        _ => Fault::None,
    });
    let asked = tokio::task::spawn_blocking(move || {
        [["--wait", "1s"].as_slice(), &["--no-wait"]].map(|patience| {
            let arguments = [&["run", "r"], patience, &["--", "true"]].concat();
            timed(sixpin(&address, &arguments))
        })
    });
    for said in asked.await.unwrap() {
        assert_eq!(said.status, Some(69), "{said:?}");
        assert!(said.stderr.contains("error: no broker said within "), "{said:?}");
        assert!(said.stderr.contains("hint: see how the broker is with `sixpin status`"), "{said:?}");
    }
}

#[test]
fn watch_goes_on_when_its_broker_was_restarted() {
    if crate::support::store::brokers() > 1 {
        Reason::OwnReport.tell("one broker");
    }
    let (port, folder) = (Port::take().unwrap(), TempDir::with_prefix("sixpin-test-").unwrap());
    let (address, place) = (format!("127.0.0.1:{}", port.number()), Place::new());
    let broker = serve(folder.path(), &place, &address);
    let mut command = sixpin(&address, &["watch", "r"]);
    let mut watch = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut changes = BufReader::new(watch.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut words = BufReader::new(watch.0.stderr.take().unwrap()).lines();
    assert!(changes.next().unwrap().ends_with("  free"));
    drop(broker);
    until_said(&mut words, "trying again");
    // Also after it has found nobody at all.
    until_said(&mut words, &format!("no broker answered at {address} (connection refused"));
    let _broker = serve(folder.path(), &place, &address);
    until_said(&mut words, "watching again");
    let mut command = sixpin(&address, &["run", "r", "--label", "me@here:1", "--", "cat"]);
    let mut holder = Process(command.stdin(Stdio::piped()).spawn().unwrap());
    assert!(changes.any(|line| line.contains("held: EX me@here:1")));
    drop(holder.0.stdin.take());
    assert!(holder.wait().success());
}
