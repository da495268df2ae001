//! Many brokers and clients, one store, and everything that can go wrong between them.
//!
//! The simulator runs the real broker machine (`sixpin-core`) and the real session logic of the Rust client
//! (`sixpin-client`), with simulated clocks, network and store. One seed is one schedule: the same seed gives the same
//! trace to the byte. After a while the faults stop; then everything that waits must be granted, everybody leaves, and
//! the store must end up empty.
//!
//! # Layout
//!
//! * [`plan`]: what a seed decides once: how many of each, which store, which faults;
//! * [`world`]: time, events, and what each event does;
//! * `broker`: a broker process: machine, clock, calls to the store;
//! * `client`: a client process: session logic, clock, and a program that locks;
//! * `unary`: a caller, which is a client without a stream;
//! * `places`: callers who go away and leave what they wait for at its place in the queue;
//! * `network`: streams between clients and brokers; `calls`: calls of callers;
//! * `wire`: messages of the stream as the machine's words and back;
//! * `faults`: what goes wrong, when; `losses`: a store that forgets; `by_hand`: records that people delete or damage;
//! * `check`: what must hold whatever goes wrong;
//! * `beliefs`: what clients believe, held against what is stored;
//! * `told`: what clients are told of the end of a claim, held against what happened;
//! * [`planted`]: rules left out on purpose, which the checks must find;
//! * [`run`]: one schedule, many schedules;
//! * [`shrink`]: a smaller schedule that violates the same, for people;
//! * [`ledger`]: long runs in parts;
//! * `on_time`: a test of how long what died stays taken.

mod beliefs;
mod broker;
mod by_hand;
mod calls;
mod check;
mod client;
mod faults;
mod frames;
pub mod ledger;
mod listeners;
mod losses;
mod network;
mod places;
pub mod plan;
pub mod planted;
pub mod run;
pub mod shrink;
mod told;
mod unary;
mod wire;
pub mod world;

#[cfg(test)]
mod on_time;
