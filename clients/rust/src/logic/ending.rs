//! How sessions end: lost, or closed.

use std::collections::BTreeSet;
use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;

use super::api::{OperationId, Output, State};
use super::claim::Waiter;
use super::machine::{Farewell, Machine, Phase};
use super::send::Flight;
use crate::error::{Error, Loss};

impl Machine {
    /// At its deadline a session is lost, by itself and finally, whatever else is on its way.
    pub(super) fn check_deadline(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &self.phase {
            Phase::Live(life) if now >= life.valid_until => self.expire(out),
            Phase::Closing { give_up } if now >= *give_up => self.end_closed(out),
            _ => {}
        }
    }

    pub(super) fn expire(&mut self, out: &mut Vec<Output>) {
        if self.life().is_some() {
            self.lose(Loss::Deadline, out);
        }
    }

    /// The broker says that there is no such session any more.
    pub(super) fn gone(&mut self, out: &mut Vec<Output>) {
        self.lose(Loss::Expired, out);
        if let Phase::Lost { farewell, .. } = &mut self.phase {
            *farewell = Farewell::Nothing;
        }
    }

    /// Everything is lost. The program is told before anything else happens.
    pub(super) fn lose(&mut self, loss: Loss, out: &mut Vec<Output>) {
        if self.life().is_none() {
            return;
        }
        let farewell = match loss {
            Loss::Deadline | Loss::Disconnected => Farewell::Close,
            Loss::Moved => Farewell::Nothing,
            _ => Farewell::ConfirmLost,
        };
        let unconfirmed: BTreeSet<u64> =
            self.claims.iter().filter(|(_, claim)| claim.held).map(|(number, _)| *number).collect();
        self.phase = Phase::Lost { loss, unconfirmed, farewell };
        self.told = State::Lost(loss);
        out.push(Output::State(self.told));
        self.give_up_attempts(out);
        self.end_operations(&Error::Lost(loss), out);
    }

    /// Nothing that is pending can succeed any more.
    fn end_operations(&mut self, error: &Error, out: &mut Vec<Output>) {
        let waiting: Vec<OperationId> = self.operations.keys().copied().collect();
        for id in waiting {
            self.answer(id, Err(error.clone()), out);
        }
        let claims = std::mem::take(&mut self.claims);
        for release in claims.into_values().filter_map(|claim| claim.release) {
            if let Some(Waiter::One(id)) = release.waiter {
                out.push(Output::Complete { id, result: Err(error.clone()) });
            }
        }
        for (id, _) in std::mem::take(&mut self.groups) {
            out.push(Output::Complete { id, result: Err(error.clone()) });
        }
        self.urgent.clear();
        self.normal.clear();
        self.stale = 0;
        self.retries.clear();
        self.flights.clear();
        self.asked = 0;
    }

    /// When the program has let go of everything that was lost, the broker hears of it, so that others need not wait
    /// for the TTL.
    pub(super) fn drive_farewell(&mut self, out: &mut Vec<Output>) {
        let Phase::Lost { unconfirmed, farewell, .. } = &self.phase else { return };
        if self.links.attached.is_some() && !unconfirmed.is_empty() {
            return;
        }
        let body = match farewell {
            Farewell::ConfirmLost => Some(Body::ConfirmLost(v1::ConfirmLost::default())),
            Farewell::Close => Some(Body::Close(v1::Close::default())),
            Farewell::Nothing => None,
        };
        if let Some(body) = body {
            self.send(body, Flight::Close, out);
        }
        self.detach(out);
        self.end(out);
    }

    /// The program is done with the session. What asks is given up; what lets go is waited for.
    pub(super) fn close(&mut self, out: &mut Vec<Output>) {
        match &self.phase {
            Phase::Opening { .. } => {
                self.give_up_attempts(out);
                self.phase = Phase::Closed;
                self.end_operations(&Error::Closed, out);
                self.told = State::Closed;
                out.push(Output::State(State::Closed));
                self.end(out);
            }
            Phase::Live(_) if !self.closing => {
                self.closing = true;
                let waiting: Vec<OperationId> = self.operations.keys().copied().collect();
                for id in waiting {
                    self.abandon(id);
                    out.push(Output::Complete { id, result: Err(Error::Closed) });
                }
            }
            _ => {}
        }
    }

    /// Closes when everything that was let go of is released, so that nothing counts as the work of a dead holder.
    pub(super) fn drive_close(&mut self, now: Duration, out: &mut Vec<Output>) {
        match &self.phase {
            Phase::Lost { .. } => self.drive_farewell(out),
            Phase::Live(life) if self.closing => {
                if self.claims.values().any(|claim| claim.release.is_some()) {
                    return;
                }
                let idle = self.claims.is_empty();
                if self.links.attached.is_none() && !idle {
                    return;
                }
                let give_up = now + life.patience();
                // From the moment the broker hears of it others may be granted what is still held here.
                self.phase = Phase::Closing { give_up };
                self.told = State::Closed;
                out.push(Output::State(State::Closed));
                self.give_up_attempts(out);
                self.end_operations(&Error::Closed, out);
                if self.send(Body::Close(v1::Close::default()), Flight::Close, out).is_none() {
                    // It holds nothing, and its broker forgets it by itself.
                    self.end_closed(out);
                }
            }
            _ => {}
        }
    }

    /// The broker has closed the session, or it does not matter any more.
    pub(super) fn end_closed(&mut self, out: &mut Vec<Output>) {
        match &self.phase {
            Phase::Closing { .. } => {
                self.phase = Phase::Closed;
                self.detach(out);
                self.end(out);
            }
            Phase::Live(_) => self.lose(Loss::Closed, out),
            _ => {}
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<Output>) {
        if !self.over {
            self.over = true;
            out.push(Output::Over);
        }
    }
}
