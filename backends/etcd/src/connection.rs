//! Calls to a cluster: one member at a time, another one when it fails.
//!
//! Everything goes to one member until that member does not answer or says that it cannot. Then all are asked side by side
//! for something that only a member with a leader can answer, the one that failed last, and the first that answers is the
//! one: a member that stands still, or is cut off from the others, is not gone to again and again. Spreading calls over all members would gain nothing (each goes through the leader anyway) and would
//! send every third of them to a member that is down.
//!
//! Nothing is sent twice, with one exception: a request that was refused because our login was forgotten is sent again
//! after a new one. Such a request was refused before anything was done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;
use tokio::time::{Instant, timeout, timeout_at};
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
    RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// The largest answer that is read: a full batch of conflicts, each of which tells the largest record. The usual limit
/// of 4 MiB would turn the answer of a write that happened into an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A key that nobody writes, read to see whether a member works.
const LOOKED_AT: &str = "sixpin";
/// When the question is repeated.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

type Token = MetadataValue<Ascii>;

/// Connections to the members of a cluster.
pub(crate) struct Connection {
    members: Vec<Member>,
    // The member in use, and whether it failed since it was chosen.
    current: AtomicUsize,
    failed: AtomicBool,
    // Held while another one is looked for, so that many calls that failed together look once.
    search: tokio::sync::Mutex<()>,
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
            failed: AtomicBool::new(false),
            search: tokio::sync::Mutex::default(),
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
        let deadline = Instant::now() + self.request_timeout;
        self.until(deadline, &self.members[endpoint], StatusRequest {}, send).await
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
        self.failed.store(true, Ordering::Relaxed);
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
        let deadline = Instant::now() + self.request_timeout;
        let nobody = || Failure::Refused("no member of etcd that has a leader answers".into());
        // So far nothing was sent.
        let number = timeout_at(deadline, self.member_in_use()).await.map_err(|_| nobody())??;
        let answer = self.until(deadline, &self.members[number], request, send).await;
        // Of many calls that fail together the later ones may find another member in use already.
        if answer.as_ref().is_err_and(Failure::blames_the_member) && self.current.load(Ordering::Relaxed) == number {
            self.failed.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The member that calls go to: if it failed, the first that answers now.
    async fn member_in_use(&self) -> Result<usize, Failure> {
        let fine = || !self.failed.load(Ordering::Relaxed) || self.members.len() == 1;
        if fine() {
            return Ok(self.current.load(Ordering::Relaxed));
        }
        let _one_at_a_time = self.search.lock().await;
        let (count, last) = (self.members.len(), self.current.load(Ordering::Relaxed));
        if fine() {
            return Ok(last);
        }
        let order: Vec<usize> = (1..=count).map(|step| (last + step) % count).collect();
        let attempts = order.iter().map(|&place| self.works(&self.members[place])).collect();
        let found = sixpin_race::race(attempts).await;
        let (place, ()) = found.map_err(|errors| {
            let text = errors.last().map(Failure::to_string);
            Failure::Refused(format!("no member of etcd can be used: {}", text.unwrap_or_default()))
        })?;
        self.current.store(order[place], Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
        Ok(order[place])
    }

    /// Returns when a member has read something by consensus. A question that comes while there is no leader may never be
    /// answered, and a repeat of it may be.
    async fn works(&self, member: &Member) -> Result<(), Failure> {
        let look = || TxnRequest::default().then(vec![RequestOp::get(LOOKED_AT)]);
        loop {
            let send = async |channel, request| KvClient::new(channel).txn(request).await;
            match timeout(LOOK_AGAIN, self.logged_in(member, look(), send)).await {
                Ok(Err(failure)) if failure.blames_the_member() => return Err(failure),
                // Also if this login may not read that key.
                Ok(_) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    async fn until<Q, A>(
        &self,
        deadline: Instant,
        member: &Member,
        request: Q,
        send: impl AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure>
    where
        Q: Clone,
    {
        match timeout_at(deadline, self.logged_in(member, request, send)).await {
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
