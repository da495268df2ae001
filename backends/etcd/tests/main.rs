//! The contract on a real etcd, and what is special about etcd.

#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

mod support;

mod conformance;

mod alarms;
mod cluster;
mod limits;
mod login;
mod opening;
mod secure;
mod watching;
