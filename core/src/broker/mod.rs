//! The broker as a machine: one loop of drain, apply, commit, answer.
//!
//! [`Broker`] owns everything that one broker process decides for one store. The shell feeds it [`Input`]s with the
//! time, and carries out the [`Effect`]s that it returns. It never blocks, never reads a clock and never fails: what a
//! store or a client may do wrong has an input, and every input has an answer.
//!
//! # Layout
//!
//! * [`api`]: the words between machine and shell;

pub mod api;
