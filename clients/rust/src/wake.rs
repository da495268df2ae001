//! Notices that the machine was suspended, and has the sessions look at the time at once.
//!
//! Timers stand still during suspend, so after it they fire too late by its length. One look at two clocks, four times a
//! second for all sessions of a client, finds that out; each session then finds for itself whether its deadline passed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock;
use crate::shared::Command;

/// How often the clocks are compared.
const INTERVAL: Duration = Duration::from_millis(250);
/// Two readings that drift apart by less than this do so by chance.
const SUSPENDED_MIN: Duration = Duration::from_millis(50);

/// The sessions of one client, and the task that watches the clocks for them.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    sessions: Vec<mpsc::WeakUnboundedSender<Command>>,
    /// Ends with the last session, and with its runtime.
    watcher: Option<JoinHandle<()>>,
}

impl Wake {
    /// Watches for one more session.
    pub(crate) fn register(self: &Arc<Self>, session: mpsc::WeakUnboundedSender<Command>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.sessions.push(session);
        if watched.watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            watched.watcher = Some(tokio::spawn(Arc::clone(self).watch()));
        }
    }

    async fn watch(self: Arc<Self>) {
        let mut before = clock::suspended();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = clock::suspended();
            let was_suspended = now.saturating_sub(before) >= SUSPENDED_MIN;
            before = now;
            if !self.go_on(was_suspended) {
                return;
            }
        }
    }

    /// Forgets sessions that are over, and wakes the others if asked to. False if there are no others.
    fn go_on(&self, wake: bool) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.sessions.retain(|session| {
            let session = session.upgrade();
            if let Some(session) = session.as_ref().filter(|_| wake) {
                let _ = session.send(Command::Wake);
            }
            session.is_some()
        });
        if watched.sessions.is_empty() {
            watched.watcher = None;
        }
        watched.watcher.is_some()
    }
}
