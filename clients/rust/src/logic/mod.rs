//! The life of one session on the client's side, as a machine: inputs in, outputs out.
//!
//! No IO, no clock, no randomness, no order that depends on a hash. Time is a `Duration` on a clock that goes on during
//! suspend; the shell reads it before each call. The simulator drives exactly this module against the real broker.
//!
//! # Layout
//!
//! * [`api`]: the words between the logic and its shell;
//! * [`planted`]: wrong versions of the rules, for the simulation alone.

mod api;
mod ask;
mod attempts;
mod claim;
mod ending;
mod finish;
mod life;
mod links;
mod machine;
pub mod planted;
mod receive;
mod resume;
mod route;
mod send;
mod waits;

pub use api::{ClaimEvent, Config, Done, Grant, Input, LinkId, Opened, OperationId, Output, State, ValueBlock};
pub use life::valid_until;
pub use machine::Machine;
