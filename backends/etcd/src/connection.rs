//! Calls to a cluster: one member at a time, another one when it fails.
//!
//! Everything goes to one member until that member does not answer or says that it cannot. Then all are asked side by side
//! for something that only a member with a leader can answer, the one that failed last, and the first that answers is the
//! one: a member that stands still, or is cut off from the others, is not gone to again and again. Spreading calls over all members would gain nothing (each goes through the leader anyway) and would
//! send every third of them to a member that is down.
//!
//! Nothing is sent twice, with one exception: a request that was refused because our login was forgotten is sent again
//! after a new one. Such a request was refused before anything was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{AlarmAction, Channel, Client, ConnectOptions, Error, WatchOptions, WatchStream};
use sixpin_core::backend::OpenError;
use sixpin_login::Secret;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Code;

use crate::config::Config;
use crate::outcome::{Failure, wants_login};
use crate::wire::{AlarmResponse, AlarmType, MemberListResponse, StatusResponse, Txn, TxnResponse, get};

/// The largest answer that is read: a full batch of conflicts, each of which tells the largest record. The usual limit
/// of 4 MiB would turn the answer of a write that happened into an error.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A key that nobody writes, read to see whether a member works.
const LOOKED_AT: &str = "sixpin";
/// When the question is repeated.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Which login of a member a request was sent with: the first is 1. 0 is none.
type Login = u64;

/// Connections to the members of a cluster.
pub(crate) struct Connection {
    members: Vec<Member>,
    // The member in use, and whether it failed since it was chosen.
    current: AtomicUsize,
    failed: AtomicBool,
    // Held while another one is looked for, so that many calls that failed together look once.
    search: Mutex<()>,
    credentials: Option<(String, Secret)>,
    request_timeout: Duration,
}

struct Member {
    url: String,
    // Connects when it is first used and again after it broke. Many calls share it, and the token that it got.
    client: Arc<Client>,
    // The login that is used, and the last that was made. That one is held while logging in, so that many calls that were
    // refused together log in once.
    login: AtomicU64,
    last_login: Mutex<Login>,
}

impl Connection {
    /// For requests, each of which is bounded in time.
    pub(crate) async fn for_requests(config: &Config) -> Result<Self, OpenError> {
        Self::new(config, false).await
    }

    /// For a watch. A member that is cut off from the others ends it, instead of staying silent for ever.
    pub(crate) async fn for_watch(config: &Config) -> Result<Self, OpenError> {
        Self::new(config, true).await
    }

    async fn new(config: &Config, require_leader: bool) -> Result<Self, OpenError> {
        let mut members = Vec::with_capacity(config.endpoints.len());
        for url in &config.endpoints {
            let channel = Channel::Tonic(config.endpoint(url)?.connect_lazy());
            // Nothing is sent: the client is given no user here, because one that cannot log in would not be made.
            let options = ConnectOptions::new().with_require_leader(require_leader);
            let client = Client::from_channel(channel, Some(options)).await;
            members.push(Member {
                url: url.clone(),
                client: Arc::new(client.map_err(|error| Failure::of(&error).of_open())?),
                login: AtomicU64::new(0),
                last_login: Mutex::new(0),
            });
        }
        Ok(Self {
            members,
            current: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            search: Mutex::default(),
            credentials: config.credentials.clone(),
            request_timeout: config.request_timeout,
        })
    }

    /// The endpoints, in the order of the URL.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.url.as_str())
    }

    /// One transaction.
    pub(crate) async fn txn(&self, request: Txn) -> Result<TxnResponse, Failure> {
        self.call(request, async |client, request| {
            let mut kv = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
            Ok(kv.txn(request).await?.0)
        })
        .await
    }

    /// Forgets the history before a revision.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        self.call(revision, async |client, revision| client.kv_client().compact(revision, None).await.map(drop)).await
    }

    /// The members of the cluster.
    pub(crate) async fn member_list(&self) -> Result<MemberListResponse, Failure> {
        self.call((), async |client, ()| client.cluster_client().member_list().await).await
    }

    /// The alarms that are raised.
    pub(crate) async fn alarms(&self) -> Result<AlarmResponse, Failure> {
        self.call((), async |client, ()| {
            let mut maintenance = client.maintenance_client();
            Ok(maintenance.alarm(AlarmAction::Get, AlarmType::None, None).await?.0)
        })
        .await
    }

    /// How the member at one endpoint is.
    pub(crate) async fn status(&self, endpoint: usize) -> Result<StatusResponse, Failure> {
        let send = async |client: Arc<Client>, ()| Ok(client.maintenance_client().status().await?.0);
        self.until(Instant::now() + self.request_timeout, &self.members[endpoint], (), send).await
    }

    /// Opens a watch. What comes from it is not bounded in time.
    pub(crate) async fn watch(&self, key: Vec<u8>, options: WatchOptions) -> Result<WatchStream, Failure> {
        self.call((key, options), async |client, (key, options)| {
            let mut watch = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
            watch.watch(key, Some(options)).await
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
            member.login.store(0, Ordering::Relaxed);
        }
    }

    /// Begins with this endpoint.
    pub(crate) fn start_at(&self, endpoint: usize) {
        self.current.store(endpoint, Ordering::Relaxed);
    }

    async fn call<Q: Clone, A>(
        &self,
        request: Q,
        send: impl AsyncFn(Arc<Client>, Q) -> Result<A, Error>,
    ) -> Result<A, Failure> {
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
        let send = async |client: Arc<Client>, look| client.kv_client().txn(look).await;
        let look = || Txn::new().and_then(vec![get(LOOKED_AT)]);
        loop {
            match timeout(LOOK_AGAIN, self.logged_in(member, look(), send)).await {
                Ok(Err(failure)) if failure.blames_the_member() => return Err(failure),
                // Also if this login may not read that key.
                Ok(_) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    async fn until<Q: Clone, A>(
        &self,
        deadline: Instant,
        member: &Member,
        request: Q,
        send: impl AsyncFn(Arc<Client>, Q) -> Result<A, Error>,
    ) -> Result<A, Failure> {
        match timeout_at(deadline, self.logged_in(member, request, send)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Doubt(format!("{} did not answer within {:?}", member.url, self.request_timeout))),
        }
    }

    async fn logged_in<Q: Clone, A>(
        &self,
        member: &Member,
        request: Q,
        send: impl AsyncFn(Arc<Client>, Q) -> Result<A, Error>,
    ) -> Result<A, Failure> {
        let Some(credentials) = &self.credentials else {
            return send(member.client.clone(), request).await.map_err(|error| Failure::of(&error));
        };
        let mut login = member.login.load(Ordering::Acquire);
        if login == 0 {
            login = member.log_in(credentials, 0).await?;
        }
        let answer = match send(member.client.clone(), request.clone()).await {
            Err(error) if wants_login(&error) => {
                member.log_in(credentials, login).await?;
                send(member.client.clone(), request).await
            }
            answer => answer,
        };
        answer.map_err(|error| Failure::of(&error))
    }
}

impl Member {
    /// A login that is not the one which the server no longer knows. Whatever goes wrong here, the caller's request was
    /// not sent, or was refused before.
    async fn log_in(&self, (name, password): &(String, Secret), stale: Login) -> Result<Login, Failure> {
        let mut last = self.last_login.lock().await;
        let login = self.login.load(Ordering::Acquire);
        if login != 0 && login != stale {
            return Ok(login);
        }
        // The client's own renewal is not used: it does not know a token that a change of users made old, and what it
        // answers when the login fails looks like the answer to the request.
        let user = (name.clone(), password.reveal().to_owned());
        Client::clone(&self.client).update_user(Some(user)).await.map_err(not_logged_in)?;
        *last += 1;
        self.login.store(*last, Ordering::Release);
        Ok(*last)
    }
}

fn not_logged_in(error: Error) -> Failure {
    let refused = match &error {
        Error::GRpcStatus(status) => status.code() == Code::FailedPrecondition,
        // A token that cannot be sent.
        other => matches!(other, Error::InvalidMetadataValue(_)),
    };
    match Failure::of(&error) {
        Failure::Doubt(text) if refused => Failure::Login(text),
        Failure::Invalid(text) | Failure::Login(text) => Failure::Login(text),
        other => Failure::Refused(format!("no login: {other}")),
    }
}
