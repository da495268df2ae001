//! Store calls as futures, each with its limit of time.
//!
//! A call that is ready at once (memory) never sees the executor: it is polled once where it is started, and its
//! outcome goes straight back to the machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use sixpin_core::backend::{Backend, Key, StoreError, WriteOutcome};
use sixpin_core::broker::api::{Effect, Input};
use sixpin_core::name::{Incarnation, Version};

use crate::metrics::store::StoreCounts;

/// Watches at once at most. What is not watched is re-read about once a second, so more would only cost memory.
const WATCHES_MAX: usize = 100_000;

type Call = Pin<Box<dyn Future<Output = Input> + Send>>;
type Watch = Pin<Box<dyn Future<Output = (Key, u64)> + Send>>;

/// The store calls and watches of one machine. Dropping it gives all of them up.
pub struct StoreCalls {
    backend: Arc<dyn Backend>,
    incarnation: Incarnation,
    patience: Duration,
    calls: FuturesUnordered<Call>,
    watches: FuturesUnordered<Abortable<Watch>>,
    watched: BTreeMap<Key, (u64, AbortHandle)>,
    next_watch: u64,
    prompt: bool,
    counts: StoreCounts,
}

impl StoreCalls {
    /// No calls yet, on behalf of one incarnation.
    pub fn new(backend: Arc<dyn Backend>, incarnation: Incarnation, counts: StoreCounts) -> Self {
        let patience = backend.profile().commit_timeout;
        Self {
            backend,
            incarnation,
            patience,
            calls: FuturesUnordered::new(),
            watches: FuturesUnordered::new(),
            watched: BTreeMap::new(),
            next_watch: 0,
            prompt: false,
            counts,
        }
    }

    /// Starts the call that an effect asks for. Returns its outcome if it is ready at once. Effects that are not about
    /// the store are not for here and do nothing.
    pub fn start(&mut self, effect: Effect) -> Option<Input> {
        let (mut call, late) = match effect {
            Effect::Watch { key, seen } => {
                self.watch(key, seen);
                return None;
            }
            Effect::Unwatch { key } => {
                self.unwatch(&key);
                return None;
            }
            other => self.prepare(other)?,
        };
        let outcome = (&mut call).now_or_never();
        self.prompt = outcome.is_some();
        if outcome.is_some() {
            return outcome;
        }
        let patience = self.patience;
        self.calls.push(Box::pin(async move {
            // A call that is given up may still reach the store: the machine is told that its outcome is unknown.
            tokio::time::timeout(patience, call).await.unwrap_or(late)
        }));
        None
    }

    /// True if the newest call was ready at once: this is a store in memory.
    pub fn is_prompt(&self) -> bool {
        self.prompt
    }

    /// The next outcome. Pending for ever while there is none.
    pub async fn next(&mut self) -> Input {
        loop {
            tokio::select! {
                Some(input) = self.calls.next() => return input,
                Some(watch) = self.watches.next() => {
                    if let Some(input) = self.watch_ended(watch) {
                        return input;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }

    /// What is ready already, without waiting; at most `max` outcomes.
    pub fn ready(&mut self, inputs: &mut Vec<Input>, max: usize) {
        for _ in 0..max {
            match self.next().now_or_never() {
                Some(input) => inputs.push(input),
                None => return,
            }
        }
    }

    fn watch(&mut self, key: Key, seen: Version) {
        self.unwatch(&key);
        if self.watched.len() >= WATCHES_MAX {
            return;
        }
        let number = self.next_watch;
        self.next_watch += 1;
        let (handle, registration) = AbortHandle::new_pair();
        self.watched.insert(key.clone(), (number, handle));
        let backend = self.backend.clone();
        let watch: Watch = Box::pin(async move {
            backend.changed(key.clone(), seen).await;
            (key, number)
        });
        self.watches.push(Abortable::new(watch, registration));
    }

    fn unwatch(&mut self, key: &Key) {
        if let Some((_, handle)) = self.watched.remove(key) {
            handle.abort();
        }
    }

    /// A watch that was replaced in the meantime says nothing.
    fn watch_ended<E>(&mut self, watch: Result<(Key, u64), E>) -> Option<Input> {
        let (key, number) = watch.ok()?;
        if self.watched.get(&key).is_none_or(|(current, _)| *current != number) {
            return None;
        }
        self.watched.remove(&key);
        Some(Input::Changed { key })
    }

    /// The call of an effect, and what the machine is told if it takes too long.
    fn prepare(&self, effect: Effect) -> Option<(Call, Input)> {
        let backend = self.backend.clone();
        let unknown = || format!("no answer within {} ms", self.patience.as_millis());
        let doubt = || StoreError::Unknown(unknown());
        let nothing = || StoreError::Unavailable(unknown());
        Some(match effect {
            Effect::Commit { guard, batch, writes } => {
                let lane = guard.lane;
                let late = vec![WriteOutcome::Unknown(unknown()); writes.len()];
                let sent = self.counts.send(writes.len());
                let call = async move {
                    let outcomes = backend.commit(guard, writes).await;
                    sent.answered(&outcomes);
                    Input::Committed { lane, batch, outcomes }
                };
                (call.boxed(), Input::Committed { lane, batch, outcomes: late })
            }
            Effect::Advance { guard } => {
                let call = async move { Input::Advanced { guard, result: backend.advance(guard).await } };
                (call.boxed(), Input::Advanced { guard, result: Err(doubt()) })
            }
            Effect::Read { keys } => {
                let late = Input::Slots { keys: keys.clone(), result: Err(nothing()) };
                let call = async move {
                    let result = backend.read(&keys).await;
                    Input::Slots { keys, result }
                };
                (call.boxed(), late)
            }
            Effect::List { family, after, limit } => {
                let late = Input::Listed { family: family.clone(), after: after.clone(), result: Err(nothing()) };
                let call = async move {
                    let result = backend.list(&family, after.as_deref(), limit).await;
                    Input::Listed { family, after, result }
                };
                (call.boxed(), late)
            }
            Effect::Beat(beat) => {
                let number = beat.number;
                let call = async move { Input::Beaten { number, result: backend.beat(*beat).await } };
                (call.boxed(), Input::Beaten { number, result: Err(doubt()) })
            }
            Effect::Leave => {
                let incarnation = self.incarnation;
                let call = async move { Input::Left { result: backend.leave(incarnation).await } };
                (call.boxed(), Input::Left { result: Err(doubt()) })
            }
            Effect::Evict { guard, target, seen } => {
                let call =
                    async move { Input::EvictDone { target, outcome: backend.evict(guard, target, seen).await } };
                (call.boxed(), Input::EvictDone { target, outcome: WriteOutcome::Unknown(unknown()) })
            }
            Effect::Clear { guard, target, seen } => {
                let call =
                    async move { Input::ClearDone { target, outcome: backend.clear(guard, target, seen).await } };
                (call.boxed(), Input::ClearDone { target, outcome: WriteOutcome::Unknown(unknown()) })
            }
            Effect::Pulses => {
                let call = async move { Input::Pulses { result: backend.pulses().await } };
                (call.boxed(), Input::Pulses { result: Err(nothing()) })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sixpin_core::backend::{Generation, Guard, Lane};
    use sixpin_core::name::{Lockspace, ResourceId, ResourceName};
    use sixpin_memory::{Fault, Faulty, MemoryStore, Operation};

    use super::*;

    const BROKER: Incarnation = Incarnation(1);

    fn counts() -> StoreCounts {
        crate::metrics::Counts::new([], &BTreeMap::default()).of_engine("default").store
    }

    fn commit() -> Effect {
        let guard = Guard { broker: BROKER, lane: Lane(3), generation: Generation(1) };
        Effect::Commit { guard, batch: 5, writes: Vec::new() }
    }

    fn key() -> Key {
        Key::Resource(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("r").unwrap() })
    }

    fn calls(delay: Option<(Operation, Duration)>) -> StoreCalls {
        let script = delay.map(|(operation, delay)| (operation, Fault::Delay(delay)));
        StoreCalls::new(Arc::new(Faulty::scripted(MemoryStore::new().backend(false), script)), BROKER, counts())
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_ready_at_once_never_waits() {
        let outcome = calls(None).start(commit());
        assert_eq!(outcome, Some(Input::Committed { lane: Lane(3), batch: 5, outcomes: Vec::new() }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_takes_too_long_brought_nothing_and_a_beat_may_have_arrived() {
        let mut calls = calls(Some((Operation::Pulses, Duration::from_secs(3600))));
        assert_eq!(calls.start(Effect::Pulses), None);
        let begun = tokio::time::Instant::now();
        let outcome = calls.next().await;
        assert!(matches!(outcome, Input::Pulses { result: Err(StoreError::Unavailable(_)) }), "{outcome:?}");
        assert_eq!(begun.elapsed(), calls.patience);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_was_replaced_or_given_up_says_nothing() {
        let store = MemoryStore::new();
        let mut calls = StoreCalls::new(Arc::new(store.backend(true)), BROKER, counts());
        // It differs from what was seen, so it returns at once; but not after it was given up.
        calls.start(Effect::Watch { key: key(), seen: Version(7) });
        calls.start(Effect::Unwatch { key: key() });
        let mut inputs = Vec::new();
        calls.ready(&mut inputs, 10);
        assert_eq!(inputs, []);
        assert!(calls.watched.is_empty());
        calls.start(Effect::Watch { key: key(), seen: Version(7) });
        calls.start(Effect::Watch { key: key(), seen: Version(8) });
        assert_eq!(calls.next().await, Input::Changed { key: key() });
        calls.ready(&mut inputs, 10);
        assert_eq!(inputs, []);
        assert!(calls.watched.is_empty());
    }
}
