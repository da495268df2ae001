//! A line that is repeated is written a few times, then counted.
//!
//! While a store is away, or when a broker with thousands of sessions dies, the same thing happens again and again. What
//! is said again is not news, and it hides what is. Lines are the same if they have the same level and message, whatever
//! their fields say. Of each, the first [`FIRST`] are written, then one in each period for as long as it goes on; at the
//! end of a period a line says how many were left out. Lines below the level of information are for people who look for
//! something particular, and are all written.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// As many lines of a kind are written before the rest is counted.
const FIRST: u32 = 20;
/// As many kinds are told apart in one period; more are written without counting.
const KINDS_MAX: usize = 1_024;
/// Bytes of a message that tell kinds apart.
const MESSAGE_MAX: usize = 256;
/// Lines about lines are not folded.
const OWN_TARGET: &str = module_path!();

type Kind = (Level, String);

/// What happened to one kind of line in this period.
#[derive(Debug)]
struct Fold {
    /// Lines that may still be written.
    left: u32,
    /// Lines that were left out.
    folded: u64,
    written: bool,
}

/// The kinds of lines of this period.
#[derive(Debug, Default)]
struct Folds {
    kinds: HashMap<Kind, Fold>,
}

impl Folds {
    /// May this line be written?
    fn admit(&mut self, kind: Kind) -> bool {
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&kind) {
            return true;
        }
        let fold = self.kinds.entry(kind).or_insert(Fold { left: FIRST, folded: 0, written: false });
        if fold.left == 0 {
            fold.folded += 1;
            return false;
        }
        fold.left -= 1;
        fold.written = true;
        true
    }

    /// Ends a period: what was left out in it. A kind that goes on is written once in the next one, a kind that stopped
    /// is new when it comes again.
    fn next_period(&mut self) -> Vec<(Kind, u64)> {
        let folded =
            self.kinds.iter().filter(|(_, fold)| fold.folded > 0).map(|(kind, fold)| (kind.clone(), fold.folded));
        let mut folded: Vec<_> = folded.collect();
        folded.sort_by(|one, other| one.0.1.cmp(&other.0.1));
        self.kinds.retain(|_, fold| {
            let goes_on = fold.written || fold.folded > 0;
            let left = if fold.folded > 0 { 1 } else { fold.left.max(1) };
            *fold = Fold { left, folded: 0, written: false };
            goes_on
        });
        folded
    }
}

/// Lets the first lines of each kind through.
#[derive(Debug, Clone, Default)]
pub struct Folding {
    folds: Arc<Mutex<Folds>>,
}

impl Folding {
    /// Ends a period, and says what was left out in it.
    pub(super) fn report(&self) {
        let folded = self.folds.lock().unwrap_or_else(PoisonError::into_inner).next_period();
        for ((level, message), times) in folded {
            let say = |text: fmt::Arguments<'_>| match level {
                Level::ERROR => tracing::error!(times, "{text}"),
                Level::WARN => tracing::warn!(times, "{text}"),
                _ => tracing::info!(times, "{text}"),
            };
            say(format_args!("left out as often as this because it was said before: {message}"));
        }
    }
}

impl<S: Subscriber> Filter<S> for Folding {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == OWN_TARGET {
            return true;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        // Nobody waits here, least of all somebody who panics while another line is looked at.
        match self.folds.try_lock() {
            Ok(mut folds) => folds.admit((*metadata.level(), message.0)),
            Err(TryLockError::Poisoned(folds)) => folds.into_inner().admit((*metadata.level(), message.0)),
            Err(TryLockError::WouldBlock) => true,
        }
    }
}

/// The beginning of an event's message.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // A message that is too long ends the writing with an error, and what fits is there.
            let _ = write!(self, "{value:?}");
        }
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut end = text.len().min(MESSAGE_MAX - self.0.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(folds: &mut Folds, text: &str, times: u32) -> u32 {
        (0..times).map(|_| u32::from(folds.admit((Level::WARN, text.into())))).sum()
    }

    #[test]
    fn what_is_repeated_is_written_a_few_times_and_counted() {
        let mut folds = Folds::default();
        assert_eq!(admitted(&mut folds, "away", FIRST + 7), FIRST);
        assert_eq!(admitted(&mut folds, "other", 3), 3);
        assert_eq!(folds.next_period(), [((Level::WARN, "away".to_string()), 7)]);
        // It goes on: one line in each period.
        assert_eq!(admitted(&mut folds, "away", 5), 1);
        assert_eq!(folds.next_period(), [((Level::WARN, "away".to_string()), 4)]);
        // It stopped for a period: it is news again.
        assert_eq!(folds.next_period(), []);
        assert_eq!(admitted(&mut folds, "away", FIRST + 1), FIRST);
    }

    #[test]
    fn what_comes_slowly_is_not_folded_at_once() {
        let mut folds = Folds::default();
        for _ in 0..FIRST {
            assert_eq!(admitted(&mut folds, "now and then", 1), 1);
            assert_eq!(folds.next_period(), []);
        }
    }

    #[test]
    fn kinds_are_limited() {
        let mut folds = Folds::default();
        for number in 0..2 * KINDS_MAX {
            assert_eq!(admitted(&mut folds, &number.to_string(), 1), 1);
        }
        assert_eq!(folds.kinds.len(), KINDS_MAX);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut message = Message(String::new());
        let _ = write!(message, "{}", "ü".repeat(MESSAGE_MAX));
        assert_eq!(message.0, "ü".repeat(MESSAGE_MAX / 2));
    }
}
