//! A server of a test: start, kill, restart, freeze, resume.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports::Port;
use crate::provider::{self, Launch, Running};
use crate::proxy::Proxy;
use crate::wait::until;

/// How long a server may take from its start to its first good answer. Generous: test machines are busy.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a start is tried if the server ends at once, for instance because something took its port.
const ATTEMPTS: usize = 3;

/// Why a server did not start. The text says what to do.
#[derive(thiserror::Error)]
pub enum StartError {
    /// The program is not installed, or its image is not there.
    #[error("`{program}` was not found {looked_in}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it was looked for, and how to get it.
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
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it on fresh ports with a fresh data directory and waits until it answers.
    pub async fn start(self) -> Result<ServerProcess, StartError> {
        self.start_behind(&[]).await
    }

    /// The same, with proxies to its two ports: for a server whose others, and clients, are told to go through them.
    pub async fn start_behind(self, doors: &[Proxy]) -> Result<ServerProcess, StartError> {
        let mut attempt = 1;
        loop {
            let server = ServerProcess::prepare(self.clone())?;
            for (door, port) in doors.iter().zip([&server.port, &server.peer_port]) {
                door.forward_to(SocketAddr::from(([127, 0, 0, 1], port.number())));
            }
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(_) => attempt += 1,
            }
        }
    }
}

/// A running (or killed, or frozen) server. It and its data are gone when this is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    plan: ServerPlan,
    port: Port,
    peer_port: Port,
    // Declared after nothing that needs it: the directory goes last, when the server is dead.
    running: Mutex<Option<Box<dyn Running>>>,
    directory: TempDir,
}

impl ServerProcess {
    fn prepare(plan: ServerPlan) -> Result<Self, StartError> {
        let program = plan.program;
        let system = |source| StartError::System { program, source };
        provider::check(program)?;
        let directory = tempfile::Builder::new().prefix("sixpin-store-").tempdir().map_err(system)?;
        let server = Self {
            port: Port::take().map_err(system)?,
            peer_port: Port::take().map_err(system)?,
            running: Mutex::new(None),
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

    /// Its process, if it runs and is no container.
    pub fn pid(&self) -> Option<u32> {
        self.running().as_ref().and_then(|running| running.pid())
    }

    /// Ends it as `kill -9` does, and waits until it is gone. Does nothing to one that is not running.
    pub fn kill(&self) {
        if let Some(mut running) = self.running().take() {
            running.kill();
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
        const KEEPER: &str = "cat >/dev/null; sh -c \"$1\" 2>/dev/null; sleep 1; rm -rf \"$0\"";
        let kill = self.running().as_ref().ok_or(io::ErrorKind::NotConnected)?.kill_command();
        let mut keeper = std::process::Command::new("sh");
        keeper.args(["-c", KEEPER]).arg(self.data_dir()).arg(kill).stdin(Stdio::piped());
        // Nobody who reads the output of the tests waits for the keeper.
        let mut keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        // Never closed by us: the end of the process closes it.
        std::mem::forget(keeper.stdin.take());
        Ok(Box::leak(Box::new(self)))
    }

    /// It keeps its connections and does nothing.
    pub fn freeze(&self) {
        self.running().as_mut().expect("only a running server can be frozen").freeze();
    }

    /// It goes on where it stood.
    pub fn resume(&self) {
        self.running().as_mut().expect("only a running server can be resumed").resume();
    }

    fn running(&self) -> MutexGuard<'_, Option<Box<dyn Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{dir}", &self.data_dir().display().to_string())
            .replace("{port}", &self.port.number().to_string())
            .replace("{peer_port}", &self.peer_port.number().to_string())
    }

    async fn launch(&self) -> Result<(), StartError> {
        let system = |source| StartError::System { program: self.plan.program, source };
        let launch = Launch {
            program: self.plan.program,
            arguments: self.plan.arguments.iter().map(|argument| self.fill(argument)).collect(),
            directory: self.data_dir(),
            log: &self.log(),
        };
        let running = provider::launch(&launch).map_err(system)?;
        *self.running() = Some(running);

        let ready = until(READY_WITHIN, async || self.ended().is_some() || self.answers().await).await;
        // Looked at once more after the good answer: it might have come from somebody else who got the port first.
        match self.ended() {
            None if ready => Ok(()),
            None => Err(self.not_ready(format!("no good answer within {READY_WITHIN:?}"))),
            Some(status) => Err(self.not_ready(format!("it ended, {status}"))),
        }
    }

    fn ended(&self) -> Option<String> {
        self.running().as_mut()?.ended()
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

    pub(crate) fn not_ready(&self, reason: String) -> StartError {
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
