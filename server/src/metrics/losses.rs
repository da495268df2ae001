//! The sessions lost last, for people who look: counters say how many there were, and not whose.
//!
//! Invariant: no more than [`LOSSES_MAX`] are kept; they are those of this run of the broker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sixpin_core::broker::api::LostReason;
use sixpin_core::name::{Label, SessionId};

use crate::runtime::clock;

/// So many are kept.
const LOSSES_MAX: usize = 100;

/// A session that was lost, or several at once.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    /// When it was certain, by the wall clock, in milliseconds.
    pub(crate) at_ms: u64,
    /// What took it.
    pub(crate) reason: LostReason,
    /// How many.
    pub(crate) sessions: usize,
    /// Which, with its label; absent where more than one may be lost at once.
    pub(crate) which: Option<(SessionId, Label)>,
}

impl Loss {
    pub(super) fn now(reason: LostReason, sessions: usize, which: Option<(SessionId, Label)>) -> Self {
        Self { at_ms: clock::wall_ms(), reason, sessions, which }
    }
}

/// The last ones of all engines. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Mutex<VecDeque<Loss>>>);

impl Losses {
    pub(super) fn add(&self, loss: Loss) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LOSSES_MAX {
            kept.pop_back();
        }
        kept.push_front(loss);
    }

    pub(super) fn newest_first(&self) -> Vec<Loss> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let losses = Losses::default();
        for sessions in 0..LOSSES_MAX + 10 {
            losses.add(Loss::now(LostReason::Expired, sessions, None));
        }
        let kept: Vec<usize> = losses.newest_first().iter().map(|loss| loss.sessions).collect();
        assert_eq!(kept, (10..LOSSES_MAX + 10).rev().collect::<Vec<_>>());
    }
}
