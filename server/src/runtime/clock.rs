//! The only file that reads clocks for the machine.
//!
//! [`Now::mono`] may stop while the computer sleeps: it measures the silence of others, where late is safe.
//! [`Now::boot`] goes on: it measures the broker's own validity, where late is not safe.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};
use sixpin_core::broker::api::Now;

/// The clock that goes on during suspend. Elsewhere than on Linux the plain monotonic clock stands in for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::Monotonic;

/// The time now, on all three clocks.
pub fn now() -> Now {
    Now { mono: read(ClockId::Monotonic), boot: read(BOOT), wall_ms: wall_ms() }
}

/// The wall clock in milliseconds since 1970, for display only. A clock set before 1970 counts as 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    // Both clocks count from the start of the computer: they are never negative.
    Duration::new(u64::try_from(tv_sec).unwrap_or(0), u32::try_from(tv_nsec).unwrap_or(0))
}
