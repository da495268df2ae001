//! Commands that look, against a broker with known claims.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use sixpin_client::{Client, Guard, Mode, Session};
use sixpin_proto::v1;

use super::program::{Broker, Process, Said, program, soon};
use crate::support;
use crate::support::store::{Place, Reason};

/// A session of the client library, for what `sixpin run` does not do.
async fn session(broker: &Broker, label: &str) -> Session {
    let client = Client::new([broker.address.as_str()]).unwrap();
    client.session().label(label).open().await.unwrap()
}

/// `deploy`: held in CR by two, of which one converts to EX, and one waits for PW.
async fn busy(broker: &Broker) -> (Vec<Session>, Vec<Guard>) {
    let sessions = vec![session(broker, "alice@web1:1").await, session(broker, "bob@web2:2").await];
    let write = |session: &Session| session.lock("deploy", Mode::EX).label("writer").into_future();
    let writer = write(&sessions[0]).await.unwrap();
    writer.convert(Mode::CR).value(&b"v42"[..]).await.unwrap();
    let reader = sessions[1].lock("deploy", Mode::CR).label("bob@web2:2").owner("job-7").await.unwrap();
    (sessions, vec![writer, reader])
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_who_holds_what() {
    let broker = Broker::start();
    let _busy = busy(&broker).await;
    let other = session(&broker, "").await;
    let _guard = other.lock("stage", Mode::PR).await.unwrap();
    let said = broker.ask(&["ls"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    // All but the ages.
    let shown = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        [&words[..2], &words[3..]].concat().join(" ")
    };
    let lines: Vec<String> = said.stdout.lines().map(shown).collect();
    assert_eq!(lines, ["RESOURCE HELD HOLDERS CONVERTING WAITING", "deploy CR 2 0 0", "stage PR 1 0 0"]);
    assert!(said.stdout.lines().nth(1).unwrap().split_whitespace().nth(2).unwrap().ends_with('s'), "{said:?}");

    let listing = broker.json(&["ls", "dep"]);
    assert_eq!(listing["resources"].as_array().unwrap().len(), 1);
    assert_eq!(listing["resources"][0]["modes"], serde_json::json!(["CR"]));
    assert!(listing["resources"][0]["version"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(listing["next"], serde_json::Value::Null);

    // Pages come in the order of the store.
    let page = broker.json(&["ls", "--limit", "1"]);
    let place = page["next"].as_str().unwrap();
    let rest = broker.json(&["ls", "--after", place]);
    let mut names = [&page, &rest].map(|page| page["resources"][0]["name"].as_str().unwrap());
    names.sort_unstable();
    assert_eq!(names, ["deploy", "stage"]);
    let said = broker.ask(&["ls", "--limit", "1"]);
    assert!(said.stderr.contains(&format!("`--after '{place}'`")), "{said:?}");
    assert_eq!(broker.json(&["ls", "--all"])["resources"].as_array().unwrap().len(), 2);
    assert!(broker.ask(&["ls", "--lockspace", "elsewhere"]).stderr.contains("any such resource"));
}

#[tokio::test(flavor = "multi_thread")]
async fn show_shows_the_queues_in_order() {
    let broker = Broker::start();
    let (sessions, guards) = busy(&broker).await;
    // Kept, because an operation that is dropped is withdrawn. One after the other: a PW that came first is granted.
    let _upgrade = guards[1].convert(Mode::EX).into_future();
    soon("a converter", || (broker.json(&["ls"])["resources"][0]["converting"] == 1).then_some(()));
    let _waiting = sessions[0].lock("deploy", Mode::PW).label("third").into_future();
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));

    let _other = sessions[1].lock("stage", Mode::PR).await.unwrap();
    let waited_for = broker.json(&["ls", "--waiting"]);
    assert_eq!(waited_for["resources"].as_array().unwrap().len(), 1, "{waited_for}");
    assert_eq!(waited_for["resources"][0]["name"], "deploy");
    assert!(broker.ask(&["ls", "--waiting"]).stdout.contains("LONGEST WAIT"));
    assert_eq!(broker.ask(&["ls", "--waiting", "stage"]).stdout, "");
    let idle = session(&broker, "idle").await;
    let waiters = broker.json(&["sessions", "--waiting"]);
    let waiters: Vec<&str> =
        waiters["sessions"].as_array().unwrap().iter().map(|session| session["session"].as_str().unwrap()).collect();
    assert!(
        sessions.iter().all(|session| waiters.contains(&session.id().as_str()))
            && !waiters.contains(&idle.id().as_str())
    );

    let said = broker.ask(&["show", "deploy"]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].starts_with("deploy in lockspace default, version "), "{said:?}");
    assert_eq!(lines[1], "value block: `v42`, 32 bytes, 1 write, valid");
    let place = |word: &str| lines.iter().position(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(place("Granted") < place("Converting") && place("Converting") < place("Waiting"));
    assert!(lines[place("Granted") + 2].trim_start().starts_with("CR"), "{said:?}");
    assert!(lines[place("Converting") + 2].trim_start().starts_with("CR>EX"), "{said:?}");
    assert!(lines[place("Converting") + 2].contains("job-7"), "{said:?}");
    assert!(lines[place("Waiting") + 2].contains("third"), "{said:?}");

    let state = broker.json(&["show", "deploy"]);
    let queues: Vec<&str> =
        state["claims"].as_array().unwrap().iter().map(|claim| claim["queue"].as_str().unwrap()).collect();
    assert_eq!(queues, ["granted", "converting", "waiting"]);
    assert_eq!(state["claims"][0]["fence"].as_str().unwrap().parse::<u64>().unwrap(), guards[0].fence());
    assert_eq!(state["claims"][0]["session"], sessions[0].id());
    assert_eq!(state["value_block"]["text"], "v42");
    assert_eq!(state["value_block"]["invalid"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_says_whose_a_claim_is_and_where() {
    let broker = Broker::alone(Reason::OwnReport, &["--name", "north"]);
    let session = session(&broker, "alice@web1:1").await;
    let _guard = session.lock("r", Mode::EX).await.unwrap();
    let said = broker.ask(&["show", "r"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    for word in ["alice@web1:1", "127.0.0.1:", "north", &session.id()] {
        assert!(said.stdout.contains(word), "`{word}` is missing: {}", said.stdout);
    }
    let claim = &broker.json(&["show", "r"])["claims"][0];
    assert_eq!((&claim["label"], &claim["session_label"]), (&"alice@web1:1".into(), &"alice@web1:1".into()));
    assert_eq!(claim["broker"], "north");
    assert!(claim["client_address"].as_str().unwrap().starts_with("127.0.0.1:"), "{claim}");
    let unlock = broker.ask(&["unlock", "r"]);
    assert!(unlock.stderr.contains("alice@web1:1") && unlock.stderr.contains("north"), "{unlock:?}");
    let sessions = broker.ask(&["sessions"]).stdout;
    assert!(sessions.contains("CLIENT") && sessions.contains("127.0.0.1:"), "{sessions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_itself_is_told_so() {
    let broker = Broker::start();
    let (session, other) = (session(&broker, "loop").await, session(&broker, "other").await);
    let _held = session.lock("r", Mode::PR).await.unwrap();
    let refused = session.lock("r", Mode::EX).try_lock().await.unwrap_err().to_string();
    assert!(refused.ends_with("(this session itself, by claim 1, holds PR)"), "{refused}");
    let _waiting = session.lock("r", Mode::EX).into_future();
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    let refused = other.lock("r", Mode::EX).try_lock().await.unwrap_err().to_string();
    assert!(!refused.contains("itself"), "{refused}");
    let said = broker.ask(&["show", "r"]).stdout;
    assert_eq!(said.matches("waits for itself: claim").count(), 1, "{said}");
    assert!(said.contains("wants EX, and its claim 1 has PR"), "{said}");
}

/// A broker that is frozen takes connections and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_is_named_and_the_rest_is_shown() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let advertised = format!("advertise = \"{}\"\n", nobody.local_addr().unwrap());
    let place = Place::new();
    let near = support::Broker::on(&place, "").await;
    let far = support::Broker::on(&place, &advertised).await;
    near.use_sockets();
    let (mut one, mut other) = (near.session().await, far.session().await);
    one.lock(support::wait_lock(1, "r", v1::Mode::Pr)).await;
    other.lock(support::wait_lock(1, "r", v1::Mode::Pr)).await;
    let address = near.server.address.to_string();
    let ask = move |arguments: &'static [&'static str]| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || {
            Said::from(program().args(arguments).env("SIXPIN_ENDPOINTS", address).output().unwrap())
        })
    };
    while ask(&["brokers"]).await.unwrap().stdout.lines().count() < 3 {}

    let said = ask(&["show", "r"]).await.unwrap();
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!([&one, &other].iter().all(|session| said.stdout.contains(&session.opened.session)), "{said:?}");
    assert!(said.stdout.contains("127.0.0.1:") && said.stdout.contains("test (no answer)"), "{said:?}");
    assert!(said.stderr.contains("no answer from test"), "{said:?}");
    let said = ask(&["sessions"]).await.unwrap();
    assert_eq!(said.status, Some(69), "what is not complete is a failure: {said:?}");
    assert!(said.stdout.contains(&one.opened.session), "{said:?}");
    assert!(said.stderr.contains("the list is not complete: no answer from test"), "{said:?}");
    for arguments in [&["ls"], &["status"], &["brokers"]] {
        let said = ask(arguments).await.unwrap();
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    }
}

#[test]
fn show_says_when_nobody_is_there() {
    let broker = Broker::start();
    assert_eq!(broker.ask(&["show", "r"]).stdout, "r in lockspace default is free: nobody has a claim on it\n");
    assert_eq!(broker.json(&["show", "r"])["version"], "0");
}

#[test]
fn show_answers_a_script_with_its_status() {
    let broker = Broker::start();
    let status = |arguments: &[&str]| broker.ask(arguments).status;
    assert_eq!(status(&["show", "r", "--exit-code"]), Some(0));
    let holder = broker.hold(&["r", "--mode", "nl"]);
    assert_eq!(status(&["show", "r", "--exit-code"]), Some(0), "NL is in nobody's way");
    assert!(holder.release().success());
    let holder = broker.hold(&["r", "--mode", "cr"]);
    let said = broker.ask(&["show", "r", "--exit-code"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stdout.contains("Granted"), "{said:?}");
    assert_eq!(status(&["show", "r", "--exit-code", "--output", "json"]), Some(1));
    assert_eq!(status(&["show", "r"]), Some(0), "without being asked for, it is no answer");
    assert!(holder.release().success());
    // Whatever fails is neither of the two answers.
    assert_eq!(status(&["show", "r", "--exit-code", "--endpoints", "127.0.0.1:1"]), Some(69));
    let admin = broker.sixpin(&["show", "", "--exit-code"]).output().unwrap();
    assert_eq!(admin.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_begins_with_a_dash_comes_after_two() {
    let broker = Broker::start();
    let session = session(&broker, "").await;
    let _guard = session.lock("-foo", Mode::EX).await.unwrap();
    let said = broker.ask(&["show", "--", "-foo"]);
    assert!(said.stdout.starts_with("-foo in lockspace default, version "), "{said:?}");
    let said = broker.ask(&["ls", "--", "-f"]);
    assert!(said.stdout.contains("-foo "), "{said:?}");
    let mut watch = Process(broker.sixpin(&["watch", "--", "-foo"]).stdout(Stdio::piped()).spawn().unwrap());
    let line = BufReader::new(watch.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.contains("held: EX"), "{line}");
    assert_eq!(broker.ask(&["purge", "--all", "--", "-foo"]).stdout, "removed 0 orphans from -foo\n");
    for command in ["show", "ls", "watch", "unlock", "purge"] {
        let help = broker.ask(&[command, "--help"]);
        assert!(help.stdout.contains("after `--`"), "{help:?}");
    }
    assert_eq!(broker.ask(&["unlock", "--force", "--now", "--", "-foo"]).status, Some(0));
}

#[test]
fn a_listing_goes_on_only_from_where_one_ended() {
    let broker = Broker::start();
    let said = broker.ask(&["ls", "--after", "nowhere"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("`after` is not the `next` of an earlier page"), "{said:?}");
}

#[test]
fn a_variable_that_is_set_to_nothing_is_none() {
    let mut command = program();
    for name in ["SIXPIN_ENDPOINTS", "SIXPIN_ADMIN_ENDPOINTS", "SIXPIN_LOCKSPACE"] {
        command.env(name, "");
    }
    let said = Said::from(command.args(["purge", "r", "--all", "--admin-endpoint", "127.0.0.1:1"]).output().unwrap());
    assert_eq!(said.status, Some(69), "{said:?}");
    // A broker may run where one is if nobody names another.
    let said = Said::from(program().env("SIXPIN_ENDPOINTS", "").arg("ls").output().unwrap());
    assert!(said.status == Some(0) || said.stderr.contains("answered at 127.0.0.1:6616 ("), "{said:?}");
    let said = Said::from(program().env("SIXPIN_ENDPOINTS", ",").arg("ls").output().unwrap());
    assert_eq!(said.status, Some(2), "what is no address is refused as ever: {said:?}");
}

#[test]
fn watch_says_a_line_for_each_change() {
    let broker = Broker::start();
    for json in [false, true] {
        let mut command = broker.sixpin(&["watch", "r"]);
        if json {
            command.args(["--output", "json"]);
        }
        let mut watch = Process(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(watch.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let free = lines.next().unwrap();
        let holder = broker.hold(&["r", "--label", "me@here:1"]);
        let held = lines.next().unwrap();
        assert!(holder.release().success());
        let free_again = lines.find(|line| line.contains(if json { "\"claims\":[]" } else { "free" }));
        assert!(free_again.is_some());
        if json {
            let held: serde_json::Value = serde_json::from_str(&held).unwrap();
            assert_eq!(held["claims"][0]["label"], "me@here:1");
        } else {
            assert!(free.ends_with("  free"), "{free}");
            assert!(held.contains("  held: EX me@here:1 fence "), "{held}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_brokers_and_status_are_told() {
    let broker = Broker::alone(Reason::OwnReport, &["--name", "north"]);
    let session = session(&broker, "alice@web1:1").await;
    let _guard = session.lock("r", Mode::EX).await.unwrap();

    let listing = broker.json(&["sessions"]);
    assert_eq!(listing["sessions"][0]["session"], session.id());
    assert_eq!(listing["sessions"][0]["broker"], "north");
    assert_eq!(listing["sessions"][0]["held"], 1);
    assert_eq!(listing["unanswered"], serde_json::json!([]));
    let text = broker.ask(&["sessions", "--broker", "north"]).stdout;
    assert!(text.contains(&session.id()) && text.contains("alice@web1:1") && text.contains("10s"), "{text}");
    let said = broker.ask(&["sessions", "--broker", "south"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.starts_with("error: there is no broker `south`\nhint: "), "{said:?}");

    let listing = broker.json(&["brokers"]);
    assert_eq!(listing["brokers"][0]["name"], "north");
    assert_eq!(listing["brokers"][0]["address"], broker.address);
    assert_eq!(listing["brokers"][0]["admin_address"], broker.admin_address);
    assert!(broker.ask(&["brokers"]).stdout.contains("north  alive"), "{listing}");

    let status = broker.json(&["status"]);
    assert_eq!((&status["name"], &status["backends"][0]["sessions"]), (&"north".into(), &1.into()));
    assert!(broker.ask(&["status"]).stdout.contains("serving"));
}

#[test]
fn a_failure_is_one_sentence_and_a_hint() {
    for command in
        [vec!["ls"], vec!["show", "r"], vec!["watch", "r"], vec!["sessions"], vec!["brokers"], vec!["status"]]
    {
        let said = Said::from(program().args(&command).args(["--endpoints", "127.0.0.1:1"]).output().unwrap());
        assert_eq!((said.status, said.stdout.as_str()), (Some(69), ""), "{command:?}: {said:?}");
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{said:?}");
        assert!(lines[0].starts_with("error: no broker answered at 127.0.0.1:1 (") && !lines[0].ends_with('.'));
        assert!(lines[1].starts_with("hint: start a broker with `sixpin serve`"), "{said:?}");
    }
}

#[test]
fn the_next_endpoint_is_asked() {
    let broker = Broker::start();
    let endpoints = format!("127.0.0.1:1,{}", broker.address);
    assert_eq!(broker.ask(&["status", "--endpoints", &endpoints]).status, Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let broker = Broker::start();
    let mut command = broker.sixpin(&["watch", "r"]);
    let mut watch = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    BufReader::new(watch.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    // Nobody reads any more; the next change is written to nobody.
    let holder = broker.hold(&["r"]);
    assert_eq!(watch.wait().code(), Some(0));
    assert!(holder.release().success());
}
