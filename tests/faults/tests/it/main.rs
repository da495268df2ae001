//! Real processes: the networked store keeps the contract, and brokers and clients keep their promises.

#![expect(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod conformance;

/// Broker, store and client.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sixpin-faults");
