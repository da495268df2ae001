//! The program: parses its arguments and does what they say.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    sixpin::cli::Cli::parse().run()
}
