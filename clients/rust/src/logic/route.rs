//! Which endpoint is tried next, and when: in turn, with growing pauses, spread so that many clients do not come at
//! once.

use std::collections::VecDeque;
use std::time::Duration;

/// Addresses that brokers named and that were not tried yet.
const HINTS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Route {
    endpoints: Vec<String>,
    /// The endpoint tried last.
    cursor: Option<usize>,
    hints: VecDeque<String>,
    /// Attempts that failed since a connection last held.
    failures: usize,
    random: u64,
}

impl Route {
    pub(super) fn new(endpoints: Vec<String>, seed: u64) -> Self {
        // An odd multiple of an odd number is never the zero at which the generator would stand still.
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { endpoints, cursor: None, hints: VecDeque::new(), failures: 0, random }
    }

    /// The next address: first those that a broker named, then the list in turn. Without those that are being tried;
    /// `None` if there is no other.
    pub(super) fn next_address(&mut self, under_way: &[&str]) -> Option<String> {
        while let Some(hint) = self.hints.pop_front() {
            if !under_way.contains(&hint.as_str()) {
                self.cursor = self.endpoints.iter().position(|endpoint| *endpoint == hint).or(self.cursor);
                return Some(hint);
            }
        }
        let first = self.cursor.map_or(0, |cursor| cursor + 1);
        let in_turn = (first..first + self.endpoints.len()).map(|place| place % self.endpoints.len());
        let mut free = in_turn.filter(|place| !under_way.contains(&self.endpoints[*place].as_str()));
        let next = free.next()?;
        self.cursor = Some(next);
        Some(self.endpoints[next].clone())
    }

    /// A broker says where to go instead.
    pub(super) fn hint(&mut self, addresses: impl IntoIterator<Item = String>, here: &str) {
        for address in addresses {
            if !address.is_empty() && address != here && !self.hints.contains(&address) && self.hints.len() < HINTS_MAX
            {
                self.hints.push_back(address);
            }
        }
    }

    /// Whether anywhere but `here` can be tried.
    pub(super) fn has_other(&self, here: &str) -> bool {
        !self.hints.is_empty() || self.endpoints.iter().any(|endpoint| endpoint != here)
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn held(&mut self) {
        self.failures = 0;
    }

    /// How long to pause before the next attempt. The first pause after a cut only spreads the clients of a dead
    /// broker; when the whole list has failed, pauses double, up to a tenth of the TTL and at most a second.
    pub(super) fn pause(&mut self, ttl: Duration) -> Duration {
        if self.failures == 0 {
            return self.spread((ttl / 50).min(Duration::from_millis(200)));
        }
        let longest = (ttl / 10).min(Duration::from_secs(1));
        let rounds = self.failures / self.endpoints.len().max(1);
        if rounds == 0 {
            return self.spread(Duration::from_millis(10).min(longest));
        }
        let doubled = Duration::from_millis(25) * 2u32.saturating_pow(u32::try_from(rounds.min(10)).unwrap_or(10));
        let pause = doubled.min(longest);
        pause / 2 + self.spread(pause / 2)
    }

    /// How long to pause before an operation is repeated that was refused `failures` times.
    pub(super) fn retry_pause(&mut self, failures: u32) -> Duration {
        let pause = (Duration::from_millis(10) * 2u32.saturating_pow(failures.min(10))).min(Duration::from_secs(1));
        pause / 2 + self.spread(pause / 2)
    }

    /// Between zero and `most`, evenly.
    fn spread(&mut self, most: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        most.mul_f64(f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn route(endpoints: &[&str]) -> Route {
        Route::new(endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(), 7)
    }

    #[test]
    fn endpoints_are_tried_in_turn() {
        let mut route = route(&["a", "b", "c"]);
        let tried: Vec<_> = std::iter::repeat_with(|| route.next_address(&[]).unwrap()).take(5).collect();
        assert_eq!(tried.join(" "), "a b c a b");
    }

    #[test]
    fn what_a_broker_names_goes_first_and_is_tried_once() {
        let mut route = route(&["a", "b", "c"]);
        route.next_address(&[]);
        route.hint(["a".into(), "x".into(), "c".into(), "c".into()], "a");
        let tried: Vec<_> = std::iter::repeat_with(|| route.next_address(&[]).unwrap()).take(4).collect();
        assert_eq!(tried.join(" "), "x c a b");
    }

    #[test]
    fn an_address_is_tried_once_at_a_time() {
        let mut route = route(&["a", "b", "c"]);
        route.hint(["b".into(), "x".into()], "a");
        assert_eq!(route.next_address(&["a", "b"]).unwrap(), "x");
        assert_eq!(route.next_address(&["a", "b", "x"]).unwrap(), "c");
        assert_eq!(route.next_address(&["a", "b", "c"]), None);
        assert_eq!(route.next_address(&["b"]).unwrap(), "a");
    }

    #[test]
    fn pauses_grow_when_the_whole_list_has_failed_and_stay_bounded() {
        let mut route = route(&["a", "b"]);
        route.failed();
        assert!(route.pause(TTL) <= Duration::from_millis(10));
        for failures in 2..100 {
            route.failed();
            let pause = route.pause(TTL);
            assert!(pause >= Duration::from_millis(25) && pause <= Duration::from_secs(1), "{failures}: {pause:?}");
        }
        assert!(route.pause(TTL) >= Duration::from_millis(500));
        route.held();
        assert!(route.pause(TTL) <= Duration::from_millis(200));
    }

    #[test]
    fn the_seed_decides_the_pauses() {
        let pauses = |seed| {
            let mut route = Route::new(vec!["a".into()], seed);
            std::iter::repeat_with(|| route.pause(TTL)).take(4).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
