//! The sixpin broker: configuration, the runtime that feeds the broker machine, and the front ends.
//!
//! What decides is in `sixpin-core`; this crate only carries: requests in, store calls out, answers back. The program
//! `sixpin serve` runs it behind listeners; a program that has its broker inside itself runs it without any.
//!
//! # Layout, in reading order
//!
//! * [`config`]: what an operator can set;
//! * [`backends`]: the one file that names all backends;
//! * [`runtime`]: the thin shell around the broker machine;
//! * [`frontend`]: how clients reach it; [`tls`]: what protects that; [`access`]: who they are; [`audit`]: what they did;
//! * [`metrics`]: what all of that counts; [`lately`]: what happened on each resource lately;
//! * [`drain`]: how a broker ends; [`error`]: why it does not start; `listening`: where it listens;
//! * [`engines`]: the stores and engines that a configuration asks for;
//! * [`broker`]: all of that together;
//! * [`reload`]: what can change while it runs;
//! * [`server`]: a broker that listens; [`embedded`]: one inside another program.

pub mod config;
pub mod backends;
pub mod runtime;
pub mod frontend;
pub mod tls;
pub mod access;
pub mod audit;
pub mod metrics;
pub mod lately;
pub mod traces;
pub mod drain;
pub mod error;
mod listening;
pub mod engines;
pub mod broker;
pub mod reload;
pub mod server;
pub mod embedded;

pub use sixpin_core::backend::OpenError;

/// What other brokers and people are told about this program.
pub const PROGRAM: &str = concat!("sixpin ", env!("CARGO_PKG_VERSION"));
