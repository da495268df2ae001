//! A server process of a test: start, kill, restart, freeze, resume.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::spawner;
use crate::wait::until;

/// How long a server may take from its start to its first good answer. Generous: test machines are busy.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a start is tried if the server ends at once, for instance because something took its port.
const ATTEMPTS: usize = 3;

/// Why a server did not start. The text says what to do.
#[derive(thiserror::Error)]
pub enum StartError {
    /// The program is not installed.
    #[error("`{program}` was found neither on PATH nor in {looked_in}: run scripts/get-servers, which brings it")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where else it was looked for.
        looked_in: String,
    },
    /// It ended, or gave no good answer in time.
    #[error("`{program}` did not become ready: {reason}; its last words:\n{log}")]
    NotReady {
        /// The program.
        program: &'static str,
        /// What happened.
        reason: String,
        /// The end of its output.
        log: String,
    },
    /// The system refused a file, a port or a process.
    #[error("`{program}` could not be started: {source}")]
    System {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

// `expect` prints the Debug form; the person who reads it needs the instructions.
impl std::fmt::Debug for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// How a server is asked whether it is ready: what to send after connecting, and what its answer contains then.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Sent first; empty if the server speaks first.
    pub question: String,
    /// Part of a good answer.
    pub answer: &'static str,
}

/// A server that could be started. In arguments and files, `{dir}` stands for the data directory, `{port}` for the port
/// that clients use and `{peer_port}` for a second one.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// The program to look for.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Files written into the data directory before the first start: name and content.
    pub files: Vec<(String, String)>,
    /// How it is asked whether it is ready.
    pub probe: Probe,
}

impl ServerPlan {
    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(String::from));
        self
    }

    /// Starts it on fresh ports with a fresh data directory and waits until it answers.
    pub async fn start(self) -> Result<ServerProcess, StartError> {
        let mut attempt = 1;
        loop {
            let server = ServerProcess::prepare(self.clone())?;
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }
}

/// A running (or killed, or frozen) server. Its process and its data are gone when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    plan: ServerPlan,
    path: PathBuf,
    port: Port,
    peer_port: Port,
    // Declared after nothing that needs it: the directory goes last, when the process is dead.
    child: Mutex<Option<Child>>,
    directory: TempDir,
}

impl ServerProcess {
    fn prepare(plan: ServerPlan) -> Result<Self, StartError> {
        let program = plan.program;
        let system = |source| StartError::System { program, source };
        let path = find(program)?;
        let directory = tempfile::Builder::new().prefix("sixpin-store-").tempdir().map_err(system)?;
        let server = Self {
            path,
            port: Port::take().map_err(system)?,
            peer_port: Port::take().map_err(system)?,
            child: Mutex::new(None),
            directory,
            plan,
        };
        for (name, content) in &server.plan.files {
            std::fs::write(server.data_dir().join(name), server.fill(content)).map_err(system)?;
        }
        Ok(server)
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// Where its data lies.
    pub fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// `kill -9`, and waits until the process is gone. Does nothing to one that is not running.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            // Both fail only if the process is gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same ports with the same data, after a kill if it still runs.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.kill();
        self.launch().await
    }

    /// Starts it again on the same ports with nothing in its memory: the data directory is emptied first.
    pub async fn restart_wiped(&self) -> Result<(), StartError> {
        self.kill();
        let system = |source| StartError::System { program: self.plan.program, source };
        for entry in std::fs::read_dir(self.data_dir()).map_err(system)? {
            let path = entry.map_err(system)?.path();
            let kept = self.plan.files.iter().any(|(name, _)| path.file_name().is_some_and(|it| it == name.as_str()));
            let removed = match () {
                () if kept => Ok(()),
                () if path.is_dir() => std::fs::remove_dir_all(&path),
                () => std::fs::remove_file(&path),
            };
            removed.map_err(system)?;
        }
        self.launch().await
    }

    /// Keeps the server as long as this process runs, for tests that share one. However the process ends, the server is
    /// killed then and its data removed: by a shell that waits for the end of its input. Not to be restarted after that.
    pub fn for_the_whole_run(self) -> io::Result<&'static Self> {
        const KEEPER: &str = "cat >/dev/null; kill -9 \"$1\" 2>/dev/null; sleep 1; rm -rf \"$0\"";
        let pid = self.pid().ok_or(io::ErrorKind::NotConnected)?.to_string();
        let mut keeper = std::process::Command::new("sh");
        keeper.args(["-c", KEEPER]).arg(self.data_dir()).arg(pid).stdin(Stdio::piped());
        // Nobody who reads the output of the tests waits for the keeper.
        let mut keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Never closed by us: the end of the process closes it.
        std::mem::forget(keeper.stdin.take());
        Ok(Box::leak(Box::new(self)))
    }

    /// SIGSTOP: the process keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        // Its other threads stop a moment later, and on a busy machine that moment is long.
        let stat = format!("/proc/{}/stat", self.pid().unwrap_or_default());
        let stopped = || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") T "));
        for _ in 0..5_000 {
            if stopped() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGCONT: the process goes on where it stood.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child().as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        let pid = pid.expect("only a running server can be frozen or resumed");
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.data_dir().display().to_string())
            .replace("{port}", &self.port.number().to_string())
            .replace("{peer_port}", &self.peer_port.number().to_string())
    }

    async fn launch(&self) -> Result<(), StartError> {
        let system = |source| StartError::System { program: self.plan.program, source };
        let log = File::options().create(true).append(true).open(self.log()).map_err(system)?;
        let mut command = spawner::command(&self.path);
        command.args(self.plan.arguments.iter().map(|argument| self.fill(argument)));
        command.current_dir(self.data_dir());
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(system)?);
        command.stderr(log);
        let child = spawner::spawn(command).map_err(system)?;
        *self.child() = Some(child);

        let ready = until(READY_WITHIN, async || self.ended().is_some() || self.answers().await).await;
        // Looked at once more after the good answer: it might have come from somebody else who got the port first.
        match self.ended() {
            None if ready => Ok(()),
            None => Err(self.not_ready(format!("no good answer within {READY_WITHIN:?}"))),
            Some(status) => Err(self.not_ready(format!("it ended, {status}"))),
        }
    }

    fn ended(&self) -> Option<String> {
        match self.child().as_mut()?.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(self.address()).await?;
            stream.write_all(self.plan.probe.question.as_bytes()).await?;
            let mut heard = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer).await?;
                heard.extend_from_slice(&buffer[..length]);
                if String::from_utf8_lossy(&heard).contains(self.plan.probe.answer) {
                    return io::Result::Ok(true);
                }
                if length == 0 {
                    return Ok(false);
                }
            }
        };
        // A server that says something else and waits (Redis while it loads) is asked again.
        matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
    }

    fn log(&self) -> PathBuf {
        self.data_dir().join("server.log")
    }

    fn not_ready(&self, reason: String) -> StartError {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(20)..].join("\n");
        StartError::NotReady { program: self.plan.program, reason, log }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program: from `SIXPIN_SERVERS` if that is set, else from PATH, else from `target/servers`.
fn find(program: &'static str) -> Result<PathBuf, StartError> {
    let chosen = std::env::var_os("SIXPIN_SERVERS").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let beside = chosen.clone().unwrap_or_else(|| workspace.join("target/servers"));
    let in_folder = || Some(beside.join(program)).filter(|path| path.is_file());
    let found =
        if chosen.is_some() { in_folder().or_else(|| on_path(program)) } else { on_path(program).or_else(in_folder) };
    found.ok_or_else(|| StartError::Missing { program, looked_in: beside.display().to_string() })
}

/// A program on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
