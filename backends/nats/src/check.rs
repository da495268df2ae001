//! Opens the store, and refuses one that is not safe.
//!
//! Each refusal is one sentence that says what to change.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::Client;
use sixpin_core::backend::{Contract, Durability, OpenError, Profile, Root, StoreError};
use sixpin_core::{limits, root as root_record};
use tokio::time::{Instant, sleep, timeout};

use crate::api::{Api, Failure, StreamConfig, StreamInfo, Which};
use crate::config::{NatsConfig, Statement};
use crate::connection::Connection;
use crate::outcome::{Answer, code};

/// Before this, the check of the expected sequence had holes.
const VERSION_MIN: (u64, u64) = (2, 12);
/// The level of the API that this version speaks.
const API_LEVEL_MIN: u64 = 2;
/// Most writes of one batch: enough that the round trip is shared by many, few enough that nobody waits long.
const BATCH_WRITES_MAX: usize = 1_024;
/// Most bytes of one batch.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room for the headers of a message beside its record.
const HEADER_BYTES: usize = 1_024;
/// The least that is of use.
const RECORD_BYTES_MIN: usize = 16 * 1024;
/// Opening takes several requests, one after the other.
const OPEN_REQUESTS: u32 = 5;
/// A cluster that lost its leader has another one after 4 to 9 s, and one of the stream takes as long again; on a busy host
/// both take longer.
const OPEN_WITHIN_MIN: Duration = Duration::from_secs(30);
/// Between two attempts to open.
const OPEN_PAUSE: Duration = Duration::from_millis(250);

/// What was found and made when the store was opened.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) info: StreamInfo,
    pub(crate) root: Root,
    /// Version = base + sequence.
    pub(crate) base: u64,
    /// Where the root record stands, and its bytes.
    pub(crate) root_sequence: u64,
    pub(crate) profile: Profile,
}

/// Connects, makes what is missing and checks what is there.
///
/// A cluster that elects a leader refuses for a moment what it takes a second later, never answers a question that reached a
/// leader which had just died, and a server that is cut off refuses for as long as it is. So each question has a time, and
/// what may mend itself is tried again from the beginning, each time on a new connection.
pub(crate) async fn open(config: &Arc<NatsConfig>, api: &Api) -> Result<Opened, OpenError> {
    let deadline = Instant::now() + (config.timeout() * OPEN_REQUESTS).max(OPEN_WITHIN_MIN);
    loop {
        let connection = connect(config).await?;
        match (Opening { config, api, connection: &connection }).find().await {
            Ok((info, (root, base, root_sequence))) => {
                let profile = profile(config, connection.client(), &info)?;
                warn(config, &info);
                return Ok(Opened { connection, info, root, base, root_sequence, profile });
            }
            Err(OpenError::Unreachable(_)) if Instant::now() + OPEN_PAUSE < deadline => sleep(OPEN_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// A connection to the first server that answers and can be trusted. If there is none, what is the easiest to mend.
async fn connect(config: &Arc<NatsConfig>) -> Result<Connection, OpenError> {
    let attempts: Vec<_> = config.servers.iter().map(|server| connect_to(config, server)).collect();
    sixpin_race::race(attempts).await.map(|(_, connection)| connection).map_err(|mut errors: Vec<OpenError>| {
        errors.sort_by_key(|error| matches!(error, OpenError::Unreachable(_)));
        errors.into_iter().next().unwrap_or_else(|| OpenError::BadUrl("no server of NATS is named".into()))
    })
}

async fn connect_to(config: &NatsConfig, address: &str) -> Result<Connection, OpenError> {
    let connection = Connection::open(config, address.to_owned(), config.timeout()).await?;
    server(connection.client())?;
    Ok(connection)
}

/// Whether a server can be trusted with the check of the expected sequence.
pub(crate) fn server(client: &Client) -> Result<(), OpenError> {
    let version = client.server_info().version;
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u64>().ok());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if found >= VERSION_MIN {
        return Ok(());
    }
    let (major, minor) = VERSION_MIN;
    Err(OpenError::Unsafe(format!(
        "nats-server {version} may store a write that it should refuse: upgrade every server to {major}.{minor} or later"
    )))
}

/// One attempt to open, over one connection.
struct Opening<'a> {
    config: &'a NatsConfig,
    api: &'a Api,
    connection: &'a Connection,
}

impl Opening<'_> {
    async fn find(&self) -> Result<(StreamInfo, (Root, u64, u64)), OpenError> {
        let (api, client) = (self.api, self.connection.client());
        let account = self.ask(api.account(client)).await?.map_err(|failure| self.explain(&failure))?;
        if account.api.level.is_some_and(|level| level < API_LEVEL_MIN) {
            return Err(OpenError::Unsafe(
                "a server of this account is too old for sixpin: upgrade every nats-server to 2.12 or later".into(),
            ));
        }
        let info = loop {
            match self.ask(api.info_of_leader(client)).await? {
                Ok(info) => break info,
                Err(Failure::Api(error)) if error.err_code == code::NO_STREAM => self.create().await?,
                Err(failure) => return Err(self.explain(&failure)),
            }
        };
        stream(self.config, api, &info.config)?;
        let root = self.root().await?;
        self.probe(root.2).await?;
        Ok((info, root))
    }

    /// The answer, if it comes in time.
    async fn ask<T>(&self, answer: impl Future<Output = T>) -> Result<T, OpenError> {
        timeout(self.config.timeout(), answer).await.map_err(|_| self.no_answer())
    }

    fn no_answer(&self) -> OpenError {
        let complaint =
            self.connection.complaint().map(|text| format!("; the server says: {text}")).unwrap_or_default();
        let text = format!("JetStream at {} does not answer in time{complaint}", self.config.names());
        // A request without permission gets no answer, only a complaint beside it.
        let denied = complaint.to_lowercase().contains("permission");
        if denied { OpenError::Login(text) } else { OpenError::Unreachable(text) }
    }

    async fn create(&self) -> Result<(), OpenError> {
        let replicas = self.config.settings.replicas.unwrap_or(1);
        match self.ask(self.api.create(self.connection.client(), replicas)).await? {
            Ok(_) => Ok(()),
            // Somebody else made it meanwhile.
            Err(Failure::Api(error)) if error.err_code == code::STREAM_EXISTS => Ok(()),
            Err(Failure::Api(error)) if error.err_code != code::NOT_AVAILABLE => Err(OpenError::Unsafe(format!(
                "JetStream at {} cannot make the stream `{}` ({error}): give it the room and the servers that it needs, or \
                 ask for fewer `replicas`",
                self.config.names(),
                self.api.stream
            ))),
            Err(failure) => Err(self.explain(&failure)),
        }
    }

    fn explain(&self, failure: &Failure) -> OpenError {
        let servers = self.config.names();
        match failure {
            Failure::Nobody => OpenError::Unsafe(format!(
                "nats-server at {servers} runs without JetStream: add `jetstream {{ store_dir: \"…\" }}` to its configuration"
            )),
            Failure::Api(error) if matches!(error.err_code, code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT) => {
                OpenError::Unsafe(format!(
                    "JetStream is not enabled for the account of this login at {servers}: enable it, or use another login"
                ))
            }
            Failure::Api(error) => OpenError::Unreachable(format!("JetStream at {servers} refuses: {error}")),
            Failure::NoAnswer(text) => {
                OpenError::Unreachable(format!("JetStream at {servers} does not answer: {text}"))
            }
        }
    }

    /// Reads the root record, or makes it in a stream that is empty.
    async fn root(&self) -> Result<(Root, u64, u64), OpenError> {
        let (api, client) = (self.api, self.connection.client());
        let subject = api.subjects.root();
        for _ in 0..3 {
            let stored =
                self.ask(api.get(client, Which::LastOf(&subject))).await?.map_err(|failure| self.explain(&failure))?;
            if let Some(stored) = stored {
                let bytes = stored.bytes.unwrap_or_default();
                let (root, base) = root_record::decode(&bytes)
                    .map_err(|what| corrupt(api, &StoreError::Corrupt(format!("the root record: {what}"))))?;
                return Ok((root, base, stored.sequence));
            }
            let info = self.ask(api.info(client, None)).await?.map_err(|failure| self.explain(&failure))?;
            if info.state.messages > 0 {
                // Somebody else made the root meanwhile, or it is missing.
                continue;
            }
            let (root, base) = (Root { secret_key: rand::random(), identity: rand::random() }, now_10us());
            let bytes = root_record::encode(&root, base).into();
            match self.ask(api.publish(client, subject.clone(), 0, Some(bytes))).await? {
                Answer::Stored(sequence) => return Ok((root, base, sequence)),
                // Somebody else makes it.
                Answer::Conflict(_) => {}
                Answer::Refused(text) | Answer::Doubtful(text) | Answer::Missing(text) => {
                    return Err(self.cannot_store(&text));
                }
            }
        }
        Err(corrupt(api, &StoreError::Corrupt("it has messages and no root record".into())))
    }

    /// A write that must be refused: shows that this login may publish, and that the server checks what is expected.
    async fn probe(&self, root_sequence: u64) -> Result<(), OpenError> {
        // Nothing is ever stored there, so no sequence is right but 0.
        let refused = self.api.publish(self.connection.client(), self.api.subjects.probe(), root_sequence, None);
        match self.ask(refused).await? {
            Answer::Conflict(_) => Ok(()),
            Answer::Stored(_) => Err(OpenError::Unsafe(format!(
                "nats-server at {} does not check the expected sequence: use an unmodified nats-server 2.12 or later",
                self.config.names()
            ))),
            Answer::Refused(text) | Answer::Doubtful(text) | Answer::Missing(text) => Err(self.cannot_store(&text)),
        }
    }

    fn cannot_store(&self, text: &str) -> OpenError {
        OpenError::Unreachable(format!("JetStream at {} cannot store: {text}", self.config.names()))
    }
}

/// Refuses settings of the stream under which a record could be lost or a check be skipped.
pub(crate) fn stream(config: &NatsConfig, api: &Api, found: &StreamConfig) -> Result<(), OpenError> {
    let name = &api.stream;
    let refuse = |text: String| Err(OpenError::Unsafe(text));
    let limited = found.max_msgs > 0 || found.max_bytes > 0;
    let wanted = config.settings.replicas;
    if found.subjects != [api.subjects.all()] || found.subject_transform.is_some() {
        return refuse(format!("the stream `{name}` is not one of sixpin's: choose another `bucket`"));
    }
    if found.mirror.is_some() || found.sources.is_some() {
        return refuse(format!("the stream `{name}` copies another stream: choose another `bucket`"));
    }
    if found.sealed || found.no_ack {
        return refuse(format!("the stream `{name}` is sealed or acknowledges nothing: choose another `bucket`"));
    }
    if found.retention != "limits" || found.max_msgs_per_subject != 1 || found.max_age != 0 {
        return refuse(format!(
            "the stream `{name}` does not keep the last message of each subject for ever: set retention to limits, \
             max-msgs-per-subject to 1 and max-age to 0"
        ));
    }
    if found.discard != "new" && limited || found.discard_new_per_subject {
        return refuse(format!(
            "the stream `{name}` would throw records away when it is full: set its discard policy to new, or remove its \
             limits"
        ));
    }
    if !found.allow_msg_ttl {
        return refuse(format!("the stream `{name}` would keep deleted records for ever: allow per-message TTLs"));
    }
    if !found.deny_delete || !found.deny_purge {
        return refuse(format!(
            "the stream `{name}` lets anybody remove records behind sixpin's back: set deny-delete and deny-purge"
        ));
    }
    match wanted {
        Some(wanted) if found.num_replicas < wanted => refuse(format!(
            "the stream `{name}` has {} replicas and the configuration asks for {wanted}: run `nats stream edit {name} \
             --replicas {wanted}`",
            found.num_replicas
        )),
        _ => Ok(()),
    }
}

fn corrupt(api: &Api, error: &StoreError) -> OpenError {
    let name = &api.stream;
    OpenError::Unsafe(format!("the stream `{name}` cannot be used ({error}): choose another `bucket`, or delete it"))
}

fn profile(config: &NatsConfig, client: &Client, info: &StreamInfo) -> Result<Profile, OpenError> {
    let mut message_max = client.server_info().max_payload;
    if let Ok(limit @ 1..) = usize::try_from(info.config.max_msg_size) {
        message_max = message_max.min(limit);
    }
    let record_bytes_max = message_max.saturating_sub(HEADER_BYTES).min(limits::RECORD_BYTES_MAX);
    if record_bytes_max < RECORD_BYTES_MIN {
        return Err(OpenError::Unsafe(format!(
            "messages of at most {message_max} bytes are too small for lock records: raise max_payload of the servers, or \
             the stream's maximum message size, to {} at least",
            RECORD_BYTES_MIN + HEADER_BYTES
        )));
    }
    Ok(Profile {
        name: "nats",
        durability: durability(config, &info.config),
        record_bytes_max,
        batch_writes_max: BATCH_WRITES_MAX,
        batch_bytes_max: BATCH_BYTES_MAX,
        contract: Contract::Marking,
        // A little more than the backend waits itself, so that its answer, which knows more, comes first.
        commit_timeout: config.timeout() + Duration::from_millis(500),
    })
}

fn durability(config: &NatsConfig, stream: &StreamConfig) -> Durability {
    let volatile = stream.storage != "file" || stream.persist_mode == "async";
    match stream.num_replicas {
        _ if volatile => Durability::Volatile,
        3.. => Durability::FailoverSafe,
        _ if config.settings.stated_durability == Some(Statement::PowerSafe) => Durability::PowerSafe,
        _ => Durability::CrashSafe,
    }
}

/// What works, and should not stay.
fn warn(config: &NatsConfig, info: &StreamInfo) {
    let stream = &config.settings.bucket;
    match info.config.num_replicas {
        1 => tracing::info!(stream, "the stream has one copy: locks stop while its server is away"),
        2 => tracing::warn!(stream, "two replicas survive no more than one: use 3"),
        _ => {}
    }
    let (messages, bytes) = (info.state.messages, info.state.bytes);
    for (used, limit, what) in [(messages, info.config.max_msgs, "messages"), (bytes, info.config.max_bytes, "bytes")] {
        if limit > 0 && used > limit / 10 * 7 {
            tracing::warn!(stream, used, limit, what, "the stream is over 70 % full; a full one refuses locks");
        }
    }
    for replica in info.cluster.iter().flat_map(|cluster| &cluster.replicas) {
        if replica.offline || !replica.current {
            tracing::warn!(stream, replica = replica.name, "a replica lags or is offline");
        }
    }
}

/// The wall clock, in units of 10 µs. Only the floor of versions; nothing is measured with it.
fn now_10us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros() / 10).unwrap_or(u64::MAX)
}
