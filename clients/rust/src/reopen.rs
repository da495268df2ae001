//! How fast a session follows another one that was lost.
//!
//! The first broker is tried almost at once, a moment apart for each client, because what takes one session often takes
//! those of many clients together. Where sessions do not last, the pauses double. Within an opening the session logic paces
//! itself.

use std::time::Duration;

/// The pause after a session that lasted.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause. A session that was open for longer than this has lasted.
const LONGEST: Duration = Duration::from_secs(10);

/// Counts the sessions that did not last, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    short: u32,
}

impl Pace {
    /// How long to wait after a session that was open for so long. Between half of it and all of it, by a random number.
    pub(crate) fn pause(&mut self, open_for: Duration, random: u64) -> Duration {
        self.short = if open_for > LONGEST { 0 } else { self.short.saturating_add(1) };
        let pause = FIRST.saturating_mul(2u32.saturating_pow(self.short.min(10))).min(LONGEST);
        let spread = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        pause / 2 + (pause / 2).mul_f64(spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_while_sessions_do_not_last() {
        let mut pace = Pace::default();
        let pauses: Vec<u128> = (0..8).map(|_| pace.pause(Duration::from_secs(1), u64::MAX).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pace.pause(Duration::from_secs(11), u64::MAX), FIRST);
    }

    #[test]
    fn a_pause_is_spread_over_its_second_half() {
        assert_eq!(Pace::default().pause(Duration::from_secs(11), 0), FIRST / 2);
    }
}
