//! The broker as a process: started, measured and told to end.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long a broker may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker on memory.
pub struct Broker {
    /// Where clients connect.
    pub address: SocketAddr,
    process: Child,
    pid: Pid,
    _folder: TempDir,
}

impl Broker {
    /// Starts this program as a broker. Its log goes to `log`.
    pub async fn start(settings: &str, log: &Path) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (config, ready) = (folder.path().join("config.toml"), folder.path().join("ready"));
        fs::write(&config, settings)?;
        let process = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--config"])
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(log)?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        let address = tokio::time::timeout(PATIENCE, address(&ready)).await?;
        Ok(Self { address, process, pid, _folder: folder })
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        field(self.pid, "statm", 1) * rustix::param::page_size() as u64
    }

    /// Processor time used so far, in ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        // Counted from the end of the program's name, which may hold spaces.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        ticks(11) + ticks(12)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Tells it to end, and waits for that.
    pub async fn terminate(&mut self) -> io::Result<ExitStatus> {
        kill_process(self.pid, Signal::TERM)?;
        tokio::time::timeout(PATIENCE, self.process.wait()).await?
    }
}

async fn address(ready: &Path) -> SocketAddr {
    loop {
        let text = fs::read_to_string(ready).unwrap_or_default();
        if let Some(address) = text.lines().next().and_then(|line| line.parse().ok()) {
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn field(pid: Pid, file: &str, place: usize) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    text.split_whitespace().nth(place).and_then(|field| field.parse().ok()).unwrap_or_default()
}
