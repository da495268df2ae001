//! Commands that take away, end, drain and purge.

use std::process::Stdio;
use std::time::Duration;

use sixpin_client::{ClaimEvent, Client, Mode};
use sixpin_proto::v1;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use super::program::{Broker, Process, Said, program, soon, uptime};
use crate::support;
use crate::support::store::{Place, Reason};

/// The session that holds a resource.
fn holder_of(broker: &Broker, resource: &str) -> String {
    broker.json(&["show", resource])["claims"][0]["session"].as_str().unwrap().to_owned()
}

fn granted(broker: &Broker) -> u64 {
    let listing = broker.json(&["ls"]);
    listing["resources"].as_array().unwrap().iter().map(|resource| resource["granted"].as_u64().unwrap()).sum()
}

#[test]
fn unlock_needs_force() {
    let broker = Broker::start();
    let said = broker.ask(&["unlock", "r"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), "error: nobody holds `r`\n"));

    let holder = broker.hold(&["r", "--label", "me@here:1"]);
    let session = holder_of(&broker, "r");
    let said = broker.ask(&["unlock", "r"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("me@here:1"), "it does not list the holder: {said:?}");
    assert!(said.stderr.contains("`sixpin unlock --force 'r'`"), "{said:?}");

    let said = broker.ask(&["unlock", "r", "--session", &session]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("would take `r` away from me@here:1, which has it in EX"), "{said:?}");
    assert!(said.stderr.contains("hint: ") && said.stderr.contains("`--force`"), "{said:?}");
    assert_eq!(granted(&broker), 1);
    assert!(holder.release().success());
}

#[test]
fn a_forced_unlock_finds_the_only_holder_by_itself() {
    let broker = Broker::start();
    let mut holder = broker.hold(&["nightly-report", "--ttl", "60s"]);
    let said = broker.ask(&["unlock", "--force", "nightly-report"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.stdout.starts_with("took 1 claim on nightly-report ")
            && said.stdout.ends_with("the next in line may have it\n")
    );
    assert_eq!(holder.process.wait().code(), Some(74));
    assert_eq!(broker.ask(&["unlock", "--force", "nightly-report"]).status, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_unlock_of_several_holders_asks_for_one() {
    let broker = Broker::start();
    let client = Client::new([broker.address.as_str()]).unwrap();
    let sessions = [client.session().open().await.unwrap(), client.session().open().await.unwrap()];
    let guards = [sessions[0].lock("r", Mode::PR).await.unwrap(), sessions[1].lock("r", Mode::PR).await.unwrap()];
    let said = broker.ask(&["unlock", "--force", "r"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        sessions.iter().all(|session| said.stderr.contains(&session.id())),
        "it does not list the holders: {said:?}"
    );
    let hint = said.stderr.lines().last().unwrap().split('`').nth(1).unwrap();
    assert_eq!(granted(&broker), 2);

    // The hint is a command that works as it is written.
    let arguments: Vec<&str> = hint.split(' ').skip(1).map(|word| word.trim_matches('\'')).collect();
    let taken = broker.ask(&[&arguments, &["--now"][..]].concat());
    assert_eq!(taken.status, Some(0), "{hint}: {taken:?}");
    assert_eq!(granted(&broker), 1);
    drop(guards);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_unlock_of_an_orphan_names_purge() {
    let broker = Broker::start();
    let client = Client::new([broker.address.as_str()]).unwrap();
    let session = client.session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).persistent().await.unwrap();
    session.close().await.unwrap();
    drop(guard);
    soon("the orphan", || (broker.json(&["show", "r"])["claims"][0]["orphan"] == true).then_some(()));
    let said = broker.ask(&["unlock", "--force", "r"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    let hint = said.stderr.lines().last().unwrap().split('`').nth(1).unwrap();
    let arguments: Vec<&str> = hint.split(' ').skip(1).map(|word| word.trim_matches('\'')).collect();
    assert_eq!(broker.ask(&arguments).stdout, "removed 1 orphan from r\n", "{hint}");
}

#[test]
fn a_forced_unlock_ends_the_command_first() {
    let broker = Broker::start();
    let mut holder = broker.hold(&["r", "--ttl", "60s"]);
    let session = holder_of(&broker, "r");
    let before = uptime();
    let said = broker.ask(&["unlock", "r", "--session", &session, "--force"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(said.stdout, format!("took 1 claim on r from session {session}: the next in line may have it\n"));
    // The holder confirmed: nobody waited for the TTL.
    assert!(uptime() < before + Duration::from_secs(30));
    assert_eq!(holder.process.wait().code(), Some(74));
    assert_eq!(granted(&broker), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_asks_all_holders_and_says_who_was_told() {
    let broker = Broker::start();
    let said = broker.ask(&["notify", "r"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), "error: nobody who could be told holds `r`\n"));
    let client = Client::new([broker.address.as_str()]).unwrap();
    let sessions = [client.session().open().await.unwrap(), client.session().open().await.unwrap()];
    let guard = sessions[0].lock("r", Mode::PR).blocking().await.unwrap();
    let quiet = sessions[1].lock("r", Mode::PR).await.unwrap();
    let said = broker.ask(&["notify", "r"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let [told, deaf] = [&sessions[0], &sessions[1]].map(sixpin_client::Session::id);
    assert!(
        said.stdout.contains(&format!("told claim {} of session {told} that r is wanted\n", guard.claim())),
        "{said:?}"
    );
    let line = format!("claim {} of session {deaf} on r: its client does not listen for that\n", quiet.claim());
    assert!(said.stdout.contains(&line), "{said:?}");
    assert!(matches!(guard.next_event().await, ClaimEvent::Blocking { wanted: Mode::EX, .. }));
    let said = broker.ask(&["notify", "r", "--session", &deaf]);
    assert_eq!((said.status, said.stdout), (Some(1), line));
    assert!(said.stderr.starts_with("hint: ") && said.stderr.contains("unlock --force"), "{}", said.stderr);
    let report = broker.json(&["notify", "r", "--session", &told, "--claim", &guard.claim().to_string()]);
    assert_eq!(report["holders"][0]["told"], serde_json::json!([guard.claim()]));
    assert_eq!(granted(&broker), 2);
}

/// The admin listener of a broker that the session does not live at is enough: it names the one that it lives at.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_unlock_goes_to_the_broker_of_the_session() {
    let place = Place::new();
    let (first, second) = (support::Broker::on(&place, "").await, support::Broker::on(&place, "").await);
    for (claim, now) in [(1, false), (2, true)] {
        let mut holder = first.session().await;
        holder.lock(support::wait_lock(claim, "r", v1::Mode::Ex)).await;
        let mut command = program();
        command.args(["unlock", "r", "--session", &holder.opened.session, "--force"]).args(now.then_some("--now"));
        command.args(["--admin-endpoint", &second.server.admin_address.unwrap().to_string()]);
        let unlocking = tokio::task::spawn_blocking(move || Said::from(command.output().unwrap()));
        // The holder is told, also if the lock is not kept until it has confirmed.
        assert!(matches!(holder.event().await, Body::Lost(_)));
        if !now {
            holder.ask_plain(Ask::ConfirmLost(v1::ConfirmLost { claims: vec![claim] })).await;
        }
        let said = unlocking.await.unwrap();
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(
            said.stdout.starts_with("took 1 claim on r ") && said.stdout.ends_with("the next in line may have it\n"),
            "{said:?}"
        );
    }
}

#[test]
fn expire_ends_a_session() {
    let broker = Broker::start();
    let mut holder = broker.hold(&["r", "--ttl", "60s"]);
    let session = holder_of(&broker, "r");
    let before = uptime();
    let report = broker.json(&["expire", &session]);
    assert_eq!((&report["session"], &report["free"]), (&session.as_str().into(), &true.into()));
    // The holder confirmed: nobody waited for the TTL.
    assert!(uptime() < before + Duration::from_secs(30));
    assert_eq!(holder.process.wait().code(), Some(74));
    assert_eq!(broker.json(&["sessions"])["sessions"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_removes_orphans() {
    let broker = Broker::start();
    let client = Client::new([broker.address.as_str()]).unwrap();
    let session = client.session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).persistent().owner("job-7").await.unwrap();
    session.close().await.unwrap();
    drop(guard);
    soon("the orphan", || (broker.json(&["show", "r"])["claims"][0]["orphan"] == true).then_some(()));
    assert_eq!(broker.ask(&["purge", "r"]).status, Some(2));
    assert_eq!(broker.ask(&["purge", "r", "--owner", "job-8"]).stdout, "removed 0 orphans from r\n");
    assert_eq!(broker.ask(&["purge", "r", "--owner", "job-7"]).stdout, "removed 1 orphan from r\n");
    assert_eq!(broker.json(&["ls"])["resources"], serde_json::json!([]));
}

#[test]
fn drain_is_for_one_broker_and_ends_it() {
    let mut broker = Broker::alone(Reason::OwnEnd, &[]);
    let two = format!("{0},{0}", broker.admin_address);
    let said = broker.ask(&["drain", "--admin-endpoint", &two]);
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.contains("several are named"), "{said:?}");

    let said = broker.ask(&["drain", "--timeout", "1s"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.ends_with("has let go of 0 sessions and leaves\n"), "{said:?}");
    assert!(broker.wait().success());
}

#[test]
fn a_wrong_listener_is_told() {
    let broker = Broker::start();
    let said = broker.ask(&["drain", "--admin-endpoint", &broker.address]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("hint: ") && said.stderr.contains("`--admin-listen`"), "{said:?}");
}

#[test]
fn waiters_move_up_when_a_lock_is_taken_away() {
    let broker = Broker::start();
    let mut holder = broker.hold(&["r"]);
    let mut command = broker.sixpin(&["run", "r", "--", "true"]);
    let mut waiter = Process(command.stderr(Stdio::null()).spawn().unwrap());
    soon("a waiter", || (broker.json(&["ls"])["resources"][0]["waiting"] == 1).then_some(()));
    let session = holder_of(&broker, "r");
    let said = broker.ask(&["unlock", "r", "--session", &session, "--force", "--now"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(waiter.wait().code(), Some(0));
    assert_eq!(holder.process.wait().code(), Some(74));
}
