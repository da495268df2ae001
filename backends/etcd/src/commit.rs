//! A batch of compare-and-swaps as one transaction, and its answer as one outcome per write.
//!
//! The outer transaction compares nothing but the guard. Each write is a transaction of its own inside it: if the version
//! holds, the change; otherwise a read of what is there. They succeed and fail one by one, and all of them share the
//! revision of the outer one.

use std::time::Duration;

use sixpin_core::backend::{Change, Guard, Slot, Write, WriteOutcome};
use sixpin_core::limits;
use sixpin_core::name::Version;
use tokio::time::Instant;

use crate::outcome::Failure;
use crate::store::{Guarded, Quota, Store};
use crate::wire::{KeyValue, ResponseOp, Txn, TxnOp, delete, get, into_range, into_txn, put};

/// Writes in one batch, unless the cluster allows less. etcd allows 128 operations by default, and gives a nested
/// transaction what the levels above it left.
pub(crate) const BATCH_WRITES_MAX: usize = 120;
/// Bytes of records in one batch. A request may have 1.5 MiB; each of 120 keys of the longest kind stands in it three
/// times.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// What a batch may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) batch_writes_max: usize,
    /// For the whole batch, in as many parts as it may take.
    pub(crate) patience: Duration,
}

/// Commits a batch; one outcome per write, in order.
pub(crate) async fn commit(store: &Store, limits: Limits, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
    if let Some(reason) = over_the_limits(&writes, limits) {
        return vec![WriteOutcome::Unavailable(reason); writes.len()];
    }
    let mut batch = Batch { store, guard, outcomes: vec![None; writes.len()] };
    let mut whole = Vec::with_capacity(writes.len());
    for (place, write) in writes.into_iter().enumerate() {
        match &write.change {
            Change::Put(bytes) if bytes.len() > limits::RECORD_BYTES_MAX => batch.outcomes[place] = Some(too_large()),
            _ => whole.push((place, write)),
        }
    }
    let deadline = Instant::now() + limits.patience;
    // Almost always there is one part. Parts are sent one after the other: a batch has one request in flight.
    let mut parts = vec![whole];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        if Instant::now() >= deadline {
            break;
        }
        if let Err(failure) = batch.send(&part).await {
            match batch.failed(part, &failure) {
                Some(rest) => parts.extend(rest),
                None => break,
            }
        }
    }
    let unsent =
        || WriteOutcome::Unavailable("it was not sent: another part of its batch failed or took too long".into());
    batch.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsent)).collect()
}

/// Writes with their places in the batch.
type Part = Vec<(usize, Write)>;

struct Batch<'a> {
    store: &'a Store,
    guard: Guard,
    outcomes: Vec<Option<WriteOutcome>>,
}

impl Batch<'_> {
    async fn send(&mut self, part: &Part) -> Result<(), Failure> {
        let mut operations: Vec<TxnOp> = part.iter().map(|(_, write)| self.operation(write)).collect();
        if part.iter().all(|(_, write)| write.change == Change::Compare) {
            // A transaction that writes nothing is only a read, and reads may be stale.
            operations.push(delete(self.store.keys.scratch("nothing")));
        }
        let stores = part.iter().any(|(_, write)| matches!(write.change, Change::Put(_)));
        let quota = if stores { Quota::Counts } else { Quota::Exempt };
        match self.store.guarded(self.guard, operations, quota).await? {
            Guarded::Done(revision, responses) => {
                let mut responses = responses.into_iter();
                for (place, write) in part {
                    self.outcomes[*place] = Some(outcome(self.store, revision, write, responses.next()));
                }
            }
            Guarded::Stale => self.all(part, &WriteOutcome::Stale),
            Guarded::Evicted => self.all(part, &WriteOutcome::Evicted),
        }
        Ok(())
    }

    fn operation(&self, write: &Write) -> TxnOp {
        let key = self.store.keys.record(&write.key);
        let change = match &write.change {
            Change::Put(bytes) => vec![put(key.clone(), bytes.clone())],
            Change::Delete => vec![delete(key.clone())],
            Change::Compare => Vec::new(),
        };
        let txn = Txn::new().when(vec![self.store.has_version(key.clone(), write.expected)]);
        TxnOp::txn(txn.and_then(change).or_else(vec![get(key)]))
    }

    /// Notes what became of a part that failed; answers the parts of it that are worth sending. None: nothing more is.
    fn failed(&mut self, part: Part, failure: &Failure) -> Option<Vec<Part>> {
        match failure {
            // Something in it is not allowed, or it is too large for this cluster.
            Failure::Invalid(_) if part.len() > 1 => {
                let mut first = part;
                let second = first.split_off(first.len() / 2);
                Some(vec![second, first])
            }
            // What only deletes is accepted by a full database.
            Failure::Full(_) if part.iter().any(|(_, write)| matches!(write.change, Change::Put(_))) => {
                let (stores, rest): (Part, Part) =
                    part.into_iter().partition(|(_, write)| matches!(write.change, Change::Put(_)));
                self.all(&stores, &failure.outcome());
                Some(vec![rest])
            }
            _ => {
                self.all(&part, &failure.outcome());
                // A part that cannot be allowed says nothing about the others; anything else meets them too.
                matches!(failure, Failure::Invalid(_)).then(Vec::new)
            }
        }
    }

    fn all(&mut self, part: &Part, outcome: &WriteOutcome) {
        for (place, _) in part {
            self.outcomes[*place] = Some(outcome.clone());
        }
    }
}

fn outcome(store: &Store, revision: i64, write: &Write, response: Option<ResponseOp>) -> WriteOutcome {
    let not_understood = || WriteOutcome::Unknown("the answer is not one of etcd".into());
    let Some(answer) = response.and_then(into_txn) else { return not_understood() };
    if answer.succeeded {
        return WriteOutcome::Committed(match write.change {
            Change::Put(_) => store.version(revision),
            // Where nothing was, nothing was deleted.
            Change::Delete if write.expected.is_absent() => Version::ABSENT,
            Change::Delete => store.version(revision),
            Change::Compare => write.expected,
        });
    }
    match answer.responses.into_iter().next().and_then(into_range) {
        Some(range) => WriteOutcome::Conflict(slot(store, range.kvs)),
        None => not_understood(),
    }
}

/// What a read of one key found.
pub(crate) fn slot(store: &Store, kvs: Vec<KeyValue>) -> Slot {
    kvs.into_iter()
        .next()
        .map_or_else(Slot::default, |kv| Slot { version: store.version(kv.mod_revision), bytes: Some(kv.value.into()) })
}

fn over_the_limits(writes: &[Write], limits: Limits) -> Option<String> {
    let bytes_of = |write: &Write| match &write.change {
        Change::Put(bytes) => bytes.len(),
        Change::Delete | Change::Compare => 0,
    };
    if writes.len() > limits.batch_writes_max {
        return Some(format!("a batch has at most {} writes", limits.batch_writes_max));
    }
    // A record that is too large is refused by itself, so that it does not take the others with it.
    let bytes = writes.iter().map(bytes_of).filter(|&bytes| bytes <= limits::RECORD_BYTES_MAX).sum::<usize>();
    (bytes > BATCH_BYTES_MAX).then(|| format!("a batch has at most {BATCH_BYTES_MAX} bytes"))
}

fn too_large() -> WriteOutcome {
    WriteOutcome::Unavailable(format!("a record has at most {} bytes", limits::RECORD_BYTES_MAX))
}
