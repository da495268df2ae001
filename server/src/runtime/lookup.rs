//! Reads of the store for people who look. What they find was true a moment ago.

use std::time::Duration;

use sixpin_core::backend::{Family, Key, Page, StoreError};
use sixpin_core::broker::api::RequestError;
use sixpin_core::name::{ResourceId, Version};
use sixpin_core::record::RecordError;
use sixpin_core::resource::Resource;

use super::EngineHandle;

/// Records read in one request: a page of large records must not fill the memory.
const RECORDS_PER_READ: usize = 32;

/// What is stored of a resource, or why it cannot be understood.
pub type Stored = Result<Resource, RecordError>;

/// A listing that is to go on from a place that it never named.
pub fn bad_after() -> RequestError {
    RequestError::Invalid("`after` is not the `next` of an earlier page".into())
}

impl EngineHandle {
    /// One resource; none if nobody has a claim on it.
    pub async fn read(&self, id: &ResourceId) -> Result<Option<(Version, Stored)>, RequestError> {
        let mut found = None;
        self.read_all(std::slice::from_ref(id), |_, version, resource| found = Some((version, resource))).await?;
        Ok(found)
    }

    /// Reads resources a few at a time and shows each that exists, in the order asked.
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
                let Some(bytes) = slot.bytes else { continue };
                show(id, slot.version, Resource::decode(&bytes, slot.version));
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
