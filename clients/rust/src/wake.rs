//! The sessions of a client: wakes them when the machine was suspended, so that they look at the time at once, and ends
//! them when the program does.
//!
//! Timers stand still during suspend, so after it they fire too late by its length. One look at two clocks, four times a
//! second for all sessions of a client, finds that out; each session then finds for itself whether its deadline passed.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock;
use crate::command::Command;
use crate::handle::Handle;

/// How often the clocks are compared.
const INTERVAL: Duration = Duration::from_millis(250);
/// Two readings that drift apart by less than this do so by chance.
const SUSPENDED_MIN: Duration = Duration::from_millis(50);

/// The sessions of one client, and the task that watches the clocks for them.
#[derive(Default)]
pub(crate) struct Wake {
    watched: Mutex<Watched>,
}

struct Watch {
    handle: Weak<Handle>,
    /// Its other end is held by whatever still works for the session.
    finished: watch::Receiver<()>,
}

#[derive(Default)]
struct Watched {
    sessions: Vec<Watch>,
    /// Ends with the last session, and with its runtime.
    watcher: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

impl Wake {
    /// Watches for one more session.
    pub(crate) fn register(self: &Arc<Self>, handle: &Arc<Handle>, finished: watch::Receiver<()>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.sessions.push(Watch { handle: Arc::downgrade(handle), finished });
        if watched.watcher.as_ref().is_none_or(JoinHandle::is_finished) {
            watched.watcher = Some(tokio::spawn(Arc::clone(self).watch()));
        }
    }

    /// Closes all sessions, and waits until nothing of them goes on: those included that have no handle any more and
    /// are about to say so to their broker.
    pub(crate) async fn close(&self) {
        let finished: Vec<_> = {
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            for handle in watched.sessions.iter().filter_map(|session| session.handle.upgrade()) {
                // The end of all work is waited for, not this answer.
                drop(handle.close());
            }
            watched.sessions.iter().map(|session| session.finished.clone()).collect()
        };
        join_all(finished.into_iter().map(|mut finished| async move { while finished.changed().await.is_ok() {} }))
            .await;
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
            if let Some(handle) = session.handle.upgrade().filter(|_| wake) {
                handle.send(Command::Wake);
            }
            // Fails when nothing works for the session any more.
            session.finished.has_changed().is_ok()
        });
        if watched.sessions.is_empty() {
            watched.watcher = None;
        }
        watched.watcher.is_some()
    }
}
