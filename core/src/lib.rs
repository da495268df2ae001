//! Everything in sixpin that decides, and nothing else.
//!
//! This crate reads no clock, draws no randomness, does no IO and starts no threads: time, random bytes and the
//! outcomes of the store are inputs, and what is to be done is returned as values. That is why the simulator can
//! drive exactly the code that production runs.
//!
//! # Layout, in reading order
//!
//! * [`mode`]: the six modes and their literal tables;
//! * [`name`]: what things are called: lockspaces, resources, sessions, claims, versions, fences;
//! * [`limits`]: every limit, in one place;
//! * [`command`]: what can be asked of one resource, and what it answers;
//! * [`resource`]: one resource: three queues, one grant test, one regrant pass;
//! * [`record`]: a resource as bytes;
//! * [`mod@format`]: stored formats, and how brokers of several versions share a store;
//! * [`standing`]: what brokers tell each other about the store's memory;
//! * [`backend`]: the contract of a store; [`root`], [`registration`]: what stores keep besides records, as bytes;
//! * [`access`]: who asks, and what that one may do;
//! * [`token`]: what a client shows to say which session is its own;
//! * [`broker`]: the broker as a machine: shards, sessions, liveness;
//! * [`planted`]: wrong versions of the rules, for the simulation alone.

pub mod mode;
pub mod name;
pub mod limits;
pub mod command;
pub mod resource;
pub mod record;
pub mod format;
pub mod standing;
pub mod backend;
pub mod registration;
pub mod root;
pub mod access;
pub mod token;
pub mod broker;
pub mod planted;

mod small;
