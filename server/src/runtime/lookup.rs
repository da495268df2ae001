//! Reads of the store for people who look. What they find was true a moment ago.

use std::time::Duration;

use sixpin_core::backend::{Family, Key, Page, Slot, StoreError};
use sixpin_core::broker::api::RequestError;
use sixpin_core::name::{ResourceId, Version};
use sixpin_core::record::RecordError;
use sixpin_core::resource::Resource;

use super::EngineHandle;

/// Records read in one request: a page of large records must not fill the memory.
const RECORDS_PER_READ: usize = 32;

/// What is stored of a resource, or why it cannot be understood.
pub type Stored = Result<Resource, RecordError>;

/// What stands there, unless that is a record on which nobody has a claim: brokers keep those for a moment.
fn stored(slot: &Slot) -> Option<Stored> {
    let stored = Resource::decode(slot.bytes.as_ref()?, slot.version);
    Some(stored).filter(|stored| !stored.as_ref().is_ok_and(Resource::is_idle))
}

/// A listing that is to go on from a place that it never named.
pub fn bad_after() -> RequestError {
    RequestError::Invalid("`after` is not the `next` of an earlier page".into())
}

impl EngineHandle {
    /// The version that stands at one resource, and what is stored there; none if nobody has a claim on it.
    pub async fn read(&self, id: &ResourceId) -> Result<(Version, Option<Stored>), RequestError> {
        let slots = self.in_time(self.backend().read(&[Key::Resource(id.clone())])).await?;
        let slot = slots.into_iter().next().unwrap_or_default();
        Ok((slot.version, stored(&slot)))
    }

    /// Reads resources a few at a time and shows each that somebody has a claim on, in the order asked.
    pub async fn read_all(
        &self,
        ids: &[ResourceId],
        mut show: impl FnMut(&ResourceId, Version, Stored),
    ) -> Result<(), RequestError> {
        let backend = self.backend();
        for ids in ids.chunks(RECORDS_PER_READ) {
            let keys: Vec<Key> = ids.iter().cloned().map(Key::Resource).collect();
            let slots = self.in_time(backend.read(&keys)).await?;
            for (id, slot) in ids.iter().zip(slots) {
                if let Some(stored) = stored(&slot) {
                    show(id, slot.version, stored);
                }
            }
        }
        Ok(())
    }

    /// One page of names, and from where the next one goes on; empty: there is none.
    pub async fn list(
        &self,
        family: &Family,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<ResourceId>, String), RequestError> {
        let backend = self.backend();
        let after = (!after.is_empty()).then_some(after);
        let Page { keys, next } = self.in_time(backend.list(family, after, limit)).await?;
        let ids = keys.into_iter().filter_map(|(key, _)| match key {
            Key::Resource(id) => Some(id),
            Key::Session(_) => None,
        });
        Ok((ids.collect(), next.unwrap_or_default()))
    }

    /// Returns when the resource may have changed, and at the latest after a while: hints may be lost.
    pub async fn changed(&self, id: &ResourceId, seen: Version, at_most: Duration) {
        let backend = self.backend();
        let _ = tokio::time::timeout(at_most, backend.changed(Key::Resource(id.clone()), seen)).await;
    }

    /// A read is as patient as a batch of writes.
    async fn in_time<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, RequestError> {
        match tokio::time::timeout(self.profile().commit_timeout, read).await {
            Ok(result) => result.map_err(|error| match error {
                StoreError::NoSuchPlace => bad_after(),
                error => RequestError::Unavailable(format!("{error}; try again")),
            }),
            Err(_) => Err(RequestError::Unavailable("the store does not answer; try again".into())),
        }
    }
}
