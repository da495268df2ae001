//! Grants, releases and losses of locks, for the audit.
//!
//! Answers name claims by number. What each is on is known from the request that made it, so a stream remembers that, if it is to be
//! written at all.

use std::collections::BTreeMap;

use sixpin_core::broker::api::{Done, DoneStatus, Event, Reply, Request};
use sixpin_core::command::Status;
use sixpin_core::name::{ClaimNumber, ResourceId, SessionId};

use super::{Caller, note_denied};
use crate::audit::{Audit, Line};

/// What a stream has to know to write down what happens to its session's locks.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    session: Option<SessionId>,
    /// Claims that hold or wait.
    claims: BTreeMap<ClaimNumber, ResourceId>,
    /// Those that are asked for, by request: as many as may be in flight.
    asked: BTreeMap<u64, Vec<(ClaimNumber, ResourceId)>>,
}

impl Ledger {
    /// One, if locks are written down.
    pub(crate) fn new(audit: &Audit) -> Option<Box<Self>> {
        audit.locks().then(Box::default)
    }

    /// This is asked for.
    pub(crate) fn asked(&mut self, number: u64, request: &Request) {
        let claims = match request {
            Request::Lock { lock, .. } => vec![(lock.claim, lock.resource.clone())],
            Request::Resume(resume) => resume.claims.iter().map(|live| (live.claim, live.resource.clone())).collect(),
            _ => return,
        };
        self.asked.insert(number, claims);
    }

    /// This is answered.
    pub(crate) fn replied(&mut self, audit: &Audit, from: &Caller, number: u64, reply: &Reply) {
        let asked = self.asked.remove(&number).unwrap_or_default();
        if matches!(reply, Reply::Resumed { .. } | Reply::Queued { .. } | Reply::Done(_)) {
            self.claims.extend(asked);
        }
        match reply {
            Reply::Opened { session, .. } | Reply::Resumed { session, .. } => self.session = Some(*session),
            Reply::Done(done) => self.done(audit, from, done),
            // With it everything is released that it held.
            Reply::Closed => audit.write_lock(|| line(from, "closed", self.session, None)),
            Reply::Error(error) => note_denied(audit, from, error),
            _ => {}
        }
    }

    /// This is told.
    pub(crate) fn told(&mut self, audit: &Audit, from: &Caller, event: &Event) {
        match event {
            Event::Done(done) => self.done(audit, from, done),
            Event::Lost { claims, .. } => {
                for claim in claims {
                    let resource = self.claims.remove(claim);
                    audit.write_lock(|| line(from, "lost", self.session, resource.as_ref()).claim(Some(*claim), None));
                }
                if claims.is_empty() {
                    audit.write_lock(|| line(from, "lost", self.session, None));
                }
            }
            _ => {}
        }
    }

    fn done(&mut self, audit: &Audit, from: &Caller, done: &Done) {
        write(audit, from, self.session, self.claims.get(&done.claim), done);
        if done.mode.is_none() {
            self.claims.remove(&done.claim);
        }
    }
}

/// Writes how an operation ended, if that changed what is held.
pub(crate) fn write(
    audit: &Audit,
    from: &Caller,
    session: Option<SessionId>,
    resource: Option<&ResourceId>,
    done: &Done,
) {
    let verb = match done.status {
        DoneStatus::Is(Status::Granted) => "granted",
        DoneStatus::Is(Status::Released) => "released",
        DoneStatus::Lost => "lost",
        _ => return,
    };
    audit.write_lock(|| line(from, verb, session, resource).claim(Some(done.claim), done.fence).mode(done.mode));
}

fn line(from: &Caller, verb: &str, session: Option<SessionId>, resource: Option<&ResourceId>) -> Line {
    let mut line = from.line(verb);
    if let Some(session) = session {
        line = line.session(session);
    }
    match resource {
        Some(resource) => line.on(resource),
        None => line,
    }
}
