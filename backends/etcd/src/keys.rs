//! Where things stand in etcd.
//!
//! | key, after the prefix | what |
//! |---|---|
//! | `root` | the root record |
//! | `broker/INCARNATION` | a broker's registration, rewritten by every beat; `gone` stays until it is forgotten |
//! | `guard/INCARNATION` | stands while that broker may write: made with the registration, deleted with its eviction, never touched by a beat |
//! | `lane/INCARNATION/LANE/GENERATION` | the generation of a lane that moved; in hexadecimal of fixed width, so that they sort as numbers |
//! | `record/resource/LOCKSPACE/NAME` | a resource |
//! | `record/session/SESSION` | the mark of a session |
//! | `scratch/…` | nothing of importance |
//!
//! Names are stored as they are: etcd keys are bytes, a lockspace has no slash, and the name is the last part. So a key
//! reads back as exactly the name it came from, and a list of a prefix of names is a range of keys.

use sixpin_core::backend::{Family, Generation, Key, Lane};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName};

const RESOURCES: &str = "record/resource/";
const SESSIONS: &str = "record/session/";

/// Keys from `start`, inclusive, to `end`, exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl Range {
    /// All keys that begin with this, which is not empty.
    fn beginning_with(start: String) -> Self {
        let start = start.into_bytes();
        let mut end = start.clone();
        // The next text after all that begin so. UTF-8 has no byte 255, so the last byte can always be raised.
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        Self { start, end }
    }

    /// The part of it after `key`.
    #[must_use]
    pub(crate) fn after(mut self, mut key: Vec<u8>) -> Self {
        key.push(0);
        self.start = key;
        self
    }
}

/// The keys of one store.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    fn key(&self, rest: impl std::fmt::Display) -> Vec<u8> {
        format!("{}{rest}", self.prefix).into_bytes()
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.key("root")
    }

    pub(crate) fn scratch(&self, name: &str) -> Vec<u8> {
        self.key(format_args!("scratch/{name}"))
    }

    pub(crate) fn registration(&self, broker: Incarnation) -> Vec<u8> {
        self.key(format_args!("broker/{broker}"))
    }

    pub(crate) fn registrations(&self) -> Range {
        Range::beginning_with(format!("{}broker/", self.prefix))
    }

    /// The broker of a registration's key.
    pub(crate) fn broker(&self, key: &[u8]) -> Option<Incarnation> {
        self.text(key)?.strip_prefix("broker/")?.parse().ok()
    }

    pub(crate) fn guard(&self, broker: Incarnation) -> Vec<u8> {
        self.key(format_args!("guard/{broker}"))
    }

    pub(crate) fn generation(&self, broker: Incarnation, lane: Lane, generation: Generation) -> Vec<u8> {
        self.key(format_args!("lane/{broker}/{:04x}/{:016x}", lane.0, generation.0))
    }

    /// Where a lane's generation stands if it is larger than this one.
    pub(crate) fn larger_generations(&self, broker: Incarnation, lane: Lane, generation: Generation) -> Range {
        self.lane(broker, lane).after(self.generation(broker, lane, generation))
    }

    /// Where a lane's generation stands if it is smaller than this one.
    pub(crate) fn smaller_generations(&self, broker: Incarnation, lane: Lane, generation: Generation) -> Range {
        Range { end: self.generation(broker, lane, generation), ..self.lane(broker, lane) }
    }

    /// The generations of all lanes of a broker.
    pub(crate) fn lanes(&self, broker: Incarnation) -> Range {
        Range::beginning_with(format!("{}lane/{broker}/", self.prefix))
    }

    fn lane(&self, broker: Incarnation, lane: Lane) -> Range {
        Range::beginning_with(format!("{}lane/{broker}/{:04x}/", self.prefix, lane.0))
    }

    /// All records: what a watch listens to.
    pub(crate) fn records(&self) -> Range {
        Range::beginning_with(format!("{}record/", self.prefix))
    }

    pub(crate) fn record(&self, key: &Key) -> Vec<u8> {
        match key {
            Key::Resource(id) => self.key(format_args!("{RESOURCES}{id}")),
            Key::Session(id) => self.key(format_args!("{SESSIONS}{id}")),
        }
    }

    /// What a key is the record of; none for a key that this program did not write.
    pub(crate) fn parse_record(&self, key: &[u8]) -> Option<Key> {
        let text = self.text(key)?;
        if let Some(session) = text.strip_prefix(SESSIONS) {
            return session.parse().ok().map(Key::Session);
        }
        let (lockspace, name) = text.strip_prefix(RESOURCES)?.split_once('/')?;
        let lockspace = Lockspace::new(lockspace).ok()?;
        Some(Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).ok()? }))
    }

    /// The keys of a family; with a cursor, those after it. None if the cursor is not one of this family.
    pub(crate) fn family(&self, family: &Family, after: Option<&str>) -> Option<Range> {
        let range = Range::beginning_with(match family {
            Family::AllResources => format!("{}{RESOURCES}", self.prefix),
            Family::Resources { lockspace, prefix } => format!("{}{RESOURCES}{lockspace}/{prefix}", self.prefix),
            Family::Sessions => format!("{}{SESSIONS}", self.prefix),
        });
        let Some(after) = after else { return Some(range) };
        let after = self.key(format_args!("record/{after}"));
        (after >= range.start && after < range.end).then(|| range.after(after))
    }

    /// The cursor of a key: where a list goes on after it.
    pub(crate) fn cursor(&self, key: &[u8]) -> Option<String> {
        self.text(key)?.strip_prefix("record/").map(String::from)
    }

    fn text<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use sixpin_core::name::SessionId;

    use super::*;

    fn resource(lockspace: &str, name: &str) -> Key {
        Key::Resource(ResourceId {
            lockspace: Lockspace::new(lockspace).unwrap(),
            name: ResourceName::new(name).unwrap(),
        })
    }

    #[test]
    fn every_record_reads_back_from_its_key() {
        let session = SessionId { opener: Incarnation(u64::MAX), serial: 7, ttl_ms: 10_000 };
        for prefix in ["", "sixpin/", "ü/"] {
            let keys = Keys::new(prefix);
            for key in [
                resource("default", "a"),
                resource("a", "default/a"),
                resource("a.b-c_d", "//"),
                resource("default", "\u{10ffff} «ü» %2F"),
                Key::Session(session),
                resource("session", "00"),
            ] {
                assert_eq!(keys.parse_record(&keys.record(&key)), Some(key));
            }
        }
    }

    #[test]
    fn foreign_keys_are_nobodys_record() {
        let keys = Keys::new("sixpin/");
        for key in
            ["", "sixpin/", "sixpin/root", "record/resource/a/b", "sixpin/record/resource/a", "sixpin/record/session/x"]
        {
            assert_eq!(keys.parse_record(key.as_bytes()), None, "{key}");
        }
        assert_eq!(keys.parse_record(&[0xff, 0xfe]), None);
    }

    #[test]
    fn generations_sort_as_numbers() {
        let keys = Keys::new("p/");
        let (broker, lane) = (Incarnation(1), Lane(9));
        let key = |generation| keys.generation(broker, lane, Generation(generation));
        let within = |range: &Range, key: &[u8]| range.start.as_slice() <= key && key < range.end.as_slice();
        for (mine, other) in [(1, 2), (9, 10), (255, 256), (1, u64::MAX)] {
            assert!(within(&keys.larger_generations(broker, lane, Generation(mine)), &key(other)));
            assert!(within(&keys.smaller_generations(broker, lane, Generation(other)), &key(mine)));
            assert!(!within(&keys.larger_generations(broker, lane, Generation(other)), &key(mine)));
            assert!(!within(&keys.larger_generations(broker, lane, Generation(mine)), &key(mine)));
            assert!(!within(&keys.smaller_generations(broker, lane, Generation(mine)), &key(mine)));
        }
        let neighbour = keys.generation(broker, Lane(10), Generation(5));
        assert!(!within(&keys.larger_generations(broker, lane, Generation(1)), &neighbour));
        assert!(within(&keys.lanes(broker), &neighbour));
        assert!(!within(&keys.lanes(Incarnation(2)), &neighbour));
    }

    #[test]
    fn a_list_goes_on_only_inside_its_family() {
        let keys = Keys::new("p/");
        let record = keys.record(&resource("a", "x"));
        let cursor = keys.cursor(&record).unwrap();
        let range = keys.family(&Family::AllResources, Some(&cursor)).unwrap();
        assert!(range.start > record && range.end > range.start);
        assert_eq!(keys.family(&Family::Sessions, Some(&cursor)), None);
        assert_eq!(keys.family(&Family::AllResources, Some("nonsense")), None);
    }
}
