//! Following a session: its state, and what happens to it.

use tokio::sync::{broadcast, watch};

use crate::logic::{ClaimEvent, State};

/// Follows how sure a session is of its life.
#[derive(Debug, Clone)]
pub struct StateWatch {
    receiver: watch::Receiver<State>,
}

impl StateWatch {
    pub(crate) fn new(state: &watch::Sender<State>) -> Self {
        Self { receiver: state.subscribe() }
    }

    /// The state as of now.
    pub fn current(&self) -> State {
        *self.receiver.borrow()
    }

    /// Waits for the next change; absent when the session is over, that was told, and nothing more will come.
    pub async fn changed(&mut self) -> Option<State> {
        let news = self.receiver.has_changed().unwrap_or(false);
        if !news && self.receiver.borrow().is_over() {
            return None;
        }
        self.receiver.changed().await.ok()?;
        Some(*self.receiver.borrow_and_update())
    }
}

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// How sure it is of its life has changed.
    State(State),
    /// It lives on at a broker after its connection was lost, or its broker went.
    #[non_exhaustive]
    Resumed {
        /// The address.
        address: String,
        /// The broker's name.
        broker: String,
        /// Counts the moves.
        move_number: u32,
    },
    /// Something happened to one of its claims.
    #[non_exhaustive]
    Claim {
        /// The claim's number.
        claim: u64,
        /// What happened to it.
        event: ClaimEvent,
    },
    /// A new session was opened on the handle after one was lost, because [`crate::SessionBuilder::reopen`] asked for that. It
    /// holds nothing, and its claims are numbered from 1 again.
    #[non_exhaustive]
    Reopened {
        /// The new session's name.
        session: String,
        /// The address of its broker.
        address: String,
        /// The broker's name.
        broker: String,
    },
}

/// The events of a session, in order.
#[derive(Debug)]
pub struct SessionEvents {
    receiver: broadcast::Receiver<SessionEvent>,
    /// Nothing more will come.
    over: bool,
}

impl SessionEvents {
    pub(crate) fn new(events: &broadcast::Sender<SessionEvent>, state: State) -> Self {
        Self { receiver: events.subscribe(), over: state.is_over() }
    }

    /// The next event; absent when the session is over. A reader that is more than 1,024 events behind misses the
    /// oldest ones.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        while !self.over {
            match self.receiver.recv().await {
                Ok(event) => {
                    self.over = matches!(event, SessionEvent::State(state) if state.is_over());
                    return Some(event);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => self.over = true,
            }
        }
        None
    }
}
