//! Calls outside sessions, for tools: what brokers know, and administration.
//!
//! A call goes to the first broker that answers (see `reach`). One that answers and then cannot do what is asked, because it
//! is full, leaves, or closes the connection, is left for the next one; one that says which other broker has to do it sends
//! the call there. So a call may be made more than once, and every call here is one that can be.

use std::sync::Arc;
use std::time::Duration;

use sixpin_proto::v1;
use sixpin_proto::v1::admin_service_client::AdminServiceClient;
use sixpin_proto::v1::inspect_service_client::InspectServiceClient;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::client::{Client, Settings};
use crate::error::Error;
use crate::reach::Reach;
use crate::status::{another_may_do_it, describe, directions, refusal};

/// How long a broker that answers may take for a call that does not wait for anybody.
const ANSWER_WITHIN: Option<Duration> = Some(Duration::from_secs(10));
/// How often a call lets itself be sent to another broker: a session may move while it is looked for.
const DIRECTIONS_MAX: usize = 3;
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
pub struct Watch(Streaming<v1::WatchResourceResponse>);

impl Client {
    /// Looks at what brokers know.
    pub fn inspection(&self) -> Inspection {
        Inspection { way: Way { settings: Arc::clone(&self.settings), one: None } }
    }

    /// Administration, through the brokers' admin listeners.
    pub fn administration(&self) -> Administration {
        Administration { way: Way { settings: Arc::clone(&self.settings), one: None } }
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
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.watch_resource(request)).map(Watch)
    }

    /// Sessions that the broker vouches for, one page.
    pub async fn list_sessions(&self, request: v1::ListSessionsRequest) -> Result<v1::ListSessionsResponse, Error> {
        call!(self.way, ANSWER_WITHIN, InspectServiceClient.list_sessions(request))
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
        let message = self.0.message().await.map_err(|status| refusal(&status))?;
        Ok(message.map(|message| message.state.unwrap_or_default()))
    }
}

/// How brokers are reached.
#[derive(Debug, Clone)]
struct Way {
    settings: Arc<Settings>,
    /// Always this one.
    one: Option<Channel>,
}

impl Way {
    async fn first(&self) -> Result<(String, Channel), Error> {
        let mut reach = self.reach();
        match reach.next().await {
            Some(first) => Ok(first),
            None => Err(Error::Unreachable { tried: reach.tried() }),
        }
    }

    fn at(&self, channel: Channel) -> Self {
        Self { one: Some(channel), ..self.clone() }
    }

    fn reach(&self) -> Reach {
        Reach::new(self.settings.endpoints.iter().cloned(), self.settings.connect_timeout)
    }

    /// The answer, and the way to the broker that gave it.
    async fn ask<T, R>(&self, within: Option<Duration>, call: impl Fn(Channel) -> R) -> Result<(T, Channel), Error>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        if let Some(channel) = &self.one {
            let answer = timed(within, call(channel.clone())).await.map_err(|status| refusal(&status))?;
            return Ok((answer, channel.clone()));
        }
        let mut reach = self.reach();
        while let Some((address, channel)) = reach.next().await {
            match self.follow(address, channel, within, &call).await {
                Ok(answer) => return Ok(answer),
                Err((address, status)) if another_may_do_it(&status) => reach.failed(address, describe(&status)),
                Err((_, status)) => return Err(refusal(&status)),
            }
        }
        Err(Error::Unreachable { tried: reach.tried() })
    }

    /// Asks one broker, and the one that it names if it says that another one has to. A failure names who failed.
    async fn follow<T, R>(
        &self,
        address: String,
        channel: Channel,
        within: Option<Duration>,
        call: &impl Fn(Channel) -> R,
    ) -> Result<(T, Channel), (String, Status)>
    where
        R: Future<Output = Result<Response<T>, Status>>,
    {
        let (mut address, mut channel) = (address, channel);
        let mut directions_left = DIRECTIONS_MAX;
        loop {
            let status = match timed(within, call(channel.clone())).await {
                Ok(answer) => return Ok((answer, channel)),
                Err(status) => status,
            };
            let there = directions(&status).filter(|_| directions_left > 0);
            let Some(there) = there else { return Err((address, status)) };
            directions_left -= 1;
            let mut reach = Reach::new([there.clone()], self.settings.connect_timeout);
            let Some(found) = reach.next().await else {
                let what = reach.tried().pop().map(|tried| tried.what).unwrap_or_default();
                return Err((there, Status::unavailable(what)));
            };
            (address, channel) = found;
        }
    }
}

async fn timed<T>(
    within: Option<Duration>,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    let answer = match within {
        Some(within) => tokio::time::timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {within:?}")))),
        None => call.await,
    };
    answer.map(Response::into_inner)
}
