//! How many files the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for other things than clients' connections: the store, files, the listeners themselves.
const SPARE: u64 = 64;

/// Raises the limit as far as it goes, and says how many connections that allows.
pub fn connections_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // No limit at all is a very large one.
    usize::try_from(current.unwrap_or(u64::MAX).saturating_sub(SPARE)).unwrap_or(usize::MAX).max(1)
}
