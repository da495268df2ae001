//! The bounded queue of answers to one stream.
//!
//! The engine appends what one round of work produced and wakes the stream once; the stream takes everything at once.
//! A stream that does not take its answers is cut off when the queue is full: the engine never waits for a client.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use sixpin_core::broker::api::{Event, Reply};

use crate::traces::commit::Commit;

/// Answers and events that may wait for one stream. Well above what a client that reads can have coming: its requests
/// in flight, its waiting claims, and after a resume, or when somebody begins to listen, a word about each claim that blocks somebody.
pub const OUTBOX_MAX: usize = 16_384;

/// What goes out on a stream.
#[derive(Debug)]
pub enum Outgoing {
    /// Answers a request.
    Reply {
        /// The request's number.
        request: u64,
        /// The answer.
        reply: Reply,
        /// The commit that it comes of, where that is wanted.
        commit: Option<Arc<Commit>>,
    },
    /// Tells without having been asked.
    Event {
        /// What is told.
        event: Event,
        /// As of a reply.
        commit: Option<Arc<Commit>>,
    },
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The machine ended the connection: what had to be said was said before.
    Finished,
    /// The client did not take its answers.
    TooSlow,
    /// The broker behind the stream is over; the text says what to do.
    BrokerOver(String),
}

/// The queue. The engine holds one end, the stream the other.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Outbox {
    /// Appends answers. False if they do not fit: then the queue is emptied and the stream ends as too slow.
    pub fn append(&self, answers: &mut Vec<Outgoing>) -> bool {
        let mut state = self.lock();
        let fits = state.queue.len() + answers.len() <= OUTBOX_MAX;
        if fits && state.end.is_none() {
            state.queue.extend(answers.drain(..));
        } else {
            answers.clear();
        }
        if !fits && state.end.is_none() {
            state.queue = VecDeque::new();
            state.end = Some(End::TooSlow);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        fits
    }

    /// Says that nothing more comes after what is queued. The first reason stands.
    pub fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves everything queued into `taken`, which must be empty. Ready with `None` if there was something, with the
    /// reason if there was nothing and nothing more comes.
    pub fn poll_take(&self, cx: &mut Context<'_>, taken: &mut VecDeque<Outgoing>) -> Poll<Option<End>> {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            std::mem::swap(&mut state.queue, taken);
            return Poll::Ready(None);
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Some(end.clone()));
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Nothing here panics while the lock is held, so a poisoned lock still holds a sound queue.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(count: usize) -> Vec<Outgoing> {
        (0..count).map(|n| Outgoing::Reply { request: n as u64, reply: Reply::Closed, commit: None }).collect()
    }

    fn take(outbox: &Outbox) -> (Poll<Option<End>>, usize) {
        let mut taken = VecDeque::new();
        let mut cx = Context::from_waker(Waker::noop());
        let polled = outbox.poll_take(&mut cx, &mut taken);
        (polled, taken.len())
    }

    #[test]
    fn what_was_queued_comes_out_before_the_end() {
        let outbox = Outbox::default();
        assert!(take(&outbox).0.is_pending());
        assert!(outbox.append(&mut answers(3)));
        outbox.end(End::Finished);
        assert_eq!(take(&outbox), (Poll::Ready(None), 3));
        assert_eq!(take(&outbox), (Poll::Ready(Some(End::Finished)), 0));
    }

    #[test]
    fn a_stream_that_takes_nothing_is_cut_off_and_its_queue_freed() {
        let outbox = Outbox::default();
        assert!(outbox.append(&mut answers(OUTBOX_MAX)));
        assert!(!outbox.append(&mut answers(1)));
        assert_eq!(take(&outbox), (Poll::Ready(Some(End::TooSlow)), 0));
    }
}
