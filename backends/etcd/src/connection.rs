//! Calls to a cluster: one member at a time, the next one when it fails.
//!
//! Everything goes to one member until that member does not answer or says that it cannot; then the next endpoint of the
//! URL is the one. Spreading calls over all members would gain nothing (each goes through the leader anyway) and would
//! send every third of them to a member that is down.
//!
//! Nothing is sent twice, with one exception: a request that was refused because our login was forgotten is sent again
//! after a new one. Such a request was refused before anything was done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::config::Config;
use crate::outcome::{Failure, wants_login};
use crate::wire::auth_client::AuthClient;
use crate::wire::cluster_client::ClusterClient;
use crate::wire::kv_client::KvClient;
use crate::wire::maintenance_client::MaintenanceClient;
use crate::wire::watch_client::WatchClient;
use crate::wire::watch_request::RequestUnion;
use crate::wire::{
    AlarmRequest, AlarmResponse, AuthenticateRequest, CompactionRequest, MemberListRequest, MemberListResponse,
    StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// The largest answer that is read: a full batch of conflicts, each of which tells the largest record. The usual limit
/// of 4 MiB would turn the answer of a write that happened into an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

type Token = MetadataValue<Ascii>;

/// Connections to the members of a cluster.
pub(crate) struct Connection {
    members: Vec<Member>,
    // Counts up; the member in use is this modulo their number.
    current: AtomicUsize,
    credentials: Option<(String, Secret)>,
    require_leader: bool,
    request_timeout: Duration,
}

struct Member {
    url: String,
    // Connects when it is first used and again after it broke. Many calls share it.
    channel: Channel,
    token: RwLock<Option<Token>>,
    // Held while logging in, so that many calls that were refused together log in once.
    login: tokio::sync::Mutex<()>,
}

impl Connection {
    /// For requests, each of which is bounded in time.
    pub(crate) fn for_requests(config: &Config) -> Result<Self, OpenError> {
        Self::new(config, false)
    }

    /// For a watch. A member that is cut off from the others ends it, instead of staying silent for ever.
    pub(crate) fn for_watch(config: &Config) -> Result<Self, OpenError> {
        Self::new(config, true)
    }

    fn new(config: &Config, require_leader: bool) -> Result<Self, OpenError> {
        let member = |url: &String| {
            Ok(Member {
                url: url.clone(),
                channel: config.endpoint(url)?.connect_lazy(),
                token: RwLock::default(),
                login: tokio::sync::Mutex::default(),
            })
        };
        Ok(Self {
            members: config.endpoints.iter().map(member).collect::<Result<_, _>>()?,
            current: AtomicUsize::new(0),
            credentials: config.credentials.clone(),
            require_leader,
            request_timeout: config.request_timeout,
        })
    }

    /// The endpoints, in the order of the URL.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.url.as_str())
    }

    /// One transaction.
    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Failure> {
        self.call(request, async |channel, request| {
            KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).txn(request).await
        })
        .await
    }

    /// Forgets the history before a revision.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        let request = CompactionRequest { revision };
        self.call(request, async |channel, request| KvClient::new(channel).compact(request).await).await.map(drop)
    }

    /// The members of the cluster.
    pub(crate) async fn member_list(&self) -> Result<MemberListResponse, Failure> {
        let request = MemberListRequest {};
        self.call(request, async |channel, request| ClusterClient::new(channel).member_list(request).await).await
    }

    /// The alarms that are raised.
    pub(crate) async fn alarms(&self) -> Result<AlarmResponse, Failure> {
        let request = AlarmRequest::default();
        self.call(request, async |channel, request| MaintenanceClient::new(channel).alarm(request).await).await
    }

    /// How the member at one endpoint is.
    pub(crate) async fn status(&self, endpoint: usize) -> Result<StatusResponse, Failure> {
        let send = async |channel: Channel, request| MaintenanceClient::new(channel).status(request).await;
        self.in_time(&self.members[endpoint], StatusRequest {}, send).await
    }

    /// Opens a watch. What comes from it is not bounded in time.
    pub(crate) async fn watch(&self, request: WatchCreateRequest) -> Result<Streaming<WatchResponse>, Failure> {
        self.call(request, async |channel, request| {
            let request: Request<WatchCreateRequest> = request;
            // The stream of requests stays open: etcd takes its end for the end of the watch.
            let stream = request.map(|create| {
                let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
                futures::stream::iter([create]).chain(futures::stream::pending())
            });
            WatchClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).watch(stream).await
        })
        .await
    }

    /// The member in use failed in a way that only its user saw.
    pub(crate) fn go_on(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs in anew before the next call.
    pub(crate) fn forget_logins(&self) {
        for member in &self.members {
            *member.token.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Begins with this endpoint.
    pub(crate) fn start_at(&self, endpoint: usize) {
        self.current.store(endpoint, Ordering::Relaxed);
    }

    async fn call<Q, A>(
        &self,
        request: Q,
        send: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure>
    where
        Q: Clone,
    {
        let number = self.current.load(Ordering::Relaxed);
        let member = &self.members[number % self.members.len()];
        let answer = self.in_time(member, request, send).await;
        if answer.as_ref().is_err_and(Failure::blames_the_member) {
            // Only the first of many calls that fail together moves on.
            let _ = self.current.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }

    async fn in_time<Q, A>(
        &self,
        member: &Member,
        request: Q,
        send: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure>
    where
        Q: Clone,
    {
        match tokio::time::timeout(self.request_timeout, self.logged_in(member, request, send)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Doubt(format!("{} did not answer within {:?}", member.url, self.request_timeout))),
        }
    }

    async fn logged_in<Q, A>(
        &self,
        member: &Member,
        request: Q,
        send: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure>
    where
        Q: Clone,
    {
        if self.credentials.is_none() {
            let answer = send(member.channel.clone(), self.dressed(request, None)).await;
            return answer.map(Response::into_inner).map_err(|status| Failure::of(&status));
        }
        let token = match member.token() {
            Some(token) => token,
            None => self.log_in(member, None).await?,
        };
        let answer = match send(member.channel.clone(), self.dressed(request.clone(), Some(&token))).await {
            Err(status) if wants_login(&status) => {
                let token = self.log_in(member, Some(&token)).await?;
                send(member.channel.clone(), self.dressed(request, Some(&token))).await
            }
            answer => answer,
        };
        answer.map(Response::into_inner).map_err(|status| Failure::of(&status))
    }

    /// A token that is not the one which the server no longer knows. Whatever goes wrong here, the caller's request was
    /// not sent, or was refused before.
    async fn log_in(&self, member: &Member, stale: Option<&Token>) -> Result<Token, Failure> {
        let Some((name, password)) = &self.credentials else {
            return Err(Failure::Login("no user is set".into()));
        };
        let _one_at_a_time = member.login.lock().await;
        if let Some(token) = member.token().filter(|token| Some(token) != stale) {
            return Ok(token);
        }
        let request = AuthenticateRequest { name: name.clone(), password: password.reveal().to_owned() };
        let answer = AuthClient::new(member.channel.clone()).authenticate(request).await;
        let text = match answer {
            Ok(answer) => match answer.into_inner().token.parse::<Token>() {
                Ok(token) => {
                    *member.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
                    return Ok(token);
                }
                Err(error) => error.to_string(),
            },
            Err(status) => match (status.code(), Failure::of(&status)) {
                (Code::FailedPrecondition, Failure::Doubt(text)) => text,
                (_, Failure::Invalid(text) | Failure::Login(text)) => text,
                (_, other) => return Err(Failure::Refused(format!("no login: {other}"))),
            },
        };
        Err(Failure::Login(text))
    }

    fn dressed<Q>(&self, request: Q, token: Option<&Token>) -> Request<Q> {
        let mut request = Request::new(request);
        if let Some(token) = token {
            request.metadata_mut().insert("token", token.clone());
        }
        if self.require_leader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        request
    }
}

impl Member {
    fn token(&self) -> Option<Token> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
