//! The Redis backend against real servers: the contract, and what is particular to Redis.

mod conformance;
mod full;
mod opening;
mod particular;
mod replication;
mod secure;
mod support;
