//! Who is told that a key may have changed.
//!
//! One consumer of the stream, polled in a task of its own, brings the subject and the sequence of each new message
//! without its bytes. It exists only while somebody watches. Any gap, silence or new connection wakes everybody, because
//! what happened meanwhile is not known.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode};
use futures::stream::StreamExt as _;
use serde_json::json;
use sixpin_core::backend::StoreError;
use sixpin_core::name::Version;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::api::{is_marker, nanoseconds, places};
use crate::backend::Store;
use crate::connection::Connection;

/// A consumer that has nothing to say says so this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A consumer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// The consumer outlives its last watcher so long, because another one often comes.
const IDLE: Duration = Duration::from_secs(30);
/// Between two tries to get a consumer.
const PAUSE: Duration = Duration::from_millis(200);
/// Changes remembered, so that one which comes just before its watcher is not missed.
const RECENT: usize = 4_096;

/// The watchers of one store.
#[derive(Debug)]
pub(crate) struct Hints {
    state: Mutex<State>,
    // Rung when somebody begins to watch.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    // Only subjects that are watched, so memory is bounded by the watchers.
    watched: HashMap<String, Watched>,
    // By hash of the subject: the hash and its last change.
    recent: Box<[(u64, Change)]>,
    // Counts the times when everybody was woken.
    alarms: u64,
}

/// The last change of a subject.
#[derive(Debug, Clone, Copy)]
struct Change {
    version: Version,
    /// It is the marker of a delete.
    marker: bool,
}

impl Change {
    /// Whether the subject may stand at something that was not seen. Whoever saw nothing knows no marker, and sees nothing
    /// where one stands.
    fn is_news(self, seen: Version) -> bool {
        self.version > seen && !(self.marker && seen.is_absent())
    }
}

#[derive(Debug)]
struct Watched {
    watchers: usize,
    bell: Arc<Notify>,
}

impl Default for Hints {
    fn default() -> Self {
        let recent = vec![(0, Change { version: Version::ABSENT, marker: true }); RECENT].into();
        let state = State { watched: HashMap::new(), recent, alarms: 0 };
        Self { state: Mutex::new(state), wanted: Notify::new() }
    }
}

/// One watcher's place; it is given back on drop.
struct Place<'a> {
    hints: &'a Hints,
    subject: String,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.hints.state();
        let Some(watched) = state.watched.get_mut(&self.subject) else { return };
        watched.watchers -= 1;
        if watched.watchers == 0 {
            state.watched.remove(&self.subject);
        }
    }
}

impl Hints {
    /// Returns when the subject may stand at a version above `seen`.
    pub(crate) async fn changed(&self, subject: String, seen: Version) {
        let hash = hash_of(&subject);
        let (bell, alarms) = {
            let mut state = self.state();
            let watched = state.watched.entry(subject.clone());
            let watched = watched.or_insert_with(|| Watched { watchers: 0, bell: Arc::default() });
            watched.watchers += 1;
            let bell = watched.bell.clone();
            (bell, state.alarms)
        };
        let _place = Place { hints: self, subject };
        self.wanted.notify_one();
        let mut ring = std::pin::pin!(bell.notified());
        ring.as_mut().enable();
        {
            // First listen, then look: a change between the two is heard.
            let state = self.state();
            let (last, change) = state.recent[place_of(hash)];
            if state.alarms != alarms || last == hash && change.is_news(seen) {
                return;
            }
        }
        ring.await;
    }

    /// A subject stands at a new version.
    fn ring(&self, subject: &str, change: Change) {
        let hash = hash_of(subject);
        let mut state = self.state();
        state.recent[place_of(hash)] = (hash, change);
        if let Some(watched) = state.watched.get(subject) {
            watched.bell.notify_waiters();
        }
    }

    /// Wakes everybody: something may have been missed.
    fn alarm(&self) {
        let mut state = self.state();
        state.alarms += 1;
        for watched in state.watched.values() {
            watched.bell.notify_waiters();
        }
    }

    fn is_watched(&self) -> bool {
        !self.state().watched.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash_of(subject: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    subject.hash(&mut hasher);
    hasher.finish()
}

fn place_of(hash: u64) -> usize {
    usize::try_from(hash % RECENT as u64).unwrap_or_default()
}

/// Keeps a consumer while somebody watches. Runs until it is aborted.
pub(crate) async fn run(store: Arc<Store>, hints: Arc<Hints>) {
    loop {
        while !hints.is_watched() {
            hints.wanted.notified().await;
        }
        let ended = watch(&store, &hints).await;
        hints.alarm();
        match ended {
            Ok(()) => {}
            // Nobody needs hints from a store that lost its memory.
            Err(StoreError::Amnesia(_)) => return,
            Err(error) => {
                tracing::debug!(%error, "change hints are interrupted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One consumer's life. Ok when nobody watches any more.
async fn watch(store: &Store, hints: &Hints) -> Result<(), StoreError> {
    let connection = store.control.connection(store.deadline()).await?;
    let client = connection.client();
    let unavailable = |text: String| StoreError::Unavailable(text);
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(error.to_string()))?;
    let config = json!({
        "deliver_policy": "new",
        "deliver_subject": inbox,
        "flow_control": true,
        "idle_heartbeat": nanoseconds(HEARTBEAT),
        "filter_subjects": store.api.subjects.records(),
    });
    let consumer = timeout(store.config.timeout(), store.api.consume(client, config)).await;
    let consumer = consumer.map_err(|_| unavailable("no answer in time".into()))?;
    let consumer = consumer.map_err(|failure| unavailable(failure.to_string()))?;
    // What changed before the consumer was there is not told by it.
    hints.alarm();
    let mut delivered = 0;
    let mut watched_at = Instant::now();
    loop {
        let message = timeout(SILENCE, messages.next()).await;
        let message = message.map_err(|_| unavailable("the consumer of changes fell silent".into()))?;
        let message = message.ok_or_else(|| unavailable("the connection broke".into()))?;
        if message.status.is_some() {
            if heard_status(&connection, &message, delivered).await {
                let now = Instant::now();
                if hints.is_watched() {
                    watched_at = now;
                } else if now.duration_since(watched_at) > IDLE {
                    store.api.release(client, &consumer).await;
                    return Ok(());
                }
                continue;
            }
            return Err(unavailable("the consumer of changes lost something".into()));
        }
        let Some((sequence, number)) = places(&message) else {
            return Err(unavailable("the consumer of changes says something odd".into()));
        };
        delivered += 1;
        if number != delivered {
            store.api.release(client, &consumer).await;
            return Err(unavailable("a change was not delivered".into()));
        }
        store.witness.saw(sequence);
        let change = Change { version: store.version(sequence), marker: is_marker(&message) };
        hints.ring(message.subject.as_str(), change);
    }
}

/// A heartbeat, which tells how much was delivered, or a question of the flow control, which wants an answer. False if
/// something is missing.
async fn heard_status(connection: &Connection, message: &Message, delivered: u64) -> bool {
    if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
        return false;
    }
    let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
    let stalled = header("Nats-Consumer-Stalled");
    if let Some(subject) = message.reply.as_ref().map(|reply| reply.as_str().to_owned()).or(stalled) {
        return connection.client().publish(subject, bytes::Bytes::new()).await.is_ok();
    }
    header("Nats-Last-Consumer").is_none_or(|last| last.parse() == Ok(delivered))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn change(version: Version, marker: bool) -> Change {
        Change { version, marker }
    }

    #[tokio::test]
    async fn a_change_wakes_who_watches_it_and_nobody_else() {
        let hints = Hints::default();
        let mut one = Box::pin(hints.changed("one".into(), Version(5)));
        let mut two = Box::pin(hints.changed("two".into(), Version(5)));
        assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
        hints.ring("one", change(Version(6), false));
        assert!(one.now_or_never().is_some());
        assert!((&mut two).now_or_never().is_none());
        hints.alarm();
        assert!(two.now_or_never().is_some());
        assert!(!hints.is_watched(), "a watch that ended leaves nothing");
    }

    #[tokio::test]
    async fn a_change_just_before_the_watch_is_not_missed() {
        let hints = Hints::default();
        hints.ring("one", change(Version(6), false));
        assert!(hints.changed("one".into(), Version(5)).now_or_never().is_some());
        assert!(hints.changed("one".into(), Version(6)).now_or_never().is_none());
        assert!(hints.changed("two".into(), Version(5)).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_delete_is_no_news_for_who_saw_nothing() {
        let hints = Hints::default();
        hints.ring("one", change(Version(6), true));
        assert!(hints.changed("one".into(), Version(5)).now_or_never().is_some());
        assert!(hints.changed("one".into(), Version::ABSENT).now_or_never().is_none());
        hints.ring("one", change(Version(7), false));
        assert!(hints.changed("one".into(), Version::ABSENT).now_or_never().is_some());
    }
}
