//! The accept loop.
//!
//! It never exits and never spins: when accepting fails (typically because the process has no descriptors left), it
//! waits, longer each time, and says so once in a while.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::complaint::Complaint;
use super::connection::told_to_stop;
use super::gate::{Gate, Pass, Refused};

/// The first pause after a failure; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Where connections come from. A trait so that failures can be tested.
pub trait Accept {
    /// What a connection is.
    type Stream;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Answers are small and must not wait for more to come.
        stream.set_nodelay(true)?;
        Ok((stream, address))
    }
}

/// Accepts until `stop` says so, and starts a connection for each that the gate lets in. The others are closed at
/// once, so that their clients try elsewhere.
pub async fn run<A: Accept>(
    source: &A,
    gate: &Arc<Gate>,
    mut stop: watch::Receiver<bool>,
    mut start: impl FnMut(A::Stream, Pass),
) {
    let mut pause = PAUSE_MIN;
    let (failures, refusals) = (Complaint::new(), Complaint::new());
    loop {
        let accepted = tokio::select! {
            accepted = source.accept() => accepted,
            () = told_to_stop(&mut stop) => return,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = PAUSE_MIN;
                match gate.enter(address.ip().to_canonical()) {
                    Ok(pass) => start(stream, pass),
                    Err(refused) => refusals.say(|count| log_refusal(address, refused, count)),
                }
            }
            // The peer went away before it was accepted, which says nothing about this process.
            Err(error) if is_about_the_peer(&error) => {}
            Err(error) => {
                failures.say(|count| tracing::error!(%error, count, "cannot accept connections; trying on"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn log_refusal(address: SocketAddr, refused: Refused, count: u64) {
    tracing::warn!(%address, %refused, count, "connection refused");
}

fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    // EINVAL comes from setting an option on a socket that was reset in the meantime.
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::frontend::listener::gate::tests::gate;

    /// Fails as a process without descriptors does, `failures` times; then one connection comes, then none.
    struct Exhausted {
        failures: usize,
        calls: AtomicUsize,
    }

    impl Accept for Exhausted {
        type Stream = ();

        async fn accept(&self) -> io::Result<((), SocketAddr)> {
            match self.calls.fetch_add(1, Ordering::Relaxed) {
                call if call < self.failures => {
                    Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()))
                }
                call if call == self.failures => Ok(((), ([127, 0, 0, 1], 1).into())),
                _ => std::future::pending().await,
            }
        }
    }

    async fn run_for(source: &Exhausted, time: Duration) -> usize {
        let gate = gate(10, 10, 10);
        let (_keep, stop) = watch::channel(false);
        let mut started = 0;
        let _ = tokio::time::timeout(time, run(source, &gate, stop, |(), _| started += 1)).await;
        started
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_descriptors_does_not_spin() {
        let source = Exhausted { failures: usize::MAX, calls: AtomicUsize::new(0) };
        assert_eq!(run_for(&source, Duration::from_secs(5)).await, 0);
        let calls = source.calls.load(Ordering::Relaxed);
        assert!((10..=20).contains(&calls), "{calls} attempts in five seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_when_descriptors_are_free_again() {
        let source = Exhausted { failures: 20, calls: AtomicUsize::new(0) };
        assert_eq!(run_for(&source, Duration::from_secs(60)).await, 1);
    }
}
