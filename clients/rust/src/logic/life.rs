//! How long a session is valid, and when to say that its client lives.

use std::time::Duration;

/// The moment until which a session is valid whose keepalive was sent at `sent` and acknowledged since: before any
/// broker could give it up, even if two clocks differ by 1 % each way.
pub fn valid_until(sent: Duration, ttl: Duration) -> Duration {
    let margin = (ttl / 20).max(Duration::from_millis(100));
    sent + (ttl / 100 * 99).saturating_sub(margin)
}

/// The clockwork of an open session.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) ttl: Duration,
    pub(super) every: Duration,
    /// Exclusive: at this moment everything is lost.
    pub(super) valid_until: Duration,
    /// The keepalive that is on its way: its request number, and when it was sent.
    pub(super) outstanding: Option<(u64, Duration)>,
    /// When the first keepalive was sent since the last one that was acknowledged.
    pub(super) unanswered_since: Option<Duration>,
    pub(super) next_keepalive: Duration,
}

impl Life {
    /// A session whose open was sent at `sent`.
    pub(super) fn new(ttl: Duration, every: Duration, sent: Duration) -> Self {
        let every = if every.is_zero() { ttl / 3 } else { every.min(ttl / 3) };
        Self {
            ttl,
            every,
            valid_until: valid_until(sent, ttl),
            outstanding: None,
            unanswered_since: None,
            next_keepalive: sent + every,
        }
    }

    /// How long an answer may take before the next endpoint is tried.
    pub(super) fn patience(&self) -> Duration {
        self.ttl / 3
    }

    /// A keepalive, or a resume, was acknowledged that was sent at `sent`: that moment counts, not the answer's.
    pub(super) fn acknowledged(&mut self, sent: Duration) {
        self.valid_until = self.valid_until.max(valid_until(sent, self.ttl));
        self.outstanding = None;
        self.unanswered_since = None;
        // The first one may have been wanted earlier, so that the broker knows that somebody is there.
        self.every = self.ttl / 3;
        self.next_keepalive = sent + self.every;
    }

    /// A keepalive leaves now.
    pub(super) fn sent(&mut self, request: u64, now: Duration) {
        self.outstanding = Some((request, now));
        self.unanswered_since.get_or_insert(now);
    }

    /// A keepalive was refused, and there is nobody else to ask: ask again soon.
    pub(super) fn refused(&mut self, now: Duration) {
        self.outstanding = None;
        self.next_keepalive = now + (self.ttl / 20).max(Duration::from_millis(20));
    }

    /// The connection ended: an answer cannot come any more.
    pub(super) fn disconnected(&mut self) {
        self.outstanding = None;
    }

    /// When waiting for an acknowledgement has taken too long; absent if all were acknowledged.
    pub(super) fn overdue_at(&self) -> Option<Duration> {
        self.unanswered_since.map(|since| since + self.patience())
    }

    pub(super) fn is_overdue(&self, now: Duration) -> bool {
        self.overdue_at().is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_ten_seconds_is_valid_for_nine_point_four() {
        let until = valid_until(Duration::from_secs(100), Duration::from_secs(10));
        assert_eq!(until, Duration::from_millis(109_400));
    }

    #[test]
    fn the_margin_is_at_least_a_tenth_of_a_second() {
        let until = valid_until(Duration::ZERO, Duration::from_secs(1));
        assert_eq!(until, Duration::from_millis(890));
    }

    #[test]
    fn a_late_acknowledgement_of_an_early_keepalive_takes_nothing_back() {
        let mut life = Life::new(Duration::from_secs(10), Duration::ZERO, Duration::from_secs(5));
        life.acknowledged(Duration::from_secs(2));
        assert_eq!(life.valid_until, Duration::from_millis(14_400));
    }
}
