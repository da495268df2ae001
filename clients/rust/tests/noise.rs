//! Noise: random calls of the program and random words of brokers, sensible or not. Whatever comes, every operation ends
//! at most once, validity only ever grows, nothing is sent on a link that is not open, and an end is an end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sixpin_client::logic::{Config, Input, LinkId, Machine, OperationId, Output, State};
use sixpin_client::proto as v1;
use sixpin_client::proto::session_request::Body as Asked;
use sixpin_client::proto::session_response::Body;

/// A small generator: the same seed gives the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

struct Run {
    random: Random,
    machine: Machine,
    now: Duration,
    out: Vec<Output>,
    operations: u64,
    pending: BTreeSet<u64>,
    /// Nobody waits for these; releases among them are answered all the same.
    abandoned: BTreeSet<u64>,
    /// What the runs have met: a run that never moved proves nothing about moves.
    seen: BTreeMap<&'static str, u64>,
    held: BTreeSet<u64>,
    connecting: Vec<LinkId>,
    connected: Vec<LinkId>,
    /// What was asked on a link and not answered: request, claim, operation.
    asked: Vec<(LinkId, u64, Option<Asked>)>,
    valid_until: Duration,
    over: bool,
    granted: BTreeMap<u64, v1::Mode>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let config = Config { endpoints: vec!["a".into(), "b".into()], seed, queued_max: 50, ..Config::default() };
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            machine: Machine::new(config),
            now: Duration::ZERO,
            out: Vec::new(),
            operations: 0,
            pending: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            seen: BTreeMap::new(),
            held: BTreeSet::new(),
            connecting: Vec::new(),
            connected: Vec::new(),
            asked: Vec::new(),
            valid_until: Duration::ZERO,
            over: false,
            granted: BTreeMap::new(),
        }
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now, input, &mut self.out);
        self.take();
    }

    fn take(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Connect { link, .. } => self.connecting.push(link),
                Output::Send { link, message } => {
                    assert!(self.connected.contains(&link), "sent on a link that is not open");
                    self.asked.push((link, message.request, message.body));
                }
                Output::Disconnect { link } => {
                    self.connecting.retain(|other| *other != link);
                    self.connected.retain(|other| *other != link);
                    self.asked.retain(|(other, ..)| *other != link);
                }
                Output::ValidUntil(until) => {
                    assert!(until > self.valid_until && self.now < until);
                    self.valid_until = until;
                }
                Output::Complete { id, result } => {
                    assert!(self.pending.remove(&id.0), "operation {} ended twice", id.0);
                    assert!(!self.over || result.is_err());
                    self.count(if result.is_ok() { "done" } else { "not done" });
                    if let Ok(sixpin_client::logic::Done::Granted(grant)) = result {
                        assert!(self.now < self.valid_until, "granted after the deadline");
                        self.held.insert(grant.claim);
                    }
                }
                Output::Over => {
                    assert!(!std::mem::replace(&mut self.over, true), "over twice");
                }
                Output::Resumed { .. } => self.count("resumed"),
                Output::Changed(_) => self.count("changed"),
                Output::ClaimEvent { .. } => self.count("claim event"),
                Output::State(State::Lost(_)) => self.count("lost"),
                Output::State(State::Closed) => self.count("closed"),
                Output::Opened(_) | Output::OpenFailed(_) | Output::State(_) => {}
            }
        }
        let state = self.machine.state();
        assert!(!matches!(state, State::Safe | State::Uncertain) || self.now < self.valid_until);
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=3 => self.program(),
            4..=8 => self.answer(),
            9 => self.pass(),
            10 => self.event(),
            _ => self.connect(),
        }
    }

    fn next(&mut self) -> OperationId {
        self.operations += 1;
        self.pending.insert(self.operations);
        OperationId(self.operations)
    }

    fn any_held(&mut self) -> Option<u64> {
        let index = self.random.below(self.held.len().max(1) as u64) as usize;
        self.held.iter().nth(index).copied()
    }

    fn any_mode(&mut self) -> v1::Mode {
        v1::Mode::try_from(1 + self.random.below(6) as i32).unwrap_or_default()
    }

    fn granted_mode(&self, claim: u64) -> v1::Mode {
        self.granted.get(&claim).copied().unwrap_or_default()
    }

    fn program(&mut self) {
        let what = self.any_mode().into();
        let timeout_ms = [None, Some(0), Some(300)][self.random.below(3) as usize];
        match self.random.below(10) {
            0..=3 => {
                let id = self.next();
                let request = v1::Lock { what: Some(v1::lock::What::Mode(what)), timeout_ms, ..v1::Lock::default() };
                self.input(Input::Lock { id, request: Box::new(request) });
            }
            4 | 5 => {
                if let Some(claim) = self.any_held() {
                    let id = self.next();
                    let what = Some(v1::convert::What::Mode(what));
                    let request = v1::Convert { claim, what, timeout_ms, ..v1::Convert::default() };
                    self.input(Input::Convert { id, request: Box::new(request), queue: None });
                }
            }
            6 | 7 => {
                if let Some(claim) = self.any_held() {
                    self.held.remove(&claim);
                    let id = (self.random.below(2) == 0).then(|| self.next());
                    let request = Box::new(v1::Unlock { claim, ..v1::Unlock::default() });
                    self.input(Input::Unlock { id, request });
                }
            }
            8 => {
                // The newest operations are those that are still on their way.
                let back = self.random.below(3) as usize;
                if let Some(id) = self.pending.iter().rev().nth(back).copied() {
                    if self.random.below(2) == 0 {
                        self.abandoned.insert(id);
                        self.input(Input::Abandon { id: OperationId(id) });
                    } else {
                        self.input(Input::Cancel { id: OperationId(id) });
                    }
                }
            }
            _ => {
                if self.random.below(20) == 0 {
                    let id = self.next();
                    self.input(Input::UnlockAll { id, owner: None });
                }
            }
        }
    }

    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let index = self.random.below(self.asked.len() as u64) as usize;
        let (link, request, body) = self.asked.remove(index);
        let body = if self.random.below(8) == 0 { Some(self.refusal()) } else { self.reply(body) };
        self.input(Input::Received { link, message: Box::new(v1::SessionResponse { request, body }) });
    }

    fn refusal(&mut self) -> Body {
        let reason = [2, 3, 4, 6, 7, 8, 9, 10][self.random.below(8) as usize];
        Body::Error(v1::Error { reason, ..v1::Error::default() })
    }

    fn reply(&mut self, body: Option<Asked>) -> Option<Body> {
        let lucky = self.random.below(3) != 0;
        Some(match body? {
            Asked::Open(_) => Body::Opened(v1::Opened {
                session: "S".into(),
                ttl_ms: 10_000,
                keepalive_ms: 3333,
                requests_max: 16,
                ..v1::Opened::default()
            }),
            Asked::Resume(resume) => Body::Resumed(v1::Resumed {
                move_number: resume.move_number,
                requests_max: 16,
                claims: resume.claims.iter().filter_map(|claim| self.found(claim)).collect(),
                ..v1::Resumed::default()
            }),
            Asked::KeepAlive(kept) => {
                Body::KeptAlive(v1::KeptAlive { move_number: kept.move_number, ..v1::KeptAlive::default() })
            }
            Asked::Lock(lock) if lucky => self.completion(lock.claim, lock.operation),
            Asked::Convert(convert) if lucky => self.completion(convert.claim, convert.operation),
            Asked::Lock(lock) => {
                Body::Queued(v1::Queued { claim: lock.claim, operation: lock.operation, ..v1::Queued::default() })
            }
            Asked::Convert(convert) => {
                Body::Queued(v1::Queued { claim: convert.claim, operation: convert.operation, ..v1::Queued::default() })
            }
            Asked::Unlock(unlock) => Body::Completion(v1::Completion {
                claim: unlock.claim,
                operation: unlock.operation,
                status: 6 + i32::from(!lucky),
                ..v1::Completion::default()
            }),
            Asked::Cancel(cancel) => {
                Body::Cancelled(v1::Cancelled { claim: cancel.claim, result: 1 + self.random.below(3) as i32 })
            }
            Asked::Close(_) => Body::Closed(v1::Closed {}),
            Asked::UnlockAll(_) | Asked::ConfirmLost(_) | Asked::Authenticate(_) => return None,
        })
    }

    fn completion(&mut self, claim: u64, operation: u32) -> Body {
        let status = [1, 1, 1, 1, 2, 3, 4, 5, 7, 8][self.random.below(10) as usize];
        let mode = if status == 1 { self.any_mode() } else { self.granted_mode(claim) };
        if status == 1 {
            self.granted.insert(claim, mode);
        }
        Body::Completion(v1::Completion {
            claim,
            operation,
            status,
            held: mode.held(),
            grant_seq: operation,
            ..v1::Completion::default()
        })
    }

    fn found(&mut self, claim: &v1::LiveClaim) -> Option<v1::ClaimState> {
        let mode = self.granted_mode(claim.claim);
        match self.random.below(6) {
            0 => None,
            1 => Some(v1::ClaimState { claim: claim.claim, ..v1::ClaimState::default() }),
            2 => match self.completion(claim.claim, claim.last_operation) {
                Body::Completion(completion) => Some(v1::ClaimState {
                    claim: claim.claim,
                    held: completion.mode().held(),
                    waiting: false,
                    completion: Some(completion),
                }),
                _ => None,
            },
            _ => {
                let waiting = claim.operation != 0;
                Some(v1::ClaimState { claim: claim.claim, held: mode.held(), waiting, completion: None })
            }
        }
    }

    fn event(&mut self) {
        let Some(link) = self.connected.last().copied() else { return };
        let claim = 1 + self.random.below(self.operations.max(1));
        let body = match self.random.below(40) {
            0 => Body::Lost(v1::Lost { reason: 2, claims: Vec::new() }),
            1..=4 => Body::Lost(v1::Lost { reason: 2, claims: vec![claim] }),
            5 => Body::Move(v1::Move { addresses: vec!["c".into()] }),
            6..=20 => Body::Blocking(v1::Blocking { claim, grant_seq: 1, wanted: 6, own: false }),
            _ => {
                let operation = 1 + self.random.below(4) as u32;
                self.completion(claim, operation)
            }
        };
        self.input(Input::Received { link, message: Box::new(v1::SessionResponse { request: 0, body: Some(body) }) });
    }

    fn connect(&mut self) {
        if let Some(link) = self.connecting.pop() {
            if self.random.below(4) == 0 {
                self.input(Input::Disconnected { link, detail: String::new() });
            } else {
                self.connected.push(link);
                self.input(Input::Connected { link });
            }
        } else if self.random.below(20) == 0
            && let Some(link) = self.connected.pop()
        {
            self.asked.retain(|(other, ..)| *other != link);
            self.input(Input::Disconnected { link, detail: String::new() });
        }
    }

    fn pass(&mut self) {
        let end = self.now
            + Duration::from_millis(self.random.below(if self.random.0.is_multiple_of(50) { 4000 } else { 100 }));
        for _ in 0..200 {
            let Some(due) = self.machine.deadline().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.machine.tick(self.now, &mut self.out);
            self.take();
        }
        panic!("the logic asks to be called without end");
    }

    fn close(&mut self) {
        self.input(Input::Close);
        for claim in std::mem::take(&mut self.held) {
            let request = Box::new(v1::Unlock { claim, ..v1::Unlock::default() });
            self.input(Input::Unlock { id: None, request });
        }
        for _ in 0..2000 {
            if self.over {
                assert!(self.pending.is_subset(&self.abandoned), "somebody waits for ever: {:?}", self.pending);
                return;
            }
            if self.random.below(2) == 0 {
                self.answer();
            } else {
                self.connect();
            }
            self.pass();
        }
        panic!("the session does not end");
    }
}

#[test]
fn whatever_brokers_say_every_operation_ends_once() {
    let seeds: u64 = std::env::var("SIXPIN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 1..=seeds {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        run.machine.tick(run.now, &mut run.out);
        run.take();
        for _ in 0..800 {
            run.step();
            if run.over {
                break;
            }
        }
        run.close();
        for (what, times) in run.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seen:?}");
    for what in ["done", "not done", "resumed", "changed", "claim event", "lost", "closed"] {
        assert!(seen.contains_key(what), "no run has met: {what}");
    }
}
