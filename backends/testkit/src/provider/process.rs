//! Servers that are programs of this machine.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Launch, Running, spawner};
use crate::server::StartError;

/// A child of this process.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    /// Starts it; it dies with this process.
    pub(super) fn start(launch: &Launch<'_>) -> io::Result<Self> {
        let path = find(launch.program).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error.to_string()))?;
        let log = File::options().create(true).append(true).open(launch.log)?;
        let mut command = spawner::command(&path);
        command.args(&launch.arguments).current_dir(launch.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        spawner::spawn(command).map(Self)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("the system gave it a number");
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }
}

impl Running for Process {
    fn kill(&mut self) {
        // Both fail only if the process is gone already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    fn freeze(&mut self) {
        self.signal(Signal::STOP);
        // Its other threads stop a moment later, and on a busy machine that moment is long.
        let stat = format!("/proc/{}/stat", self.0.id());
        let stopped = || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") T "));
        for _ in 0..5_000 {
            if stopped() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn pid(&self) -> Option<u32> {
        Some(self.0.id())
    }

    fn kill_command(&self) -> String {
        format!("kill -9 {}", self.0.id())
    }

    fn ended(&mut self) -> Option<String> {
        match self.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// The program: from `SIXPIN_SERVERS` if that is set, else from PATH, else from `target/servers`.
pub(super) fn find(program: &'static str) -> Result<PathBuf, StartError> {
    let chosen = std::env::var_os("SIXPIN_SERVERS").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let beside = chosen.clone().unwrap_or_else(|| workspace.join("target/servers"));
    let in_folder = || Some(beside.join(program)).filter(|path| path.is_file());
    let found =
        if chosen.is_some() { in_folder().or_else(|| on_path(program)) } else { on_path(program).or_else(in_folder) };
    found.ok_or_else(|| StartError::Missing {
        program,
        looked_in: format!("on PATH or in {}: run scripts/get-servers, which brings it", beside.display()),
    })
}

/// A program on PATH.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
