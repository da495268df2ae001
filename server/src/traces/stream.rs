//! The spans of a stream's requests that are not answered yet.
//!
//! Invariants: there are no more of them than requests in flight and claims that wait; of no more claims than are held it is kept where
//! they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sixpin_core::broker::api::{Event, Reply, Request, ResumeRequest};
use sixpin_core::limits::CLAIMS_PER_SESSION_MAX;
use sixpin_core::name::{ClaimNumber, ResourceId, SessionId};

use super::commit::Commit;
use super::span::{Verb, What};
use super::{Context, Origin, Span, Traces};

/// Waits that are traced at once: as many as a session may have.
const WAITING_MAX: usize = 1_000;

/// What is traced of one stream.
pub struct StreamSpans {
    traces: Traces,
    origin: Origin,
    session: Option<SessionId>,
    /// By the number of the request.
    asked: HashMap<u64, Span>,
    /// By the claim that waits.
    waiting: HashMap<ClaimNumber, Span>,
    /// Where claims are that were granted: a conversion and a release name none.
    places: HashMap<ClaimNumber, ResourceId>,
}

impl StreamSpans {
    /// Of a stream that begins so.
    pub fn new(traces: Traces, origin: Origin) -> Self {
        Self { traces, origin, session: None, asked: HashMap::new(), waiting: HashMap::new(), places: HashMap::new() }
    }

    fn origin(&self, parent: Option<Context>) -> Origin {
        Origin { parent: parent.or(self.origin.parent), ..self.origin }
    }

    /// A request is sent to the engine. `parent` is what it says itself of its trace.
    pub fn begin(&mut self, number: u64, request: &Request, parent: Option<Context>) {
        // What is let go of is forgotten, whether or not that is traced.
        let left = match request {
            Request::Unlock(unlock) => self.places.remove(&unlock.claim),
            Request::UnlockAll { .. } => {
                self.places.clear();
                None
            }
            _ => None,
        };
        let Some(what) = What::of(request) else { return };
        let Some(mut span) = self.traces.begin(self.origin(parent), what) else { return };
        span.of_session(self.session);
        if let Some((claim, None)) = span.claim() {
            span.is_on(left.as_ref().or_else(|| self.places.get(&claim)));
        }
        self.asked.insert(number, span);
    }

    /// A session comes here; so do the waits of which a trace is known.
    pub fn resume(&mut self, resume: &ResumeRequest, parents: &BTreeMap<ClaimNumber, Context>) {
        self.session = Some(resume.session);
        for live in resume.claims.iter().filter(|live| live.waiting.is_some()) {
            let origin = self.origin(parents.get(&live.claim).copied());
            if origin.parent.is_none() || self.waiting.len() >= WAITING_MAX {
                continue;
            }
            let what = What::waiting(live.claim, live.resource.clone());
            if let Some(mut span) = self.traces.begin(origin, what) {
                span.of_session(self.session);
                span.came_from_elsewhere();
                self.waiting.insert(live.claim, span);
            }
        }
    }

    /// A request is answered.
    pub fn reply(&mut self, number: u64, reply: &Reply, commit: Option<Arc<Commit>>) {
        match reply {
            Reply::Opened { session, .. } => self.session = Some(*session),
            Reply::Resumed { claims, .. } => {
                for state in claims.iter().filter(|state| !state.waiting) {
                    if let Some(mut span) = self.waiting.remove(&state.claim)
                        && let Some(done) = &state.done
                    {
                        span.done(done);
                    }
                }
            }
            _ => {}
        }
        let Some(mut span) = self.asked.remove(&number) else { return };
        span.of_session(self.session);
        span.answered(reply, commit);
        match reply {
            Reply::Queued { claim, .. } if self.waiting.len() < WAITING_MAX => {
                self.waiting.insert(*claim, span);
            }
            Reply::Done(done) => self.place(&span, done.mode.is_some()),
            _ => {}
        }
    }

    /// Something is told that was not asked for; it may be how a wait ended.
    pub fn event(&mut self, event: &Event, commit: Option<Arc<Commit>>) {
        if let Event::Lost { claims, .. } = event {
            for claim in claims {
                self.places.remove(claim);
            }
        }
        if let Event::Done(done) = event
            && let Some(mut span) = self.waiting.remove(&done.claim)
        {
            span.comes_of(commit);
            span.done(done);
            self.place(&span, done.mode.is_some());
        }
    }

    /// Remembers where a claim is while it is held.
    fn place(&mut self, span: &Span, held: bool) {
        let held = held && span.verb() != Some(Verb::Unlock) && self.places.len() < CLAIMS_PER_SESSION_MAX;
        match span.claim() {
            Some((claim, Some(resource))) if held => drop(self.places.insert(claim, resource.clone())),
            Some((claim, _)) => drop(self.places.remove(&claim)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::broker::api::{Done, DoneStatus, LockRequest, UnlockRequest};
    use sixpin_core::command::{Extras, Options, Status};
    use sixpin_core::mode::Mode;
    use sixpin_core::name::{Label, Lockspace, OperationNumber, ResourceName};

    use super::super::Door;
    use super::super::tests::traces;
    use super::*;

    fn lock(claim: ClaimNumber) -> Request {
        let resource = ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("r").unwrap() };
        let lock = LockRequest {
            claim,
            operation: OperationNumber(1),
            resource,
            mode: Mode::EX,
            options: Options::empty(),
            conversion_deadlock: None,
            wait: None,
            blocking: false,
            owner: Label::default(),
            label: Label::default(),
            orphan: false,
        };
        Request::Lock { lock, until_done: false }
    }

    fn unlock(claim: ClaimNumber) -> Request {
        let (operation, options) = (OperationNumber(2), Options::empty());
        Request::Unlock(UnlockRequest { claim, operation, options, value: None, force: false })
    }

    fn granted(claim: ClaimNumber) -> Reply {
        Reply::Done(Done {
            claim,
            operation: OperationNumber(1),
            status: DoneStatus::Is(Status::Granted),
            mode: Some(Mode::EX),
            fence: None,
            grant_seq: 1,
            immediate: true,
            demoted: false,
            alternate: false,
            extras: Extras::default(),
        })
    }

    #[test]
    fn what_is_let_go_of_is_forgotten_also_where_that_is_not_traced() {
        let (traces, _waiting) = traces(1.0);
        let mut spans = StreamSpans::new(traces, Origin::of(Door::Grpc));
        let parent = |sampled| Some(Context { trace: 1, span: 2, sampled });
        for number in 1..=20_000 {
            let claim = ClaimNumber(number);
            spans.begin(2 * number, &lock(claim), parent(true));
            spans.reply(2 * number, &granted(claim), None);
            assert_eq!(spans.places.len(), 1);
            spans.begin(2 * number + 1, &unlock(claim), parent(false));
            assert!(spans.places.is_empty());
        }
    }
}
