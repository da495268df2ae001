//! Against real servers, which the tests start themselves: the contract, and what only JetStream has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod conformance;
mod doubts;
mod lists;
mod markers;
mod opening;
mod support;
mod tls;
mod wipes;
