//! Reads and lists: hints about where to look, never a decision.

use futures::future::try_join_all;
use redis::Value;
use sixpin_core::backend::{Family, Key, Page, Slot, StoreError};
use sixpin_core::name::Version;

use crate::backend::Store;
use crate::commits::slot_of;
use crate::keys::{FOREIGN, Tag, key_of, range, version_of};
use crate::scripts::{Reply, VERSIONS, bytes_of};

/// Records read by one command: bounds how long the server is busy with it, and the answer.
const READ_KEYS_MAX: usize = 64;
/// Names listed by one command.
const LIST_KEYS_MAX: usize = 1_000;

impl Store {
    /// See the trait.
    pub(crate) async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        self.witness.remembers()?;
        let mut slots = vec![Slot::default(); keys.len()];
        let parts = self.keys.tags().map(|tag| async move {
            let places: Vec<usize> = (0..keys.len()).filter(|&at| self.keys.tag_of(&keys[at]) == tag).collect();
            let mut part = Vec::with_capacity(places.len());
            for places in places.chunks(READ_KEYS_MAX) {
                part.extend(self.read_part(tag, places.iter().map(|&at| &keys[at])).await?);
            }
            Ok::<_, StoreError>(places.into_iter().zip(part))
        });
        for (at, slot) in try_join_all(parts).await?.into_iter().flatten() {
            slots[at] = slot;
        }
        Ok(slots)
    }

    async fn read_part(&self, tag: Tag, keys: impl Iterator<Item = &Key>) -> Result<Vec<Slot>, StoreError> {
        let before = self.witness.high(tag);
        let mut command = redis::cmd("MGET");
        command.arg(self.keys.root(tag)).arg(self.keys.high(tag));
        let mut count = 0;
        for key in keys {
            command.arg(self.keys.record(key));
            count += 1;
        }
        let values = self.values(tag, &command).await?;
        let [root, high, records @ ..] = values.as_slice() else { return Err(strange()) };
        self.witness.check(tag, root, high, before)?;
        if records.len() != count {
            return Err(strange());
        }
        let slots = values.into_iter().skip(2).map(|value| match value {
            Value::Nil => Some(Slot::default()),
            // An empty string is nothing that we store.
            Value::BulkString(stored) if stored.is_empty() => None,
            Value::BulkString(stored) => Some(slot_of(stored)),
            _ => None,
        });
        slots
            .map(|slot| slot.ok_or_else(|| StoreError::Corrupt("a record does not begin with a version".into())))
            .collect()
    }

    /// The version at a key, without its bytes.
    pub(crate) async fn version(&self, key: &Key) -> Result<Version, StoreError> {
        Ok(self.versions(std::slice::from_ref(key)).await?[0])
    }

    /// The versions at these keys, in order.
    async fn versions(&self, keys: &[Key]) -> Result<Vec<Version>, StoreError> {
        let mut versions = vec![Version::ABSENT; keys.len()];
        let parts = self.keys.tags().map(|tag| async move {
            let places: Vec<usize> = (0..keys.len()).filter(|&at| self.keys.tag_of(&keys[at]) == tag).collect();
            let part = self.versions_part(tag, places.iter().map(|&at| &keys[at])).await?;
            Ok::<_, StoreError>(places.into_iter().zip(part))
        });
        for (at, version) in try_join_all(parts).await?.into_iter().flatten() {
            versions[at] = version;
        }
        Ok(versions)
    }

    async fn versions_part(&self, tag: Tag, keys: impl Iterator<Item = &Key>) -> Result<Vec<Version>, StoreError> {
        let mut call = self.call(tag);
        let mut count = 0;
        for key in keys {
            call.key(self.keys.record(key));
            count += 1;
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let reply = match self.routes.link(tag).await {
            Ok(link) => link.call(&VERSIONS, &call).await,
            Err(failure) => Err(failure),
        };
        let reply =
            reply.inspect_err(|failure| self.routes.failed(failure)).map_err(|failure| self.error(&failure, true))?;
        let parts = match reply {
            Reply::Ok(parts) => parts,
            refusal => return Err(self.refusal(refusal)),
        };
        let [high, Value::Array(heads)] = parts.as_slice() else { return Err(strange()) };
        self.witness.saw(tag, bytes_of(high).and_then(version_of).ok_or_else(strange)?);
        if heads.len() != count {
            return Err(strange());
        }
        let version = |head: &Value| match bytes_of(head) {
            Some(b"") => Some(Version::ABSENT),
            // Put there by somebody else.
            Some(head) => Some(version_of(head).unwrap_or(FOREIGN)),
            None => None,
        };
        heads.iter().map(|head| version(head).ok_or_else(strange)).collect()
    }

    /// See the trait. The indexes are in order and may be a moment older than the records: a name without a record is
    /// left out.
    pub(crate) async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.witness.remembers()?;
        if after.is_some_and(|after| key_of(family, after).is_none()) {
            return Err(StoreError::NoSuchPlace);
        }
        let limit = limit.clamp(1, LIST_KEYS_MAX);
        let parts = self.keys.tags().map(|tag| self.names(tag, family, after, limit + 1));
        let mut names: Vec<String> = try_join_all(parts).await?.into_iter().flatten().collect();
        names.sort_unstable();
        let more = names.len() > limit;
        names.truncate(limit);
        let next = if more { names.last().cloned() } else { None };
        let keys: Option<Vec<Key>> = names.iter().map(|name| key_of(family, name)).collect();
        let keys = keys.ok_or_else(|| StoreError::Corrupt("an index holds a name that is none".into()))?;
        let versions = self.versions(&keys).await?;
        let present = keys.into_iter().zip(versions).filter(|(_, version)| !version.is_absent());
        Ok(Page { keys: present.collect(), next })
    }

    async fn names(
        &self,
        tag: Tag,
        family: &Family,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let index = match family {
            Family::Sessions => self.keys.sessions(tag),
            Family::Resources { .. } | Family::AllResources => self.keys.resources(tag),
        };
        let (min, max) = range(family, after);
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(index).arg(min).arg(max).arg("LIMIT").arg(0).arg(limit);
        let values = self.values(tag, &command).await?;
        let text = |value: &Value| bytes_of(value).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        values.iter().map(|value| text(value).ok_or_else(strange)).collect()
    }

    /// Sends a command that reads and is answered by a list.
    pub(crate) async fn values(&self, tag: Tag, command: &redis::Cmd) -> Result<Vec<Value>, StoreError> {
        let answer = match self.routes.link(tag).await {
            Ok(link) => link.send(command).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(Value::Array(values) | Value::Set(values)) => Ok(values),
            Ok(_) => Err(strange()),
            Err(failure) => {
                self.routes.failed(&failure);
                Err(self.error(&failure, true))
            }
        }
    }
}

fn strange() -> StoreError {
    StoreError::Unavailable("the answer of Redis was not understood".into())
}
