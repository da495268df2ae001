//! Pages of keys.
//!
//! JetStream lists messages in the order in which they were written, and that order changes with every write: a record
//! might come twice or never. So a page is in the order of the subjects, of which each part (all, a sixteenth or a
//! 256th, by the hash in the subject) is read as a whole, without its bytes, and sorted here. Parts are chosen so that
//! one has a few thousand messages in all but enormous stores.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::StatusCode;
use futures::stream::StreamExt as _;
use serde_json::json;
use sixpin_core::backend::{Family, Key, Page, StoreError};
use sixpin_core::name::Version;
use tokio::time::{Instant, timeout_at};

use crate::api::{Failure, is_marker, places};
use crate::backend::Store;
use crate::connection::Connection;

/// A part has about so many subjects at most, while 256 parts are enough for that.
const PART_SUBJECTS: u64 = 8_192;
/// Messages asked for at once.
const FETCH: usize = 4_096;
/// A consumer that was asked and delivers less than it announced is asked again after this.
const QUIET: Duration = Duration::from_millis(250);
/// A page that looks through many parts and finds little ends after this; the next one goes on.
const PAGE_TIME: Duration = Duration::from_millis(500);

/// How finely a family is divided: by no, one or two digits of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parts {
    Whole,
    Sixteen,
    All,
}

impl Parts {
    fn of(subjects: u64) -> Self {
        match subjects {
            0..=PART_SUBJECTS => Self::Whole,
            _ if subjects <= PART_SUBJECTS * 16 => Self::Sixteen,
            _ => Self::All,
        }
    }

    /// The parts from the one on where `after` lies: their digits, and the cursor behind each.
    fn from(self, after: &str) -> Vec<(Option<u8>, Option<u8>, String)> {
        let parts: Vec<_> = match self {
            Self::Whole => vec![(None, None, BEHIND_ALL.into())],
            Self::Sixteen => (0..16).map(|first| (Some(first), None, format!("{first:x}/"))).collect(),
            Self::All => (0..=255_u8)
                .map(|byte| (Some(byte >> 4), Some(byte & 15), format!("{:x}.{:x}/", byte >> 4, byte & 15)))
                .collect(),
        };
        parts.into_iter().filter(|(_, _, end)| end.as_str() > after).collect()
    }
}

/// Behind every subject, which begins with a digit.
const BEHIND_ALL: &str = "~";

impl Store {
    /// A page of a family. It may be short, or empty, and still have a next one.
    pub(crate) async fn page(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let deadline = self.deadline();
        let enough = Instant::now() + PAGE_TIME;
        let limit = limit.max(1);
        if !after.is_none_or(is_cursor) {
            return Err(StoreError::NoSuchPlace);
        }
        let connection = self.control.connection(deadline).await?;
        let late = || StoreError::Unavailable("JetStream did not list in time".into());
        let info = timeout_at(deadline, self.api.info(connection.client(), None)).await.map_err(|_| late())?;
        let info = info.map_err(|failure| unavailable(&failure))?;
        let mut cursor = after.unwrap_or_default().to_owned();
        let mut page = Page::default();
        for (first, second, end) in Parts::of(info.state.num_subjects).from(&cursor) {
            // One part at least: a page that got nowhere could not say where to go on.
            if Instant::now() > enough && Some(cursor.as_str()) > after {
                page.next = Some(cursor);
                return Ok(page);
            }
            let filter = self.api.subjects.part(family, first, second);
            let part = timeout_at(deadline, self.part(&connection, family, filter)).await.map_err(|_| late())??;
            for (place, (key, version)) in part.range(cursor.clone()..) {
                if *place == cursor {
                    continue;
                }
                if page.keys.len() == limit {
                    page.next = Some(cursor);
                    return Ok(page);
                }
                page.keys.push((key.clone(), *version));
                cursor.clone_from(place);
            }
            cursor = end;
        }
        Ok(page)
    }

    /// All records of a part, by their places.
    async fn part(
        &self,
        connection: &Connection,
        family: &Family,
        filter: String,
    ) -> Result<BTreeMap<String, (Key, Version)>, StoreError> {
        let client = connection.client();
        let inbox = client.new_inbox();
        let odd = |error: async_nats::SubscribeError| StoreError::Unavailable(error.to_string());
        let mut messages = client.subscribe(inbox.clone()).await.map_err(odd)?;
        let config = json!({ "deliver_policy": "all", "filter_subject": filter });
        let consumer = self.api.consume(client, config).await.map_err(|failure| unavailable(&failure))?;
        let mut part = BTreeMap::new();
        let mut asked = 0;
        loop {
            if asked == 0 {
                let next = self.api.next(client, &consumer, inbox.as_str(), FETCH).await;
                next.map_err(|failure| unavailable(&failure))?;
                asked = FETCH;
            }
            let Ok(message) = tokio::time::timeout(QUIET, messages.next()).await else {
                asked = 0;
                continue;
            };
            let message = message.ok_or_else(|| StoreError::Unavailable("the connection broke".into()))?;
            match message.status {
                Some(StatusCode::NOT_FOUND) => break,
                // The end of one request, for whatever reason, is not the end of the messages.
                Some(_) => {
                    asked = 0;
                    continue;
                }
                None => asked -= 1,
            }
            let Some((sequence, _)) = places(&message) else { continue };
            let subject = message.subject.as_str();
            let (Some(place), Some(key)) = (self.api.subjects.place(subject), self.api.subjects.key_of(subject)) else {
                continue;
            };
            if is_marker(&message) {
                part.remove(place);
            } else if belongs(family, &key) {
                part.insert(place.to_owned(), (key, self.version(sequence)));
            }
        }
        self.api.release(client, &consumer).await;
        Ok(part)
    }
}

/// Whether a page could have named this place: a subject that begins with the two digits of its hash, or the end of a
/// part.
fn is_cursor(after: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    match after.as_bytes() {
        [first, b'/'] => is_digit(*first),
        [first, b'.', second, b'/'] | [first, b'.', second, b'.', _, ..] => is_digit(*first) && is_digit(*second),
        _ => false,
    }
}

fn belongs(family: &Family, key: &Key) -> bool {
    match (family, key) {
        // The lockspace was part of the filter.
        (Family::Resources { prefix, .. }, Key::Resource(id)) => id.name.as_str().starts_with(prefix.as_str()),
        (Family::AllResources, Key::Resource(_)) | (Family::Sessions, Key::Session(_)) => true,
        _ => false,
    }
}

fn unavailable(failure: &Failure) -> StoreError {
    StoreError::Unavailable(failure.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_place_or_the_end_of_a_part() {
        for cursor in ["7.f.default.a", "7.f.~", "7/", "a.0/"] {
            assert!(is_cursor(cursor), "{cursor}");
        }
        for cursor in ["", "7", "g/", "7.f", "7.f.", "7.g.a", "F.0.a", "default/a", "~"] {
            assert!(!is_cursor(cursor), "{cursor}");
        }
        for parts in [Parts::Sixteen, Parts::All] {
            assert!(parts.from("").iter().all(|(_, _, end)| is_cursor(end)));
        }
    }

    #[test]
    fn parts_cover_everything_in_order() {
        for (subjects, count) in [(0, 1), (8_192, 1), (8_193, 16), (131_072, 16), (131_073, 256)] {
            let parts = Parts::of(subjects).from("");
            assert_eq!(parts.len(), count);
            assert!(parts.is_sorted_by(|(_, _, one), (_, _, two)| one < two));
        }
        for parts in [Parts::Whole, Parts::Sixteen, Parts::All] {
            for cursor in ["7.f.default.a", "7.f/", "7/", "f.f.default.~"] {
                let places = ["0.0.a.a", "7.f.default.b", "8.0.a.a", "f.f.default.~a"];
                for place in places.into_iter().filter(|place| *place > cursor) {
                    let left = parts.from(cursor);
                    let covered = left.iter().any(|(first, second, _)| {
                        let digit = |at: usize| u8::from_str_radix(&place[at..=at], 16).unwrap();
                        first.is_none_or(|it| it == digit(0)) && second.is_none_or(|it| it == digit(2))
                    });
                    assert!(covered, "{place} comes after {cursor} in {parts:?}");
                }
            }
        }
    }
}
