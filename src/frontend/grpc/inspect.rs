//! `InspectService`: who holds and who waits.
//!
//! Resources are read from the store, so any broker can be asked; sessions and counters are those of the broker asked.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use sixpin_core::backend::Family;
use sixpin_core::broker::api::{Query, Reply, RequestError};
use sixpin_core::limits;
use sixpin_core::name::{ClaimId, ClaimNumber, ResourceId, SessionId, Version};
use sixpin_proto::v1;
use tonic::{Request, Response, Status};
use v1::inspect_service_server::InspectService;

use super::errors::{self, invalid};
use super::names::Names;
use super::replies::unexpected;
use super::{lookup, requests, views};
use crate::runtime::{EngineHandle, Runtime};

/// A watched resource is read again at the latest after this time: a hint may be lost.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Resources looked through for one page of an owner's claims.
const OWNER_SCAN_MAX: usize = 1_000;
/// Resources of one step of that.
const OWNER_SCAN_STEP: usize = 32;

/// The inspection service of one process.
#[derive(Clone)]
pub struct Inspect {
    runtime: Runtime,
}

impl Inspect {
    /// Shows what the engines of `runtime` have.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    async fn resource(&self, get: v1::GetResourceRequest) -> Result<v1::ResourceState, RequestError> {
        let id = Names::default().resource(get.resource)?;
        state(self.runtime.engine(&id.lockspace), &id).await
    }

    fn watch(&self, get: v1::GetResourceRequest) -> Result<WatchStream, RequestError> {
        let id = Names::default().resource(get.resource)?;
        let watch = Watch { engine: self.runtime.engine(&id.lockspace).clone(), id, seen: None, failed: false };
        Ok(Box::pin(futures::stream::unfold(watch, Watch::next)))
    }

    async fn resources(&self, list: v1::ListResourcesRequest) -> Result<v1::ListResourcesReply, RequestError> {
        let limit = lookup::page_limit(list.limit)?;
        let lockspace = Names::default().lockspace(&list.lockspace)?;
        check_prefix(&list.prefix)?;
        let engine = self.runtime.engine(&lockspace);
        let family = Family::Resources { lockspace, prefix: list.prefix };
        let (ids, next) = lookup::list(engine, &family, &list.after, limit).await?;
        let mut resources = Vec::with_capacity(ids.len());
        lookup::resources(engine, &ids, |id, version, stored| resources.push(views::summary(id, version, &stored)))
            .await?;
        Ok(v1::ListResourcesReply { resources, next: next.unwrap_or_default() })
    }

    async fn claims(&self, list: v1::ListClaimsRequest) -> Result<v1::ListClaimsReply, RequestError> {
        let lockspace = Names::default().lockspace(&list.lockspace)?;
        let engine = self.runtime.engine(&lockspace);
        let limit = lookup::page_limit(list.limit)?;
        match (list.session.is_empty(), list.owner.is_empty()) {
            (false, true) => {
                let session = requests::session_id("session", &list.session)?;
                claims_of_session(engine, session, &list.after, limit).await
            }
            (true, false) => {
                requests::label("owner", &list.owner)?;
                let family = Family::Resources { lockspace, prefix: String::new() };
                claims_of_owner(engine, &family, &list.owner, list.after, limit).await
            }
            _ => Err(invalid("give exactly one of `session` and `owner`")),
        }
    }

    async fn sessions(&self, list: v1::ListSessionsRequest) -> Result<v1::ListSessionsReply, RequestError> {
        if !list.sessions.is_empty() {
            return self.sessions_named(&list.sessions).await;
        }
        let mut room = lookup::page_limit(list.limit)?;
        let mut place = Place::parse(&list.after)?;
        let mut reply = v1::ListSessionsReply::default();
        for (number, engine) in self.runtime.engines().iter().enumerate() {
            // Backends before the place were shown on earlier pages; they still count in the total.
            let shown = number < place.engine || room == 0;
            let after = if number == place.engine { place.session.take() } else { None };
            let query = Query::Sessions { after, limit: if shown { 0 } else { room } };
            let Reply::Sessions { sessions, more, total } = engine.query(query).await? else { continue };
            reply.total += total as u64;
            if shown {
                if number > place.engine && reply.next.is_empty() && total > 0 {
                    reply.next = format!("{number}:");
                }
                continue;
            }
            room = room.saturating_sub(sessions.len());
            if let (true, Some(last)) = (more, sessions.last()) {
                room = 0;
                reply.next = format!("{number}:{}", last.session);
            }
            reply.sessions.extend(sessions.iter().map(views::session));
        }
        Ok(reply)
    }

    async fn sessions_named(&self, names: &[String]) -> Result<v1::ListSessionsReply, RequestError> {
        if names.len() > limits::PAGE_MAX {
            return Err(invalid(format!("`sessions` has {} entries: at most {}", names.len(), limits::PAGE_MAX)));
        }
        let sessions: Vec<SessionId> =
            names.iter().map(|name| requests::session_id("sessions", name)).collect::<Result<_, _>>()?;
        let mut reply = v1::ListSessionsReply::default();
        for engine in self.runtime.engines() {
            let query = Query::SessionsNamed { sessions: sessions.clone() };
            let Reply::Sessions { sessions, total, .. } = engine.query(query).await? else { continue };
            reply.total += total as u64;
            reply.sessions.extend(sessions.iter().map(views::session));
        }
        Ok(reply)
    }

    async fn brokers(&self) -> Result<v1::ListBrokersReply, RequestError> {
        let mut brokers = Vec::new();
        for engine in self.runtime.engines() {
            match engine.query(Query::Brokers).await? {
                Reply::Brokers(views) => {
                    brokers.extend(views.into_iter().map(|view| views::broker(view, engine.name())));
                }
                other => return Err(unexpected(&other)),
            }
        }
        Ok(v1::ListBrokersReply { brokers })
    }

    async fn status(&self) -> Result<v1::BrokerStatus, RequestError> {
        let mut backends = Vec::new();
        for (number, engine) in self.runtime.engines().iter().enumerate() {
            match engine.query(Query::Status).await? {
                Reply::Status(view) => {
                    let lockspaces = self.runtime.lockspaces_of(number).map(ToString::to_string).collect();
                    backends.push(views::backend(engine, lockspaces, &view));
                }
                other => return Err(unexpected(&other)),
            }
        }
        Ok(v1::BrokerStatus {
            name: self.runtime.name().into(),
            incarnation: self.runtime.default_engine().incarnation().to_string(),
            program: crate::PROGRAM.into(),
            uptime_ms: self.runtime.started().elapsed().as_millis() as u64,
            backends,
        })
    }
}

async fn state(engine: &EngineHandle, id: &ResourceId) -> Result<v1::ResourceState, RequestError> {
    let found = lookup::resource(engine, id).await?;
    Ok(found.map_or_else(|| views::absent(id), |(version, stored)| views::stored(id, version, &stored)))
}

/// Where the broker says that the session's claims are, and what stands there.
async fn claims_of_session(
    engine: &EngineHandle,
    session: SessionId,
    after: &str,
    limit: usize,
) -> Result<v1::ListClaimsReply, RequestError> {
    let after = match after {
        "" => 0,
        number => number.parse().map_err(|_| lookup::bad_after())?,
    };
    let query = Query::Claims { session, after: ClaimNumber(after), limit: limit + 1 };
    let mut page: Vec<(ClaimNumber, ResourceId)> = match engine.query(query).await? {
        Reply::Claims(places) => places,
        other => return Err(unexpected(&other)),
    };
    let next =
        if page.len() > limit { page.pop().and(page.last()).map(|(number, _)| number.to_string()) } else { None };
    let (numbers, ids): (Vec<_>, Vec<_>) = page.into_iter().unzip();
    let mut claims = Vec::with_capacity(ids.len());
    // One resource may have several claims of the session: each asks for its own.
    for (number, id) in numbers.into_iter().zip(&ids) {
        let Some((_, Ok(resource))) = lookup::resource(engine, id).await? else { continue };
        let claim = resource.claim(ClaimId { session, number });
        claims.extend(claim.map(|view| with_resource(views::claim(&view), id)));
    }
    Ok(v1::ListClaimsReply { claims, next: next.unwrap_or_default() })
}

/// Owners have no index: the lockspace is looked through, a bounded part of it for each page. A page may be empty and
/// still have a next one.
async fn claims_of_owner(
    engine: &EngineHandle,
    family: &Family,
    owner: &str,
    mut after: String,
    limit: usize,
) -> Result<v1::ListClaimsReply, RequestError> {
    let mut claims = Vec::new();
    let mut scanned = 0;
    loop {
        let (ids, next) = lookup::list(engine, family, &after, OWNER_SCAN_STEP).await?;
        scanned += ids.len();
        lookup::resources(engine, &ids, |id, _, stored| {
            let Ok(resource) = stored else { return };
            let all = resource.granted().chain(resource.converting()).chain(resource.waiting());
            let owned = all.filter(|view| view.owner.as_str() == owner);
            claims.extend(owned.map(|view| with_resource(views::claim(&view), id)));
        })
        .await?;
        after = next.unwrap_or_default();
        if after.is_empty() || claims.len() >= limit || scanned >= OWNER_SCAN_MAX {
            return Ok(v1::ListClaimsReply { claims, next: after });
        }
    }
}

fn with_resource(mut claim: v1::ClaimInfo, id: &ResourceId) -> v1::ClaimInfo {
    claim.resource = Some(views::resource_id(id));
    claim
}

fn check_prefix(prefix: &str) -> Result<(), RequestError> {
    if prefix.len() > limits::RESOURCE_NAME_BYTES_MAX || prefix.chars().any(char::is_control) {
        return Err(invalid("`prefix` is longer than a resource name, or has control characters"));
    }
    Ok(())
}

/// Where a listing of sessions goes on: `backend:session`, the backend by its place in the configuration.
struct Place {
    engine: usize,
    session: Option<SessionId>,
}

impl Place {
    fn parse(after: &str) -> Result<Self, RequestError> {
        if after.is_empty() {
            return Ok(Self { engine: 0, session: None });
        }
        let (engine, session) = after.split_once(':').ok_or_else(lookup::bad_after)?;
        let session = match session {
            "" => None,
            session => Some(session.parse().map_err(|_| lookup::bad_after())?),
        };
        Ok(Self { engine: engine.parse().map_err(|_| lookup::bad_after())?, session })
    }
}

/// A watched resource. There is no queue: what changes while the client is busy is merged into the next state.
struct Watch {
    engine: EngineHandle,
    id: ResourceId,
    /// The version sent last; absent before the first.
    seen: Option<Version>,
    failed: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<v1::ResourceState, Status>, Self)> {
        if self.failed {
            return None;
        }
        loop {
            match state(&self.engine, &self.id).await {
                Ok(state) if self.seen != Some(Version(state.version)) => {
                    self.seen = Some(Version(state.version));
                    return Some((Ok(state), self));
                }
                Ok(state) => {
                    let backend = self.engine.backend();
                    lookup::changed(&*backend, &self.id, Version(state.version), WATCH_INTERVAL).await;
                }
                Err(error) => {
                    self.failed = true;
                    return Some((Err(errors::status(&error)), self));
                }
            }
        }
    }
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::ResourceState, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, RequestError>) -> Answer<T> {
    result.map(Response::new).map_err(|error| errors::status(&error))
}

#[tonic::async_trait]
impl InspectService for Inspect {
    type WatchResourceStream = WatchStream;

    async fn get_resource(&self, request: Request<v1::GetResourceRequest>) -> Answer<v1::ResourceState> {
        answer(self.resource(request.into_inner()).await)
    }

    async fn list_resources(&self, request: Request<v1::ListResourcesRequest>) -> Answer<v1::ListResourcesReply> {
        answer(self.resources(request.into_inner()).await)
    }

    async fn list_claims(&self, request: Request<v1::ListClaimsRequest>) -> Answer<v1::ListClaimsReply> {
        answer(self.claims(request.into_inner()).await)
    }

    async fn watch_resource(&self, request: Request<v1::GetResourceRequest>) -> Answer<WatchStream> {
        answer(self.watch(request.into_inner()))
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsReply> {
        answer(self.sessions(request.into_inner()).await)
    }

    async fn list_brokers(&self, _request: Request<v1::ListBrokersRequest>) -> Answer<v1::ListBrokersReply> {
        answer(self.brokers().await)
    }

    async fn get_status(&self, _request: Request<v1::GetStatusRequest>) -> Answer<v1::BrokerStatus> {
        answer(self.status().await)
    }
}
