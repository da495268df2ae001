//! What the tests of real stores need: servers of their own, and a network that can be broken on purpose.
//!
//! Tests never use a server that somebody else started. Each one gets a process on loopback, on ports that no other
//! test process has, with a fresh data directory; it dies with the test.
//!
//! # Layout
//!
//! * [`proxy`]: a TCP proxy that passes, cuts, swallows replies, holds requests back and delays;
//! * [`server`]: a server: start, kill, restart, freeze, resume;
//! * [`stores`]: how Redis, etcd and NATS are started;
//! * [`members`]: a store of several members, each of which can be killed, frozen and cut off from the others;
//! * `folder`: copies of a server's data;
//! * `callers`: who opened a connection;
//! * `provider`: where a server comes from: a program of this machine, or a container;
//! * [`authority`]: who signs certificates, and their files;
//! * [`ports`]: ports that stay ours over a restart;
//! * [`wait`]: waiting until a condition holds, with a deadline.

pub mod authority;
mod callers;
mod folder;
pub mod members;
pub mod ports;
mod provider;
pub mod proxy;
pub mod server;
pub mod stores;
pub mod wait;

pub use folder::copy_folder;
pub use members::Members;
pub use proxy::Proxy;
pub use server::{ServerPlan, ServerProcess, StartError};
pub use stores::{etcd, nats, redis};
pub use wait::until;
