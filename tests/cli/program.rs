//! The built program: brokers on ports of their own, and commands that talk to them.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::store::{self, Place, Reason};

/// Longer than anything that a test waits for, also on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that runs as long as its test: one, or several on one store that together do what one does. Commands ask
/// one and the other first, in turn.
pub struct Broker {
    processes: Vec<BrokerProcess>,
    commands: AtomicUsize,
    /// Those of the first.
    pub address: String,
    pub admin_address: String,
    folder: TempDir,
}

struct BrokerProcess {
    process: Process,
    address: String,
    admin_address: String,
}

impl Broker {
    /// As many as the run says, on the store that it says.
    pub fn start() -> Self {
        Self::several(store::processes(), &[])
    }

    /// One, with these flags besides.
    pub fn alone(reason: Reason, flags: &[&str]) -> Self {
        if store::brokers() > 1 {
            reason.tell("one broker");
        }
        Self::several(1, flags)
    }

    fn several(number: usize, flags: &[&str]) -> Self {
        let folder = TempDir::with_prefix("sixpin-test-").unwrap();
        let place = Place::new();
        let ready = |number: usize| folder.path().join(format!("ready-{number}"));
        let processes: Vec<_> = (0..number).map(|number| BrokerProcess::start(&place, &ready(number), flags)).collect();
        let (address, admin_address) = (processes[0].address.clone(), processes[0].admin_address.clone());
        Self { processes, commands: AtomicUsize::new(0), address, admin_address, folder }
    }

    /// Sends a signal to each process.
    pub fn signal(&self, signal: Signal) {
        self.processes.iter().for_each(|broker| broker.process.signal(signal));
    }

    /// How the first process ends.
    pub fn wait(&mut self) -> ExitStatus {
        self.processes[0].process.wait()
    }

    /// `sixpin` with these arguments, for this broker.
    pub fn sixpin(&self, arguments: &[&str]) -> Command {
        let mut brokers: Vec<_> = self.processes.iter().collect();
        let first = self.commands.fetch_add(1, Ordering::Relaxed) % brokers.len();
        brokers.rotate_left(first);
        let addresses: Vec<&str> = brokers.iter().map(|broker| broker.address.as_str()).collect();
        let admin_addresses: Vec<&str> = brokers.iter().map(|broker| broker.admin_address.as_str()).collect();
        let mut command = program();
        command.env("SIXPIN_ENDPOINTS", addresses.join(",")).env("SIXPIN_ADMIN_ENDPOINTS", admin_addresses.join(","));
        command.args(arguments);
        command
    }

    /// What `sixpin` with these arguments says.
    pub fn ask(&self, arguments: &[&str]) -> Said {
        Said::from(self.sixpin(arguments).output().unwrap())
    }

    /// What it says as JSON.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.ask(&[arguments, &["--output", "json"]].concat());
        assert_eq!(said.status, Some(0), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// A folder that goes away with the broker.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that runs under a lock, as soon as it does. It ends when its standard input does.
    pub fn hold(&self, run_arguments: &[&str]) -> Holder {
        let command = ["--", "sh", "-c", "echo ready; exec cat"];
        let mut command = self.sixpin(&[&["run"], run_arguments, &command].concat());
        let mut process = Process(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let input = process.0.stdin.take();
        Holder { process, input }
    }
}

impl BrokerProcess {
    fn start(place: &Place, ready: &Path, flags: &[&str]) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn"]);
        let mut process =
            Process(command.args(flags).envs(place.variables()).arg("--ready-file").arg(ready).spawn().unwrap());
        let text = soon("the ready file", || match std::fs::read_to_string(ready) {
            Ok(text) => Some(text),
            Err(_) => {
                assert!(process.ended().is_none(), "the broker ended at once");
                None
            }
        });
        let mut lines = text.lines().map(str::to_owned);
        Self { process, address: lines.next().unwrap(), admin_address: lines.next().unwrap() }
    }
}

/// `sixpin`, untouched by the settings of whoever runs the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sixpin"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIXPIN_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// Holds a lock with a command that waits.
pub struct Holder {
    pub process: Process,
    input: Option<ChildStdin>,
}

impl Holder {
    /// Lets the command end.
    pub fn release(mut self) -> ExitStatus {
        self.input = None;
        self.process.wait()
    }
}

/// The status as a shell shows it: of a process that ended of a signal, too.
pub fn shown(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// A process that ends with its test.
pub struct Process(pub Child);

impl Process {
    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub fn wait(&mut self) -> ExitStatus {
        soon("the end of a process", || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: shown(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Asks again and again until there is an answer.
pub fn soon<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs. One that has ended and was not waited for does not.
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X']))
}

/// The child of a process whose command line contains a word.
pub fn child_of(parent: i32, word: &str) -> i32 {
    soon(&format!("a child `{word}`"), || {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(word)
        })
    })
}

/// The time since the computer started, as the tested processes see it.
pub fn uptime() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap();
    Duration::from_secs_f64(text.split_whitespace().next().unwrap().parse().unwrap())
}
