//! `InspectService`: who holds and who waits.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tonic::{Request, Status};
use v1::inspect_service_server::InspectService;
use v1::list_claims_request::Whose;

use super::{Answer, answer, caller, errors, views};
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::waits::{Wanted, Which};
use crate::frontend::api::{Api, Caller, Checked, checks};
use crate::frontend::messages::requests;

/// The inspection service of one process.
#[derive(Clone)]
pub struct Inspect {
    api: Api,
}

impl Inspect {
    /// Shows what `api` knows.
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn resource(
        &self,
        from: &Caller,
        get: v1::GetResourceRequest,
    ) -> Result<v1::GetResourceResponse, RequestError> {
        let id = requests::resource(get.resource, &mut Names::default())?;
        let found = self.api.resource(from, &id).await?;
        Ok(v1::GetResourceResponse { state: Some(views::resource(&id, found.as_ref())) })
    }

    fn watch(&self, from: &Caller, watch: v1::WatchResourceRequest) -> Checked<WatchStream> {
        let id = requests::resource(watch.resource, &mut Names::default())?;
        let states = self.api.watch(from, id.clone())?;
        Ok(Box::pin(states.map(move |state| match state {
            Ok(found) => Ok(v1::WatchResourceResponse { state: Some(views::resource(&id, found.as_ref())) }),
            Err(error) => Err(errors::status(&error)),
        })))
    }

    async fn resources(
        &self,
        from: &Caller,
        list: v1::ListResourcesRequest,
    ) -> Result<v1::ListResourcesResponse, RequestError> {
        let limit = checks::page_limit(list.limit)?;
        let lockspace = Names::default().lockspace(&list.lockspace)?;
        checks::prefix(&list.prefix)?;
        let mut resources = Vec::new();
        let next = self
            .api
            .resources(from, lockspace, list.prefix, &list.after, limit, |id, version, stored| {
                resources.push(views::summary(id, version, stored));
            })
            .await?;
        Ok(v1::ListResourcesResponse { resources, next })
    }

    async fn claims(&self, from: &Caller, list: v1::ListClaimsRequest) -> Result<v1::ListClaimsResponse, RequestError> {
        let lockspace = Names::default().lockspace(&list.lockspace)?;
        let limit = checks::page_limit(list.limit)?;
        let mut claims = Vec::new();
        let show = |id: &_, view: sixpin_core::resource::ClaimView<'_>| claims.push(views::claim_on(id, &view));
        let next = match list.whose {
            Some(Whose::Session(session)) => {
                let session = checks::session_id("session", &session)?;
                self.api.claims_of_session(from, &lockspace, session, &list.after, limit, show).await?
            }
            Some(Whose::Owner(owner)) if !owner.is_empty() => {
                let owner = checks::label("owner", &owner)?;
                self.api.claims_of_owner(from, lockspace, &owner, list.after, limit, show).await?
            }
            _ => return Err(invalid("say whose claims: give a `session` or an `owner`")),
        };
        Ok(v1::ListClaimsResponse { claims, next })
    }

    async fn sessions(
        &self,
        from: &Caller,
        list: v1::ListSessionsRequest,
    ) -> Result<v1::ListSessionsResponse, RequestError> {
        let page = if list.sessions.is_empty() {
            self.api.sessions(from, &list.after, checks::page_limit(list.limit)?).await?
        } else {
            self.api.sessions_named(from, checks::sessions(&list.sessions)?).await?
        };
        Ok(v1::ListSessionsResponse {
            sessions: page.sessions.iter().map(views::session).collect(),
            next: page.next,
            total: page.total as u64,
        })
    }

    async fn brokers(&self, from: &Caller) -> Result<v1::ListBrokersResponse, RequestError> {
        let brokers = self.api.brokers(from).await?;
        Ok(v1::ListBrokersResponse { brokers: brokers.into_iter().map(views::broker).collect() })
    }

    async fn status(&self, from: &Caller) -> Result<v1::GetStatusResponse, RequestError> {
        Ok(v1::GetStatusResponse { status: Some(views::status(self.api.status(from).await?)) })
    }

    async fn waits(&self, from: &Caller, list: v1::ListWaitsRequest) -> Result<v1::ListWaitsResponse, RequestError> {
        let which = Which {
            wanted: wanted(&list.lockspace, list.prefix)?,
            min: Duration::from_millis(list.min_ms),
            sessions: checks::sessions(&list.sessions)?.into_iter().collect(),
            limit: checks::page_limit(list.limit)?,
        };
        // Shared, because most chains have their ends in common.
        let waits = self.api.waits(from, &which, |id, view| Arc::new(views::claim_on(id, view))).await?;
        Ok(views::waits(waits))
    }

    async fn contended(
        &self,
        from: &Caller,
        list: v1::ListContendedRequest,
    ) -> Result<v1::ListContendedResponse, RequestError> {
        let wanted = wanted(&list.lockspace, list.prefix)?;
        let limit = checks::page_limit(list.limit)?;
        Ok(v1::ListContendedResponse { resources: self.api.contended(from, &wanted, limit, views::summary).await? })
    }
}

/// What is waited for. Without a lockspace it is looked for in all.
fn wanted(lockspace: &str, prefix: String) -> Checked<Wanted> {
    checks::prefix(&prefix)?;
    let lockspace = if lockspace.is_empty() { None } else { Some(Names::default().lockspace(lockspace)?) };
    Ok(Wanted { lockspace, prefix })
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResourceResponse, Status>> + Send>>;

#[tonic::async_trait]
impl InspectService for Inspect {
    type WatchResourceStream = WatchStream;

    async fn get_resource(&self, request: Request<v1::GetResourceRequest>) -> Answer<v1::GetResourceResponse> {
        answer(self.resource(&caller(&request), request.into_inner()).await)
    }

    async fn list_resources(&self, request: Request<v1::ListResourcesRequest>) -> Answer<v1::ListResourcesResponse> {
        answer(self.resources(&caller(&request), request.into_inner()).await)
    }

    async fn list_claims(&self, request: Request<v1::ListClaimsRequest>) -> Answer<v1::ListClaimsResponse> {
        answer(self.claims(&caller(&request), request.into_inner()).await)
    }

    async fn watch_resource(&self, request: Request<v1::WatchResourceRequest>) -> Answer<WatchStream> {
        answer(self.watch(&caller(&request), request.into_inner()))
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsResponse> {
        answer(self.sessions(&caller(&request), request.into_inner()).await)
    }

    async fn list_brokers(&self, request: Request<v1::ListBrokersRequest>) -> Answer<v1::ListBrokersResponse> {
        answer(self.brokers(&caller(&request)).await)
    }

    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        answer(self.status(&caller(&request)).await)
    }

    async fn list_waits(&self, request: Request<v1::ListWaitsRequest>) -> Answer<v1::ListWaitsResponse> {
        answer(self.waits(&caller(&request), request.into_inner()).await)
    }

    async fn list_contended(&self, request: Request<v1::ListContendedRequest>) -> Answer<v1::ListContendedResponse> {
        answer(self.contended(&caller(&request), request.into_inner()).await)
    }
}
