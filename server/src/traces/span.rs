//! The span of one request: from when it was read until it was answered, with the commits that its answers come of.
//!
//! Invariant: nothing in it is secret: no token, no value, no text of an error. Names of resources, lockspaces and sessions are.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sixpin_core::broker::api::{Done, Ended, Reply, Request, RequestError};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Fence, ResourceId, SessionId};

use super::commit::Commit;
use super::{Context, Door, Traces};

/// Commits of one request that are shown: that by which it was queued, and that by which it ended.
const COMMITS_MAX: usize = 4;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A lock.
    Lock,
    /// Another mode.
    Convert,
    /// To let go.
    Unlock,
}

/// A request that is traced. What it says is exported when it is dropped.
#[derive(Debug)]
pub struct Span {
    traces: Traces,
    record: Option<Box<Record>>,
}

/// What a span says.
#[derive(Debug)]
pub struct Record {
    pub(super) context: Context,
    /// The span that it is part of; absent: it begins its trace.
    pub(super) parent: Option<u64>,
    pub(super) verb: Verb,
    pub(super) door: Door,
    pub(super) begun: SystemTime,
    pub(super) since: Instant,
    pub(super) took: Duration,
    /// Absent: it is not known where the claim is.
    pub(super) resource: Option<ResourceId>,
    pub(super) mode: Option<Mode>,
    pub(super) session: Option<SessionId>,
    pub(super) claim: ClaimNumber,
    /// It waited at another broker before.
    pub(super) resumed: bool,
    /// The claims before it when it was queued, and its ticket.
    pub(super) queued: Option<(u32, Fence)>,
    /// How it ended; absent: nobody was told.
    pub(super) ended: Option<Ended>,
    pub(super) fence: Option<Fence>,
    pub(super) commits: Vec<(u64, Arc<Commit>)>,
}

impl Span {
    pub(super) fn new(traces: Traces, context: Context, parent: Option<u64>, door: Door, what: What) -> Self {
        let What { verb, claim, resource, mode } = what;
        let record = Record {
            context,
            parent,
            verb,
            door,
            begun: SystemTime::now(),
            since: Instant::now(),
            took: Duration::ZERO,
            resource,
            mode,
            session: None,
            claim,
            resumed: false,
            queued: None,
            ended: None,
            fence: None,
            commits: Vec::new(),
        };
        Self { traces, record: Some(Box::new(record)) }
    }

    fn record(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    /// Whose claim it is.
    pub fn of_session(&mut self, session: Option<SessionId>) {
        self.record(|record| record.session = record.session.or(session));
    }

    /// It waited at another broker before its session came here.
    pub(super) fn came_from_elsewhere(&mut self) {
        self.record(|record| record.resumed = true);
    }

    /// Where the claim is that is asked about, and in which mode it was granted, if that was granted here.
    pub(super) fn claim(&self) -> Option<(ClaimNumber, Option<&ResourceId>)> {
        self.record.as_ref().map(|record| (record.claim, record.resource.as_ref()))
    }

    pub(super) fn is_on(&mut self, resource: Option<&ResourceId>) {
        self.record(|record| record.resource = record.resource.take().or_else(|| resource.cloned()));
    }

    pub(super) fn verb(&self) -> Option<Verb> {
        self.record.as_ref().map(|record| record.verb)
    }

    /// The broker's answer, and the commit that it comes of.
    pub fn answered(&mut self, reply: &Reply, commit: Option<Arc<Commit>>) {
        self.comes_of(commit);
        match reply {
            Reply::Queued { position, ticket, .. } => self.record(|record| record.queued = Some((*position, *ticket))),
            Reply::Done(done) => self.done(done),
            Reply::Error(error) => self.refused(error),
            _ => {}
        }
    }

    /// How it ended.
    pub(super) fn done(&mut self, done: &Done) {
        self.record(|record| {
            record.ended = Some(done.status.into());
            record.fence = done.fence;
            record.mode = done.mode.or(record.mode);
        });
    }

    /// It was refused.
    pub fn refused(&mut self, error: &RequestError) {
        self.record(|record| record.ended = Some(error.into()));
    }

    pub(super) fn comes_of(&mut self, commit: Option<Arc<Commit>>) {
        self.record(|record| {
            if record.commits.len() < COMMITS_MAX {
                record.commits.extend(commit.map(|commit| (rand::random(), commit)));
            }
        });
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.took = record.since.elapsed();
            self.traces.export(record);
        }
    }
}

/// What a request asks for, as far as a span shows it.
#[derive(Debug)]
pub struct What {
    pub(super) verb: Verb,
    pub(super) claim: ClaimNumber,
    pub(super) resource: Option<ResourceId>,
    pub(super) mode: Option<Mode>,
}

impl What {
    /// Absent for what is not traced.
    pub fn of(request: &Request) -> Option<Self> {
        Some(match request {
            Request::Lock { lock, .. } => Self {
                verb: Verb::Lock,
                claim: lock.claim,
                resource: Some(lock.resource.clone()),
                mode: Some(lock.mode),
            },
            Request::Convert { convert, .. } => {
                Self { verb: Verb::Convert, claim: convert.claim, resource: None, mode: Some(convert.mode) }
            }
            Request::Unlock(unlock) => Self { verb: Verb::Unlock, claim: unlock.claim, resource: None, mode: None },
            _ => return None,
        })
    }

    /// A lock or conversion that waits, of a session that comes here.
    pub(super) fn waiting(claim: ClaimNumber, resource: ResourceId) -> Self {
        Self { verb: Verb::Lock, claim, resource: Some(resource), mode: None }
    }
}
