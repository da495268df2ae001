//! The memory store: its contract, its own rules, and its wrapper that misbehaves.

#![expect(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod conformance;
mod store;
mod faults;
