//! The broker as a machine: one loop of drain, apply, commit, answer.
//!
//! [`Broker`] owns everything that one broker process decides for one store. The shell feeds it [`Input`]s with the
//! time, and carries out the [`Effect`]s that it returns. It never blocks, never reads a clock and never fails: what a
//! store or a client may do wrong has an input, and every input has an answer.
//!
//! # Layout
//!
//! * [`api`]: the words between machine and shell;

use std::time::Duration;

pub mod api;

use api::{BrokerConfig, Effect, Input, Now};

/// One broker on one store.
pub struct Broker {
    config: BrokerConfig,
}

impl Broker {
    /// A broker that has not registered yet. Call [`Broker::tick`] next.
    pub fn new(config: BrokerConfig) -> Self {
        Self { config }
    }

    /// Takes one input. Requests are only queued: [`Broker::flush`] applies them, so that everything that waits goes
    /// into one batch.
    pub fn handle(&mut self, _now: Now, _input: Input, _effects: &mut Vec<Effect>) {
        let _ = &self.config;
    }

    /// Applies what waits and starts a batch on every idle lane. Call it when no more input waits.
    pub fn flush(&mut self, _now: Now, _effects: &mut Vec<Effect>) {}

    /// Does what the passing of time asks for. Call it at [`Broker::deadline`] or later.
    pub fn tick(&mut self, _now: Now, _effects: &mut Vec<Effect>) {}

    /// The monotonic time at which [`Broker::tick`] wants to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        None
    }
}
