//! What observers of a session handle see: its state, its events, and which session it is where.
//!
//! A handle may have several sessions, one after the other; they are numbered. Only the newest is heard, so that nothing
//! of a session that was lost can be taken for news of the one that followed it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::clock;
use crate::error::Loss;
use crate::events::{SessionEvent, SessionEvents, StateWatch};
use crate::logic::{ClaimEvent, Opened, State};

/// Session events kept for a slow receiver.
const EVENTS_KEPT: usize = 1024;

/// What all sessions of one handle tell.
pub(crate) struct News {
    shown: Mutex<Shown>,
    state: watch::Sender<State>,
    events: broadcast::Sender<SessionEvent>,
    /// A session that is lost is followed by another one.
    reopens: bool,
}

/// The session that was opened last.
#[derive(Default)]
struct Shown {
    /// The session that is heard. It may not be open yet.
    newest: u64,
    /// The number of the session that `opened` describes: smaller than `newest` while the next one is being opened.
    number: u64,
    /// Its broker and address are those that vouch for it now.
    opened: Option<Opened>,
    opened_at: Duration,
    move_number: u32,
    /// The program has closed the handle: no session follows.
    closed: bool,
}

impl News {
    /// Of a handle whose first session has number 1.
    pub(crate) fn new(reopens: bool) -> Self {
        Self {
            shown: Mutex::new(Shown { newest: 1, ..Shown::default() }),
            state: watch::Sender::new(State::Opening),
            events: broadcast::Sender::new(EVENTS_KEPT),
            reopens,
        }
    }

    /// The session that was opened last, and how often it has moved.
    pub(crate) fn session(&self) -> Option<(Opened, u32)> {
        let shown = self.shown();
        shown.opened.clone().map(|opened| (opened, shown.move_number))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shown().closed
    }

    pub(crate) fn watch(&self) -> StateWatch {
        StateWatch::new(&self.state)
    }

    pub(crate) fn events(&self) -> SessionEvents {
        let _shown = self.shown();
        SessionEvents::new(&self.events, *self.state.borrow())
    }

    /// A session is open.
    pub(crate) fn opened(&self, number: u64, opened: Opened) {
        let mut shown = self.shown();
        if number != shown.newest {
            return;
        }
        let (session, address, broker) = (opened.session.clone(), opened.address.clone(), opened.broker.clone());
        shown.number = number;
        shown.opened = Some(opened);
        shown.opened_at = clock::now();
        shown.move_number = 0;
        if number > 1 {
            self.tell(SessionEvent::Reopened { session, address, broker });
        }
        self.set(State::Safe);
    }

    /// A session lives on at a broker.
    pub(crate) fn resumed(&self, number: u64, address: String, broker: String, move_number: u32) {
        let mut shown = self.shown();
        if number != shown.newest {
            return;
        }
        shown.move_number = move_number;
        if let Some(opened) = &mut shown.opened {
            opened.address.clone_from(&address);
            opened.broker.clone_from(&broker);
        }
        self.tell(SessionEvent::Resumed { address, broker, move_number });
    }

    /// Something happened to a claim of a session.
    pub(crate) fn claim(&self, number: u64, claim: u64, event: ClaimEvent) {
        if number == self.shown().newest {
            self.tell(SessionEvent::Claim { claim, event });
        }
    }

    /// The state of a session has changed.
    pub(crate) fn state(&self, number: u64, state: State) {
        let shown = self.shown();
        if number != shown.newest {
            return;
        }
        match state {
            // `opened` tells it, because observers must learn in the same step which session it is.
            State::Safe if shown.number != number => {}
            State::Lost(loss) if self.is_followed(&shown, number) => self.set(State::Reopening(loss)),
            state => self.set(state),
        }
    }

    /// A session is lost, and the next one is to be heard. Gives back how long the lost one was open; absent if none is to
    /// follow it, or one has done so already.
    pub(crate) fn turn(&self, number: u64, loss: Loss) -> Option<Duration> {
        let mut shown = self.shown();
        if number != shown.newest || !self.is_followed(&shown, number) {
            return None;
        }
        shown.newest += 1;
        self.set(State::Reopening(loss));
        Some(clock::now().saturating_sub(shown.opened_at))
    }

    /// The program closes the handle.
    pub(crate) fn close(&self) {
        let mut shown = self.shown();
        shown.closed = true;
        let state = *self.state.borrow();
        if let State::Reopening(loss) = state
            && shown.number == shown.newest
        {
            // The next one was not started yet, and now never will be.
            self.set(State::Lost(loss));
        }
    }

    /// Whether a session that is lost now is followed by another one: not if it could not even be opened.
    fn is_followed(&self, shown: &Shown, number: u64) -> bool {
        self.reopens && !shown.closed && shown.number == number
    }

    /// Called with `shown` locked, so that observers see what happened in its order.
    fn set(&self, state: State) {
        if *self.state.borrow() != state {
            self.state.send_replace(state);
            self.tell(SessionEvent::State(state));
        }
    }

    fn tell(&self, event: SessionEvent) {
        // Without a listener there is nobody to tell.
        let _ = self.events.send(event);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
