//! Reads and commits.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use sixpin_core::backend::{
    Backend, Beat, Change, Durability, Family, Guard, Key, OpenError, Page, Profile, Pulse, Root, Slot, StoreError,
    Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::root as root_record;
use sixpin_core::standing::History;
use sixpin_hints::Hints;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::api::{Api, Failure, Stored, Which};
use crate::check::{self, Opened};
use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::hints;
use crate::link::Link;
use crate::liveness::Gone;
use crate::outcome::{Answer, code};
use crate::witness::Witness;

/// Reads in flight at once: the server keeps 10,000 requests of all its clients waiting at most.
const READS_AT_ONCE: usize = 256;

/// A store on NATS JetStream. Dropping it closes its connections.
#[derive(Debug)]
pub struct NatsBackend {
    store: Arc<Store>,
    hints: Arc<Hints>,
    watch: JoinHandle<()>,
}

/// What all methods share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) config: Arc<NatsConfig>,
    pub(crate) api: Arc<Api>,
    pub(crate) witness: Arc<Witness>,
    pub(crate) profile: Profile,
    pub(crate) root: Root,
    pub(crate) base: u64,
    root_sequence: u64,
    // Commits have a connection of their own: one that is given up takes no beat and no read with it.
    pub(crate) commits: Link,
    pub(crate) control: Link,
    pub(crate) gone: Mutex<Gone>,
}

impl NatsBackend {
    /// Connects, makes the stream if there is none, and refuses one that is not safe.
    pub async fn open(config: NatsConfig) -> Result<Self, OpenError> {
        let config = Arc::new(config);
        let api = Arc::new(Api::new(&config.settings));
        let Opened { connection, info, root, base, root_sequence, profile } = check::open(&config, &api).await?;
        let lasting = info.config.num_replicas > 1 || profile.durability >= Durability::PowerSafe;
        let witness = Arc::new(Witness::new(&info, lasting, info.history(connection.client())));
        let link = |connection| Link::new(config.clone(), api.clone(), witness.clone(), connection);
        let (commits, control) = (link(None), link(Some(connection)));
        let gone = Mutex::default();
        let store = Store { config, api, witness, profile, root, base, root_sequence, commits, control, gone };
        let (store, hints) = (Arc::new(store), Arc::new(Hints::default()));
        let watch = tokio::spawn(hints::run(store.clone(), hints.clone()));
        Ok(Self { store, hints, watch })
    }
}

impl Drop for NatsBackend {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Store {
    /// When a request that begins now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout()
    }

    pub(crate) fn version(&self, sequence: u64) -> Version {
        Version(self.base + sequence)
    }

    /// The sequence that a version stands for; none if no message can have it.
    pub(crate) fn sequence(&self, version: Version) -> Option<u64> {
        if version.is_absent() { Some(0) } else { version.0.checked_sub(self.base).filter(|&sequence| sequence > 0) }
    }

    pub(crate) fn slot(&self, stored: Option<Stored>) -> Slot {
        stored.map_or_else(Slot::default, |stored| Slot { version: self.version(stored.sequence), bytes: stored.bytes })
    }

    pub(crate) fn gone(&self) -> std::sync::MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message, as the leader has it.
    pub(crate) async fn get(&self, connection: &Connection, which: Which<'_>) -> Result<Option<Stored>, StoreError> {
        match self.api.get(connection.client(), which).await {
            Ok(stored) => {
                if let Some(stored) = &stored {
                    self.witness.saw(stored.sequence);
                }
                Ok(stored)
            }
            Err(Failure::Api(error)) if error.err_code == code::NO_STREAM => {
                Err(self.witness.lose("the stream is gone".into()))
            }
            Err(failure) => Err(StoreError::Unavailable(failure.to_string())),
        }
    }

    /// One compare-and-swap that was sent over a connection before `highest` was the highest sequence seen. Notices a
    /// sequence that the store gave before.
    pub(crate) async fn publish(
        &self,
        connection: &Connection,
        subject: String,
        expected: u64,
        bytes: Option<Bytes>,
    ) -> Answer {
        let highest = self.witness.highest();
        let answer = self.api.publish(connection.client(), subject.clone(), expected, bytes).await;
        match answer {
            Answer::Stored(sequence) if sequence <= highest => {
                let reason = format!("the sequence {sequence} was given again, after {highest}");
                Answer::Doubtful(self.witness.lose(reason).to_string())
            }
            Answer::Stored(sequence) => {
                self.witness.saw(sequence);
                self.witness.acknowledged(&subject, sequence);
                Answer::Stored(sequence)
            }
            other => other,
        }
    }

    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        let deadline = self.deadline();
        let connection = self.control.connection(deadline).await?;
        let mut subjects: Vec<String> = keys.iter().map(|key| self.api.subjects.of(key)).collect();
        subjects.push(self.api.subjects.root());
        let reads = subjects.into_iter().map(|subject| {
            let connection = &connection;
            async move { self.get(connection, Which::LastOf(&subject)).await }
        });
        let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        let all = async {
            let mut slots = Vec::with_capacity(keys.len() + 1);
            while let Some(read) = reads.next().await {
                slots.push(read?);
            }
            Ok(slots)
        };
        let late = |_| StoreError::Unavailable("JetStream did not answer a read in time".into());
        let mut messages = timeout_at(deadline, all).await.map_err(late)??;
        self.check_root(messages.pop().flatten())?;
        Ok(messages.into_iter().map(|message| self.slot(message)).collect())
    }

    /// The root record must stand where it stood when the store was opened.
    fn check_root(&self, stored: Option<Stored>) -> Result<(), StoreError> {
        let same = stored.is_some_and(|stored| {
            stored.sequence == self.root_sequence
                && stored.bytes.as_deref() == Some(&root_record::encode(&self.root, self.base)[..])
        });
        if same { Ok(()) } else { Err(self.witness.lose("the root record changed".into())) }
    }

    async fn commit_all(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let all = |outcome: WriteOutcome| vec![outcome; writes.len()];
        if self.gone().contains(guard.broker) {
            return all(WriteOutcome::Evicted);
        }
        if let Some(reason) = self.over_the_limits(&writes) {
            return all(WriteOutcome::Unavailable(reason));
        }
        let deadline = self.deadline();
        let connection = match self.commits.connection(deadline).await {
            Ok(connection) => connection,
            // Nothing was sent.
            Err(error) => return all(WriteOutcome::Unavailable(error.to_string())),
        };
        if !self.witness.is_trusted() {
            let text = "another NATS server answers: brokers look first whether it misses anything";
            return all(WriteOutcome::Unavailable(text.into()));
        }
        let doubt = Doubt { link: &self.commits, connection: &connection, open: true };
        let requests: Vec<_> = writes.iter().map(|write| self.request(&connection, write)).collect();
        let answers = gather(requests, deadline, doubt).await;
        self.outcomes(&connection, &writes, answers, deadline).await
    }

    fn over_the_limits(&self, writes: &[Write]) -> Option<String> {
        let bytes = writes.iter().map(|write| put_bytes(write).map_or(0, Bytes::len)).sum::<usize>();
        if writes.len() > self.profile.batch_writes_max {
            return Some(format!("a batch has at most {} writes", self.profile.batch_writes_max));
        }
        let max = self.profile.batch_bytes_max;
        // One record that is too large is refused alone.
        (bytes > max && writes.len() > 1).then(|| format!("a batch has at most {max} bytes"))
    }

    /// What is sent for one write.
    async fn request(&self, connection: &Connection, write: &Write) -> Answer {
        let max = self.profile.record_bytes_max;
        let bytes = match &write.change {
            Change::Put(bytes) if bytes.len() > max => {
                return Answer::Refused(format!("a record has at most {max} bytes"));
            }
            Change::Put(bytes) => Some(bytes.clone()),
            Change::Delete => None,
            Change::Compare => return Answer::Refused("JetStream cannot compare without a write".into()),
        };
        // A version that no message can have is not what stands there.
        let Some(expected) = self.sequence(write.expected) else { return Answer::Conflict(None) };
        self.publish(connection, self.api.subjects.of(&write.key), expected, bytes).await
    }

    async fn outcomes(
        &self,
        connection: &Connection,
        writes: &[Write],
        answers: Vec<Answer>,
        deadline: Instant,
    ) -> Vec<WriteOutcome> {
        let outcomes: Vec<_> = answers
            .into_iter()
            .zip(writes)
            .map(|(answer, write)| self.outcome(connection, write, answer, deadline))
            .collect();
        futures::stream::iter(outcomes).buffered(READS_AT_ONCE).collect().await
    }

    async fn outcome(&self, connection: &Connection, write: &Write, answer: Answer, deadline: Instant) -> WriteOutcome {
        match answer {
            Answer::Stored(sequence) => WriteOutcome::Committed(self.version(sequence)),
            Answer::Refused(text) => WriteOutcome::Unavailable(text),
            Answer::Doubtful(text) => {
                // The broker says so once for the whole batch.
                tracing::debug!(%text, key = ?write.key, "the outcome of a write is unknown");
                WriteOutcome::Unknown(text)
            }
            Answer::Missing(text) => WriteOutcome::Unknown(text),
            Answer::Conflict(None) => WriteOutcome::ConflictUnread,
            Answer::Conflict(Some(actual)) => {
                let read = timeout_at(deadline, self.conflict(connection, write, actual)).await;
                read.unwrap_or(WriteOutcome::ConflictUnread)
            }
        }
    }

    /// The server said at which sequence the subject stands: what is there is exactly that message, or not known.
    async fn conflict(&self, connection: &Connection, write: &Write, actual: u64) -> WriteOutcome {
        if self.sequence(write.expected).is_none_or(|expected| actual < expected) {
            // Somebody has seen a later one: a marker that had its time, or the server is behind, or lost something.
            if connection.is_open() {
                match self.verify(connection).await {
                    Ok(()) if actual == 0 => return WriteOutcome::Conflict(self.slot(None)),
                    Err(_) if actual > 0 => {
                        tracing::warn!(key = ?write.key, actual, "the store tells a sequence below one that was seen");
                    }
                    _ => {}
                }
            }
            return WriteOutcome::ConflictUnread;
        }
        let subject = self.api.subjects.of(&write.key);
        match self.get(connection, Which::Sequence(actual)).await {
            Ok(Some(stored)) if stored.subject == subject => WriteOutcome::Conflict(self.slot(Some(stored))),
            _ => WriteOutcome::ConflictUnread,
        }
    }

    async fn verify(&self, connection: &Connection) -> Result<(), StoreError> {
        self.commits.verify(connection).await
    }
}

fn put_bytes(write: &Write) -> Option<&Bytes> {
    match &write.change {
        Change::Put(bytes) => Some(bytes),
        Change::Delete | Change::Compare => None,
    }
}

/// Stands for requests that may be under way. Whoever stops waiting for them gives their connection up.
pub(crate) struct Doubt<'a> {
    pub(crate) link: &'a Link,
    pub(crate) connection: &'a Connection,
    pub(crate) open: bool,
}

impl Doubt<'_> {
    /// Ends the doubt: either everything was answered, or the connection is given up and nothing of it is left.
    pub(crate) async fn settle(mut self, answers: &[Answer]) {
        if answers.iter().any(|answer| matches!(answer, Answer::Missing(_))) {
            // First marked, so that an end of this future changes nothing.
            self.link.give_up(self.connection);
            self.open = false;
            self.link.settled().await;
        }
        self.open = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.open {
            self.link.give_up(self.connection);
        }
    }
}

/// Sends all requests at once and awaits their answers together. What is not answered until the deadline is missing, and
/// then nothing of it is left to be sent.
pub(crate) async fn gather(
    requests: Vec<impl Future<Output = Answer>>,
    deadline: Instant,
    doubt: Doubt<'_>,
) -> Vec<Answer> {
    let missing = Answer::Missing("no answer from JetStream in time".into());
    let mut waiting: FuturesUnordered<_> =
        requests.into_iter().enumerate().map(|(place, request)| async move { (place, request.await) }).collect();
    let mut answers = vec![missing; waiting.len()];
    let all = async {
        while let Some((place, answer)) = waiting.next().await {
            answers[place] = answer;
        }
    };
    // A deadline that passed leaves its mark in the answers.
    let _ = timeout_at(deadline, all).await;
    drop(waiting);
    doubt.settle(&answers).await;
    answers
}

#[async_trait]
impl Backend for NatsBackend {
    fn profile(&self) -> Profile {
        self.store.profile.clone()
    }

    fn root(&self) -> Root {
        self.store.root.clone()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        self.store.read_all(keys).await
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        self.store.commit_all(guard, writes).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        if self.store.gone().contains(guard.broker) {
            return Err(StoreError::Evicted);
        }
        // Generations are not stored. What a doubt leaves behind went with its connection.
        self.store.commits.settled().await;
        self.store.control.settled().await;
        Ok(())
    }

    async fn changed(&self, key: Key, seen: Version) {
        self.hints.changed(self.store.api.subjects.of(&key), seen).await;
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.store.page(family, after, limit).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.store.register(beat).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        self.store.unregister(broker).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.bury(guard, target, seen).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        self.store.erase(guard, target, seen).await
    }

    fn history(&self) -> History {
        self.store.witness.history()
    }

    fn trust(&self, history: History) {
        self.store.witness.trust(history);
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        self.store.registrations().await
    }
}
