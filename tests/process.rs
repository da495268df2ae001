//! The program as it is built: how it starts, listens and ends.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sixpin_proto::v1;
use v1::lock_service_client::LockServiceClient;

use crate::support::{connect, open_request, token, try_lock};

/// A running program, killed with the test.
pub struct Program {
    pub child: Child,
    folder: PathBuf,
}

impl Program {
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_by(name, &mut Command::new(env!("CARGO_BIN_EXE_sixpin")), arguments)
    }

    fn start_by(name: &str, command: &mut Command, arguments: &[&str]) -> Self {
        Self::start_saying(name, command, arguments, Stdio::piped())
    }

    /// As [`Program::start`], with this as its standard error.
    pub fn start_saying(name: &str, command: &mut Command, arguments: &[&str], log: Stdio) -> Self {
        let folder = std::env::temp_dir().join(format!("sixpin-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ready = folder.join("ready");
        let child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .args(arguments)
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// The addresses, once it listens.
    pub fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(text) = std::fs::read_to_string(self.folder.join("ready")) {
                let mut lines = text.lines().map(|line| line.parse().unwrap());
                return (lines.next().unwrap(), lines.next().unwrap());
            }
            assert!(Instant::now() < deadline, "it does not listen: {:?}", self.child.try_wait());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote to standard error, once it ended.
    pub fn log(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Processor time used so far, in hundredths of a second or what the system counts in.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn it_listens_says_where_and_ends_when_told() {
    let mut program = Program::start("listens", &["--log-format", "json"]);
    let (address, _) = program.addresses();
    let mut locks = LockServiceClient::new(connect(address).await);
    locks.open_session(open_request(v1::Open::default())).await.unwrap();
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
    let log = program.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listening = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with("listening on"));
    assert!(listening.unwrap()["message"].as_str().unwrap().contains(&address.to_string()), "{log}");
}

/// A broker with a holder, for whom the drain waits on memory.
async fn held(name: &str) -> Program {
    held_by(name, &mut Command::new(env!("CARGO_BIN_EXE_sixpin"))).await
}

async fn held_by(name: &str, command: &mut Command) -> Program {
    let mut program = Program::start_by(name, command, &[]);
    let (address, _) = program.addresses();
    let mut locks = LockServiceClient::new(connect(address).await);
    let open = v1::Open { ttl_ms: Some(60_000), ..Default::default() };
    let opened = locks.open_session(open_request(open)).await.unwrap().into_inner().opened.unwrap();
    let call = v1::LockRequest { token: token(&opened), lock: Some(try_lock(1, "r", v1::Mode::Ex)) };
    locks.lock(call).await.unwrap();
    program
}

impl Program {
    /// It still runs a moment later.
    fn goes_on(&mut self) {
        std::thread::sleep(Duration::from_millis(500));
        assert!(self.child.try_wait().unwrap().is_none(), "it ended");
    }
}

#[tokio::test]
async fn a_second_interrupt_stops_it_at_once() {
    for first in [Signal::INT, Signal::TERM] {
        let mut program = held("twice").await;
        program.signal(first);
        program.goes_on();
        program.signal(Signal::INT);
        assert_eq!(program.wait().code(), Some(1));
    }
}

#[tokio::test]
async fn a_second_termination_stops_it_only_if_it_is_meant() {
    let mut program = held("terminated").await;
    program.signal(Signal::TERM);
    program.goes_on();
    // As supervisors do that send it twice.
    program.signal(Signal::TERM);
    program.goes_on();
    std::thread::sleep(Duration::from_secs(5));
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(1));
}

#[tokio::test]
async fn the_end_of_a_terminal_does_not_end_it() {
    let mut program = held("terminal").await;
    program.signal(Signal::HUP);
    program.goes_on();
    program.signal(Signal::TERM);
    program.goes_on();
    program.signal(Signal::HUP);
    program.goes_on();
    program.signal(Signal::INT);
    assert_eq!(program.wait().code(), Some(1));
    assert!(program.log().contains("were read again"));
}

/// As in the background of a script, where Ctrl-C is for the script.
#[tokio::test]
async fn an_interrupt_that_is_ignored_stays_so() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' INT && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_sixpin")]);
    let mut program = held_by("ignoring", &mut shell).await;
    program.signal(Signal::INT);
    program.signal(Signal::INT);
    program.goes_on();
    let _ = program.child.kill();
    assert!(!program.log().contains("draining"));
}

#[tokio::test]
async fn an_administrators_drain_ends_it() {
    let mut program = Program::start("drained", &[]);
    let (_, admin) = program.addresses();
    let mut admin = v1::admin_service_client::AdminServiceClient::new(connect(admin).await);
    admin.drain_broker(v1::DrainBrokerRequest::default()).await.unwrap();
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_wrong_configuration_is_told_and_has_its_own_status() {
    let cases = [
        (vec!["--backend", "redis://user:pass@host:1/0"], "--backend"),
        (vec!["--backend", "postgres://host"], "postgres"),
        (vec!["--require", "very-safe"], "very-safe"),
        (vec!["--config", "/nowhere/sixpin.toml"], "/nowhere/sixpin.toml"),
        (vec!["--log-level", "a=b=c"], "log.level"),
    ];
    for (arguments, word) in cases {
        let mut program = Program::start("wrong", &arguments);
        assert_eq!(program.wait().code(), Some(78), "{arguments:?}");
        let log = program.log();
        assert!(log.contains(word), "{arguments:?}: {log}");
        assert!(!log.contains("pass@"), "a password is shown: {log}");
    }
}

#[test]
fn an_address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = Program::start("taken", &["--advertise", "host:1"]);
    program.addresses();
    let output = Command::new(env!("CARGO_BIN_EXE_sixpin"))
        .args(["serve", "--admin-listen", "off", "--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&address) && said.contains("hint: a broker may run there already"), "{said}");
}

/// The shell lowers the limit of open files before it becomes the program.
#[test]
fn a_process_without_descriptors_neither_spins_nor_dies() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 90 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_sixpin")]);
    let mut program = Program::start_by("descriptors", &mut shell, &[]);
    let (address, _) = program.addresses();
    // More connections than there are descriptors; those beyond the limit are closed or wait in the kernel's queue.
    let connections: Vec<_> =
        (0..200).filter_map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()).collect();
    assert!(connections.len() > 90);
    let before = program.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    let used = program.cpu_ticks() - before;
    assert!(used * 4 < rustix::param::clock_ticks_per_second() * 2, "{used} ticks of processor time in two seconds");
    drop(connections);
    // When descriptors are free again, clients are served again.
    let served = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
            let Ok(channel) = endpoint.connect().await else { return false };
            LockServiceClient::new(channel).open_session(open_request(v1::Open::default())).await.is_ok()
        })
    });
    assert!(served, "it does not serve again");
    assert!(program.child.try_wait().unwrap().is_none(), "it died");
}
