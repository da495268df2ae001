//! Carrying out what the logic wants done.

use std::sync::Arc;
use std::time::Duration;

use sixpin_proto::v1;

use super::{Step, Task, Waiter};
use crate::claim::Claim;
use crate::command::Command;
use crate::error::Error;
use crate::link::Link;
use crate::logic::{Done, Grant, OperationId, Output, State};

impl Task {
    pub(super) fn carry_out(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Connect { link, address } => {
                    self.links.push(Link::new(link, address, self.connector.clone()));
                }
                Output::Send { link, message } => {
                    if let Some(link) = self.links.iter_mut().find(|other| other.id == link) {
                        link.send(*message);
                    }
                }
                Output::Disconnect { link } => {
                    if let Some(index) = self.links.iter().position(|other| other.id == link) {
                        self.links.swap_remove(index).finish(self.at_work.clone());
                    }
                }
                Output::Opened(opened) => {
                    self.news.opened(self.number, opened);
                    if let Some(opening) = self.opening.take() {
                        let _ = opening.send(Ok(()));
                    }
                }
                Output::OpenFailed(error) => {
                    if let Some(opening) = self.opening.take() {
                        let _ = opening.send(Err(error));
                    }
                }
                Output::ValidUntil(until) => self.extend(until),
                Output::State(state) => self.tell_state(state),
                Output::Complete { id, result } => self.complete(id, result),
                Output::Changed(grant) => self.update(*grant),
                Output::ClaimEvent { claim, event } => {
                    if let Some(claim) = self.claims.get(&claim) {
                        claim.tell(event);
                    }
                    self.news.claim(self.number, claim, event);
                }
                Output::Resumed { address, broker, move_number } => {
                    self.news.resumed(self.number, address, broker, move_number);
                }
                Output::Over => self.end(),
            }
        }
        self.out = out;
    }

    fn extend(&mut self, until: Duration) {
        match self.valid_until.replace(until) {
            None => self.shared.begin(until),
            Some(before) => {
                if !self.shared.extend(before, until) {
                    // A handle has told its program that the deadline has passed: that stays true.
                    self.steps.push(Step::Expired);
                }
            }
        }
    }

    fn tell_state(&mut self, state: State) {
        let state = match (state, self.shared.former) {
            // A session that follows a lost one could not be opened: what is to be told is still that loss.
            (State::Closed, Some(loss)) if !self.closing => State::Lost(loss),
            (state, _) => state,
        };
        if state.is_over() {
            self.shared.end(state);
        } else {
            self.shared.state.send_replace(state);
        }
        self.news.state(self.number, state);
    }

    fn complete(&mut self, id: OperationId, result: Result<Done, Error>) {
        match self.waiters.remove(&id) {
            Some(Waiter::Lock(reply)) => {
                let result = match result {
                    Ok(Done::Granted(grant)) => Ok(self.claim(*grant)),
                    Ok(Done::Released | Done::ReleasedAll { .. }) => Err(Error::Closed),
                    Err(error) => Err(error),
                };
                if let Err(Ok(claim)) = reply.send(result) {
                    // Nobody takes it.
                    let request = v1::Unlock { claim: claim.number, ..v1::Unlock::default() };
                    self.steps.push(Step::Program(Command::Unlock { request: Box::new(request), reply: None }));
                }
            }
            Some(Waiter::Convert(claim, reply)) => {
                let result = match result {
                    Ok(Done::Granted(grant)) => {
                        self.update((*grant).clone());
                        Ok(*grant)
                    }
                    Ok(Done::Released | Done::ReleasedAll { .. }) => Err(Error::Closed),
                    Err(error) => {
                        self.demote(claim, &error);
                        Err(error)
                    }
                };
                let _ = reply.send(result);
            }
            Some(Waiter::Release(reply)) => {
                let _ = reply.send(result);
            }
            None => {}
        }
    }

    fn claim(&mut self, grant: Grant) -> Arc<Claim> {
        let claim = Arc::new(Claim::new(grant));
        self.claims.insert(claim.number, Arc::clone(&claim));
        claim
    }

    /// A claim's grant as its guard shows it. An operation that did not ask for the value block keeps what was known.
    fn update(&self, grant: Grant) {
        if let Some(claim) = self.claims.get(&grant.claim) {
            let mut shown = claim.grant();
            let value = grant.value.clone().or_else(|| shown.value.take());
            *shown = Grant { value, ..grant };
        }
    }

    /// A conversion that was not granted may have cost the claim its mode all the same.
    fn demote(&self, claim: u64, error: &Error) {
        if let Some(mode) = error.not_granted().and_then(|not_granted| not_granted.mode)
            && let Some(claim) = self.claims.get(&claim)
        {
            claim.grant().mode = mode;
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.commands.close();
        self.closers.clear();
        for link in self.links.drain(..) {
            link.finish(self.at_work.clone());
        }
    }
}
