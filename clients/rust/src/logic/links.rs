//! The connection that is used, and when to look for another one.

use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;

use super::api::{LinkId, Output, State};
use super::attempts::Attempts;
use super::machine::{Machine, Phase};
use super::planted::Bug;
use super::send::Flight;
use crate::error::Loss;

/// A stream to a broker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) address: String,
    /// The newest request number on it.
    requests: u64,
    /// When it was attached.
    pub(super) attached_at: Duration,
}

impl Link {
    pub(super) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

#[derive(Debug, Default)]
pub(super) struct Links {
    /// The broker on it answered our open or newest move.
    pub(super) attached: Option<Link>,
    pub(super) attempts: Attempts,
    /// The attached broker is to be left: nothing but keepalives is sent there.
    pub(super) leaving: Leaving,
    made: u64,
}

/// Whether, and how firmly, the attached broker is to be left.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    #[default]
    No,
    /// It does not answer keepalives. If it does after all, before the move was sent, we stay.
    Silent,
    /// It said so.
    Told,
}

impl Links {
    /// A new link to this address.
    pub(super) fn make(&mut self, address: String, now: Duration) -> Link {
        self.made += 1;
        Link { id: LinkId(self.made), address, requests: 0, attached_at: now }
    }

    pub(super) fn is_attached(&self, link: LinkId) -> bool {
        self.attached.as_ref().is_some_and(|attached| attached.id == link)
    }

    /// Requests can be sent and will be answered, as far as is known.
    pub(super) fn usable(&self) -> bool {
        self.attached.is_some() && self.leaving == Leaving::No
    }
}

impl Machine {
    /// Looks for a broker, as time asks for it.
    pub(super) fn drive_links(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &mut self.phase {
            Phase::Opening { until, .. } => {
                let first = until.is_none();
                let until = *until.get_or_insert(now.saturating_add(self.config.open_timeout));
                if now >= until {
                    self.fail_open(None, out);
                    return;
                }
                if first {
                    self.links.attempts.start_at(now.saturating_add(self.config.open_pause));
                }
            }
            Phase::Live(life) => {
                if life.is_overdue(now) && self.links.leaving == Leaving::No && self.links.attached.is_some() {
                    self.leave(now, Leaving::Silent);
                }
            }
            Phase::Closing { .. } | Phase::Lost { .. } | Phase::Closed => return,
        }
        self.drive_attempts(now, out);
    }

    /// Looks for another broker. The attached one keeps getting keepalives until the move is sent.
    pub(super) fn leave(&mut self, now: Duration, why: Leaving) {
        if self.config.connection_bound || self.links.attached.is_none() {
            return;
        }
        if self.links.leaving != Leaving::Told {
            self.links.leaving = why;
        }
        self.look_for_a_broker(now);
    }

    /// The attached broker says that it goes, or that the session is not there. Stays if there is nowhere else to go.
    pub(super) fn told_to_leave(&mut self, now: Duration, addresses: Vec<String>, must: bool) {
        let Some(here) = self.links.attached.as_ref().map(|link| link.address.clone()) else { return };
        self.route.hint(addresses, &here);
        if must || self.route.has_other(&here) {
            self.leave(now, Leaving::Told);
        }
    }

    /// Drops the attached link. What was not answered on it stays unanswered.
    pub(super) fn detach(&mut self, out: &mut Vec<Output>) {
        if let Some(link) = self.links.attached.take() {
            out.push(Output::Disconnect { link: link.id });
        }
        self.links.leaving = Leaving::No;
        self.flights.clear();
        if let Some(life) = self.life_mut() {
            life.disconnected();
        }
    }

    pub(super) fn disconnected(&mut self, now: Duration, link: LinkId, detail: &str, out: &mut Vec<Output>) {
        if self.links.attempts.find(link).is_some() {
            self.attempt_ended(now, link, detail);
        } else if self.links.is_attached(link) {
            self.cut(now, out);
        }
    }

    /// The attached link ended by itself.
    fn cut(&mut self, now: Duration, out: &mut Vec<Output>) {
        let lasted = self.links.attached.take().map_or(Duration::ZERO, |link| now.saturating_sub(link.attached_at));
        self.links.leaving = Leaving::No;
        self.flights.clear();
        match &mut self.phase {
            Phase::Live(_) if self.config.connection_bound => self.lose(Loss::Disconnected, out),
            Phase::Live(life) => {
                // A broker that takes a session and cuts it again at once counts as one more that failed.
                let held = lasted >= life.patience() / 2;
                life.disconnected();
                if held {
                    self.route.held();
                } else {
                    self.route.failed();
                }
                self.look_for_a_broker(now);
            }
            Phase::Closing { .. } => self.end_closed(out),
            Phase::Lost { .. } => self.drive_farewell(out),
            Phase::Opening { .. } | Phase::Closed => {}
        }
    }

    /// Sends a message on the attached link.
    pub(super) fn send(&mut self, body: Body, flight: Flight, out: &mut Vec<Output>) -> Option<u64> {
        let link = self.links.attached.as_mut()?;
        let request = link.next_request();
        out.push(Output::Send { link: link.id, message: Box::new(v1::SessionRequest { request, body: Some(body) }) });
        self.flights.insert(request, flight);
        Some(request)
    }

    pub(super) fn keepalive_due(&self) -> Option<Duration> {
        let life = self.life()?;
        self.links.attached.as_ref()?;
        // Once it was told, being overdue asks for nothing more.
        let overdue = if self.told == State::Safe { life.overdue_at() } else { None };
        match life.outstanding {
            Some(_) => overdue,
            None => Some(overdue.map_or(life.next_keepalive, |overdue| overdue.min(life.next_keepalive))),
        }
    }

    pub(super) fn drive_keepalive(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Phase::Live(life) = &self.phase else { return };
        if life.outstanding.is_some() || now < life.next_keepalive {
            return;
        }
        let keep_alive = Body::KeepAlive(v1::KeepAlive { move_number: self.move_number });
        if let Some(request) = self.send(keep_alive, Flight::KeepAlive, out)
            && let Some(life) = self.life_mut()
        {
            life.sent(request, now);
        }
    }

    /// The attached broker acknowledged a keepalive. Only the newest move number counts.
    pub(super) fn kept_alive(&mut self, now: Duration, kept: v1::KeptAlive, request: u64, out: &mut Vec<Output>) {
        let late = self.planted.has(Bug::DeadlineFromReply);
        let move_number = self.move_number;
        let Some(life) = self.life_mut() else { return };
        let Some((expected, sent)) = life.outstanding else { return };
        if expected != request || kept.move_number != move_number {
            return;
        }
        let before = life.valid_until;
        life.acknowledged(if late { now } else { sent });
        if life.valid_until > before {
            out.push(Output::ValidUntil(life.valid_until));
        }
        self.route.held();
        if self.links.leaving == Leaving::Silent {
            // No move was sent, so this broker still counts: stay.
            self.links.leaving = Leaving::No;
            self.give_up_attempts(out);
        }
        for number in kept.lost_claims {
            if self.planted.has(Bug::LossIgnored) {
                return;
            }
            if self.claims.contains_key(&number) {
                self.claim_lost(number, Loss::Forced, out);
            } else {
                // The program has let go of it, and the word of that went astray.
                self.confirm_lost(vec![number], out);
            }
        }
    }
}
