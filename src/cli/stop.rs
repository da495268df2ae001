//! When a broker is told to stop, and when it is told not even to drain.
//!
//! SIGTERM and SIGINT drain. A second SIGINT, from somebody who does not want to wait, ends the drain at once; a second
//! SIGTERM only some seconds after the first signal, because some supervisors send it twice. SIGHUP is no reason to leave:
//! it is left to `reload`.

use std::io::Result;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// A second SIGTERM that comes sooner than this is the first one again.
const TERM_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The signals that stop a broker, caught from the first moment on so that none during the start is lost.
pub(super) struct Stop {
    terminate: Signal,
    /// Absent if it was ignored when this process was started, as for a job in the background of a script.
    interrupt: Option<Signal>,
    told: Option<Instant>,
}

impl Stop {
    /// Catches them from now on.
    pub(super) fn listen() -> Result<Self> {
        let interrupt = SignalKind::interrupt();
        let ignored = crate::signals::ignored().contains(&interrupt.as_raw_value());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: if ignored { None } else { Some(signal(interrupt)?) },
            told: None,
        })
    }

    /// Resolves when the broker is to drain and end.
    pub(super) async fn told(&mut self) {
        self.next().await;
        self.told = Some(Instant::now());
    }

    /// Resolves when it is to end without having drained.
    pub(super) async fn told_again(&mut self) {
        while self.next().await == SignalKind::terminate() {
            if self.told.is_none_or(|told| told.elapsed() >= TERM_AGAIN_AFTER) {
                return;
            }
            tracing::info!("told to stop once more: draining already, SIGINT or a later SIGTERM stops at once");
        }
    }

    /// The next signal that means to stop.
    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = received(self.interrupt.as_mut()) => SignalKind::interrupt(),
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
