//! Complaints that somebody else can cause: each kind is logged once in a while, with how often it happened.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Complaints of one kind are logged this often at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// Complaints of one kind.
#[derive(Debug)]
pub(super) struct Complaint(Mutex<Said>);

#[derive(Debug)]
struct Said {
    last: Option<Instant>,
    count: u64,
}

impl Complaint {
    /// Nothing was said yet.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Said { last: None, count: 0 }))
    }

    /// Says it, with how often it happened since it was said last; or counts it.
    pub(super) fn say(&self, say: impl FnOnce(u64)) {
        let count = {
            let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            said.count += 1;
            if said.last.is_some_and(|last| last.elapsed() < INTERVAL) {
                return;
            }
            said.last = Some(Instant::now());
            std::mem::take(&mut said.count)
        };
        say(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_said_once_in_a_while() {
        let (complaint, mut said) = (Complaint::new(), Vec::new());
        for _ in 0..25 {
            complaint.say(|count| said.push(count));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(said, [1, 10, 10]);
    }
}
