//! Finding a broker: addresses are tried side by side, each next one a moment after the one before it, and the first
//! broker that answers is taken.
//!
//! One that accepts a connection and then says nothing holds up nobody. A session that is not open yet asks every broker
//! that answers to open it, and closes what it does not take. A session that moves can ask one broker at a time, because
//! only the newest move counts: it waits for the first broker that shows that it is alive, and asks that one.

use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;

use super::api::{LinkId, Output};
use super::links::{Leaving, Link};
use super::machine::{Machine, Phase};
use crate::error::{Error, Tried};

/// How long one address may be silent before the next one is tried beside it, unless the TTL is short.
const STAGGER: Duration = Duration::from_millis(250);

/// A stream that is being opened, or on which an open or a resume was sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) link: Link,
    /// The open or resume: its request number and when it was sent.
    pub(super) asked: Option<(u64, Duration)>,
    give_up: Duration,
}

/// Where a broker is looked for.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    under_way: Vec<Attempt>,
    /// When to start another one.
    pub(super) next: Option<Duration>,
}

impl Attempts {
    /// When something is to be done about them.
    pub(super) fn due(&self) -> Option<Duration> {
        self.under_way.iter().map(|attempt| attempt.give_up).chain(self.next).min()
    }

    /// Nothing is tried, and nothing will be.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.next.is_none()
    }

    pub(super) fn find(&self, link: LinkId) -> Option<&Attempt> {
        self.under_way.iter().find(|attempt| attempt.link.id == link)
    }

    /// The broker has refused what it was asked: it has no session that is to be closed.
    pub(super) fn refused(&mut self, link: LinkId) {
        if let Some(attempt) = self.under_way.iter_mut().find(|attempt| attempt.link.id == link) {
            attempt.asked = None;
        }
    }

    fn take(&mut self, link: LinkId) -> Option<Attempt> {
        let index = self.under_way.iter().position(|attempt| attempt.link.id == link)?;
        Some(self.under_way.remove(index))
    }

    /// Starts another one at this time, or earlier if that was planned.
    pub(super) fn start_at(&mut self, at: Duration) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Machine {
    /// Starts attempts, and gives up those that take too long.
    pub(super) fn drive_attempts(&mut self, now: Duration, out: &mut Vec<Output>) {
        let attempts = &self.links.attempts.under_way;
        let late: Vec<LinkId> =
            attempts.iter().filter(|attempt| now >= attempt.give_up).map(|attempt| attempt.link.id).collect();
        for link in late {
            self.attempt_failed(now, link, "no answer in time", out);
        }
        if self.links.attempts.next.is_some_and(|at| now >= at) {
            self.start_attempt(now, out);
        }
    }

    /// An attempt has failed in words for people. The next one comes after a pause.
    pub(super) fn attempt_failed(&mut self, now: Duration, link: LinkId, what: &str, out: &mut Vec<Output>) {
        self.note_failure(link, what);
        if let Some(attempt) = self.links.attempts.take(link) {
            self.let_go_of(attempt, out);
        }
        self.try_again(now);
    }

    /// The stream of an attempt ended by itself.
    pub(super) fn attempt_ended(&mut self, now: Duration, link: LinkId, what: &str) {
        self.note_failure(link, what);
        self.links.attempts.take(link);
        self.try_again(now);
    }

    fn try_again(&mut self, now: Duration) {
        self.route.failed();
        let at = now + self.route.pause(self.ttl());
        self.links.attempts.start_at(at);
    }

    fn start_attempt(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.links.attempts.next = None;
        let under_way: Vec<&str> =
            self.links.attempts.under_way.iter().map(|attempt| attempt.link.address.as_str()).collect();
        // Where every address is being tried, the next failure starts the next attempt.
        let Some(address) = self.route.next_address(&under_way) else { return };
        let give_up = now + self.patience(now);
        let link = self.links.make(address.clone(), now);
        out.push(Output::Connect { link: link.id, address });
        self.links.attempts.under_way.push(Attempt { link, asked: None, give_up });
        self.links.attempts.next = Some(now + STAGGER.min(self.ttl() / 8));
    }

    /// How long one attempt may take.
    fn patience(&self, now: Duration) -> Duration {
        match &self.phase {
            // Each attempt gets a third of what is left, so that one silent endpoint cannot take it all.
            Phase::Live(life) => {
                let left = life.valid_until.saturating_sub(now) / 3;
                left.max(life.ttl / 20).max(Duration::from_millis(50)).min(life.patience())
            }
            _ => self.config.attempt_timeout,
        }
    }

    /// A broker answers on the stream of an attempt: ask for the session on it.
    pub(super) fn connected(&mut self, now: Duration, link: LinkId, out: &mut Vec<Output>) {
        if self.links.attempts.find(link).is_none() {
            return;
        }
        let messages = match &self.phase {
            Phase::Opening { .. } => vec![Body::Open(v1::Open {
                ttl_ms: self.config.ttl_ms,
                lockspace: self.config.lockspace.clone(),
                label: self.config.label.clone(),
                connection_bound: self.config.connection_bound,
            })],
            Phase::Live(_) => {
                // A move counts from the moment it is sent, so what is left is dropped with it.
                self.detach(out);
                self.let_go_of_others(link, out);
                self.resume_requests(now, out).into_iter().map(Body::Resume).collect()
            }
            _ => return,
        };
        let give_up = match &self.phase {
            Phase::Live(_) => Some(now + self.patience(now)),
            _ => None,
        };
        let Some(attempt) = self.links.attempts.under_way.iter_mut().find(|attempt| attempt.link.id == link) else {
            return;
        };
        attempt.give_up = give_up.unwrap_or(attempt.give_up);
        for body in messages {
            // The last one is answered.
            let request = attempt.link.next_request();
            attempt.asked = Some((request, now));
            out.push(Output::Send { link, message: Box::new(v1::SessionRequest { request, body: Some(body) }) });
        }
    }

    /// Drops every attempt but this one, and starts none.
    fn let_go_of_others(&mut self, link: LinkId, out: &mut Vec<Output>) {
        self.links.attempts.next = None;
        let kept = self.links.attempts.take(link);
        self.give_up_attempts(out);
        self.links.attempts.under_way.extend(kept);
    }

    /// Drops every attempt, and starts none.
    pub(super) fn give_up_attempts(&mut self, out: &mut Vec<Output>) {
        self.links.attempts.next = None;
        for attempt in std::mem::take(&mut self.links.attempts.under_way) {
            self.let_go_of(attempt, out);
        }
    }

    /// Drops an attempt. A session that it may have opened is closed: it would live for its TTL.
    fn let_go_of(&self, mut attempt: Attempt, out: &mut Vec<Output>) {
        let link = attempt.link.id;
        if attempt.asked.is_some() && matches!(self.phase, Phase::Opening { .. }) {
            let request = attempt.link.next_request();
            let body = Some(Body::Close(v1::Close::default()));
            out.push(Output::Send { link, message: Box::new(v1::SessionRequest { request, body }) });
        }
        out.push(Output::Disconnect { link });
    }

    /// The broker on this attempt's link has the session now.
    pub(super) fn attach(&mut self, now: Duration, link: LinkId, requests_max: u32, out: &mut Vec<Output>) {
        let taken = self.links.attempts.take(link);
        self.give_up_attempts(out);
        if let Some(mut attempt) = taken {
            attempt.link.attached_at = now;
            self.links.attached = Some(attempt.link);
        }
        self.links.leaving = Leaving::No;
        self.window = super::send::window(requests_max);
    }

    /// Looks for a broker, unless one is looked for.
    pub(super) fn look_for_a_broker(&mut self, now: Duration) {
        if self.links.attempts.is_idle() {
            let pause = self.route.pause(self.ttl());
            self.links.attempts.start_at(now + pause);
        }
    }

    /// Remembers what was met at an address while the session is not open.
    pub(super) fn note_failure(&mut self, link: LinkId, what: &str) {
        let Some(address) = self.links.attempts.find(link).map(|attempt| attempt.link.address.clone()) else { return };
        if let Phase::Opening { tried, .. } = &mut self.phase {
            tried.retain(|other| other.address != address);
            if tried.len() < TRIED_MAX {
                tried.push(Tried { address, what: what.to_owned() });
            }
        }
    }

    /// Nobody opens the session in time.
    pub(super) fn nobody_answered(&self) -> Error {
        let Phase::Opening { tried, .. } = &self.phase else { return Error::Closed };
        let mut tried = tried.clone();
        for attempt in &self.links.attempts.under_way {
            let address = &attempt.link.address;
            if tried.iter().all(|other| other.address != *address) {
                tried.push(Tried { address: address.clone(), what: "no answer".to_owned() });
            }
        }
        // In the order in which they were given; those that brokers named come last.
        let place = |tried: &Tried| self.config.endpoints.iter().position(|endpoint| *endpoint == tried.address);
        tried.sort_by_key(|tried| place(tried).unwrap_or(usize::MAX));
        Error::Unreachable { tried }
    }
}

/// Addresses that an error names.
const TRIED_MAX: usize = 16;
