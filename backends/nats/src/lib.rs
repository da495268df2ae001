//! The store on NATS JetStream.
//!
//! One stream keeps one message per subject, and a subject is a record. A write is a publish that names the sequence
//! which the last message of its subject must have; a delete is such a publish of a marker. The version of a record is
//! the sequence of its message plus a base, which is the wall clock at the creation of the stream and is kept in the
//! root record. So versions do not fall when the stream is lost and made anew.
//!
//! What JetStream cannot do: check a second subject in the same publish. So a commit is not refused by the store when
//! the sender's registration is `gone`; the broker's own validity by time stands in for that
//! ([`Contract::Marking`](sixpin_core::backend::Contract)).
//!
//! # Layout
//!
//! * [`config`]: the URL and the settings;
//! * `check`: opens the store and refuses one that is not safe;
//! * `connection`: one TCP connection that can be dropped together with everything that was not sent yet;
//! * `link`: the connection of today, and the next one when it broke;
//! * `api`: the requests of JetStream that are needed, and their answers;
//! * `outcome`: what an answer to a publish means;
//! * `witness`: what was seen of the store, so that one which lost its memory is recognised;
//! * `keys`: keys and subjects;
//! * `backend`: reads and commits; `liveness`: registrations; `list`: pages; `hints`: who is told of a change.

pub mod config;

mod api;
mod backend;
mod check;
mod connection;
mod hints;
mod keys;
mod link;
mod list;
mod liveness;
mod outcome;
mod witness;

pub use backend::NatsBackend;
pub use config::{NatsConfig, Settings, Statement};
pub use sixpin_login::Secret;
