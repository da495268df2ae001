//! The requests of JetStream that are needed, and their answers.
//!
//! They are written out here, and not left to the client library, because everything depends on what exactly is sent and
//! on which error code exactly comes back.

use std::future::Future;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sixpin_core::standing::History;
use tokio::time::{sleep, timeout};

use crate::config::Settings;
use crate::keys::Subjects;
use crate::outcome::{self, Answer, ApiError, code};

/// When a question to the leader of the stream is repeated.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// A server hears from its copies every second.
const HEARD_LATELY: Duration = Duration::from_secs(4);
/// Marks a message as the trace of a delete. The same header as in the key-value buckets of NATS, whose tools know it.
const MARKER_HEADER: &str = "KV-Operation";
const MARKER_VALUE: &str = "DEL";

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// JetStream says no.
    Api(ApiError),
    /// No answer, or none that can be understood.
    NoAnswer(String),
    /// Nobody listens there: no JetStream, or no leader.
    Nobody,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::NoAnswer(text) => f.write_str(text),
            Self::Nobody => f.write_str("no server answers for JetStream"),
        }
    }
}

/// What is asked of the account.
#[derive(Debug, Deserialize)]
pub(crate) struct AccountInfo {
    pub(crate) api: ApiLevel,
}

/// Which version of the API the server speaks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiLevel {
    pub(crate) level: Option<u64>,
}

/// A stream as it is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: StreamConfig,
    pub(crate) created: String,
    pub(crate) state: StreamState,
    #[serde(default)]
    pub(crate) cluster: Option<Cluster>,
}

impl StreamInfo {
    /// The history of a stream with one copy, the same for all who ask: that of the process which keeps it. The server that
    /// was asked may be another one, if they are several.
    pub(crate) fn history(&self, client: &Client) -> History {
        let text = match &self.cluster {
            Some(cluster) => format!("{} {}", cluster.leader, cluster.leader_since),
            None => client.server_info().server_id,
        };
        History::named(&text)
    }
}

/// The settings of a stream that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamConfig {
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: String,
    pub(crate) storage: String,
    pub(crate) persist_mode: String,
    pub(crate) num_replicas: usize,
    pub(crate) max_msgs_per_subject: i64,
    pub(crate) max_age: i64,
    pub(crate) max_msgs: i64,
    pub(crate) max_bytes: i64,
    pub(crate) max_msg_size: i64,
    pub(crate) discard: String,
    pub(crate) discard_new_per_subject: bool,
    pub(crate) allow_msg_ttl: bool,
    pub(crate) deny_delete: bool,
    pub(crate) deny_purge: bool,
    pub(crate) sealed: bool,
    pub(crate) no_ack: bool,
    pub(crate) mirror: Option<Value>,
    pub(crate) sources: Option<Value>,
    pub(crate) subject_transform: Option<Value>,
}

/// What is in a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    pub(crate) messages: i64,
    pub(crate) bytes: i64,
    pub(crate) last_seq: u64,
    pub(crate) num_subjects: u64,
    /// Only if asked for.
    pub(crate) subjects: std::collections::BTreeMap<String, u64>,
}

/// Who keeps a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cluster {
    pub(crate) leader: String,
    pub(crate) leader_since: String,
    pub(crate) replicas: Vec<Replica>,
}

impl Cluster {
    /// Somebody leads, and heard of most lately. A leader that is cut off from the others goes on answering for a while,
    /// and what it is given to write goes nowhere.
    fn is_led(&self) -> bool {
        let lately = |replica: &&Replica| Duration::from_nanos(replica.active.unsigned_abs()) < HEARD_LATELY;
        let heard = self.replicas.iter().filter(|replica| !replica.offline).filter(lately).count();
        !self.leader.is_empty() && (heard + 1) * 2 > self.replicas.len() + 1
    }
}

/// One copy besides the leader's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) current: bool,
    pub(crate) offline: bool,
    /// Nanoseconds since the leader heard of it.
    pub(crate) active: i64,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    /// Absent if it is the marker of a delete.
    pub(crate) bytes: Option<Bytes>,
}

#[derive(Deserialize)]
struct Got {
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

/// Which message to get.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    Sequence(u64),
    LastOf(&'a str),
}

/// The API of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    prefix: String,
    pub(crate) stream: String,
    pub(crate) subjects: Subjects,
    marker_life: String,
}

impl Api {
    pub(crate) fn new(settings: &Settings) -> Self {
        let prefix = settings.domain.as_ref().map_or("$JS.API".into(), |domain| format!("$JS.{domain}.API"));
        let marker_life = format!("{}s", settings.marker_life.as_secs());
        Self { prefix, stream: settings.bucket.clone(), subjects: Subjects::new(&settings.bucket), marker_life }
    }

    /// What the account may do.
    pub(crate) async fn account(&self, client: &Client) -> Result<AccountInfo, Failure> {
        self.ask(client, "INFO", None).await
    }

    /// The stream; with the subjects that match a pattern, if one is given.
    pub(crate) async fn info(&self, client: &Client, subjects: Option<&str>) -> Result<StreamInfo, Failure> {
        let request = subjects.map(|filter| json!({ "subjects_filter": filter }));
        self.ask(client, &format!("STREAM.INFO.{}", self.stream), request).await
    }

    /// The stream, told by the server that leads it. Asks until there is one: a question that comes while there is none, or
    /// while the last one stands still, is never answered, and a repeat of it may be.
    pub(crate) async fn info_of_leader(&self, client: &Client) -> Result<StreamInfo, Failure> {
        loop {
            match timeout(ASK_AGAIN, self.info(client, None)).await {
                Ok(Ok(info)) if info.cluster.as_ref().is_some_and(|cluster| !cluster.is_led()) => {}
                Ok(Err(Failure::Api(error))) if error.err_code == code::NOT_AVAILABLE => {}
                Ok(answer) => return answer,
                Err(_) => continue,
            }
            sleep(ASK_AGAIN / 2).await;
        }
    }

    /// Makes the stream.
    pub(crate) async fn create(&self, client: &Client, replicas: usize) -> Result<StreamInfo, Failure> {
        let config = json!({
            "name": self.stream,
            "description": "Locks of sixpin. Written by its brokers only.",
            "subjects": [self.subjects.all()],
            "retention": "limits",
            "storage": "file",
            "num_replicas": replicas,
            "max_msgs_per_subject": 1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msg_size": -1,
            "max_consumers": -1,
            "discard": "new",
            "allow_msg_ttl": true,
            "deny_delete": true,
            "deny_purge": true,
        });
        self.ask(client, &format!("STREAM.CREATE.{}", self.stream), Some(config)).await
    }

    /// A message, from the leader; none if there is none.
    pub(crate) async fn get(&self, client: &Client, which: Which<'_>) -> Result<Option<Stored>, Failure> {
        let request = match which {
            Which::Sequence(sequence) => json!({ "seq": sequence }),
            Which::LastOf(subject) => json!({ "last_by_subj": subject }),
        };
        let got = self.ask::<Got>(client, &format!("STREAM.MSG.GET.{}", self.stream), Some(request)).await;
        let message = match got {
            Ok(got) => got.message,
            Err(Failure::Api(error)) if error.err_code == code::NO_MESSAGE => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let decode = |text: &str| BASE64.decode(text).map_err(|error| Failure::NoAnswer(error.to_string()));
        let headers = decode(&message.hdrs)?;
        let marker = headers.split(|&byte| byte == b'\n').any(is_marker_line);
        let bytes = if marker { None } else { Some(Bytes::from(decode(&message.data)?)) };
        Ok(Some(Stored { subject: message.subject, sequence: message.seq, bytes }))
    }

    /// Makes a consumer that lives as long as it is used. `config` is what it has besides.
    pub(crate) async fn consume(&self, client: &Client, config: Value) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Created {
            name: String,
        }
        let mut whole = json!({
            "ack_policy": "none",
            "replay_policy": "instant",
            "headers_only": true,
            "mem_storage": true,
            "num_replicas": 1,
            "max_deliver": 1,
            "inactive_threshold": nanoseconds(Duration::from_secs(30)),
        });
        if let (Value::Object(whole), Value::Object(config)) = (&mut whole, config) {
            whole.extend(config);
        }
        let request = json!({ "stream_name": self.stream, "config": whole });
        let created: Created = self.ask(client, &format!("CONSUMER.CREATE.{}", self.stream), Some(request)).await?;
        Ok(created.name)
    }

    /// Asks a consumer for its next messages, to be sent to `inbox`; it says so there when there is none.
    pub(crate) async fn next(&self, client: &Client, consumer: &str, inbox: &str, batch: usize) -> Result<(), Failure> {
        let subject = format!("{}.CONSUMER.MSG.NEXT.{}.{consumer}", self.prefix, self.stream);
        let request = json!({ "batch": batch, "no_wait": true }).to_string();
        let sent = client.publish_with_reply(subject, inbox.to_owned(), request.into()).await;
        sent.map_err(|error| Failure::NoAnswer(error.to_string()))
    }

    /// Takes a consumer away. One that stays goes away by itself, so nobody waits for this.
    pub(crate) async fn release(&self, client: &Client, consumer: &str) {
        let subject = format!("{}.CONSUMER.DELETE.{}.{consumer}", self.prefix, self.stream);
        if let Err(error) = client.publish(subject, Bytes::new()).await {
            tracing::debug!(%error, "a consumer is left to expire");
        }
    }

    /// A compare-and-swap: stores the bytes, or the marker of a delete, if the subject stands at `expected`.
    pub(crate) fn publish(
        &self,
        client: &Client,
        subject: String,
        expected: u64,
        bytes: Option<Bytes>,
    ) -> impl Future<Output = Answer> + use<> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", self.stream.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        if bytes.is_none() {
            headers.insert(MARKER_HEADER, MARKER_VALUE);
            headers.insert("Nats-TTL", self.marker_life.as_str());
        }
        let request = Request::new().headers(headers).payload(bytes.unwrap_or_default());
        let (client, stream) = (client.clone(), self.stream.clone());
        async move { outcome::read(&stream, client.send_request(subject, request).await) }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        client: &Client,
        what: &str,
        request: Option<Value>,
    ) -> Result<T, Failure> {
        let payload = request.map_or_else(Bytes::new, |request| request.to_string().into());
        let request = Request::new().payload(payload);
        match client.send_request(format!("{}.{what}", self.prefix), request).await {
            Ok(message) => understand(&message),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(Failure::Nobody),
            Err(error) => Err(Failure::NoAnswer(error.to_string())),
        }
    }
}

/// Whether a message that came from a consumer is the marker of a delete.
pub(crate) fn is_marker(message: &Message) -> bool {
    let headers = message.headers.as_ref();
    headers.is_some_and(|headers| headers.get(MARKER_HEADER).is_some_and(|value| value.as_str() == MARKER_VALUE))
}

fn is_marker_line(line: &[u8]) -> bool {
    let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
        return false;
    };
    name.eq_ignore_ascii_case(MARKER_HEADER) && value.trim() == MARKER_VALUE
}

fn understand<T: DeserializeOwned>(message: &Message) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Refused {
        error: ApiError,
    }
    // Every good answer has something that an error has not, and errors are rare and short.
    let odd = match serde_json::from_slice(&message.payload) {
        Ok(answer) => return Ok(answer),
        Err(odd) => odd,
    };
    match serde_json::from_slice::<Refused>(&message.payload) {
        Ok(refused) => Err(Failure::Api(refused.error)),
        Err(_) => Err(Failure::NoAnswer(format!("an answer of JetStream cannot be understood: {odd}"))),
    }
}

/// A duration as the API wants it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Where in the stream, and where in the sequence of its consumer, a delivered message stands: told by its reply subject.
pub(crate) fn places(message: &Message) -> Option<(u64, u64)> {
    // $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>, and a longer form with the
    // domain and the account before the stream.
    let words: Vec<&str> = message.reply.as_ref()?.as_str().split('.').collect();
    let first = if words.len() == 9 { 5 } else { 7 };
    Some((words.get(first)?.parse().ok()?, words.get(first + 1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_hears_of_most_leads() {
        let led = |text: &str| serde_json::from_str::<Cluster>(text).unwrap().is_led();
        assert!(led(r#"{"leader":"a"}"#), "the only copy");
        assert!(!led(r#"{"replicas":[]}"#), "an election");
        let replicas = |one: &str, two: &str| led(&format!(r#"{{"leader":"a","replicas":[{one},{two}]}}"#));
        let (here, silent) = (r#"{"name":"b","current":true,"active":900000000}"#, r#"{"active":5000000000}"#);
        assert!(replicas(here, silent) && replicas(here, r#"{"offline":true,"active":1}"#));
        assert!(!replicas(silent, silent) && !replicas(silent, r#"{"offline":true}"#));
    }
}
