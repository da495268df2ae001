//! `sixpin serve`: runs a broker until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `sixpin serve` takes. Flags override environment variables, which override the file.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The store of the default lockspace: `memory:`, `redis://host:port/db`, `etcd://host:port,...`, `nats://host:port`.
    #[arg(long, value_name = "URL")]
    pub backend: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where administrators connect.
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Write the addresses to this file once the broker listens.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Runs a broker.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::from(super::exit::CONFIG)
}
