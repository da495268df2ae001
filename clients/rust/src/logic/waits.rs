//! A wait is a bound: a lock that is not granted by then ends, whatever brokers do.
//!
//! While a broker is attached the wait is the broker's, whose answer also says who is in the way; it gets a moment more
//! to arrive. Then, or at once where there is no broker, the wait ends here: the program is told, and what may have
//! reached a broker is withdrawn. A conversion that a broker may have heard of is withdrawn as well, but ends only when a
//! broker says how: until then the claim may have either mode.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::api::{OperationId, Output};
use super::claim::{Pending, Place, Stage, What};
use super::finish::{timed_out, undecided};
use super::machine::Machine;
use super::planted::Bug;
use crate::error::Error;
use crate::mode::Mode;

/// How much longer than the wait a broker's answer may take.
const GRACE: Duration = Duration::from_millis(500);
/// How long a try waits for a broker, and a broker for its store.
const TRY_WITHIN: Duration = Duration::from_millis(1500);

/// When waits end.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_time: BTreeSet<(Duration, OperationId)>,
    ends: BTreeMap<OperationId, Duration>,
}

impl Waits {
    fn insert(&mut self, id: OperationId, end: Duration) {
        self.by_time.insert((end, id));
        self.ends.insert(id, end);
    }

    /// The operation is over.
    pub(super) fn forget(&mut self, id: OperationId) {
        if let Some(end) = self.ends.remove(&id) {
            self.by_time.remove(&(end, id));
        }
    }

    fn first(&self) -> Option<(Duration, OperationId)> {
        self.by_time.first().copied()
    }
}

impl Machine {
    /// Notes when an operation that was just asked for ends at the latest; absent: it waits for ever.
    pub(super) fn note_wait(&mut self, now: Duration, id: OperationId, timeout_ms: Option<u64>) {
        let Some(timeout) = timeout_ms else { return };
        let wait = if timeout == 0 { TRY_WITHIN } else { Duration::from_millis(timeout) };
        self.waits.insert(id, now.saturating_add(wait));
    }

    /// The next wait that ends, and when it does so here.
    fn next_end(&self) -> Option<(Duration, OperationId)> {
        let (end, id) = self.waits.first()?;
        if !self.links.usable() {
            return Some((end, id));
        }
        let left = self.planted.has(Bug::WaitLeftToTheBroker);
        (!left).then(|| (end.saturating_add(GRACE), id))
    }

    pub(super) fn wait_due(&self) -> Option<Duration> {
        self.next_end().map(|(end, _)| end)
    }

    /// Ends the waits that are over.
    pub(super) fn end_waits(&mut self, now: Duration, out: &mut Vec<Output>) {
        while let Some((_, id)) = self.next_end().filter(|(end, _)| now >= *end) {
            self.waits.forget(id);
            if let Some(number) = self.conversion_at_a_broker(id)
                && !self.planted.has(Bug::ConversionEndedAlone)
            {
                self.withdraw(number);
                continue;
            }
            let error = self.why_it_ends(id);
            self.abandon(id);
            out.push(Output::Complete { id, result: Err(error) });
        }
    }

    /// Whether somebody is in the way, or nobody could say so.
    fn why_it_ends(&self, id: OperationId) -> Error {
        let mode = self.mode_behind(id);
        let Some(Place::Claim(number)) = self.operations.get(&id) else { return undecided(mode) };
        match self.pending_of(*number, id) {
            // Behind an operation of its own.
            None => timed_out(mode),
            Some(pending) if pending.stage == Stage::Queued => timed_out(mode),
            Some(pending) => pending.why_undecided(mode),
        }
    }

    fn pending_of(&self, number: u64, id: OperationId) -> Option<&Pending> {
        self.claims.get(&number)?.pending.as_ref().filter(|pending| pending.waiter == Some(id))
    }

    /// The claim of a conversion that a broker may have heard of.
    fn conversion_at_a_broker(&self, id: OperationId) -> Option<u64> {
        let Some(Place::Claim(number)) = self.operations.get(&id) else { return None };
        let pending = self.pending_of(*number, id)?;
        (pending.operation != 0 && matches!(pending.what, What::Convert { .. })).then_some(*number)
    }

    fn mode_behind(&self, id: OperationId) -> Option<Mode> {
        let Some(Place::Claim(number)) = self.operations.get(&id) else { return None };
        self.claims.get(number)?.granted.map(|granted| granted.mode)
    }
}
