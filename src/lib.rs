//! The sixpin process: configuration, the runtime that feeds the broker machine, the front ends and the command line.
//!
//! What decides is in `sixpin-core`; this crate only carries: requests in, store calls out, answers back.
//!
//! # Layout, in reading order
//!
//! * [`cli`]: the command line, one file per subcommand;
//! * [`config`]: what an operator can set;
//! * [`backends`]: the one file that names all backends;
//! * [`runtime`]: the thin shell around the broker machine;
//! * [`frontend`]: how clients reach it;
//! * [`drain`]: how a broker ends;
//! * [`log`]: log lines;
//! * `signals`: which ones are ignored;
//! * [`serve`]: all of that together.

pub mod cli;
pub mod config;
pub mod backends;
pub mod runtime;
pub mod frontend;
pub mod drain;
pub mod log;
mod signals;
pub mod serve;

/// What other brokers and people are told about this program.
pub const PROGRAM: &str = concat!("sixpin ", env!("CARGO_PKG_VERSION"));
