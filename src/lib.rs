//! The sixpin process: configuration, the runtime that feeds the broker machine, the front ends and the command line.
//!
//! What decides is in `sixpin-core`; this crate only carries: requests in, store calls out, answers back.
//!
//! # Layout, in reading order
//!
//! * [`runtime`]: the thin shell around the broker machine;
//! * [`cli`]: the command line, one file per subcommand.

pub mod runtime;
pub mod cli;
