//! Whatever happens to the reader of the log, the broker serves, and ends when it is told.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use sixpin_proto::v1;
use v1::lock_service_client::LockServiceClient;

use crate::process::Program;
use crate::support::{connect, credential, try_lock};

/// Every line of every library: what a few hundred calls say fills any pipe.
const EVERYTHING: [&str; 2] = ["--log-level", "trace"];
const CALLS: u64 = 300;

/// A broker whose log goes to `log`; its session outlives many more lines than a pipe holds, and SIGTERM ends it.
async fn serves_and_ends(name: &str, log: Stdio) -> Program {
    let mut program = Program::start_saying(name, &mut Command::new(env!("CARGO_BIN_EXE_sixpin")), &EVERYTHING, log);
    let (address, _) = program.addresses();
    let mut locks = LockServiceClient::new(connect(address).await);
    let open = v1::Open { ttl_ms: Some(60_000), ..Default::default() };
    let opened = locks.open_session(open).await.unwrap().into_inner();
    let own = credential(&opened);
    for number in 1..=CALLS {
        let name = format!("{}-{number}", "n".repeat(500));
        let call = v1::LockRequest { credential: Some(own.clone()), lock: Some(try_lock(number, &name, v1::Mode::Ex)) };
        let locked = locks.lock(call).await.unwrap().into_inner();
        assert!(locked.fence > 0, "{locked:?}");
    }
    locks.close_session(v1::CloseSessionRequest { credential: Some(own) }).await.unwrap();
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
    program
}

#[tokio::test]
async fn nobody_reads_any_more() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    serves_and_ends("log-broken", writer.into()).await;
}

#[tokio::test]
async fn somebody_stopped_to_read() {
    let (reader, writer) = std::io::pipe().unwrap();
    serves_and_ends("log-full", writer.into()).await;
    drop(reader);
}

#[tokio::test]
async fn the_disk_is_full() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    serves_and_ends("log-disk", full.into()).await;
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).map(|_| text)
    });
    drop(serves_and_ends("log-read", writer.into()).await);
    let text = read.join().unwrap().unwrap();
    assert!(text.contains("left the store"), "{}", text.lines().last().unwrap_or_default());
}
