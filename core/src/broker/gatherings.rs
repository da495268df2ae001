//! Requests over several resources, which are answered when all their parts are done.

use std::collections::BTreeMap;

use super::api::{Reply, ReplyTo, RequestError};

/// A request that is not answered yet.
#[derive(Debug)]
struct Gathering {
    to: ReplyTo,
    parts: usize,
    released: u32,
    failed: Option<RequestError>,
}

/// All of them, by the number that their parts name.
#[derive(Debug, Default)]
pub(super) struct Gatherings {
    newest: u64,
    open: BTreeMap<u64, Gathering>,
}

impl Gatherings {
    /// A request begins that has so many parts; its number.
    pub(super) fn begin(&mut self, to: ReplyTo, parts: usize) -> u64 {
        self.newest += 1;
        self.open.insert(self.newest, Gathering { to, parts, released: 0, failed: None });
        self.newest
    }

    /// One part released so many claims. With the last part comes the answer.
    pub(super) fn part_done(&mut self, number: u64, released: u32) -> Option<(ReplyTo, Reply)> {
        self.part_ended(number, released, None)
    }

    /// One part was refused, and so the request is.
    pub(super) fn part_failed(&mut self, number: u64, error: RequestError) -> Option<(ReplyTo, Reply)> {
        self.part_ended(number, 0, Some(error))
    }

    fn part_ended(&mut self, number: u64, released: u32, failed: Option<RequestError>) -> Option<(ReplyTo, Reply)> {
        let gathering = self.open.get_mut(&number)?;
        gathering.parts -= 1;
        gathering.released += released;
        gathering.failed = failed.or(gathering.failed.take());
        if gathering.parts > 0 {
            return None;
        }
        let Gathering { to, released, failed, .. } = self.open.remove(&number)?;
        Some((to, failed.map_or(Reply::UnlockedAll { released }, Reply::Error)))
    }
}
