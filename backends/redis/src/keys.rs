//! What things are called in Redis.
//!
//! | key | type | what |
//! |---|---|---|
//! | `P:{sN}:root` | string | the root record: identity, number of tags, and (under the first tag) the secret key |
//! | `P:{sN}:high` | string | the highest version ever given under this tag |
//! | `P:{sN}:b:INCARNATION` | hash | a registration: state, version, beat, what others know; one field per lane |
//! | `P:{sN}:brokers` | set | the incarnations that are registered (first tag only) |
//! | `P:{sN}:r:LOCKSPACE/NAME` | string | a record: 16 digits of version, then its bytes |
//! | `P:{sN}:s:SESSION` | string | the mark of a session, in the same form |
//! | `P:{sN}:ir`, `P:{sN}:is` | sorted set | the names of the records, all with score 0, so that they can be listed in order |
//!
//! `P` is the prefix. `{sN}` is a hash tag: all keys of one script must lie in one slot of a Redis Cluster. One server
//! has one tag, a cluster has sixteen. A lockspace has no slash, so a name can be read back whatever is in it.

use sixpin_core::backend::{Family, Key};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, Version};

/// Digits of a version as text: enough for units of 10 µs until the year 4800, when the fence is used up as well.
pub(crate) const VERSION_DIGITS: usize = 16;

/// The version of what stands at the key of a record and does not begin with one. As scripts tell it, nine in every digit: no
/// version that is given comes near it.
pub(crate) const FOREIGN: Version = Version(9_999_999_999_999_999);

/// One of the parts that the store is divided into: the `N` of `{sN}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag(pub(crate) u8);

impl Tag {
    /// Where the root record with the secret key and the registrations with their beats are.
    pub(crate) const FIRST: Tag = Tag(0);
}

/// Makes the names of keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    tags: u8,
}

impl Keys {
    /// Keys under a prefix, spread over this many tags.
    pub(crate) fn new(prefix: &str, tags: u8) -> Self {
        Self { prefix: prefix.to_owned(), tags }
    }

    /// All tags.
    pub(crate) fn tags(&self) -> impl Iterator<Item = Tag> + use<> {
        (0..self.tags).map(Tag)
    }

    /// How many tags there are.
    pub(crate) fn tag_count(&self) -> u8 {
        self.tags
    }

    /// The tag of a record. The same for ever: records are found by it.
    pub(crate) fn tag_of(&self, key: &Key) -> Tag {
        let place = (hash(key) >> 32) % u64::from(self.tags);
        Tag(u8::try_from(place).unwrap_or_default())
    }

    /// The bell that a change of this record rings. Part of the format of hints, so it never changes.
    pub(crate) fn bell_of(key: &Key) -> u32 {
        hash(key) as u32
    }

    /// The root record.
    pub(crate) fn root(&self, tag: Tag) -> String {
        self.in_tag(tag, "root")
    }

    /// The highest version.
    pub(crate) fn high(&self, tag: Tag) -> String {
        self.in_tag(tag, "high")
    }

    /// A registration, or its copy under another tag.
    pub(crate) fn broker(&self, tag: Tag, broker: Incarnation) -> String {
        self.in_tag(tag, &format!("b:{broker}"))
    }

    /// The set of all registrations.
    pub(crate) fn brokers(&self) -> String {
        self.in_tag(Tag::FIRST, "brokers")
    }

    /// The index of the resources under a tag.
    pub(crate) fn resources(&self, tag: Tag) -> String {
        self.in_tag(tag, "ir")
    }

    /// The index of the session marks under a tag.
    pub(crate) fn sessions(&self, tag: Tag) -> String {
        self.in_tag(tag, "is")
    }

    /// A key that nothing is kept at, for the check at start.
    pub(crate) fn trial(&self, tag: Tag, number: usize) -> String {
        self.in_tag(tag, &format!("trial:{number}"))
    }

    /// The channel of hints. The identity keeps stores apart that share a server: channels know no database number.
    pub(crate) fn channel(&self, identity: u64) -> String {
        format!("{}:hints:{identity:016x}", self.prefix)
    }

    /// A record.
    pub(crate) fn record(&self, key: &Key) -> String {
        let (kind, name) = match key {
            Key::Resource(_) => ('r', name_of(key)),
            Key::Session(_) => ('s', name_of(key)),
        };
        self.in_tag(self.tag_of(key), &format!("{kind}:{name}"))
    }

    /// How many bytes of a record's key come before its name. The same for resources and sessions.
    pub(crate) fn record_base(&self, tag: Tag) -> usize {
        self.in_tag(tag, "r:").len()
    }

    fn in_tag(&self, tag: Tag, rest: &str) -> String {
        format!("{}:{{s{}}}:{rest}", self.prefix, tag.0)
    }
}

/// The name of a record as it stands in its key and in the index.
pub(crate) fn name_of(key: &Key) -> String {
    match key {
        Key::Resource(id) => id.to_string(),
        Key::Session(id) => id.to_string(),
    }
}

/// Reads back what [`name_of`] wrote. None if nothing that sixpin stores is called that.
pub(crate) fn key_of(family: &Family, name: &str) -> Option<Key> {
    match family {
        Family::Sessions => name.parse().ok().map(Key::Session),
        Family::Resources { .. } | Family::AllResources => {
            let (lockspace, name) = name.split_once('/')?;
            let lockspace = Lockspace::new(lockspace).ok()?;
            Some(Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).ok()? }))
        }
    }
}

/// The part of an index that a family takes up, after a name if one is given, as `ZRANGEBYLEX` wants it.
pub(crate) fn range(family: &Family, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let start = match family {
        Family::Resources { lockspace, prefix } => format!("{lockspace}/{prefix}"),
        Family::AllResources | Family::Sessions => String::new(),
    };
    let min = match after {
        Some(after) if after >= start.as_str() => format!("({after}").into_bytes(),
        _ if start.is_empty() => b"-".to_vec(),
        _ => format!("[{start}").into_bytes(),
    };
    // The byte 255 is in no text.
    let max = if start.is_empty() { b"+".to_vec() } else { [b"(", start.as_bytes(), b"\xff"].concat() };
    (min, max)
}

/// A version as scripts want it.
pub(crate) fn version_text(version: Version) -> String {
    format!("{:0width$}", version.0, width = VERSION_DIGITS)
}

/// A version as scripts tell it.
pub(crate) fn version_of(text: &[u8]) -> Option<Version> {
    if text.len() != VERSION_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().map(Version)
}

/// FNV-1a, 64 bits, over the kind and the name.
fn hash(key: &Key) -> u64 {
    let kind = match key {
        Key::Resource(_) => b'r',
        Key::Session(_) => b's',
    };
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in std::iter::once(kind).chain(name_of(key).into_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    // The high half of FNV is slow to mix, and it chooses the tag.
    hash ^ (hash << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(lockspace: &str, name: &str) -> Key {
        let lockspace = Lockspace::new(lockspace).unwrap();
        Key::Resource(ResourceId { lockspace, name: ResourceName::new(name).unwrap() })
    }

    #[test]
    fn names_of_any_kind_come_back() {
        for name in ["a", "a/b", "/", "{s3}", "a b", "ü\u{10ffff}", "*?[x]", "\u{a0}", &"x".repeat(1024)] {
            let key = resource("my-space_1.x", name);
            assert_eq!(key_of(&Family::AllResources, &name_of(&key)), Some(key));
        }
        let id = "00f1a2b3c4d5e6f7-2a-10000".parse().unwrap();
        assert_eq!(key_of(&Family::Sessions, &name_of(&Key::Session(id))), Some(Key::Session(id)));
        assert_eq!(key_of(&Family::AllResources, "no slash"), None);
        assert_eq!(key_of(&Family::Sessions, "default/r"), None);
    }

    #[test]
    fn the_tag_and_the_bell_of_a_record_never_change() {
        let keys = Keys::new("sixpin", 16);
        let key = resource("default", "r");
        assert_eq!(keys.record(&key), "sixpin:{s2}:r:default/r");
        assert_eq!(Keys::bell_of(&key), 3_475_064_275);
    }

    #[test]
    fn records_spread_over_all_tags() {
        let keys = Keys::new("sixpin", 16);
        let mut counts = [0; 16];
        for number in 0..16_000 {
            counts[usize::from(keys.tag_of(&resource("default", &format!("r{number}"))).0)] += 1;
        }
        assert!(counts.iter().all(|&count| (800..1_200).contains(&count)), "{counts:?}");
    }

    #[test]
    fn versions_are_text_of_sixteen_digits() {
        assert_eq!(version_text(Version::ABSENT), "0000000000000000");
        assert_eq!(version_text(Version(9_007_199_254_740_991)), "9007199254740991");
        assert_eq!(version_of(b"9007199254740991"), Some(Version(9_007_199_254_740_991)));
        for text in [&b""[..], b"1", b"900719925474099x", b"90071992547409910"] {
            assert_eq!(version_of(text), None);
        }
    }
}
