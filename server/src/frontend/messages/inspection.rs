//! Who holds and who waits, in messages: for every front end.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use v1::list_claims_request::Whose;

use super::{requests, views};
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::waits::{Wanted, Which};
use crate::frontend::api::{Api, Caller, Checked, checks};

/// What one process shows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct InspectionCalls {
    api: Api,
}

impl InspectionCalls {
    /// Shows what `api` knows.
    pub(crate) fn new(api: Api) -> Self {
        Self { api }
    }

    pub(crate) async fn resource(
        &self,
        from: &Caller,
        get: v1::GetResourceRequest,
    ) -> Result<v1::GetResourceResponse, RequestError> {
        let id = requests::resource(get.resource, &mut Names::default())?;
        let found = self.api.resource(from, &id).await?;
        Ok(v1::GetResourceResponse { state: Some(views::resource(&id, found.as_ref())) })
    }

    pub(crate) async fn resources(
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

    pub(crate) async fn claims(
        &self,
        from: &Caller,
        list: v1::ListClaimsRequest,
    ) -> Result<v1::ListClaimsResponse, RequestError> {
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

    pub(crate) async fn sessions(
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

    pub(crate) async fn brokers(&self, from: &Caller) -> Result<v1::ListBrokersResponse, RequestError> {
        let brokers = self.api.brokers(from).await?;
        Ok(v1::ListBrokersResponse { brokers: brokers.into_iter().map(views::broker).collect() })
    }

    pub(crate) async fn status(&self, from: &Caller) -> Result<v1::GetStatusResponse, RequestError> {
        Ok(v1::GetStatusResponse { status: Some(views::status(self.api.status(from).await?)) })
    }

    pub(crate) async fn waits(
        &self,
        from: &Caller,
        list: v1::ListWaitsRequest,
    ) -> Result<v1::ListWaitsResponse, RequestError> {
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

    pub(crate) async fn contended(
        &self,
        from: &Caller,
        list: v1::ListContendedRequest,
    ) -> Result<v1::ListContendedResponse, RequestError> {
        let wanted = wanted(&list.lockspace, list.prefix)?;
        let limit = checks::page_limit(list.limit)?;
        Ok(v1::ListContendedResponse { resources: self.api.contended(from, &wanted, limit, views::summary).await? })
    }

    /// A resource as it is, and again whenever it has changed.
    pub(crate) fn watch(
        &self,
        from: &Caller,
        watch: v1::WatchResourceRequest,
    ) -> Checked<impl Stream<Item = Result<v1::WatchResourceResponse, RequestError>> + Send + use<>> {
        let id = requests::resource(watch.resource, &mut Names::default())?;
        let states = self.api.watch(from, id.clone())?;
        let state = move |found: Option<_>| Some(views::resource(&id, found.as_ref()));
        Ok(states.map(move |found| found.map(|found| v1::WatchResourceResponse { state: state(found) })))
    }
}

/// What is waited for. Without a lockspace it is looked for in all.
fn wanted(lockspace: &str, prefix: String) -> Checked<Wanted> {
    checks::prefix(&prefix)?;
    let lockspace = if lockspace.is_empty() { None } else { Some(Names::default().lockspace(lockspace)?) };
    Ok(Wanted { lockspace, prefix })
}
