//! What a client remembers: enough to name its claims, to keep its session alive and to move with it.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::access::Principal;
use sixpin_core::broker::api::{
    ClaimState, ClientInfo, ConnectionId, Done, DoneStatus, Event, LiveClaim, Reply, Request, ResumeRequest, Secret,
};
use sixpin_core::name::{ClaimNumber, OperationNumber, ResourceId, SessionId};

/// A client keeps its session alive this often; all sessions here have a TTL of 10 s.
pub const KEEPALIVE: Duration = Duration::from_secs(3);

/// One client with one session.
#[derive(Debug)]
pub struct Client {
    /// The broker that it talks to.
    pub broker: String,
    /// Its stream to that broker; absent after a cut.
    pub stream: Option<ConnectionId>,
    /// Its calls that are not answered, oldest first, if it asks by calls and has no stream.
    pub calls: Option<Vec<ConnectionId>>,
    /// Where it only listens.
    pub ear: Option<ConnectionId>,
    /// What it asked last.
    pub last: Option<Request>,
    pub session: Option<(SessionId, Secret)>,
    pub principal: Principal,
    /// What its stream has said of that.
    pub told: Option<Principal>,
    pub move_number: u32,
    /// When it says next that it lives; absent: it is dead.
    pub keepalive_at: Option<Duration>,
    pub claims: BTreeMap<ClaimNumber, Claim>,
    next_claim: u64,
    /// Losses that it confirmed since its last move.
    confirmed: Vec<ClaimNumber>,
}

/// A claim as its client knows it.
#[derive(Debug)]
pub struct Claim {
    pub resource: ResourceId,
    /// The newest operation used on it.
    operation: OperationNumber,
    /// The newest grant that was told.
    grant_seq: u32,
    waits: bool,
    /// A broker said something of it: it has a place in a queue, or a lock.
    answered: bool,
}

impl Client {
    pub fn new(broker: String, now: Duration) -> Self {
        Self {
            broker,
            stream: None,
            calls: None,
            ear: None,
            last: None,
            session: None,
            principal: Principal::default(),
            told: None,
            move_number: 0,
            keepalive_at: Some(now + KEEPALIVE),
            claims: BTreeMap::new(),
            next_claim: 1,
            confirmed: Vec::new(),
        }
    }

    /// The next claim, on this resource.
    pub fn new_claim(&mut self, resource: ResourceId) -> (ClaimNumber, OperationNumber) {
        let number = ClaimNumber(self.next_claim);
        self.next_claim += 1;
        let operation = OperationNumber(1);
        self.claims.insert(number, Claim { resource, operation, grant_seq: 0, waits: true, answered: false });
        (number, operation)
    }

    /// The next operation on a claim.
    pub fn next_operation(&mut self, number: ClaimNumber, waits: bool) -> OperationNumber {
        let claim = self.claims.get_mut(&number).unwrap();
        claim.operation = OperationNumber(claim.operation.0 + 1);
        claim.waits |= waits;
        claim.operation
    }

    /// The operation of a claim that waits.
    pub fn waiting(&self, number: ClaimNumber) -> Option<OperationNumber> {
        self.claims.get(&number).filter(|claim| claim.waits).map(|claim| claim.operation)
    }

    /// It stops using what was taken away.
    pub fn confirm(&mut self, number: ClaimNumber) {
        self.claims.remove(&number);
        self.confirmed.push(number);
    }

    /// The next move. Requests without an answer are given up; what waits does so for this long still.
    pub fn resume(&mut self, wait: Option<Duration>) -> ResumeRequest {
        let (session, secret) = self.session.unwrap();
        let mut void = std::mem::take(&mut self.confirmed);
        void.extend(self.claims.iter().filter(|(_, claim)| !claim.answered).map(|(number, _)| *number));
        self.claims.retain(|_, claim| claim.answered);
        self.move_number += 1;
        ResumeRequest {
            session,
            secret,
            move_number: self.move_number,
            next_claim: ClaimNumber(self.next_claim),
            claims: self.claims.iter().map(|(number, claim)| claim.live(*number, wait)).collect(),
            void,
            client: ClientInfo::default(),
            attach: self.calls.is_none(),
        }
    }

    /// Does it still listen there?
    pub fn listens_to(&self, connection: ConnectionId) -> bool {
        [self.stream, self.ear].contains(&Some(connection))
            || self.calls.iter().flatten().any(|call| *call == connection)
    }

    /// It can ask something now.
    pub fn is_connected(&self) -> bool {
        self.stream.is_some() || self.calls.is_some()
    }

    pub fn hear_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Opened { session, secret } => self.session = Some((*session, *secret)),
            Reply::Closed => self.keepalive_at = None,
            Reply::Done(done) => self.hear_done(done),
            Reply::Queued { claim, .. } => {
                if let Some(claim) = self.claims.get_mut(claim) {
                    claim.answered = true;
                }
            }
            Reply::Resumed { claims, .. } => {
                for state in claims {
                    self.hear_state(state);
                }
            }
            _ => {}
        }
    }

    pub fn hear_event(&mut self, event: &Event) {
        if let Event::Done(done) = event {
            self.hear_done(done);
        }
    }

    fn hear_done(&mut self, done: &Done) {
        let Some(claim) = self.claims.get_mut(&done.claim) else { return };
        claim.answered = true;
        claim.grant_seq = claim.grant_seq.max(done.grant_seq);
        claim.waits &= done.operation < claim.operation;
        if done.mode.is_none() {
            self.claims.remove(&done.claim);
        }
    }

    fn hear_state(&mut self, state: &ClaimState) {
        let Some(claim) = self.claims.get_mut(&state.claim) else { return };
        claim.waits = state.waiting;
        if let Some(done) = &state.done {
            claim.grant_seq = claim.grant_seq.max(done.grant_seq);
        }
        let lost = state.done.as_ref().is_some_and(|done| done.status == DoneStatus::Lost);
        // What was lost is named until the loss is confirmed.
        if state.mode.is_none() && !state.waiting && !lost {
            self.claims.remove(&state.claim);
        }
    }
}

impl Claim {
    fn live(&self, number: ClaimNumber, wait: Option<Duration>) -> LiveClaim {
        LiveClaim {
            claim: number,
            resource: self.resource.clone(),
            last_operation: self.operation,
            grant_seq: self.grant_seq,
            waiting: self.waits.then_some((self.operation, wait)),
        }
    }
}
