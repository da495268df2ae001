//! Ports that stay ours.
//!
//! A server that is killed and started again needs its old port back. Two things could take it meanwhile: an outgoing
//! connection, which gets its port from the ephemeral range, and another test process that looks for a free port. So
//! ports are taken from below the ephemeral range, and each is marked by a locked file while it is in use.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where ports are looked for: below the ephemeral range of Linux (from 32,768) and of the other systems.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port of 127.0.0.1 that no other holder of a `Port` has, in this process or another.
#[derive(Debug)]
pub struct Port {
    number: u16,
    // The lock on this file is the claim; the system releases it if the process dies.
    _claim: File,
}

impl Port {
    /// Takes a port that nobody listens on.
    pub fn take() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = std::env::temp_dir().join("sixpin-ports");
        std::fs::create_dir_all(&directory)?;
        // Processes start at different places, so that they seldom meet.
        let start = std::process::id().wrapping_mul(7_919);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).map_err(std::io::Error::other)?;
            let path = directory.join(number.to_string());
            let Ok(claim) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
                continue;
            };
            if claim.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(std::io::Error::new(std::io::ErrorKind::AddrInUse, "no free port from 20,000 to 31,999"))
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_taken_at_once_are_distinct() {
        let ports: Vec<Port> = (0..20).map(|_| Port::take().unwrap()).collect();
        let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 20);
    }
}
