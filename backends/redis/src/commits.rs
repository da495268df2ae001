//! Batches of compare-and-swaps, and lanes.

use bytes::Bytes;
use futures::future::join_all;
use redis::Value;
use sixpin_core::backend::{Change, Guard, Slot, StoreError, Write, WriteOutcome};
use sixpin_core::name::Version;

use crate::backend::Store;
use crate::connection::Failure;
use crate::keys::{FOREIGN, Keys, Tag, VERSION_DIGITS, version_of, version_text};
use crate::scripts::{ADVANCE, COMMIT, Call, Reply, bytes_of};

/// Writes in one batch: a script holds up everybody else, and this many take about a millisecond.
pub(crate) const BATCH_WRITES_MAX: usize = 128;
/// Bytes of records in one batch, for the same reason.
pub(crate) const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Where a batch writes a record of more bytes than this, what stands under its keys is taken to be as long, and read only
/// as far as its version: reading all of it would hold the server up.
const LONG_RECORD: usize = 4 * 1024;

/// Why a record that needs more room is refused.
const FULL: &str =
    "Redis is out of memory (see `maxmemory`): it takes no more locks until some are released or it gets more";

/// Bytes of the record that a write stores.
fn bytes_in(write: &Write) -> usize {
    match &write.change {
        Change::Put(bytes) => bytes.len(),
        Change::Delete | Change::Compare => 0,
    }
}

impl Store {
    /// See the trait.
    pub(crate) async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        if let Some(refusal) = self.unfit().or_else(|| self.over_the_limits(&writes)) {
            return vec![refusal; writes.len()];
        }
        if self.keys.tag_count() == 1 {
            let all: Vec<&Write> = writes.iter().collect();
            return self.commit_part(Tag::FIRST, guard, &all).await;
        }
        let parts = self.keys.tags().filter_map(|tag| {
            let places: Vec<usize> = (0..writes.len()).filter(|&at| self.keys.tag_of(&writes[at].key) == tag).collect();
            (!places.is_empty()).then_some((tag, places))
        });
        let writes = &writes;
        let parts = parts.map(|(tag, places)| async move {
            let part: Vec<&Write> = places.iter().map(|&at| &writes[at]).collect();
            (places, self.commit_part(tag, guard, &part).await)
        });
        let mut outcomes = vec![WriteOutcome::ConflictUnread; writes.len()];
        for (places, part) in join_all(parts).await {
            for (at, outcome) in places.into_iter().zip(part) {
                outcomes[at] = outcome;
            }
        }
        outcomes
    }

    /// The writes under one tag: one call.
    async fn commit_part(&self, tag: Tag, guard: Guard, writes: &[&Write]) -> Vec<WriteOutcome> {
        let mut call = self.guarded(tag, guard);
        call.key(self.keys.resources(tag)).key(self.keys.sessions(tag));
        call.argument(self.channel.clone()).argument(self.keys.record_base(tag).to_string());
        let long = writes.iter().any(|write| bytes_in(write) > LONG_RECORD);
        call.argument(if long { "long" } else { "" });
        for write in writes {
            call.key(self.keys.record(&write.key));
        }
        call.argument(bells_of(writes)).argument(spec_of(writes));
        for write in writes {
            if let Change::Put(bytes) = &write.change {
                call.argument(bytes.clone());
            }
        }
        let all = |outcome: WriteOutcome| vec![outcome; writes.len()];
        match self.commit_call(tag, &call).await {
            Ok(Reply::Ok(parts)) => self
                .outcomes(tag, guard, writes, parts)
                .unwrap_or_else(|| all(WriteOutcome::Unknown("the answer to a batch was not understood".into()))),
            Ok(refusal) => all(self.outcome_of_refusal(refusal)),
            Err(failure) => all(failure.outcome()),
        }
    }

    /// What each write of a batch came to. None if the answer is not one of ours.
    fn outcomes(&self, tag: Tag, guard: Guard, writes: &[&Write], parts: Vec<Value>) -> Option<Vec<WriteOutcome>> {
        let [version, high, noted, Value::Array(results)] = <[Value; 4]>::try_from(parts).ok()? else { return None };
        let version = version_of(bytes_of(&version)?)?;
        let high = version_of(bytes_of(&high)?)?;
        let outcomes = outcomes_of(writes, version, results)?;
        let committed = |outcome: &WriteOutcome| matches!(outcome, WriteOutcome::Committed(_));
        if noted == Value::Int(1) && outcomes.iter().any(committed) {
            self.witness.acknowledge(guard, tag, version);
        }
        self.witness.saw(tag, high);
        Some(outcomes)
    }

    /// Commits only where the broker knows who answers.
    async fn commit_call(&self, tag: Tag, call: &Call) -> Result<Reply, Failure> {
        let link = self.routes.link(tag).await.inspect_err(|failure| self.routes.failed(failure))?;
        let reply = link.call_trusted(&COMMIT, call).await;
        reply.inspect_err(|failure| self.routes.failed(failure))
    }

    fn over_the_limits(&self, writes: &[Write]) -> Option<WriteOutcome> {
        let text = if writes.len() > self.profile.batch_writes_max {
            "the batch has too many writes"
        } else if writes.iter().any(|write| bytes_in(write) > self.profile.record_bytes_max) {
            "a record is too large"
        } else if writes.iter().map(bytes_in).sum::<usize>() > self.profile.batch_bytes_max {
            "the batch has too many bytes"
        } else {
            return None;
        };
        Some(WriteOutcome::Unavailable(text.into()))
    }

    /// See the trait. The lane moves under every tag, because its batches may have gone to all of them.
    pub(crate) async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        self.witness.remembers()?;
        let moves = self.keys.tags().map(|tag| async move {
            match self.write(tag, &ADVANCE, &self.guarded(tag, guard)).await {
                Ok(Reply::Ok(_)) => Ok(()),
                Ok(refusal) => Err(self.refusal(refusal)),
                Err(failure) => Err(self.error(&failure, false)),
            }
        });
        join_all(moves).await.into_iter().collect()
    }
}

/// The bells of a batch's hints. One that rings for a write that changed nothing wakes somebody in vain.
fn bells_of(writes: &[&Write]) -> String {
    let notified = writes.iter().filter(|write| write.notify && write.change != Change::Compare);
    notified.map(|write| Keys::bell_of(&write.key).to_string()).collect::<Vec<_>>().join(" ")
}

/// What a batch is to do: a letter and the expected version for each write.
fn spec_of(writes: &[&Write]) -> String {
    let mut spec = String::with_capacity(writes.len() * (1 + VERSION_DIGITS));
    for write in writes {
        spec.push(match write.change {
            Change::Put(_) => 'P',
            Change::Delete => 'D',
            Change::Compare => 'C',
        });
        spec.push_str(&version_text(write.expected));
    }
    spec
}

/// What each write came to: done, unless the script says of its place, once, what became of it instead. None if it says anything
/// else.
fn outcomes_of(writes: &[&Write], version: Version, results: Vec<Value>) -> Option<Vec<WriteOutcome>> {
    let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; writes.len()];
    let mut results = results.into_iter();
    while let Some(place) = results.next() {
        let Value::Int(place) = place else { return None };
        let outcome = usize::try_from(place - 1).ok().and_then(|place| outcomes.get_mut(place))?;
        if outcome.replace(not_simply_done(results.next()?)?).is_some() {
            return None;
        }
    }
    Some(writes.iter().zip(outcomes).map(|(write, outcome)| outcome.unwrap_or_else(|| done(write, version))).collect())
}

/// A write of which the script says nothing.
fn done(write: &Write, version: Version) -> WriteOutcome {
    WriteOutcome::Committed(if write.change == Change::Compare { write.expected } else { version })
}

fn not_simply_done(result: Value) -> Option<WriteOutcome> {
    Some(match result {
        Value::Int(2) => WriteOutcome::Committed(Version::ABSENT),
        Value::Int(3) => WriteOutcome::Unavailable(FULL.into()),
        Value::Int(0) => WriteOutcome::ConflictUnread,
        Value::BulkString(stored) => WriteOutcome::Conflict(slot_of(stored)),
        _ => return None,
    })
}

/// A record as it is stored: version, then bytes; nothing at all if there is none. What does not begin with a version was put
/// there by somebody else, and is told as it is: no record looks like that.
pub(crate) fn slot_of(stored: Vec<u8>) -> Slot {
    if stored.is_empty() {
        return Slot::default();
    }
    match stored.get(..VERSION_DIGITS).and_then(version_of) {
        Some(version) => Slot { version, bytes: Some(Bytes::from(stored).slice(VERSION_DIGITS..)) },
        None => Slot { version: FOREIGN, bytes: Some(stored.into()) },
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::backend::Key;
    use sixpin_core::name::{Lockspace, ResourceId, ResourceName};
    use sixpin_core::resource::Resource;

    use super::*;

    #[test]
    fn what_the_script_says_of_each_write_is_taken_as_it_is_or_not_at_all() {
        let key = |name: &str| {
            Key::Resource(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new(name).unwrap() })
        };
        let write = |name, change| Write { key: key(name), expected: Version(3), change, notify: false };
        let writes = [write("a", Change::Put(Bytes::new())), write("b", Change::Compare), write("c", Change::Delete)];
        let writes: Vec<&Write> = writes.iter().collect();
        let outcomes = |results: &[Value]| outcomes_of(&writes, Version(7), results.to_vec());
        let done = vec![WriteOutcome::Committed(Version(7)), WriteOutcome::Committed(Version(3))];
        let all = |last: WriteOutcome| Some([done.clone(), vec![last]].concat());
        assert_eq!(outcomes(&[]), all(WriteOutcome::Committed(Version(7))));
        assert_eq!(outcomes(&[Value::Int(3), Value::Int(2)]), all(WriteOutcome::Committed(Version::ABSENT)));
        let stands = Value::BulkString(b"0000000000000009x".to_vec());
        let slot = Slot { version: Version(9), bytes: Some(Bytes::from_static(b"x")) };
        assert_eq!(outcomes(&[Value::Int(3), stands]), all(WriteOutcome::Conflict(slot)));
        for strange in [
            &[Value::Int(3)][..],
            &[Value::Int(0), Value::Int(2)],
            &[Value::Int(4), Value::Int(2)],
            &[Value::Int(3), Value::Int(9)],
            &[Value::Nil, Value::Int(2)],
            &[Value::Int(3), Value::Int(2), Value::Int(3), Value::Int(2)],
        ] {
            assert_eq!(outcomes(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn a_record_is_its_version_and_its_bytes() {
        assert_eq!(slot_of(Vec::new()), Slot::default());
        let empty = Slot { version: Version(7), bytes: Some(Bytes::new()) };
        assert_eq!(slot_of(b"0000000000000007".to_vec()), empty);
        let full = Slot { version: Version(7), bytes: Some(Bytes::from_static(b"\0x")) };
        assert_eq!(slot_of(b"0000000000000007\0x".to_vec()), full);
        for foreign in [&b"007"[..], b"somebody else's data"] {
            let slot = slot_of(foreign.to_vec());
            assert_eq!(slot, Slot { version: FOREIGN, bytes: Some(Bytes::from_static(foreign)) });
            assert!(Resource::decode(&slot.bytes.unwrap(), slot.version).is_err(), "it is damaged");
        }
    }
}
