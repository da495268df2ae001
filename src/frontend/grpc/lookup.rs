//! Reads of the store for inspection. What they find was true a moment ago.

use std::time::Duration;

use sixpin_core::backend::{Backend, Family, Key, Page, StoreError};
use sixpin_core::broker::api::RequestError;
use sixpin_core::limits;
use sixpin_core::name::{ResourceId, Version};
use sixpin_core::record::RecordError;
use sixpin_core::resource::Resource;

use super::errors::invalid;
use crate::runtime::EngineHandle;

/// Records read in one request: a page of large records must not fill the memory.
const RECORDS_PER_READ: usize = 32;
/// Entries of a page unless the caller says how many.
const PAGE_DEFAULT: usize = 100;

/// A listing that is to go on from a place that it never named.
pub(super) fn bad_after() -> RequestError {
    invalid("`after` is not the `next` of an earlier page")
}

/// How many entries a page has.
pub(super) fn page_limit(limit: u32) -> Result<usize, RequestError> {
    match limit as usize {
        0 => Ok(PAGE_DEFAULT),
        limit if limit <= limits::PAGE_MAX => Ok(limit),
        limit => Err(invalid(format!("`limit` is {limit}: a page has at most {} entries", limits::PAGE_MAX))),
    }
}

/// What is stored of a resource, or why it cannot be understood.
pub(super) type Stored = Result<Resource, RecordError>;

/// One resource; none if nobody has a claim on it.
pub(super) async fn resource(
    engine: &EngineHandle,
    id: &ResourceId,
) -> Result<Option<(Version, Stored)>, RequestError> {
    let mut found = None;
    resources(engine, std::slice::from_ref(id), |_, version, resource| found = Some((version, resource))).await?;
    Ok(found)
}

/// Reads resources a few at a time and shows each that exists, in the order asked.
pub(super) async fn resources(
    engine: &EngineHandle,
    ids: &[ResourceId],
    mut show: impl FnMut(&ResourceId, Version, Stored),
) -> Result<(), RequestError> {
    let backend = engine.backend();
    for ids in ids.chunks(RECORDS_PER_READ) {
        let keys: Vec<Key> = ids.iter().cloned().map(Key::Resource).collect();
        let slots = in_time(engine, backend.read(&keys)).await?;
        for (id, slot) in ids.iter().zip(slots) {
            let Some(bytes) = slot.bytes else { continue };
            show(id, slot.version, Resource::decode(&bytes, slot.version));
        }
    }
    Ok(())
}

/// One page of names.
pub(super) async fn list(
    engine: &EngineHandle,
    family: &Family,
    after: &str,
    limit: usize,
) -> Result<(Vec<ResourceId>, Option<String>), RequestError> {
    let backend = engine.backend();
    let after = (!after.is_empty()).then_some(after);
    let Page { keys, next } = in_time(engine, backend.list(family, after, limit)).await?;
    let ids = keys.into_iter().filter_map(|(key, _)| match key {
        Key::Resource(id) => Some(id),
        Key::Session(_) => None,
    });
    Ok((ids.collect(), next))
}

/// Returns when the resource may have changed, and at the latest after a while: hints may be lost.
pub(super) async fn changed(backend: &dyn Backend, id: &ResourceId, seen: Version, at_most: Duration) {
    let _ = tokio::time::timeout(at_most, backend.changed(Key::Resource(id.clone()), seen)).await;
}

/// A read is as patient as a batch of writes.
async fn in_time<T>(
    engine: &EngineHandle,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(engine.profile().commit_timeout, read).await {
        Ok(result) => result.map_err(|error| match error {
            StoreError::NoSuchPlace => bad_after(),
            error => RequestError::Unavailable(format!("{error}; try again")),
        }),
        Err(_) => Err(RequestError::Unavailable("the store does not answer; try again".into())),
    }
}
