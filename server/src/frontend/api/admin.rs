//! What administrators do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::{AdminRequest, Query, Reply, RequestError};
use sixpin_core::command::PurgeScope;
use sixpin_core::limits::SESSION_TTL_MAX;
use sixpin_core::name::{ClaimNumber, Lockspace, ResourceId, SessionId, Version};

use super::errors::{invalid, unexpected};
use super::{Api, Caller};
use crate::audit::{Line, Outcome};
use crate::drain::Drain;
use crate::lately::{Act, Deed};

/// On so many resources it is remembered that a session was expired.
const PLACES_MAX: usize = 100;

/// What administrators can do. Cheap to clone.
#[derive(Clone)]
pub struct Administration {
    api: Api,
    /// Absent where the broker ends with the program that it is inside of.
    drain: Option<Arc<Drain>>,
}

/// How urgent it is to take something away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Haste {
    /// Do not wait for the holder.
    pub now: bool,
    /// Answer before it is free.
    pub no_wait: bool,
}

/// What is or will be taken away.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Claims, by number.
    pub claims: Vec<ClaimNumber>,
    /// When they are free at the latest; zero: they are.
    pub free_in: Duration,
}

/// Holders that were asked to let go.
#[derive(Debug, Clone)]
pub struct Notified {
    /// Claims of which their client was told, by number.
    pub told: Vec<ClaimNumber>,
    /// Claims whose client does not want to hear of that.
    pub deaf: Vec<ClaimNumber>,
}

impl Administration {
    /// For the engines behind `api`; `drain` ends the broker.
    pub fn new(api: Api, drain: Option<Arc<Drain>>) -> Self {
        Self { api, drain }
    }

    /// Takes claims of a session on a resource away: all of them, unless one is named.
    pub async fn force_unlock(
        &self,
        from: &Caller,
        resource: ResourceId,
        session: SessionId,
        claim: Option<ClaimNumber>,
        haste: Haste,
    ) -> Result<Taken, RequestError> {
        self.api.check(from, Verb::Force, Place::Resource(&resource))?;
        let line = from.line(Verb::Force).on(&resource).session(session).claim(claim, None);
        let deed = deed(from, Act::ForceUnlock).to(session, claim);
        let (on, Haste { now, no_wait }) = (resource.clone(), haste);
        let request = AdminRequest::ForceUnlock { resource, session, claim, now, no_wait };
        let taken = taken(self.ask(line, &on.lockspace, request).await?)?;
        self.api.lately.did(&on, deed);
        Ok(taken)
    }

    /// Asks the client of a session to let go of its claims on a resource: of all of them, unless one is named.
    pub async fn notify_holder(
        &self,
        from: &Caller,
        resource: ResourceId,
        session: SessionId,
        claim: Option<ClaimNumber>,
    ) -> Result<Notified, RequestError> {
        self.api.check(from, Verb::Notify, Place::Resource(&resource))?;
        let line = from.line(Verb::Notify).on(&resource).session(session).claim(claim, None);
        let (on, deed) = (resource.clone(), deed(from, Act::Notify).to(session, claim));
        match self.ask(line, &on.lockspace, AdminRequest::Notify { resource, session, claim }).await? {
            Reply::Notified { told, deaf } => {
                if !told.is_empty() {
                    self.api.lately.did(&on, deed);
                }
                Ok(Notified { told, deaf })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a session of the store of a lockspace.
    pub async fn expire_session(
        &self,
        from: &Caller,
        lockspace: &Lockspace,
        session: SessionId,
        haste: Haste,
    ) -> Result<Taken, RequestError> {
        // A session belongs to a store, and may hold locks in every lockspace there.
        self.api.check(from, Verb::Expire, Place::Everywhere)?;
        let Haste { now, no_wait } = haste;
        let line = from.line(Verb::Expire).at(Some(lockspace), None).session(session);
        let deed = deed(from, Act::Expire).to(session, None);
        let places = self.places_of(lockspace, session).await;
        let taken = taken(self.ask(line, lockspace, AdminRequest::ExpireSession { session, now, no_wait }).await?)?;
        for on in &places {
            self.api.lately.did(on, deed.clone());
        }
        Ok(taken)
    }

    /// The first resources on which a session has claims; none if that is not known.
    async fn places_of(&self, lockspace: &Lockspace, session: SessionId) -> BTreeSet<ResourceId> {
        let query = Query::Claims { session, after: ClaimNumber(0), limit: PLACES_MAX };
        match self.api.engine(lockspace).query(query).await {
            Ok(Reply::Claims(claims)) => claims.into_iter().map(|(_, id)| id).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Removes orphans, and says how many.
    pub async fn purge(&self, from: &Caller, resource: ResourceId, scope: PurgeScope) -> Result<u32, RequestError> {
        self.api.check(from, Verb::Purge, Place::Resource(&resource))?;
        let line = from.line(Verb::Purge).on(&resource);
        let (on, deed) = (resource.clone(), deed(from, Act::Purge));
        match self.ask(line, &on.lockspace, AdminRequest::Purge { resource, scope }).await? {
            Reply::Purged { purged } => {
                self.api.lately.did(&on, deed);
                Ok(purged)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a record that cannot be understood, at the version that was seen, and says how long nothing is granted there.
    pub async fn remove_damaged(
        &self,
        from: &Caller,
        resource: ResourceId,
        version: Version,
        now: bool,
    ) -> Result<Duration, RequestError> {
        self.api.check(from, Verb::Force, Place::Resource(&resource))?;
        if version.is_absent() {
            return Err(invalid("`version` is missing: give the one that was seen damaged"));
        }
        let line = from.line("remove-damaged").on(&resource);
        let (on, deed) = (resource.clone(), deed(from, Act::RemoveDamaged));
        match self.ask(line, &on.lockspace, AdminRequest::RemoveDamaged { resource, version, now }).await? {
            Reply::DamagedRemoved { free_in } => {
                self.api.lately.did(&on, deed);
                Ok(free_in)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Drains the broker, and says how many sessions were told to move. Absent: holders have as long as is configured.
    pub async fn drain(&self, from: &Caller, timeout: Option<Duration>) -> Result<u32, RequestError> {
        self.api.check(from, Verb::Drain, Place::Everywhere)?;
        if timeout.is_some_and(|timeout| timeout > SESSION_TTL_MAX) {
            return Err(invalid("`timeout_ms` is more than an hour"));
        }
        let Some(drain) = &self.drain else {
            return Err(invalid(
                "this broker is inside a program and ends with it: end the program, or take its locks away",
            ));
        };
        self.api.access.audit().write(|| from.line(Verb::Drain));
        Ok(drain.begin(timeout).await)
    }

    /// Has it done, and writes down how it came out.
    async fn ask(&self, line: Line, lockspace: &Lockspace, request: AdminRequest) -> Result<Reply, RequestError> {
        let answer = self.api.engine(lockspace).admin(request).await;
        self.api.access.audit().write(|| match &answer {
            Ok(_) => line,
            Err(error) => line.outcome(Outcome::Failed, error),
        });
        answer
    }
}

/// Something that somebody begins to do.
fn deed(from: &Caller, act: Act) -> Deed {
    Deed::begins(act, &from.who.name())
}

fn taken(reply: Reply) -> Result<Taken, RequestError> {
    match reply {
        Reply::Forced { claims, free_in } => Ok(Taken { claims, free_in }),
        other => Err(unexpected(&other)),
    }
}
