//! Tests of the whole process, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(unreachable_pub, reason = "what tests share is public among them")]

mod support;

mod command_line;
mod configuration;
mod differences;
mod streams;
mod frames;
mod calls;
mod hold;
mod http;
mod page;
mod modes;
mod malformed;
mod malformed_bytes;
mod inspection;
mod waits;
mod access;
mod secure;
mod audit;
mod metrics;
mod traces;
mod limits;
mod drain;
mod trouble;
mod forgetful_stores;
mod same_store;
mod upgrade;
mod many_brokers;
mod by_hand;
mod process;
mod log;
mod reload;

mod client_world;
mod notify;
mod embedded;
mod client_basics;
mod client_cancel;
mod client_loss;
mod client_moves;
mod client_reach;

#[cfg(target_os = "linux")]
mod cli;
