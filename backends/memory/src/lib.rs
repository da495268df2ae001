//! A store in this process's memory: for one machine, for tests, and as the model of every other store.
//!
//! Nothing survives the process ([`Durability::Volatile`](sixpin_core::backend::Durability)). Fences still rise over a
//! restart, because versions start at the wall clock; a clock that was set back before the restart would repeat them.
//!
//! # Layout
//!
//! * [`store`]: the store as a state machine: no clock, no lock, no runtime. The simulator drives this one directly, and
//!   it keeps the contract of Redis, etcd or JetStream as asked;
//! * [`liveness`]: its second half: registrations, lanes and their generations;
//! * [`backend`]: the store shared between brokers of one process, behind the
//!   [`Backend`](sixpin_core::backend::Backend) trait;
//! * [`hints`]: who is told that a key may have changed;
//! * [`faults`]: a wrapper around any backend that answers unknown, strikes late, refuses, delays and forgets.

pub mod backend;
pub mod faults;
pub mod hints;
pub mod liveness;
pub mod store;

pub use backend::{MemoryBackend, MemoryStore};
pub use faults::{Fault, Faulty, Operation};
pub use store::{Promise, Store};
