//! The sessions of one handle, one after the other.
//!
//! A handle that was asked to reopen starts a new session when the one it has is lost. Each of them is whole: it has a
//! machine, a task, a number and guards of its own, and nothing of a lost one reaches the next. That is why this is in the
//! shell. The logic is the life of one session; it numbers claims, operations and moves under one name and one secret, and
//! none of its rules could be told of two. A guard holds the handle of the session that granted it, so it can never
//! become one of another, and no rule has to see to that.
//!
//! The next session starts the moment the loss is known: to the task, whose state says so, or to the program, whose
//! check of the clock failed and who asks for a lock then. So a lock that is asked for after a loss never meets the lost
//! session. It meets one that is being opened, where the logic lets it wait within its own time.
//!
//! What ends it: the program closes the handle or lets go of it, or a session that follows could not be opened, because
//! its time was over or because brokers refuse what it asks for.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};

use crate::connect::Connector;
use crate::error::{Error, Loss};
use crate::handle::Handle;
use crate::logic::{Config, State};
use crate::news::News;
use crate::reopen::Pace;
use crate::shared::Shared;
use crate::task::{Ends, Task};
use crate::wake::Wake;

/// What a session handle has.
pub(crate) struct Succession {
    /// Of the first session.
    config: Config,
    connector: Connector,
    /// How long opening a session that follows may take; absent: none follows.
    reopen_within: Option<Duration>,
    wake: Arc<Wake>,
    runtime: tokio::runtime::Handle,
    pub(crate) news: Arc<News>,
    current: Mutex<Current>,
}

struct Current {
    number: u64,
    handle: Arc<Handle>,
    /// One for each session of which something may still go on.
    finished: Vec<watch::Receiver<()>>,
    pace: Pace,
}

/// A session that was started.
struct Started {
    handle: Arc<Handle>,
    /// Its other end is held by whatever still works for the session.
    finished: watch::Receiver<()>,
    opened: oneshot::Receiver<Result<(), Error>>,
}

impl Succession {
    /// Opens the first session. A caller that gives up waiting ends it.
    pub(crate) async fn open(
        config: Config,
        connector: Connector,
        reopen_within: Option<Duration>,
        wake: Arc<Wake>,
    ) -> Result<Arc<Self>, Error> {
        let news = Arc::new(News::new(reopen_within.is_some()));
        let Started { handle, finished, opened } = start(config.clone(), connector.clone(), 1, None, &news, &wake);
        let current = Current { number: 1, handle, finished: vec![finished], pace: Pace::default() };
        let runtime = tokio::runtime::Handle::current();
        let succession =
            Arc::new(Self { config, connector, reopen_within, wake, runtime, news, current: Mutex::new(current) });
        succession.follow();
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(succession)
    }

    /// The newest session.
    pub(crate) fn newest(&self) -> Arc<Handle> {
        Arc::clone(&self.current().handle)
    }

    /// The session that a lock is to be asked of: one that is not known to be lost, if there is one.
    pub(crate) fn for_locks(self: &Arc<Self>) -> Arc<Handle> {
        let (number, handle) = {
            let current = self.current();
            (current.number, Arc::clone(&current.handle))
        };
        if self.reopen_within.is_none() {
            return handle;
        }
        match handle.check() {
            Err(Error::Lost(loss)) => {
                self.succeed(number, loss);
                self.newest()
            }
            _ => handle,
        }
    }

    /// Closes the newest session, and lets none follow. Gives back that session, and what ends when nothing of it goes on.
    pub(crate) fn close(&self) -> (Arc<Handle>, oneshot::Receiver<()>) {
        // First, so that what is the newest now stays so.
        self.news.close();
        let handle = self.newest();
        let closed = handle.close();
        (handle, closed)
    }

    /// Resolves when nothing of any of its sessions goes on, and none is to follow.
    pub(crate) async fn finished(&self) {
        let mut state = self.news.watch();
        loop {
            let (number, finished) = {
                let current = self.current();
                (current.number, current.finished.clone())
            };
            // Nothing is ever sent: it fails when the last sender is gone.
            join_all(finished.into_iter().map(|mut end| async move { while end.changed().await.is_ok() {} })).await;
            while matches!(state.current(), State::Reopening(_)) && self.current().number == number {
                state.changed().await;
            }
            if self.current().number == number {
                return;
            }
        }
    }

    /// Starts the session that follows the lost one, unless that was done or is not to be.
    fn succeed(self: &Arc<Self>, number: u64, loss: Loss) {
        let Some(within) = self.reopen_within else { return };
        let mut current = self.current();
        let Some(open_for) = self.news.turn(number, loss) else { return };
        let pause = current.pace.pause(open_for, random());
        let config = Config { open_pause: pause, open_timeout: pause.saturating_add(within), ..self.config.clone() };
        // Who asks for a lock may do so outside the runtime.
        let _runtime = self.runtime.enter();
        let connector = self.connector.clone();
        let Started { handle, finished, opened: _ } =
            start(config, connector, number + 1, Some(loss), &self.news, &self.wake);
        if self.news.is_closed() {
            // By the client, which may have looked for its sessions before there was this one.
            drop(handle.close());
        }
        current.number = number + 1;
        current.handle = handle;
        current.finished.retain(|finished| finished.has_changed().is_ok());
        current.finished.push(finished);
        drop(current);
        self.follow();
    }

    /// Has the newest session followed by another one when it is lost.
    fn follow(self: &Arc<Self>) {
        if self.reopen_within.is_none() {
            return;
        }
        let (number, mut state) = {
            let current = self.current();
            (current.number, current.handle.shared.state.subscribe())
        };
        let succession = Arc::downgrade(self);
        self.runtime.spawn(async move {
            let end = state.wait_for(|state| state.is_over()).await.map(|state| *state);
            if let (Ok(State::Lost(loss)), Some(succession)) = (end, succession.upgrade()) {
                succession.succeed(number, loss);
            }
        });
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Succession {
    /// Guards may keep the newest session alive, but nobody could use one that follows.
    fn drop(&mut self) {
        self.news.close();
    }
}

/// Starts a session. `former` is why the one before it was lost. The handle is what keeps its task alive.
fn start(
    config: Config,
    connector: Connector,
    number: u64,
    former: Option<Loss>,
    news: &Arc<News>,
    wake: &Arc<Wake>,
) -> Started {
    let shared = Arc::new(Shared::new(config.queued_max, former));
    let (sender, commands) = mpsc::unbounded_channel();
    let (opening, opened) = oneshot::channel();
    let (at_work, finished) = watch::channel(());
    let handle = Arc::new(Handle::new(Arc::clone(&shared), Arc::clone(news), sender));
    wake.register(&handle, finished.clone());
    let config = Config { seed: random(), ..config };
    let task = Task::new(config, connector, number, shared, Arc::clone(news), Ends { commands, opening, at_work });
    tokio::spawn(task.run());
    Started { handle, finished, opened }
}

fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}
