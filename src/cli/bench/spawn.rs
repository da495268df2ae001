//! Child processes of this program: a broker, or the floor. Processes of their own, because that is how brokers run:
//! the processors are shared as they will be.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::floor;
use crate::cli::connect::Address;
use crate::cli::exit;
use crate::cli::failure::Failure;

/// How long a child may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A child that listens. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Spawned {
    process: Child,
    address: Address,
}

impl Spawned {
    /// A broker on the memory store.
    pub(super) async fn broker() -> Result<Self, Failure> {
        let arguments = ["serve", "--backend", "memory:", "--listen", "127.0.0.1:0", "--admin-listen", "off"];
        Self::start(&[arguments.as_slice(), &["--log-level", "warn", "--name", "bench"]].concat()).await
    }

    /// A service that only answers.
    pub(super) async fn floor() -> Result<Self, Failure> {
        Self::start(&[floor::NAME]).await
    }

    async fn start(arguments: &[&str]) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(exit::FAILURE, format_args!("no process can be started to measure: {error}"))
        };
        let directory = TempDir::with_prefix("sixpin-bench-").map_err(|error| failed(&error))?;
        let ready = directory.path().join("ready");
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        // The settings of this user's broker are not meant for this one.
        let settings = std::env::vars_os().map(|(name, _)| name);
        let mut command = Command::new(program);
        for name in settings.filter(|name| name.to_string_lossy().starts_with("SIXPIN_SERVE_")) {
            command.env_remove(name);
        }
        let command = command.args(arguments).arg("--ready-file").arg(&ready).stdin(Stdio::null());
        let mut process = command.kill_on_drop(true).spawn().map_err(|error| failed(&error))?;
        tokio::select! {
            address = listening(&ready) => Ok(Self { process, address }),
            status = process.wait() => {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                Err(failed(&format_args!("it ended at once, {status}")))
            }
            () = tokio::time::sleep(READY_WITHIN) => Err(failed(&"it does not listen")),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }
}

/// The address that a child writes once it listens.
async fn listening(ready: &Path) -> Address {
    loop {
        if let Ok(text) = tokio::fs::read_to_string(ready).await
            && let Some(address) = text.lines().next().and_then(|line| line.parse().ok())
        {
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
