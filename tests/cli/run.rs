//! `sixpin run`: what the command is given, what its end means, who may run beside whom.

use std::process::Stdio;

use sixpin_client::Mode;

use super::program::{Broker, Process, Said, program, soon};
use crate::support::store::Reason;

#[test]
fn the_command_knows_its_lock() {
    let broker = Broker::start();
    let script = "echo $SIXPIN_RESOURCE $SIXPIN_MODE $SIXPIN_LOCKSPACE $SIXPIN_FENCE $SIXPIN_SESSION";
    let said = broker.ask(&["run", "orders/42", "--mode", "pw", "--", "sh", "-c", script]);
    let words: Vec<&str> = said.stdout.split_whitespace().collect();
    assert_eq!(words[..3], ["orders/42", "PW", "default"], "{said:?}");
    assert!(words[3].parse::<u64>().unwrap() > 0, "{said:?}");
    assert!(words[4].ends_with("-10000"), "{said:?}");
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_command_does_not_get_the_token() {
    let broker = Broker::start();
    let mut run = broker.sixpin(&["run", "r", "--", "sh", "-c", "echo \"token: $SIXPIN_TOKEN\""]);
    let said = Said::from(run.env("SIXPIN_TOKEN", "hidden").output().unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "token: \n"), "{said:?}");
}

#[test]
fn the_status_is_that_of_the_command() {
    let broker = Broker::start();
    for (command, status) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 42"], 42),
        (vec!["sh", "-c", "kill -TERM $$"], 128 + 15),
        (vec!["sh", "-c", "kill -KILL $$"], 128 + 9),
        (vec!["sh", "-c", "kill -40 $$"], 128 + 40),
        (vec!["/nowhere/no-such-command"], 127),
        (vec!["/dev/null"], 126),
    ] {
        let said = broker.ask(&[&["run", "r", "--"], command.as_slice()].concat());
        assert_eq!(said.status, Some(status), "{command:?}: {said:?}");
    }
    let said = broker.ask(&["run", "r", "--", "no-such-command"]);
    assert!(said.stderr.starts_with("error: `no-such-command` can not be started: "), "{said:?}");
    assert_eq!(broker.json(&["ls"])["resources"].as_array().unwrap().len(), 0, "a lock was left behind");
}

#[test]
fn what_the_command_reads_and_writes_goes_through() {
    let broker = Broker::start();
    let file = broker.folder().join("in");
    std::fs::write(&file, "from the file\n").unwrap();
    let mut command = broker.sixpin(&["run", "r", "--", "sh", "-c", "cat; echo aside >&2"]);
    let said = Said::from(command.stdin(std::fs::File::open(file).unwrap()).output().unwrap());
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("from the file\n", "aside\n"));
}

#[test]
fn a_lock_that_is_held_is_not_granted_in_time() {
    let broker = Broker::start();
    let holder = broker.hold(&["r", "--label", "somebody"]);
    for (patience, word) in [(vec!["--no-wait"], "at once"), (vec!["--wait", "300ms"], "within 300ms")] {
        let said = broker.ask(&[&["run", "r"], patience.as_slice(), &["--", "echo", "ran"]].concat());
        assert_eq!((said.status, said.stdout.as_str()), (Some(75), ""), "{said:?}");
        assert!(said.stderr.contains(&format!("error: EX on `r` was not granted {word}")), "{said:?}");
        assert!(said.stderr.contains("`somebody`"), "it does not say who: {said:?}");
        assert!(said.stderr.contains("hint: "), "{said:?}");
    }
    assert!(holder.release().success());
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(0));
}

#[test]
fn who_waits_sees_for_whom_and_gets_it_then() {
    let broker = Broker::start();
    let holder = broker.hold(&["r", "--label", "first@host:1"]);
    let mut command = broker.sixpin(&["run", "r", "--", "echo", "ran"]);
    let waiter = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    // Long enough for it to say that it waits.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(holder.release().success());
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "ran\n"));
    assert!(said.stderr.contains("sixpin: waiting for EX on `r`, held by first@host:1 (EX for "), "{said:?}");
    assert!(said.stderr.contains("sixpin: got EX on `r` after "), "{said:?}");
}

#[test]
fn nobody_answers_without_a_broker() {
    let said = Said::from(
        program().args(["run", "r", "--endpoints", "127.0.0.1:1", "--no-wait", "--", "true"]).output().unwrap(),
    );
    assert_eq!(said.status, Some(69), "{said:?}");
    assert!(said.stderr.starts_with("error: no broker answered at 127.0.0.1:1 (connection refused"), "{said:?}");
    assert!(said.stderr.contains("hint: start a broker with `sixpin serve`"), "{said:?}");
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    for arguments in [
        vec!["run", "r", "--mode", "xx", "--", "true"],
        vec!["run", "r", "--wait", "1s", "--no-wait", "--", "true"],
        vec!["run", "r", "--ttl", "10ms", "--", "true"],
        vec!["run", "r", "--kill-after", "5s", "--", "true"],
        vec!["run", "", "--", "true"],
        vec!["run", "r"],
    ] {
        let said = Said::from(program().args(&arguments).output().unwrap());
        assert_eq!(said.status, Some(2), "{arguments:?}: {said:?}");
    }
}

#[test]
fn the_help_says_what_the_statuses_mean() {
    let said = Said::from(program().args(["run", "--help"]).output().unwrap());
    for status in ["126", "127", "128 + n", "75  the lock was not granted", "74  the lock was lost", "69  no broker"] {
        assert!(said.stdout.contains(status), "no `{status}` in {}", said.stdout);
    }
}

#[test]
fn a_refused_run_leaves_no_session() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    assert_eq!(broker.ask(&["run", "r", "--no-wait", "--", "true"]).status, Some(75));
    assert_eq!(broker.json(&["sessions"])["sessions"].as_array().unwrap().len(), 1);
    assert!(holder.release().success());
}

#[test]
fn the_next_endpoint_is_tried() {
    let broker = Broker::start();
    let endpoints = format!("127.0.0.1:1,{}", broker.address);
    assert_eq!(broker.ask(&["run", "r", "--endpoints", &endpoints, "--", "true"]).status, Some(0));
}

#[test]
fn modes_exclude_each_other_as_the_matrix_says() {
    let broker = Broker::start();
    for held in Mode::ALL {
        let holder = broker.hold(&["r", "--mode", held.as_str()]);
        let tries: Vec<(Mode, Process)> = Mode::ALL
            .into_iter()
            .map(|wanted| {
                let mut command = broker.sixpin(&["run", "r", "--mode", wanted.as_str(), "--no-wait", "--", "true"]);
                let process = Process(command.stderr(Stdio::null()).spawn().unwrap());
                (wanted, process)
            })
            // One after the other, so that the tries do not exclude each other.
            .map(|(wanted, mut process)| {
                process.wait();
                (wanted, process)
            })
            .collect();
        for (wanted, mut process) in tries {
            let expected = if held.compatible(wanted) { 0 } else { 75 };
            assert_eq!(process.wait().code(), Some(expected), "{wanted} beside {held}");
        }
        assert!(holder.release().success());
    }
}

#[test]
fn a_counter_in_a_file_loses_nothing_and_fences_rise() {
    const RUNS: usize = 8;
    const ROUNDS: usize = 5;
    let broker = Broker::start();
    let (counter, fences) = (broker.folder().join("counter"), broker.folder().join("fences"));
    std::fs::write(&counter, "0\n").unwrap();
    let script = "n=$(cat \"$1\"); echo $((n + 1)) > \"$1\"; echo $SIXPIN_FENCE >> \"$2\"";
    std::thread::scope(|scope| {
        for _ in 0..RUNS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut command = broker.sixpin(&["run", "counter", "--", "sh", "-c", script, "sh"]);
                    let status = command.arg(&counter).arg(&fences).stderr(Stdio::null()).status().unwrap();
                    assert!(status.success());
                }
            });
        }
    });
    assert_eq!(std::fs::read_to_string(&counter).unwrap(), format!("{}\n", RUNS * ROUNDS));
    let fences = std::fs::read_to_string(&fences).unwrap();
    let fences: Vec<u64> = fences.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(fences.len(), RUNS * ROUNDS);
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");
}

/// As in a job of cron: whatever is said is mailed.
#[test]
fn a_quiet_run_says_nothing_of_others() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let quiet = ["run", "r", "--quiet", "--conflict-exit-code", "0"];
    for patience in [vec!["--no-wait"], vec!["--wait", "1s"]] {
        let said = broker.ask(&[&quiet, patience.as_slice(), &["--", "echo", "ran"]].concat());
        assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
    }
    let mut command = broker.sixpin(&["run", "r", "-q", "--", "echo", "ran"]);
    let waiter = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(holder.release().success());
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "ran\n", ""));
    // But what is wrong is said.
    let said = broker.ask(&["run", "r", "--quiet", "--endpoints", "127.0.0.1:1", "--no-wait", "--", "true"]);
    assert!(said.status == Some(69) && said.stderr.starts_with("error: no broker answered"), "{said:?}");
}

#[test]
fn the_status_of_a_conflict_can_be_chosen() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let said = broker.ask(&["run", "r", "--no-wait", "-E", "7", "--", "true"]);
    assert!(said.status == Some(7) && said.stderr.contains("was not granted at once"), "{said:?}");
    assert!(holder.release().success());
}

#[test]
fn a_queue_that_is_full_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("sixpin.toml");
    std::fs::write(&config, "[limits]\nqueued_per_resource = 1\n").unwrap();
    let broker = Broker::alone(Reason::OwnLimits, &["--config", config.to_str().unwrap()]);
    let holder = broker.hold(&["r"]);
    let mut waiter = broker.sixpin(&["run", "r", "--", "true"]);
    let mut waiter = Process(waiter.stderr(Stdio::null()).spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    let said = broker.ask(&["run", "r", "--", "true"]);
    assert!(said.status == Some(75) && said.stderr.contains("queued claims"), "{said:?}");
    assert!(holder.release().success());
    assert!(waiter.wait().success());
}

#[test]
fn shared_and_exclusive_are_modes() {
    let broker = Broker::start();
    let mode = ["--", "sh", "-c", "echo $SIXPIN_MODE"];
    for (arguments, expected) in [
        (vec!["run", "r"], "EX\n"),
        (vec!["run", "r", "--shared"], "PR\n"),
        (vec!["run", "r", "-s"], "PR\n"),
        (vec!["run", "r", "--mode", "shared"], "PR\n"),
        (vec!["run", "r", "--exclusive"], "EX\n"),
        (vec!["run", "r", "-x"], "EX\n"),
        (vec!["run", "r", "--mode", "Exclusive"], "EX\n"),
    ] {
        assert_eq!(broker.ask(&[arguments.as_slice(), &mode].concat()).stdout, expected, "{arguments:?}");
    }
    for both in [["--shared", "--exclusive"], ["--shared", "--mode=ex"], ["--exclusive", "--mode=ex"]] {
        let said = broker.ask(&[&["run", "r"], &both[..], &["--", "true"]].concat());
        assert_eq!(said.status, Some(2), "{both:?}: {said:?}");
    }
}

#[test]
fn a_name_may_begin_with_a_dash() {
    let broker = Broker::start();
    let command = ["sh", "-c", "echo \"$SIXPIN_RESOURCE\" \"$@\"", "sh", "--", "-x"];
    let said = broker.ask(&[&["run", "--mode", "pr", "--", "-name", "--"], &command[..]].concat());
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "-name -- -x\n"), "{said:?}");
    assert_eq!(broker.ask(&["show", "--", "-name"]).status, Some(0));
    for nameless in
        [vec!["run", "--", "true"], vec!["run", "--", "echo", "a", "--", "b"], vec!["run", "--", "-a", "--"]]
    {
        let said = broker.ask(&nameless);
        assert!(said.status == Some(2) && said.stderr.contains("no resource is named"), "{nameless:?}: {said:?}");
    }
}

/// Nobody reads what it says, and it still says that it lives.
#[test]
fn a_waiter_whose_words_nobody_reads_keeps_its_place() {
    let broker = Broker::start();
    let holder = broker.hold(&["r"]);
    let (_reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while std::io::Write::write(&mut &writer, b"\n").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut command = broker.sixpin(&["run", "r", "--ttl", "2s", "--", "echo", "ran"]);
    let waiter = command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    let place = || {
        let claims = broker.json(&["show", "r"])["claims"].take();
        let waiting = claims.as_array().unwrap().iter().find(|claim| claim["queue"] == "waiting").cloned();
        Some(waiting?["session"].as_str().unwrap().to_owned())
    };
    let first = soon("a waiter", place);
    // Beyond its TTL, and the tolerance.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(place(), Some(first));
    assert!(holder.release().success());
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "ran\n"));
}
