//! The command line: one file per subcommand, each with an `Args` and a `run` that returns the exit status.
//!
//! Data goes to standard output, everything else to standard error.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod serve;

/// A lock broker: six lock modes over gRPC on Redis, etcd, NATS or memory.
#[derive(Debug, Parser)]
#[command(name = "sixpin", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker.
    Serve(serve::Args),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(args),
        }
    }
}

/// Exit statuses that mean something, after `sysexits.h`.
pub mod exit {
    /// No broker, or no store, could be reached.
    pub const UNREACHABLE: u8 = 69;
    /// A lock was lost.
    pub const LOST: u8 = 74;
    /// A lock was not granted in time.
    pub const NOT_GRANTED: u8 = 75;
    /// The store is not safe enough.
    pub const UNSAFE: u8 = 76;
    /// A login was refused.
    pub const LOGIN: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}
