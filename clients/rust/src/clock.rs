//! The only file that reads a clock.
//!
//! `std::time::Instant` and tokio's timers stand still while a machine is suspended; a session goes on ageing at its
//! broker. So validity is judged on `CLOCK_BOOTTIME`, which goes on, and timers only decide when to look.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Time since some fixed point, going on during suspend.
pub(crate) fn now() -> Duration {
    read(ClockId::Boottime)
}

/// How long the machine has been suspended since it started. Only differences mean anything.
pub(crate) fn suspended() -> Duration {
    read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What is left until `instant`; zero if it has passed.
pub(crate) fn until(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::now())
}

/// Whole milliseconds, rounded up, so that a short wait does not become a try.
pub(crate) fn milliseconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
