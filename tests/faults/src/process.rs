//! A client as a process of its own, so that it can be killed and frozen.
//!
//! It writes what it sees to its standard output, one event a line, each before it does what the event announces. It
//! leaves in good order when its standard input ends.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{Event, History, Recorder};
use crate::load::{self, Load};
use crate::register::Access;
use crate::world::PATIENCE;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Job {
    /// Locks and releases at random.
    Work,
    /// Holds the first resource in EX.
    Hold,
}

/// What the process takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it does.
    #[arg(value_enum)]
    job: Job,
    /// The brokers.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// TTL of the session, in milliseconds.
    #[arg(long)]
    ttl_ms: u64,
    /// How many resources there are.
    #[arg(long)]
    resources: usize,
    /// How many locks it wants at once.
    #[arg(long)]
    workers: usize,
    /// Where its randomness begins.
    #[arg(long)]
    seed: u64,
    /// Where the registers are.
    #[arg(long)]
    registers: SocketAddr,
}

/// The process itself.
pub async fn run(args: Args) {
    let record: Recorder = Arc::new(|event| {
        let mut line = serde_json::to_vec(&event).expect("an event is text");
        line.push(b'\n');
        // Nobody listens any more only if the test is over.
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(&line).and_then(|()| output.flush());
    });
    let registers = Access::connect(args.registers).await.expect("the registers are served");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        stop.send_replace(true);
        std::future::pending::<()>().await;
    });
    let load = Load {
        endpoints: args.endpoints,
        ttl: Duration::from_millis(args.ttl_ms),
        resources: args.resources,
        workers: args.workers,
        seed: args.seed,
    };
    match args.job {
        Job::Work => drop(load::work(load, registers, record, stopped).await),
        Job::Hold => load::hold(load, record, stopped).await,
    }
}

/// A client that runs. It is killed when this is dropped.
pub struct ClientProcess {
    child: Child,
    input: Option<ChildStdin>,
    listening: JoinHandle<()>,
}

impl ClientProcess {
    /// Starts one whose events go into `history`.
    pub fn start(program: &'static str, job: Job, load: &Load, registers: SocketAddr, history: &History) -> Self {
        let mut child = Command::new(program)
            .args(["client", if job == Job::Hold { "hold" } else { "work" }])
            .args(["--endpoints", &load.endpoints.join(",")])
            .args(["--ttl-ms", &load.ttl.as_millis().to_string()])
            .args(["--resources", &load.resources.to_string()])
            .args(["--workers", &load.workers.to_string()])
            .args(["--seed", &load.seed.to_string()])
            .args(["--registers", &registers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a client starts");
        let output = child.stdout.take().expect("its output is ours");
        let history = history.clone();
        let listening = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The last line of one that was killed may be cut off.
                if let Ok(event) = serde_json::from_str::<Event>(&line) {
                    history.record(event);
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, listening }
    }

    /// SIGKILL, and everything it said is in the history.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
        let _ = self.listening.await;
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Lets it leave in good order.
    pub async fn leave(mut self) {
        drop(self.input.take());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("a client leaves when it is told to").expect("it can be waited for");
        assert!(status.success(), "a client ended with {status}");
        let _ = self.listening.await;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("it runs");
        kill_process(pid, signal).expect("a child can be signalled");
    }
}
