//! `sixpin waits` and `sixpin top`, against brokers with known waits.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use sixpin_proto::v1;
use v1::session_request::Body as Ask;

use super::program::{Process, Said, program, soon};
use crate::support::store::Place;
use crate::support::stream::Session;
use crate::support::{Broker, try_lock, wait_lock};

/// Two brokers on one store. `alice` waits at the near one for `bob`, who waits at the far one for `carol`, who is at the near one.
struct Scene {
    near: Broker,
    far: Broker,
    _sessions: Vec<Session>,
}

impl Scene {
    async fn new(settings_of_far: &str) -> Self {
        let place = Place::new();
        let near = Broker::on(&place, "").await;
        let far = Broker::on(&place, settings_of_far).await;
        near.use_sockets();
        far.use_sockets();
        let (mut alice, mut bob, mut carol) = (near.session().await, far.session().await, near.session().await);
        let labelled = |label: &str, lock| Ask::Lock(v1::Lock { label: label.into(), ..lock });
        bob.complete(labelled("bob@b:2", try_lock(1, "r", v1::Mode::Ex))).await;
        carol.complete(labelled("carol@c:3", try_lock(1, "s", v1::Mode::Ex))).await;
        alice.ask(labelled("alice@a:1", wait_lock(1, "r", v1::Mode::Pr))).await;
        bob.ask(labelled("bob@b:2", wait_lock(2, "s", v1::Mode::Pr))).await;
        let scene = Self { near, far, _sessions: vec![alice, bob, carol] };
        while scene.ask(&["brokers"]).await.stdout.lines().count() < 3 {}
        scene
    }

    async fn ask(&self, arguments: &[&str]) -> Said {
        let address = self.near.server.address.to_string();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let said = move || Said::from(program().args(arguments).env("SIXPIN_ENDPOINTS", address).output().unwrap());
        tokio::task::spawn_blocking(said).await.unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.ask(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(said.status, Some(0), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_those_of_all_brokers_and_chains_lead_from_one_to_another() {
    let scene = Scene::new("").await;
    let said = scene.ask(&["waits"]).await;
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("RESOURCE  MODE  WHO"), "{said:?}");
    let of = |who: &str| lines.iter().find(|line| line.contains(&format!("PR    {who}"))).unwrap().to_owned();
    assert!(of("alice@a:1").ends_with("2  EX on s by carol@c:3"), "{said:?}");
    assert!(of("bob@b:2").ends_with("1  EX on s by carol@c:3"), "{said:?}");

    let listing = scene.json(&["waits", "r"]).await;
    let waits = listing["waits"].as_array().unwrap();
    assert_eq!(waits.len(), 1, "{listing}");
    let wait = &waits[0];
    assert_eq!((&wait["resource"], &wait["lockspace"]), (&"r".into(), &"default".into()));
    assert_eq!(
        (&wait["requested"], &wait["label"], &wait["end"]),
        (&"PR".into(), &"alice@a:1".into(), &"holder".into())
    );
    assert_eq!((&wait["root"]["label"], &wait["root"]["granted"]), (&"carol@c:3".into(), &"EX".into()));
    assert_eq!((&wait["chain"][0]["label"], &wait["chain"][1]["label"]), (&"bob@b:2".into(), &"carol@c:3".into()));
    assert_eq!(listing["unanswered"], serde_json::json!([]));

    let said = scene.ask(&["waits", "--min", "1h"]).await;
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""));
    assert!(said.stderr.contains("nobody waits so long"), "{said:?}");
    let said = scene.ask(&["waits", "--all-lockspaces"]).await;
    assert!(said.stdout.contains("LOCKSPACE") && said.stdout.contains("default"), "{said:?}");
    assert!(scene.ask(&["waits", "--lockspace", "other"]).await.stderr.contains("nobody waits"));

    // One broker knows its own sessions, and says where its knowledge ends.
    let near = scene.near.server.address.to_string();
    let listing = scene.json(&["waits", "--broker", &near]).await;
    assert_eq!(listing["waits"].as_array().unwrap().len(), 1, "{listing}");
    let wait = &listing["waits"][0];
    assert_eq!((&wait["end"], &wait["root"]), (&"elsewhere".into(), &serde_json::Value::Null));
    let said = scene.ask(&["waits", "--broker", &near]).await;
    assert!(said.stdout.contains("EX on r by bob@b:2") && said.stdout.contains("its broker did not say"), "{said:?}");
    assert_eq!(scene.ask(&["waits", "--broker", "south"]).await.status, Some(1));
    drop(scene.far);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = Scene::new(&format!("advertise = \"{}\"\n", nobody.local_addr().unwrap())).await;
    let said = scene.ask(&["waits"]).await;
    assert_eq!(said.status, Some(69), "what is not complete is a failure: {said:?}");
    assert!(said.stdout.contains("its broker did not say"), "{said:?}");
    assert!(said.stderr.contains("this is not complete: no answer from test"), "{said:?}");
    let said = scene.ask(&["top", "--once"]).await;
    assert!(said.status == Some(69) && said.stdout.contains("no answer from test\n"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_says_it_once_where_there_is_no_terminal() {
    let scene = Scene::new("").await;
    for arguments in [&["top"][..], &["top", "--once"]] {
        let said = scene.ask(arguments).await;
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        for shown in [", 2 brokers\n", "Longest waits\n", "EX on s by carol@c:3", "Most waited for\n", "LONGEST WAIT"] {
            assert!(said.stdout.contains(shown), "`{shown}` is missing: {said:?}");
        }
        assert!(!said.stdout.contains('\x1b') && !said.stdout.contains("q leaves"), "{said:?}");
    }
    let listing = scene.json(&["top"]).await;
    assert_eq!(listing["waits"].as_array().unwrap().len(), 2, "{listing}");
    assert_eq!(listing["contended"].as_array().unwrap().len(), 2, "{listing}");
    assert_eq!(listing["contended"][0]["waiting"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn top_leaves_the_terminal_as_it_was() {
    let scene = Scene::new("").await;
    for leave in ["q", "\x03"] {
        let terminal = openpty(None, None).unwrap();
        let before = tcgetattr(&terminal.slave).unwrap();
        let side = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut command = program();
        command.arg("top").env("SIXPIN_ENDPOINTS", scene.near.server.address.to_string()).env("TERM", "xterm");
        let mut process = Process(command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap());
        let mut master = File::from(terminal.master);
        let slave = terminal.slave;
        tokio::task::spawn_blocking(move || {
            let mut screen = Screen { master: master.try_clone().unwrap(), seen: String::new() };
            screen.shows("\x1b[?1049h");
            screen.shows("EX on s by carol@c:3");
            assert!(!tcgetattr(&slave).unwrap().local_flags.contains(LocalFlags::ECHO));
            // And again, after a while.
            screen.shows("Longest waits");
            screen.shows("EX on s by carol@c:3");
            master.write_all(leave.as_bytes()).unwrap();
            screen.shows("\x1b[?1049l");
            assert!(process.wait().success());
            assert_eq!(tcgetattr(&slave).unwrap().local_flags, before.local_flags);
        })
        .await
        .unwrap();
    }
}

/// What a program writes on a terminal.
struct Screen {
    master: File,
    seen: String,
}

impl Screen {
    /// Waits for what must appear, and forgets everything up to it.
    fn shows(&mut self, text: &str) {
        let mut bytes = [0; 4_096];
        let end = soon(text, || {
            if let Some(at) = self.seen.find(text) {
                return Some(at + text.len());
            }
            let length = self.master.read(&mut bytes).unwrap_or_default();
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
            None
        });
        self.seen.drain(..end);
    }
}
