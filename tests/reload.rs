//! Limits change while a broker runs: what is new is held to them, and nobody loses what it has.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use sixpin_proto::v1;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use v1::lock_service_client::LockServiceClient;

use crate::process::Program;
use crate::support::door::Way;
use crate::support::{
    connect, live_claim, open, open_request, reason, resume_call, resume_request, soon, token, try_lock, unlock, until,
};

/// A broker whose configuration file and log can be looked at and written.
struct Configured {
    program: Program,
    address: SocketAddr,
    folder: TempDir,
}

impl Configured {
    fn start(name: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sixpin.toml"), settings).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let file = folder.path().join("sixpin.toml").display().to_string();
        let command = &mut Command::new(env!("CARGO_BIN_EXE_sixpin"));
        let mut program = Program::start_saying(name, command, &["--config", &file], log.into());
        let (address, _) = program.addresses();
        Self { program, address, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives it these settings, and waits for what it says of them.
    async fn reload(&self, settings: &str, says: &str) {
        let before = self.log().len();
        let unfinished = self.file("unfinished");
        std::fs::write(&unfinished, settings).unwrap();
        std::fs::rename(&unfinished, self.file("sixpin.toml")).unwrap();
        self.program.signal(Signal::HUP);
        until(says, async || self.log()[before..].contains(says)).await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap()
    }

    async fn locks(&self) -> LockServiceClient<Way> {
        LockServiceClient::new(connect(self.address).await)
    }

    /// Whether one more connection is let in. One that is not is closed at once.
    async fn lets_in(&self) -> bool {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(500), socket.read(&mut [0])).await;
        read.is_err()
    }
}

/// Programs that lock and unlock on connections of their own until they are dropped, and how often they did.
async fn work(broker: &Configured, programs: usize) -> (JoinSet<()>, Arc<AtomicU64>) {
    let (mut working, rounds) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for number in 0..programs {
        let (mut locks, rounds) = (broker.locks().await, rounds.clone());
        let own = token(&open(&mut locks).await);
        working.spawn(async move {
            for claim in 1.. {
                let lock = Some(try_lock(claim, &format!("r{number}"), v1::Mode::Ex));
                locks.lock(v1::LockRequest { token: own.clone(), lock }).await.unwrap();
                let unlock = Some(unlock(claim, 2));
                locks.unlock(v1::UnlockRequest { token: own.clone(), unlock }).await.unwrap();
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    (working, rounds)
}

async fn goes_on(working: &mut JoinSet<()>, rounds: &AtomicU64) {
    let before = rounds.load(Ordering::Relaxed);
    until("programs to go on", async || rounds.load(Ordering::Relaxed) > before + 100).await;
    assert!(working.try_join_next().is_none(), "a program has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_anew_while_clients_work() {
    let nobody_trusted = "[connections]\ntrusted = []\n";
    let broker = Configured::start("reload-connections", nobody_trusted);
    let (mut working, rounds) = work(&broker, 4).await;
    assert!(broker.lets_in().await);
    broker.reload(&format!("{nobody_trusted}per_address = 1\n"), "settings changed: connections.per_address\n").await;
    assert!(!broker.lets_in().await);
    goes_on(&mut working, &rounds).await;
    broker.reload(&format!("{nobody_trusted}per_address = 50\n"), "settings changed: connections.per_address\n").await;
    assert!(broker.lets_in().await);
    // Of a file with a mistake nothing counts.
    let wrong = format!("{nobody_trusted}per_address = 1\ntotal = 0\n[log]\nlevel = \"error\"\n");
    broker.reload(&wrong, "sixpin.toml:4: `connections.total` is 0: it may be 1 to 1000000").await;
    assert!(broker.lets_in().await);
    goes_on(&mut working, &rounds).await;
    broker
        .reload(
            &format!("{nobody_trusted}total = 4\n"),
            "settings changed: connections.total, connections.per_address\n",
        )
        .await;
    assert!(!broker.lets_in().await);
    goes_on(&mut working, &rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_what_it_has_and_gets_no_more_than_is_allowed_now() {
    let broker = Configured::start("reload-claims", "");
    let (mut working, rounds) = work(&broker, 2).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let lock = async |number: u64| {
        let lock = Some(try_lock(number, &format!("mine-{number}"), v1::Mode::Ex));
        broker.locks().await.lock(v1::LockRequest { token: token(&opened), lock }).await
    };
    lock(1).await.unwrap();
    lock(2).await.unwrap();
    let limits = "[limits]\nclaims_per_session = 1\nsessions_per_trusted = 3\n";
    broker.reload(limits, "settings changed: limits.claims_per_session, limits.sessions_per_trusted\n").await;
    let refused = lock(3).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::ResourceExhausted, v1::Reason::Limit));
    let refused = locks.open_session(open_request(v1::Open::default())).await.unwrap_err();
    assert!(refused.message().contains("limits.sessions_per_trusted"), "{}", refused.message());
    // It comes back with both.
    let both = vec![live_claim(1, "mine-1"), live_claim(2, "mine-2")];
    let resume = v1::Resume { next_claim: 4, ..resume_request(&opened, 1, both) };
    let resumed = locks.resume_session(resume_call(resume)).await.unwrap().into_inner();
    let modes: Vec<v1::Mode> = resumed.resumed.unwrap().claims.iter().map(v1::ClaimState::mode).collect();
    assert_eq!(modes, [v1::Mode::Ex, v1::Mode::Ex]);
    broker.reload("", "settings changed: limits.claims_per_session, limits.sessions_per_trusted\n").await;
    lock(4).await.unwrap();
    locks.open_session(open_request(v1::Open::default())).await.unwrap();
    goes_on(&mut working, &rounds).await;
}

#[tokio::test]
async fn what_counts_from_the_next_start_on_is_named() {
    let mut broker = Configured::start("reload-restart", "");
    let changed =
        "lanes = 2\n[limits]\nfirst_life = \"5s\"\nqueued_per_resource = 7\n[lockspaces.jobs]\nlock_delay = \"1s\"\n";
    let named = "settings changed that count only from the next start on: lanes, limits.first_life, lockspaces.jobs\n";
    broker.reload(changed, named).await;
    assert!(broker.log().contains("settings changed: limits.queued_per_resource\n"), "{}", broker.log());
    // What clients are told of it is what counts.
    let opened = soon("a session", async { open(&mut broker.locks().await).await }).await;
    assert_eq!(opened.keepalive_ms, 3_333);
    // It is said whenever the file is read, for as long as it is so.
    broker.reload(changed, named).await;
    broker.reload("", "were read again").await;
    broker.program.signal(Signal::TERM);
    assert_eq!(broker.program.wait().code(), Some(0));
    let log = broker.log();
    assert!(log.matches(named).count() >= 2, "{log}");
}
