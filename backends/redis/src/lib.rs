//! Locks on Redis.
//!
//! Records are strings that begin with their version. A batch of compare-and-swaps is one call of a script, which
//! checks the sender's registration and its lane's generation in the same step, gives all writes one version of a clock
//! that never falls, and publishes a hint of what it changed.
//!
//! # Layout
//!
//! * [`config`]: settings and URLs;
//! * `keys`: what things are called in Redis;
//! * `scripts`, `scripts/*.lua`: what is done there in one step;
//! * `dial`, `connection`, `routes`: how servers are reached: one, one of several by Sentinel, or many;
//! * `check`: whether a server is fit to keep locks;
//! * `witness`: how it is noticed that a store lost its memory;
//! * `hints`: who is told that a key may have changed;
//! * [`backend`]: the store, behind the [`Backend`](sixpin_core::backend::Backend) trait, with its parts `opening`,
//!   `commits`, `reads` and `liveness`.
//!
//! # What it does not do
//!
//! No lock is ever freed by the expiry of a key, no decision is made on a read, and nothing is sent twice: a request
//! whose outcome is unknown is told to be so.

pub mod backend;
pub mod config;
mod check;
mod commits;
mod connection;
mod dial;
mod hints;
mod keys;
mod liveness;
mod opening;
mod reads;
mod routes;
mod scripts;
mod witness;

pub use backend::RedisBackend;
pub use config::{RedisConfig, Statement};
pub use sixpin_login::Secret;
