//! What the program asks.

use std::time::Duration;

use sixpin_proto::v1;

use super::api::{ClaimEvent, Done, Input, OperationId, Output};
use super::claim::{Asking, Job, Pending, Place, Release, Stage, Waiter, What, Withdraw};
use super::finish::cancelled;
use super::machine::{Group, Machine, Phase};
use crate::error::{Error, Loss};

impl Machine {
    pub(super) fn ask_lock(&mut self, now: Duration, id: OperationId, request: Box<v1::Lock>, out: &mut Vec<Output>) {
        if let Err(error) = self.accepts() {
            out.push(Output::Complete { id, result: Err(error) });
            return;
        }
        let wait_until = wait_until(now, request.timeout_ms);
        self.note_wait(now, id, request.timeout_ms);
        self.operations.insert(id, Place::Unsent(Asking { request, wait_until }));
        self.normal.push_back(Job::Lock(id));
    }

    pub(super) fn ask_convert(
        &mut self,
        now: Duration,
        id: OperationId,
        request: Box<v1::Convert>,
        queue: Option<bool>,
        out: &mut Vec<Output>,
    ) {
        let number = request.claim;
        let usable = self.accepts().and_then(|()| match self.claims.get(&number) {
            Some(claim) => claim.lost.map_or(Ok(()), |loss| Err(Error::Lost(loss))),
            None => Err(Error::Lost(Loss::Released)),
        });
        let released = self.claims.get(&number).is_some_and(|claim| claim.release.is_some());
        if let Err(error) = if released { Err(Error::Lost(Loss::Released)) } else { usable } {
            out.push(Output::Complete { id, result: Err(error) });
            return;
        }
        let (wait_until, timeout_ms) = (wait_until(now, request.timeout_ms), request.timeout_ms);
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let pending = Pending {
            waiter: Some(id),
            what: What::Convert { request, queue },
            operation: 0,
            stage: Stage::Ready,
            wait_until,
            withdraw: Withdraw::No,
            doubt: false,
            refused: None,
            failures: 0,
        };
        self.operations.insert(id, Place::Claim(number));
        if claim.pending.is_none() {
            claim.pending = Some(pending);
            self.normal.push_back(Job::Operation(number));
        } else {
            claim.behind.push_back(pending);
        }
        self.note_wait(now, id, timeout_ms);
    }

    /// Whether more can be asked for.
    fn accepts(&mut self) -> Result<(), Error> {
        match &self.phase {
            Phase::Lost { loss, .. } => return Err(Error::Lost(*loss)),
            Phase::Closing { .. } | Phase::Closed => return Err(Error::Closed),
            Phase::Opening { .. } | Phase::Live(_) if self.closing => return Err(Error::Closed),
            Phase::Opening { .. } | Phase::Live(_) => {}
        }
        if self.stale > 64 && self.stale * 2 > self.normal.len() {
            self.drop_stale();
        }
        if self.normal.len() - self.stale.min(self.normal.len()) >= self.config.queued_max {
            return Err(Error::Backlog { limit: self.config.queued_max });
        }
        Ok(())
    }

    /// Forgets what was abandoned before it was sent.
    fn drop_stale(&mut self) {
        let operations = &self.operations;
        self.normal.retain(|job| match job {
            Job::Lock(id) => matches!(operations.get(id), Some(Place::Unsent(_))),
            _ => true,
        });
        self.stale = 0;
    }

    pub(super) fn ask_unlock(&mut self, id: Option<OperationId>, request: Box<v1::Unlock>, out: &mut Vec<Output>) {
        let number = request.claim;
        if let Phase::Lost { loss, unconfirmed, .. } = &mut self.phase {
            unconfirmed.remove(&number);
            let result = Err(Error::Lost(*loss));
            out.extend(id.map(|id| Output::Complete { id, result }));
            self.drive_farewell(out);
            return;
        }
        if !matches!(self.phase, Phase::Opening { .. } | Phase::Live(_)) {
            self.refuse(&Input::Unlock { id, request }, out);
            return;
        }
        let gone = match self.claims.get(&number) {
            None => Some(Loss::Released),
            Some(claim) if claim.release.is_some() => Some(Loss::Released),
            Some(claim) => claim.lost,
        };
        if let Some(loss) = gone {
            let result = Err(Error::Lost(loss));
            out.extend(id.map(|id| Output::Complete { id, result }));
            if loss != Loss::Released {
                self.claims.remove(&number);
                self.confirm_lost(vec![number], out);
            }
            return;
        }
        self.release(number, id.map(Waiter::One), request, out);
    }

    /// Lets go of a claim that is held. What is pending on it and was not sent ends here; what was sent ends with the
    /// release.
    pub(super) fn release(
        &mut self,
        number: u64,
        waiter: Option<Waiter>,
        request: Box<v1::Unlock>,
        out: &mut Vec<Output>,
    ) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        claim.held = false;
        let mode = claim.granted.map(|granted| granted.mode);
        let mut ended: Vec<Pending> = claim.behind.drain(..).collect();
        ended.extend(claim.pending.take_if(|pending| pending.operation == 0));
        claim.release = Some(Release { waiter, request, operation: 0, stage: Stage::Ready, doubt: false, failures: 0 });
        self.urgent.push_back(Job::Release(number));
        for id in ended.into_iter().filter_map(|pending| pending.waiter) {
            self.answer(id, Err(cancelled(mode)), out);
        }
    }

    pub(super) fn ask_unlock_all(&mut self, id: OperationId, owner: Option<&str>, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Lost { .. } | Phase::Closing { .. } | Phase::Closed) {
            self.refuse(&Input::UnlockAll { id, owner: None }, out);
            return;
        }
        let wanted = |of: &str| owner.is_none_or(|owner| owner == of);
        let unsent: Vec<OperationId> = self
            .operations
            .iter()
            .filter(|(_, place)| matches!(place, Place::Unsent(asking) if wanted(&asking.request.owner)))
            .map(|(id, _)| *id)
            .collect();
        let waiting: Vec<OperationId> = self
            .claims
            .values()
            .filter(|claim| claim.granted.is_none() && wanted(&claim.owner))
            .filter_map(|claim| claim.pending.as_ref()?.waiter)
            .collect();
        for operation in unsent.into_iter().chain(waiting) {
            self.cancel(operation, out);
        }
        let held: Vec<u64> = self
            .claims
            .iter()
            .filter(|(_, claim)| claim.granted.is_some() && claim.lost.is_none() && claim.release.is_none())
            .filter(|(_, claim)| wanted(&claim.owner))
            .map(|(number, _)| *number)
            .collect();
        if held.is_empty() {
            out.push(Output::Complete { id, result: Ok(Done::ReleasedAll { released: 0 }) });
            return;
        }
        let missing = u32::try_from(held.len()).unwrap_or(u32::MAX);
        self.groups.insert(id, Group { missing, released: 0 });
        for number in held {
            // The program must know before the broker does.
            out.push(Output::ClaimEvent { claim: number, event: ClaimEvent::Lost(Loss::Released) });
            let request = Box::new(v1::Unlock { claim: number, ..v1::Unlock::default() });
            self.release(number, Some(Waiter::Group(id)), request, out);
        }
    }

    pub(super) fn leave_claim(&mut self, number: u64, out: &mut Vec<Output>) {
        if let Phase::Lost { unconfirmed, .. } = &mut self.phase {
            unconfirmed.remove(&number);
            self.drive_farewell(out);
        } else if let Some(claim) = self.claims.get_mut(&number) {
            claim.held = false;
            if claim.lost.is_some() {
                self.claims.remove(&number);
                self.confirm_lost(vec![number], out);
            }
        }
    }

    /// Nobody waits for an operation any more. Whatever comes of it is undone, except that a claim keeps the mode that
    /// a conversion gave it.
    pub(super) fn abandon(&mut self, id: OperationId) {
        self.waits.forget(id);
        match self.operations.remove(&id) {
            Some(Place::Unsent(_)) => self.stale += 1,
            Some(Place::Claim(number)) => {
                let Some(claim) = self.claims.get_mut(&number) else { return };
                claim.behind.retain(|pending| pending.waiter != Some(id));
                if let Some(pending) = claim.pending.as_mut().filter(|pending| pending.waiter == Some(id)) {
                    pending.waiter = None;
                    self.withdraw(number);
                }
            }
            None => {}
        }
    }

    /// Somebody waits for an operation to end.
    pub(super) fn cancel(&mut self, id: OperationId, out: &mut Vec<Output>) {
        match self.operations.get(&id) {
            Some(Place::Unsent(_)) => {
                self.stale += 1;
                self.answer(id, Err(cancelled(None)), out);
            }
            Some(Place::Claim(number)) => {
                let number = *number;
                let Some(claim) = self.claims.get_mut(&number) else { return };
                let mode = claim.granted.map(|granted| granted.mode);
                let before = claim.behind.len();
                claim.behind.retain(|pending| pending.waiter != Some(id));
                if claim.behind.len() < before || self.withdraw(number) {
                    self.answer(id, Err(cancelled(mode)), out);
                }
            }
            None => {}
        }
    }

    /// Withdraws what is pending on a claim. True if no broker has heard of it, so that it ended here.
    pub(super) fn withdraw(&mut self, number: u64) -> bool {
        let Some(claim) = self.claims.get_mut(&number) else { return false };
        let Some(pending) = claim.pending.as_mut() else { return false };
        if pending.operation == 0 {
            claim.pending = None;
            self.next_pending(number);
            return true;
        }
        if pending.withdraw == Withdraw::No {
            pending.withdraw = Withdraw::Wanted;
            self.urgent.push_back(Job::Cancel(number));
        }
        false
    }

    /// The next conversion of a claim gets its turn.
    pub(super) fn next_pending(&mut self, number: u64) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        if claim.pending.is_none()
            && let Some(next) = claim.behind.pop_front()
        {
            claim.pending = Some(next);
            self.normal.push_back(Job::Operation(number));
        }
    }

    /// Answers an input that comes when nothing can be done any more.
    pub(super) fn refuse(&mut self, input: &Input, out: &mut Vec<Output>) {
        let error = match &self.phase {
            Phase::Lost { loss, .. } => Error::Lost(*loss),
            _ => Error::Closed,
        };
        let id = match input {
            Input::Lock { id, .. } | Input::Convert { id, .. } | Input::UnlockAll { id, .. } => Some(*id),
            Input::Unlock { id, .. } => *id,
            _ => None,
        };
        out.extend(id.map(|id| Output::Complete { id, result: Err(error) }));
    }
}

/// When a wait ends, as brokers are told. A try ends when a broker says so.
fn wait_until(now: Duration, timeout_ms: Option<u64>) -> Option<Duration> {
    timeout_ms.filter(|ms| *ms > 0).map(|ms| now.saturating_add(Duration::from_millis(ms)))
}
