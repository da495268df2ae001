//! Brokers, clients and a store, moved by the lines of a script.
//!
//! * `script`: the language of the transcripts;
//! * `world`: brokers, clients and time; `ways`: between brokers and the store; `effects`: what brokers want done;
//! * `store`: a store in memory, of a chosen contract;
//! * `client`: what a client remembers of what it was told;
//! * `words`: what was done and said, in words that need no Rust.

// A test may panic.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod client;
mod effects;
mod script;
mod store;
mod ways;
mod words;
mod world;

pub use world::World;
