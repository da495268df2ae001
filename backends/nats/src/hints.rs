//! Who is told that a key may have changed.
//!
//! One consumer of the stream, polled in a task of its own, brings the subject and the sequence of each new message
//! without its bytes. It exists only while somebody waits. Any gap, silence or new connection wakes everybody, because
//! what happened meanwhile is not known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message, StatusCode};
use futures::stream::StreamExt as _;
use serde_json::json;
use sixpin_core::backend::StoreError;
use sixpin_hints::Hints;
use tokio::time::{sleep, timeout};

use crate::api::{is_marker, nanoseconds, places};
use crate::backend::Store;
use crate::connection::Connection;

/// A consumer that has nothing to say says so this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A consumer that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// The consumer outlives the last who waits so long, because another one often comes.
const IDLE: Duration = Duration::from_secs(30);
/// Between two tries to get a consumer.
const PAUSE: Duration = Duration::from_millis(200);

/// Keeps a consumer while somebody waits. Runs until it is aborted.
pub(crate) async fn run(store: Arc<Store>, hints: Arc<Hints>) {
    loop {
        hints.wanted().await;
        let ended = watch(&store, &hints).await;
        hints.ring_all();
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

/// One consumer's life. Ok when nobody waits any more.
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
    hints.ring_all();
    let mut delivered = 0;
    let mut wanted_at = Instant::now();
    loop {
        let message = timeout(SILENCE, messages.next()).await;
        let message = message.map_err(|_| unavailable("the consumer of changes fell silent".into()))?;
        let message = message.ok_or_else(|| unavailable("the connection broke".into()))?;
        if message.status.is_some() {
            if heard_status(&connection, &message, delivered).await {
                let now = Instant::now();
                if hints.is_wanted() {
                    wanted_at = now;
                } else if now.duration_since(wanted_at) > IDLE {
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
        hints.ring(message.subject.as_str().as_bytes(), store.version(sequence), is_marker(&message));
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
