//! Calls outside sessions, for tools: what brokers know, and administration.
//!
//! A call may be made more than once (see `way`), so every call here is one that can be.

use std::sync::Arc;
use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::admin_service_client::AdminServiceClient;
use sixpin_proto::v1::inspect_service_client::InspectServiceClient;
use tonic::Streaming;

use crate::address::address;
use crate::client::Client;
use crate::error::Error;
use crate::status::refusal;
use crate::way::Way;

/// How long a broker that answers may take for a call that does not wait for anybody.
const ANSWER_WITHIN: Option<Duration> = Some(Duration::from_secs(10));
/// Longest answer: a resource with its longest queue is larger than what gRPC allows by default.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Looks at what brokers know. Nothing that is asked here changes anything.
///
/// All fail with what the broker refused, or [`Error::Unreachable`] if none could answer.
#[derive(Debug, Clone)]
pub struct Inspection {
    way: Way,
}

/// Administration: takes locks and sessions away, and ends brokers. Brokers serve it on a listener of its own
/// (`--admin-listen`), so it is reached through a client of those addresses.
///
/// All fail with what the broker refused, or [`Error::Unreachable`] if none could do it.
#[derive(Debug, Clone)]
pub struct Administration {
    way: Way,
}

/// A resource, each time something about it changed.
#[derive(Debug)]
pub struct Watch {
    states: Streaming<v1::WatchResourceResponse>,
    /// Kept, because a broker inside this program ends when the last way to it is dropped.
    _way: Way,
}

impl Client {
    /// Looks at what brokers know.
    pub fn inspection(&self) -> Inspection {
        Inspection { way: Way::new(Arc::clone(&self.settings)) }
    }

    /// Administration, through the brokers' admin listeners.
    pub fn administration(&self) -> Administration {
        Administration { way: Way::new(Arc::clone(&self.settings)) }
    }

    /// The address of the first broker that answers.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if none does.
    pub async fn first_that_answers(&self) -> Result<String, Error> {
        self.inspection().way.first().await.map(|(address, _)| address)
    }
}

/// Makes one call: `call_one!(way, within, Service.method(request))`. Gives the answer and the way to the broker that gave it.
macro_rules! call_one {
    ($way:expr, $within:expr, $service:ident.$method:ident($request:expr)) => {{
        let request = $request;
        let call = |channel| {
            let mut service = $service::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
            let request = request.clone();
            async move { service.$method(request).await }
        };
        $way.ask($within, call).await
    }};
}

/// The same, and only the answer.
macro_rules! call {
    ($($call:tt)*) => {
        call_one!($($call)*).map(|(reply, _)| reply)
    };
}

impl Inspection {
    /// The same, at the broker with this address, `host:port`, and at no other: as brokers tell it of each other.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if it is no address.
    pub fn of_broker(&self, broker: &str) -> Result<Self, Error> {
        Ok(Self { way: self.way.to(address(broker)?) })
    }

    /// The same, at the first broker that answers and at no other.
    pub async fn of_one(&self) -> Result<Self, Error> {
        let (_, channel) = self.way.first().await?;
        Ok(Self { way: self.way.at(channel) })
    }

    /// Who has a resource, and who waits for it.
    pub async fn get_resource(&self, request: v1::GetResourceRequest) -> Result<v1::ResourceState, Error> {
        let response = call!(self.way, ANSWER_WITHIN, InspectServiceClient.get_resource(request))?;
        Ok(response.state.unwrap_or_default())
    }

    /// Resources with claims, one page.
    pub async fn list_resources(&self, request: v1::ListResourcesRequest) -> Result<v1::ListResourcesResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_resources(request))
    }

    /// Claims of one session.
    pub async fn list_claims(&self, request: v1::ListClaimsRequest) -> Result<v1::ListClaimsResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_claims(request))
    }

    /// A resource as it is, and again each time it changed.
    pub async fn watch_resource(&self, request: v1::WatchResourceRequest) -> Result<Watch, Error> {
        let states = call!(self.way, ANSWER_WITHIN, InspectServiceClient.watch_resource(request))?;
        Ok(Watch { states, _way: self.way.clone() })
    }

    /// Sessions that the broker vouches for, one page.
    pub async fn list_sessions(&self, request: v1::ListSessionsRequest) -> Result<v1::ListSessionsResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_sessions(request))
    }

    /// The longest waits of sessions that the broker vouches for, and who is in their way.
    pub async fn list_waits(&self, request: v1::ListWaitsRequest) -> Result<v1::ListWaitsResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_waits(request))
    }

    /// The resources for which most sessions of the broker wait.
    pub async fn list_contended(&self, request: v1::ListContendedRequest) -> Result<v1::ListContendedResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_contended(request))
    }

    /// The brokers on the store, as the one that answers sees them; and inspection of that one: the address that it tells to
    /// others may not be one for this program.
    pub async fn list_brokers(&self) -> Result<(v1::ListBrokersResponse, Self), Error> {
        let request = v1::ListBrokersRequest {};
        let (reply, channel) = call_one!(self.way, ANSWER_WITHIN, InspectServiceClient.list_brokers(request))?;
        Ok((reply, Self { way: self.way.at(channel) }))
    }

    /// How the broker is.
    pub async fn get_status(&self) -> Result<v1::BrokerStatus, Error> {
        let response = call!(self.way, ANSWER_WITHIN, InspectServiceClient.get_status(v1::GetStatusRequest {}))?;
        Ok(response.status.unwrap_or_default())
    }
}

impl Administration {
    /// Takes a claim away. Without `now` and `no_wait` it waits until the holder has confirmed or had its time.
    pub async fn force_unlock(&self, request: v1::ForceUnlockRequest) -> Result<v1::ForceUnlockResponse, Error> {
        let within = ANSWER_WITHIN.filter(|_| request.now || request.no_wait);
        call!(self.way, within, AdminServiceClient.force_unlock(request))
    }

    /// Asks the holder to let go: its client hears what it hears when somebody begins to wait. Only the broker of the session can.
    pub async fn notify_holder(&self, request: v1::NotifyHolderRequest) -> Result<v1::NotifyHolderResponse, Error> {
        call!(self.way, ANSWER_WITHIN, AdminServiceClient.notify_holder(request))
    }

    /// Ends a session. Without `now` and `no_wait` it waits until the holder has confirmed or had its time.
    pub async fn expire_session(&self, request: v1::ExpireSessionRequest) -> Result<v1::ExpireSessionResponse, Error> {
        let within = ANSWER_WITHIN.filter(|_| request.now || request.no_wait);
        call!(self.way, within, AdminServiceClient.expire_session(request))
    }

    /// Removes orphans of a resource.
    pub async fn purge_orphans(&self, request: v1::PurgeOrphansRequest) -> Result<v1::PurgeOrphansResponse, Error> {
        call!(self.way, ANSWER_WITHIN, AdminServiceClient.purge_orphans(request))
    }

    /// Removes a record that cannot be understood.
    pub async fn remove_damaged(&self, request: v1::RemoveDamagedRequest) -> Result<v1::RemoveDamagedResponse, Error> {
        call!(self.way, ANSWER_WITHIN, AdminServiceClient.remove_damaged(request))
    }

    /// Lets the broker end when its sessions have moved. Waits until they have, or the request's own time has passed.
    pub async fn drain_broker(&self, request: v1::DrainBrokerRequest) -> Result<v1::DrainBrokerResponse, Error> {
        call!(self.way, None, AdminServiceClient.drain_broker(request))
    }
}

impl Watch {
    /// The next state; `None` when the broker ended the stream.
    ///
    /// # Errors
    ///
    /// What the broker said, or what happened to the way to it.
    pub async fn next(&mut self) -> Result<Option<v1::ResourceState>, Error> {
        let message = self.states.message().await.map_err(|status| refusal(&status))?;
        Ok(message.map(|message| message.state.unwrap_or_default()))
    }
}
