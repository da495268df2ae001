//! Opening a session, and moving it: what a broker is told, and what its answer changes.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message as _;
use sixpin_proto::v1;
use sixpin_proto::v1::session_response::Body;

use super::api::{LinkId, Opened, OperationId, Output, State};
use super::claim::{Claim, Job, Stage, Withdraw};
use super::life::{Life, valid_until};
use super::machine::{Identity, Machine, Phase};
use super::planted::Bug;
use super::send::VOID_MAX;
use crate::error::{Error, Loss, is_about_identity};
use crate::mode::Mode;

impl Machine {
    /// An answer on the link of an attempt. Only the answer to the open or resume that was sent there counts.
    pub(super) fn attempt_answered(
        &mut self,
        now: Duration,
        link: LinkId,
        message: v1::SessionResponse,
        out: &mut Vec<Output>,
    ) {
        if let (0, Some(Body::Error(error))) = (message.request, &message.body)
            && is_about_identity(error.reason())
        {
            // The stream ends with it, whatever was asked there.
            self.attempt_refused(now, link, error.clone(), out);
            return;
        }
        let Some((request, sent)) = self.links.attempts.find(link).and_then(|attempt| attempt.asked) else { return };
        match message.body {
            Some(Body::Lost(lost)) if lost.claims.is_empty() => self.lose(Loss::from_proto(lost.reason()), out),
            _ if message.request != request => {}
            Some(Body::Opened(opened)) => self.opened(now, link, sent, opened, out),
            Some(Body::Resumed(resumed)) => self.resumed(now, link, sent, resumed, out),
            Some(Body::Error(error)) => self.attempt_refused(now, link, error, out),
            _ => {}
        }
    }

    fn opened(&mut self, now: Duration, link: LinkId, sent: Duration, opened: v1::Opened, out: &mut Vec<Output>) {
        if !matches!(self.phase, Phase::Opening { .. }) {
            return;
        }
        let ttl = Duration::from_millis(u64::from(opened.ttl_ms));
        if now >= valid_until(sent, ttl) {
            // It is of no use any more, and ends by itself. Open another one.
            self.attempt_failed(now, link, "the answer came too late", out);
            return;
        }
        self.attach(now, link, opened.requests_max, out);
        let life = Life::new(ttl, Duration::from_millis(u64::from(opened.keepalive_ms)), sent);
        let until = life.valid_until;
        self.phase = Phase::Live(life);
        self.identity = Some(Identity { session: opened.session.clone(), token: opened.token });
        let address = self.links.attached.as_ref().map(|link| link.address.clone()).unwrap_or_default();
        out.push(Output::ValidUntil(until));
        self.told = State::Safe;
        out.push(Output::State(State::Safe));
        out.push(Output::Opened(Opened {
            session: opened.session,
            ttl,
            broker: opened.broker,
            address,
            value_block_bytes: opened.value_block_bytes,
        }));
    }

    fn attempt_refused(&mut self, now: Duration, link: LinkId, error: v1::Error, out: &mut Vec<Output>) {
        let here = self.links.attempts.find(link).map(|attempt| attempt.link.address.clone()).unwrap_or_default();
        let (reason, what) = (error.reason(), error.message.clone());
        self.links.attempts.refused(link);
        if let Phase::Opening { full, .. } = &mut self.phase {
            self.route.hint([error.address.clone()], &here);
            match Error::from_proto(error) {
                Error::Unavailable(_) | Error::Unknown(_) => {}
                error @ Error::Limit(_) => *full = Some(error),
                error => {
                    self.fail_open(Some(error), out);
                    return;
                }
            }
        } else {
            match reason {
                v1::Reason::SessionGone | v1::Reason::WrongToken | v1::Reason::NotFound => {
                    self.gone(out);
                    return;
                }
                // Our numbers only rise, so the larger one is somebody else's.
                v1::Reason::StaleMove => {
                    self.lose(Loss::Moved, out);
                    return;
                }
                _ => self.route.hint([error.address], &here),
            }
        }
        self.attempt_failed(now, link, &what, out);
    }

    /// What a broker must know to take the session over, in as many messages as it takes. Counts as a new move from
    /// here on.
    pub(super) fn resume_requests(&mut self, now: Duration, out: &mut Vec<Output>) -> Vec<v1::Resume> {
        if self.move_number == 0 || !self.planted.has(Bug::MoveNumberReused) {
            self.move_number += 1;
        }
        if !self.planted.has(Bug::UnansweredKeepsNumber) {
            self.void_asked(out);
        }
        in_parts(v1::Resume {
            token: self.identity.as_ref().map(|identity| identity.token.clone()).unwrap_or_default(),
            move_number: self.move_number,
            next_claim: self.next_claim,
            claims: self.claims.iter().map(|(number, claim)| live_claim(now, *number, claim)).collect(),
            void_claims: self.void.keys().copied().collect(),
            more: false,
            label: self.config.label.clone(),
            program: self.config.program.clone(),
        })
    }

    /// Gives up the numbers of lock requests that were not answered: they are asked again under new ones, before
    /// everything that came later.
    fn void_asked(&mut self, out: &mut Vec<Output>) {
        let asked: Vec<u64> =
            self.claims.iter().filter(|(_, claim)| claim.is_asked()).map(|(number, _)| *number).collect();
        for number in asked.into_iter().rev() {
            self.void.insert(number, false);
            if let Some(id) = self.ask_anew(number, out) {
                self.normal.push_front(Job::Lock(id));
            }
        }
        // Numbers that a broker took note of are repeated as long as there is room: whoever still meets them knows
        // what they are. The oldest go first.
        while self.void.len() > VOID_MAX {
            let oldest = self.void.iter().find(|(_, noted)| **noted).or_else(|| self.void.first_key_value());
            let Some(number) = oldest.map(|(number, _)| *number) else { return };
            self.void.remove(&number);
        }
    }

    fn resumed(&mut self, now: Duration, link: LinkId, sent: Duration, resumed: v1::Resumed, out: &mut Vec<Output>) {
        if resumed.move_number != self.move_number {
            return;
        }
        let sent = if self.planted.has(Bug::DeadlineFromReply) { now } else { sent };
        let Some(life) = self.life_mut() else { return };
        let before = life.valid_until;
        life.acknowledged(sent);
        if life.valid_until > before {
            out.push(Output::ValidUntil(life.valid_until));
        }
        self.attach(now, link, resumed.requests_max, out);
        self.send_confirmations(out);
        for noted in self.void.values_mut() {
            *noted = true;
        }
        let address = self.links.attached.as_ref().map(|link| link.address.clone()).unwrap_or_default();
        out.push(Output::Resumed { address, broker: resumed.broker, move_number: resumed.move_number });
        let mut silent: BTreeSet<u64> = self.claims.keys().copied().collect();
        for state in resumed.claims {
            silent.remove(&state.claim);
            self.found(now, state, out);
        }
        // What a broker says nothing of is not there.
        for number in silent {
            self.found(now, v1::ClaimState { claim: number, ..v1::ClaimState::default() }, out);
        }
    }

    /// What the broker found of one claim.
    fn found(&mut self, now: Duration, state: v1::ClaimState, out: &mut Vec<Output>) {
        let number = state.claim;
        let Some(claim) = self.claims.get_mut(&number) else { return };
        if claim.lost.is_some() {
            return;
        }
        if let Some(release) = &mut claim.release {
            let done = state.completion.filter(|done| release.operation != 0 && done.operation == release.operation);
            release.doubt |= release.stage == Stage::Sent;
            release.stage = Stage::Ready;
            match done {
                Some(done) => self.completed(now, done, out),
                None if self.planted.has(Bug::ReleaseNotRepeated) => {
                    self.end_release(number, Ok(super::api::Done::Released), out);
                }
                // A repeat is harmless, and its answer tells a release from a loss.
                None => self.urgent.push_back(Job::Release(number)),
            }
            return;
        }
        let operation = claim.pending.as_ref().map_or(0, |pending| pending.operation);
        let holds = Mode::from_proto(state.mode().into()).is_some();
        let done = state.completion.filter(|done| operation != 0 && done.operation == operation);
        if let Some(done) = done {
            self.completed(now, done, out);
        } else if !holds && !state.waiting {
            self.found_nothing(now, number, out);
        } else {
            self.found_waiting(number, state.waiting);
        }
    }

    fn found_nothing(&mut self, now: Duration, number: u64, out: &mut Vec<Output>) {
        if self.claims.get(&number).is_some_and(|claim| claim.granted.is_none()) {
            self.lock_gone(now, number, false, out);
        } else {
            self.claim_lost(number, Loss::Forced, out);
        }
    }

    /// The claim is there. What waits goes on waiting; what was not answered is sent again with the same numbers.
    fn found_waiting(&mut self, number: u64, waiting: bool) {
        let Some(pending) = self.claims.get_mut(&number).and_then(|claim| claim.pending.as_mut()) else { return };
        let waits = waiting && pending.stage == Stage::Queued;
        if pending.withdraw == Withdraw::Sent {
            pending.withdraw = Withdraw::Wanted;
        }
        if waits {
            self.withdraw_again(number);
        } else if pending.operation != 0 {
            pending.doubt = true;
            pending.stage = Stage::Ready;
            self.normal.push_front(Job::Operation(number));
        }
    }

    /// The session could not be opened.
    pub(super) fn fail_open(&mut self, error: Option<Error>, out: &mut Vec<Output>) {
        let Phase::Opening { full, .. } = &mut self.phase else { return };
        let error = error.or(full.take()).unwrap_or_else(|| self.nobody_answered());
        let waiting: Vec<OperationId> = self.operations.keys().copied().collect();
        self.give_up_attempts(out);
        self.phase = Phase::Closed;
        for id in waiting {
            self.answer(id, Err(error.clone()), out);
        }
        self.told = State::Closed;
        out.push(Output::State(State::Closed));
        out.push(Output::OpenFailed(error));
        self.end(out);
    }
}

/// Claims beyond this many bytes go into a further message: brokers read at most 64 KiB at once.
const PART_BYTES_MAX: usize = 32 * 1024;

/// Tells in several messages what does not fit into one.
fn in_parts(mut whole: v1::Resume) -> Vec<v1::Resume> {
    let claims = std::mem::take(&mut whole.claims);
    let (mut parts, mut part, mut bytes) = (Vec::new(), whole, 0);
    for claim in claims {
        let length = claim.encoded_len();
        if bytes + length > PART_BYTES_MAX {
            part.more = true;
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += length;
        part.claims.push(claim);
    }
    parts.push(part);
    parts
}

/// What a broker is told about one claim.
fn live_claim(now: Duration, number: u64, claim: &Claim) -> v1::LiveClaim {
    let waiting = claim.pending.as_ref().filter(|pending| pending.stage == Stage::Queued);
    v1::LiveClaim {
        claim: number,
        resource: Some(claim.resource.clone()),
        last_operation: claim.last_operation,
        held: claim.granted.map(|granted| v1::live_claim::Held::from(granted.mode.to_proto())),
        fence: claim.granted.map_or(0, |granted| granted.fence),
        grant_seq: claim.granted.map_or(0, |granted| granted.grant_seq),
        operation: waiting.map_or(0, |pending| pending.operation),
        wanted: waiting.map(|pending| v1::live_claim::Wanted::WantedMode(pending.mode().into())),
        ticket: waiting.map_or(0, |pending| pending.ticket),
        wait_ms: waiting.and_then(|pending| pending.wait_ms(now)),
        traceparent: waiting.map(|pending| pending.traceparent().to_owned()).unwrap_or_default(),
    }
}
