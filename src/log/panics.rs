//! A panic is logged, and ends the process.
//!
//! Nothing that a peer sends may panic a broker, so a panic means that sixpin is wrong about something. A task that
//! panicked would leave a process behind that answers half of what it is asked, that health checks may take for well, and
//! that nobody restarts. The sessions of a process that ended move to other brokers and keep their locks.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use super::Log;
use crate::cli::exit;

/// From now on a panic in any thread or task is logged and ends the process with status [`exit::BUG`].
pub fn end_the_process(log: &Log) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        log.finish();
        std::process::exit(i32::from(exit::BUG));
    }));
}

fn say(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        text,
        place,
        backtrace,
        "sixpin is wrong about something, which is a bug in it: the process ends, and its sessions move to other brokers"
    );
}
