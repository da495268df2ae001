//! The program `sixpin`: its command line, and the log of its process. What it serves is in `sixpin-server`, what its other
//! commands ask of brokers goes through `sixpin-client`.
//!
//! # Layout
//!
//! * [`cli`]: the command line, one file per subcommand;
//! * [`log`]: log lines;
//! * `signals`: which ones are ignored.

pub mod cli;
pub mod log;
mod signals;
