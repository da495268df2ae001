//! `InspectService`: who holds and who waits.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use sixpin_proto::v1;
use tonic::{Request, Status};
use v1::inspect_service_server::InspectService;

use super::{Answer, answer, caller, errors};
use crate::frontend::api::Api;
use crate::frontend::messages::inspection::InspectionCalls;

/// The inspection service of one process.
#[derive(Clone)]
pub struct Inspect {
    calls: InspectionCalls,
}

impl Inspect {
    /// Shows what `api` knows.
    pub fn new(api: Api) -> Self {
        Self { calls: InspectionCalls::new(api) }
    }
}

type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchResourceResponse, Status>> + Send>>;

#[tonic::async_trait]
impl InspectService for Inspect {
    type WatchResourceStream = WatchStream;

    async fn get_resource(&self, request: Request<v1::GetResourceRequest>) -> Answer<v1::GetResourceResponse> {
        answer(self.calls.resource(&caller(&request), request.into_inner()).await)
    }

    async fn list_resources(&self, request: Request<v1::ListResourcesRequest>) -> Answer<v1::ListResourcesResponse> {
        answer(self.calls.resources(&caller(&request), request.into_inner()).await)
    }

    async fn list_claims(&self, request: Request<v1::ListClaimsRequest>) -> Answer<v1::ListClaimsResponse> {
        answer(self.calls.claims(&caller(&request), request.into_inner()).await)
    }

    async fn watch_resource(&self, request: Request<v1::WatchResourceRequest>) -> Answer<WatchStream> {
        let states = self.calls.watch(&caller(&request), request.into_inner());
        answer(states.map(|states| -> WatchStream {
            Box::pin(states.map(|state| state.map_err(|error| errors::status(&error))))
        }))
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsResponse> {
        answer(self.calls.sessions(&caller(&request), request.into_inner()).await)
    }

    async fn list_brokers(&self, request: Request<v1::ListBrokersRequest>) -> Answer<v1::ListBrokersResponse> {
        answer(self.calls.brokers(&caller(&request)).await)
    }

    async fn get_status(&self, request: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        answer(self.calls.status(&caller(&request)).await)
    }

    async fn list_waits(&self, request: Request<v1::ListWaitsRequest>) -> Answer<v1::ListWaitsResponse> {
        answer(self.calls.waits(&caller(&request), request.into_inner()).await)
    }

    async fn list_contended(&self, request: Request<v1::ListContendedRequest>) -> Answer<v1::ListContendedResponse> {
        answer(self.calls.contended(&caller(&request), request.into_inner()).await)
    }
}
