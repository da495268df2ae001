//! Leases: one lock in a session of its own, for callers with no more than `curl`.
//!
//! A lease is a session with one claim, number 1. Its token is the session's. What ends the session ends the lease: its release, its
//! TTL, an administrator.
//!
//! # Until when it is certain
//!
//! A caller has only its own clock, and does not know when its request arrived. So every answer says how long the lease is certain
//! *from when the request was sent*. The broker has heard it no earlier than that, so the TTL is certain. Who waited for the lock
//! was heard again at the end of the wait: the time from the arrival of the request to just before then is certain as well.

use std::time::Duration;

use sixpin_core::broker::api::{DoneStatus, LockRequest, OpenRequest, RequestError};
use sixpin_core::command::{self, Options};
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Label, OperationNumber, ResourceId};
use sixpin_core::token::SessionToken;
use sixpin_proto::v1;
use tokio::time::Instant;

use super::asked::Asked;
use super::json::write;
use super::problem::Problem;
use super::routes::{Answered, json};
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Api, Caller, Checked, KEEPALIVES_PER_TTL, checks};
use crate::frontend::messages::{replies, requests};

/// The one claim of a lease.
const CLAIM: ClaimNumber = ClaimNumber(1);
const OPERATION: OperationNumber = OperationNumber(1);
/// Longest wait of one request. What is in between cuts what takes a minute.
const WAIT_MAX: Duration = Duration::from_secs(55);

pub(super) async fn create(asked: Asked) -> Answered {
    let request: v1::LeaseRequest = asked.message()?;
    let wanted = Wanted::new(request, &asked)?;
    let repeats = asked.repeats();
    repeats.once(asked, async move |asked| wanted.take(&asked.door.api, &asked.from).await).await
}

pub(super) async fn get(asked: Asked) -> Answered {
    let (by, asked) = lease(asked)?;
    let Some(resource) = asked.door.api.resource_of(&by, CLAIM).await? else {
        // Says whether the session lives elsewhere, or not at all.
        asked.door.api.keep_alive(&asked.from, &by, 0).await?;
        return Err(over(&by).into());
    };
    // A copy of the request that took it: it only looks.
    let copy = lock_request(resource.clone(), Mode::NL, false);
    let done = asked.door.api.locked(&asked.from, &by, copy).await?;
    if done.status != DoneStatus::Is(command::Status::Granted) {
        return Err(over(&by).into());
    }
    let lease = v1::Lease { fence: replies::completion(&done).fence, ..held(&resource, done.mode, &by) };
    Ok(json(write(&lease)))
}

pub(super) async fn renew(asked: Asked) -> Answered {
    let (by, asked) = lease(asked)?;
    let kept = asked.door.api.keep_alive(&asked.from, &by, 0).await?;
    if kept.lost.contains(&CLAIM) {
        return Err(over(&by).into());
    }
    let ttl_ms = by.session.ttl_ms;
    let lease = by.session.to_string();
    Ok(json(write(&v1::LeaseRenewed { lease, ttl_ms, renew_every_ms: every(ttl_ms), valid_for_ms: ttl_ms })))
}

pub(super) async fn release(asked: Asked) -> Answered {
    let (by, asked) = lease(asked)?;
    match asked.door.api.close(&asked.from, &by).await {
        // It is over already: a repeat.
        Ok(()) | Err(RequestError::SessionGone(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(json(write(&v1::LeaseReleased { status: v1::Status::Released.into() })))
}

/// The lease that a request is about.
fn lease(mut asked: Asked) -> Checked<(SessionToken, Asked)> {
    let by = checks::token(&asked.token_of("lease")?)?;
    let v1::LeaseRef { .. } = asked.message()?;
    Ok((by, asked))
}

fn over(by: &SessionToken) -> RequestError {
    RequestError::SessionGone(by.session)
}

fn every(ttl_ms: u32) -> u32 {
    ttl_ms / KEEPALIVES_PER_TTL
}

fn held(resource: &ResourceId, mode: Option<Mode>, by: &SessionToken) -> v1::Lease {
    let ttl_ms = by.session.ttl_ms;
    v1::Lease {
        lease: by.session.to_string(),
        token: None,
        resource: resource.name.as_str().into(),
        lockspace: resource.lockspace.as_str().into(),
        mode: replies::mode(mode).into(),
        fence: 0,
        ttl_ms,
        renew_every_ms: every(ttl_ms),
        valid_for_ms: ttl_ms,
        value: None,
    }
}

fn lock_request(resource: ResourceId, mode: Mode, value_block: bool) -> LockRequest {
    LockRequest {
        claim: CLAIM,
        operation: OPERATION,
        resource,
        mode,
        options: checks::options([(Options::VALUE_BLOCK, value_block)]),
        conversion_deadlock: None,
        wait: None,
        blocking: false,
        owner: Label::default(),
        label: Label::default(),
        orphan: false,
    }
}

/// A lease that is asked for.
struct Wanted {
    begun: Instant,
    open: OpenRequest,
    lock: LockRequest,
}

impl Wanted {
    fn new(request: v1::LeaseRequest, asked: &Asked) -> Checked<Self> {
        let begun = Instant::now();
        let resource = Names::default().resource(&request.lockspace, &request.resource)?;
        let wait = Duration::from_millis(request.wait_ms.unwrap_or_default().into());
        if wait > WAIT_MAX {
            return Err(invalid(
                "`waitMs` is more than 55,000: ask again after that, or use a session, which keeps its place",
            ));
        }
        let program = asked.parts.headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let program: String = program.unwrap_or_default().chars().take(64).collect();
        let open = OpenRequest {
            ttl: checks::session_ttl(request.ttl_ms.map(u64::from))?,
            client: asked.from.info(&request.label, &program)?,
            bound: false,
            release_on_end: false,
            attach: false,
        };
        let lock = LockRequest {
            wait: Some(wait),
            owner: checks::label("owner", &request.owner)?,
            options: checks::options([(Options::VALUE_BLOCK, request.value_block), (Options::TRY, wait.is_zero())]),
            ..lock_request(resource, requests::mode(request.mode)?, request.value_block)
        };
        Ok(Self { begun, open, lock })
    }

    async fn take(self, api: &Api, from: &Caller) -> Answered {
        let Self { begun, open, lock } = self;
        let resource = lock.resource.clone();
        let opened = api.open(from, &resource.lockspace, open).await?;
        let session = Session { api: api.clone(), from: from.clone(), by: Some(opened.token.clone()) };
        let done = {
            let locking = api.lock(from, &opened.token, lock);
            tokio::pin!(locking);
            // Nobody else says that its client lives while it waits.
            loop {
                match tokio::time::timeout(opened.keepalive, &mut locking).await {
                    Ok(done) => break done?,
                    Err(_) => drop(api.keep_alive(from, &opened.token, 0).await?),
                }
            }
        };
        if done.status != DoneStatus::Is(command::Status::Granted) {
            return Err(Problem::No(Box::new(replies::completion(&done))));
        }
        let waited = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        api.keep_alive(from, &opened.token, 0).await?;
        let completion = replies::completion(&done);
        let lease = v1::Lease {
            token: Some(opened.token.to_string()),
            fence: completion.fence,
            value: completion.value,
            valid_for_ms: waited.saturating_add(opened.session.ttl_ms),
            ..held(&resource, done.mode, &opened.token)
        };
        session.keep();
        Ok(json(write(&lease)))
    }
}

/// A session that is closed unless somebody is told of it.
struct Session {
    api: Api,
    from: Caller,
    by: Option<SessionToken>,
}

impl Session {
    fn keep(mut self) {
        self.by = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(by) = self.by.take() {
            let (api, from) = (self.api.clone(), self.from.clone());
            // If that fails its TTL ends it.
            tokio::spawn(async move { drop(api.close(&from, &by).await) });
        }
    }
}
