//! A claim that the program holds, between its guard and the task.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::error::Loss;
use crate::logic::{ClaimEvent, Grant};

/// One claim that the program holds: what its guard shows, kept current by the task.
pub(crate) struct Claim {
    pub(crate) number: u64,
    grant: Mutex<Grant>,
    lost: OnceLock<Loss>,
    events: Mutex<VecDeque<ClaimEvent>>,
    pub(crate) changed: Notify,
}

/// Events kept for a guard that nobody listens to. A blocking event is kept only if its mode is stronger than that of the last
/// one, so few can come between two grants.
const CLAIM_EVENTS_KEPT: usize = 16;

impl Claim {
    pub(crate) fn new(grant: Grant) -> Self {
        Self {
            number: grant.claim,
            grant: Mutex::new(grant),
            lost: OnceLock::new(),
            events: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn grant(&self) -> MutexGuard<'_, Grant> {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the claim alone is lost, if it is. The session may be lost besides.
    pub(crate) fn lost(&self) -> Option<Loss> {
        self.lost.get().copied()
    }

    pub(crate) fn tell(&self, event: ClaimEvent) {
        if let ClaimEvent::Lost(loss) = event {
            let _ = self.lost.set(loss);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == CLAIM_EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(event);
        drop(events);
        self.changed.notify_waiters();
    }

    pub(crate) fn next_event(&self) -> Option<ClaimEvent> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
