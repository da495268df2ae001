//! What is sent, in which order, and how much of it at once.

use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::session_request::Body;

use super::api::{OperationId, Output};
use super::claim::{Asking, Claim, Job, Pending, Place, Stage, What, Withdraw};
use super::finish::undecided;
use super::machine::{Machine, Phase};
use crate::mode::Mode;

/// Requests that a move can declare void. No more lock requests than this may be unanswered; a few are kept for those
/// of earlier moves.
pub(super) const VOID_MAX: usize = 256;
const ASKED_MAX: usize = VOID_MAX - 16;

/// Requests kept free for keepalives, and for the end.
const RESERVED: u32 = 4;

/// How many operations may be on their way if a broker takes `requests_max` requests.
pub(super) fn window(requests_max: u32) -> usize {
    let requests_max = if requests_max == 0 { 256 } else { requests_max };
    requests_max.saturating_sub(RESERVED).max(1) as usize
}

/// A request that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    KeepAlive,
    /// A lock or a conversion.
    Operation {
        claim: u64,
        operation: u32,
    },
    Release {
        claim: u64,
        operation: u32,
    },
    /// A release of a claim that nobody knows.
    Stray,
    Cancel {
        claim: u64,
        operation: u32,
    },
    Close,
}

impl Machine {
    /// Sends what there is room for: first what lets go, then what asks. To a broker that is to be left, only what lets
    /// go.
    pub(super) fn pump(&mut self, now: Duration, out: &mut Vec<Output>) {
        while self.links.attached.is_some() && self.flights.len() < self.window && matches!(self.phase, Phase::Live(_))
        {
            let asks = self.links.usable() && self.asked < ASKED_MAX;
            let job = self.urgent.pop_front().or_else(|| if asks { self.normal.pop_front() } else { None });
            match job {
                Some(Job::Lock(id)) => self.send_lock(now, id, out),
                Some(Job::Operation(claim)) => self.send_operation(now, claim, out),
                Some(Job::Release(claim)) => self.send_release(claim, out),
                Some(Job::Cancel(claim)) => self.send_cancel(claim, out),
                None => return,
            }
        }
    }

    /// A lock gets its number when it is first sent: numbers never run ahead, and a move can renumber what waits here.
    fn send_lock(&mut self, now: Duration, id: OperationId, out: &mut Vec<Output>) {
        if !matches!(self.operations.get(&id), Some(Place::Unsent(_))) {
            self.stale = self.stale.saturating_sub(1);
            return;
        }
        let number = self.next_claim;
        let Some(Place::Unsent(asking)) = self.operations.insert(id, Place::Claim(number)) else { return };
        if asking.wait_until.is_some_and(|until| now >= until) {
            self.answer(id, Err(undecided(None)), out);
            return;
        }
        self.next_claim += 1;
        self.asked += 1;
        self.claims.insert(number, asked_claim(id, number, asking));
        self.send_operation(now, number, out);
    }

    /// Sends what is pending on a claim, or sends it again with the same numbers.
    fn send_operation(&mut self, now: Duration, number: u64, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        if claim.release.is_some() || claim.lost.is_some() {
            return;
        }
        let held = claim.granted.map(|granted| granted.mode);
        let Some(pending) = claim.pending.as_mut().filter(|pending| pending.stage == Stage::Ready) else { return };
        if pending.operation == 0 {
            claim.last_operation += 1;
            pending.operation = claim.last_operation;
        }
        pending.stage = Stage::Sent;
        let operation = pending.operation;
        let body = match &pending.what {
            What::Lock(request) => {
                Body::Lock(v1::Lock { operation, timeout_ms: pending.wait_ms(now), ..request.as_ref().clone() })
            }
            What::Convert { request, queue } => Body::Convert(v1::Convert {
                operation,
                timeout_ms: pending.wait_ms(now),
                queue_conversion: queue.unwrap_or_else(|| queues(held, request)),
                resource: Some(claim.resource.clone()),
                ..request.as_ref().clone()
            }),
        };
        let withdraw = pending.withdraw == Withdraw::Wanted;
        self.send(body, Flight::Operation { claim: number, operation }, out);
        if withdraw {
            self.urgent.push_back(Job::Cancel(number));
        }
    }

    fn send_release(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        let Some(release) = claim.release.as_mut().filter(|release| release.stage == Stage::Ready) else { return };
        if release.operation == 0 {
            claim.last_operation += 1;
            release.operation = claim.last_operation;
        }
        release.stage = Stage::Sent;
        let operation = release.operation;
        let request = v1::Unlock {
            operation,
            // It must get through, whatever the broker still has pending on the claim.
            force: release.request.force || claim.pending.is_some(),
            ..release.request.as_ref().clone()
        };
        self.send(Body::Unlock(request), Flight::Release { claim: number, operation }, out);
    }

    /// Only what a broker knows can be withdrawn there: of the rest, the request itself is followed by this.
    fn send_cancel(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(pending) = self.claims.get_mut(&number).and_then(|claim| claim.pending.as_mut()) else { return };
        if pending.withdraw != Withdraw::Wanted || pending.stage == Stage::Ready {
            return;
        }
        pending.withdraw = Withdraw::Sent;
        let operation = pending.operation;
        let cancel = Body::Cancel(v1::Cancel { claim: number, operation });
        self.send(cancel, Flight::Cancel { claim: number, operation }, out);
    }

    /// Puts something off that was refused for now.
    pub(super) fn retry(&mut self, now: Duration, job: Job, failures: u32) {
        let pause = self.route.retry_pause(failures);
        self.retries_made += 1;
        self.retries.insert((now + pause, self.retries_made), job);
    }

    pub(super) fn retry_due(&self) -> Option<Duration> {
        self.retries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_retries(&mut self, now: Duration) {
        while let Some(entry) = self.retries.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                job @ (Job::Release(_) | Job::Cancel(_)) => self.urgent.push_back(job),
                job @ (Job::Lock(_) | Job::Operation(_)) => self.normal.push_back(job),
            }
        }
    }
}

/// A claim whose lock is about to be sent for the first time.
fn asked_claim(id: OperationId, number: u64, asking: Asking) -> Claim {
    let Asking { mut request, wait_until } = asking;
    request.claim = number;
    Claim {
        resource: request.resource.clone().unwrap_or_default(),
        owner: request.owner.clone(),
        granted: None,
        last_operation: 0,
        pending: Some(Pending {
            waiter: Some(id),
            what: What::Lock(request),
            operation: 0,
            stage: Stage::Ready,
            wait_until,
            withdraw: Withdraw::No,
            doubt: false,
            refused: None,
            failures: 0,
        }),
        behind: std::collections::VecDeque::new(),
        release: None,
        held: false,
        lost: None,
    }
}

/// Conversions from NL queue behind others, so that those who convert from it are served in order (C4); where that makes
/// no sense, they do not.
fn queues(held: Option<Mode>, request: &v1::Convert) -> bool {
    held == Some(Mode::NL)
        && Mode::from_proto(request.mode).is_some_and(|wanted| wanted != Mode::NL)
        && !request.head_of_queue
        && !request.no_order
}
