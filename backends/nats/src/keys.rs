//! Keys and subjects.
//!
//! ```text
//! bucket.root
//! bucket.probe
//! bucket.b.<incarnation>
//! bucket.r.<h>.<h>.<lockspace>.<name>
//! bucket.s.<h>.<h>.<session>
//! ```
//!
//! The two `h` are hexadecimal digits of a hash of the rest. They let a listing of a large store go part by part, because
//! JetStream can select by whole words of a subject only. Names are percent-encoded: what may not stand in a word, or
//! might confuse, becomes `%XX`. A name of 1,024 bytes becomes 3,072 at most, which fits into the line of 4,096 bytes that
//! a server accepts.

use std::fmt::Write as _;

use sixpin_core::backend::{Family, Key};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName};

/// The subjects of one bucket.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    bucket: String,
}

impl Subjects {
    pub(crate) fn new(bucket: &str) -> Self {
        Self { bucket: bucket.to_owned() }
    }

    /// Everything.
    pub(crate) fn all(&self) -> String {
        format!("{}.>", self.bucket)
    }

    /// The root record.
    pub(crate) fn root(&self) -> String {
        format!("{}.root", self.bucket)
    }

    /// Where nothing is ever stored.
    pub(crate) fn probe(&self) -> String {
        format!("{}.probe", self.bucket)
    }

    /// A broker's registration.
    pub(crate) fn broker(&self, broker: Incarnation) -> String {
        format!("{}.b.{broker}", self.bucket)
    }

    /// All registrations.
    pub(crate) fn brokers(&self) -> String {
        format!("{}.b.*", self.bucket)
    }

    /// All records, without the root and the registrations.
    pub(crate) fn records(&self) -> [String; 2] {
        [format!("{}.r.>", self.bucket), format!("{}.s.>", self.bucket)]
    }

    /// Whose registration a subject is.
    pub(crate) fn incarnation_of(&self, subject: &str) -> Option<Incarnation> {
        self.rest(subject)?.strip_prefix("b.")?.parse().ok()
    }

    /// The subject of a record.
    pub(crate) fn of(&self, key: &Key) -> String {
        let (kind, rest) = match key {
            Key::Resource(id) => ('r', format!("{}.{}", encode(id.lockspace.as_str()), encode(id.name.as_str()))),
            Key::Session(id) => ('s', id.to_string()),
        };
        let (first, second) = digits(&rest);
        format!("{}.{kind}.{first:x}.{second:x}.{rest}", self.bucket)
    }

    /// The key of a subject; none if it is not that of a record.
    pub(crate) fn key_of(&self, subject: &str) -> Option<Key> {
        let mut words = self.rest(subject)?.splitn(4, '.');
        let (kind, _, _, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let key = match kind {
            "r" => {
                let (lockspace, name) = rest.split_once('.')?;
                let lockspace = Lockspace::new(&decode(lockspace)?).ok()?;
                Key::Resource(ResourceId { lockspace, name: ResourceName::new(&decode(name)?).ok()? })
            }
            "s" => Key::Session(rest.parse().ok()?),
            _ => return None,
        };
        // One key, one subject: another spelling is not ours.
        (self.of(&key) == subject).then_some(key)
    }

    /// A pattern for one part of a family: all of it, or what has these first digits.
    pub(crate) fn part(&self, family: &Family, first: Option<u8>, second: Option<u8>) -> String {
        let word = |digit: Option<u8>| digit.map_or_else(|| "*".into(), |digit| format!("{digit:x}"));
        let (first, second) = (word(first), word(second));
        let bucket = &self.bucket;
        match family {
            Family::Resources { lockspace, .. } => {
                format!("{bucket}.r.{first}.{second}.{}.*", encode(lockspace.as_str()))
            }
            Family::AllResources => format!("{bucket}.r.{first}.{second}.*.*"),
            Family::Sessions => format!("{bucket}.s.{first}.{second}.*"),
        }
    }

    /// What a listing is ordered by: the subject without what all of its family have in common.
    pub(crate) fn place<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.rest(subject)?.split_once('.').map(|(_, place)| place)
    }

    fn rest<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(self.bucket.as_str())?.strip_prefix('.')
    }
}

/// Two hexadecimal digits of a hash that is the same for ever.
fn digits(text: &str) -> (u8, u8) {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let byte = (hash >> 32) as u8;
    (byte >> 4, byte & 15)
}

/// Percent-encoding of everything but letters, digits and a few harmless signs.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_/:=@,+".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Undoes percent-encoding; none if it is none.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use sixpin_core::name::SessionId;

    use super::*;

    fn resource(lockspace: &str, name: &str) -> Key {
        let lockspace = Lockspace::new(lockspace).unwrap();
        Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).unwrap() })
    }

    #[test]
    fn every_key_has_a_subject_of_its_own_and_comes_back() {
        let subjects = Subjects::new("sixpin");
        let longest = "\u{10ffff}".repeat(256);
        let names = ["a", "a.b", ".", "*", ">", " ", "%", "%41", "A", "日本", "a/b", "$JS", &longest];
        let mut keys: Vec<Key> = names.iter().flat_map(|name| [resource("a.b", name), resource("a", name)]).collect();
        let opener = Incarnation(u64::MAX);
        keys.push(Key::Session(SessionId { opener, serial: u32::MAX, ttl_ms: 1 }));
        let mut seen = std::collections::BTreeSet::new();
        for key in &keys {
            let subject = subjects.of(key);
            assert!(subject.len() < 3_400, "it fits into a line of the protocol");
            assert!(subject.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte)), "{subject}");
            assert!(subject.split('.').all(|word| !word.is_empty()), "{subject}");
            assert_eq!(subjects.key_of(&subject).as_ref(), Some(key));
            assert!(seen.insert(subject));
        }
    }

    #[test]
    fn what_is_not_ours_is_no_key() {
        let subjects = Subjects::new("sixpin");
        let own = subjects.of(&resource("default", "a"));
        assert!(subjects.key_of(&own).is_some());
        for other in [
            "other.r.0.0.default.a".to_owned(),
            "sixpin.root".to_owned(),
            subjects.broker(Incarnation(7)),
            own.replace("default", "%64efault"),
            format!("{own}.b"),
        ] {
            assert_eq!(subjects.key_of(&other), None, "{other}");
        }
        assert_eq!(subjects.incarnation_of(&subjects.broker(Incarnation(7))), Some(Incarnation(7)));
    }
}
