//! The root record, and the versions that count from it.
//!
//! etcd counts its writes from 1 for the whole cluster. A version is that revision plus a base, chosen so that the
//! versions of a new root start at the wall clock: then they rise also over the loss of the whole cluster.
//!
//! As bytes, all numbers big-endian: the format (one byte), base and identity (eight each), the secret key (32), and
//! the CRC-32C of everything before.

use std::time::{Duration, SystemTime};

use sixpin_core::backend::Root;
use sixpin_core::name::Version;

const FORMAT: u8 = 1;
const LENGTH: usize = 1 + 8 + 8 + 32 + 4;
/// What no key's revision ever is, so that a compare with it fails.
const NO_REVISION: i64 = -1;

/// The root record as it is stored, and what it says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RootRecord {
    pub(crate) root: Root,
    base: u64,
}

impl RootRecord {
    /// A new one, for a store that is at this revision.
    pub(crate) fn fresh(revision: i64) -> Self {
        let revision = u64::try_from(revision).unwrap_or_default();
        // The revision is taken off, so that the first version is the clock however much the cluster wrote before.
        let base = now_10us().saturating_sub(revision).max(1);
        Self { root: Root { secret_key: rand::random(), identity: rand::random() }, base }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(FORMAT);
        bytes.extend(self.base.to_be_bytes());
        bytes.extend(self.root.identity.to_be_bytes());
        bytes.extend(self.root.secret_key);
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// Reads what [`RootRecord::encode`] wrote; an error says what is wrong with anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if let Some(&format) = bytes.first().filter(|&&format| format != FORMAT) {
            return Err(format!("it has format {format}, which this program does not know"));
        }
        let Some((covered, checksum)) = bytes.split_last_chunk::<4>().filter(|_| bytes.len() == LENGTH) else {
            return Err(format!("it has {} bytes instead of {LENGTH}", bytes.len()));
        };
        if crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
            return Err("its checksum does not match".into());
        }
        let number = |start: usize| covered[start..start + 8].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let mut secret_key = [0; 32];
        secret_key.copy_from_slice(&covered[17..49]);
        Ok(Self { root: Root { secret_key, identity: number(9) }, base: number(1) })
    }

    /// The version of what was last written at a revision.
    pub(crate) fn version(&self, revision: i64) -> Version {
        match u64::try_from(revision) {
            Ok(revision @ 1..) => Version(self.base.saturating_add(revision)),
            _ => Version::ABSENT,
        }
    }

    /// The revision that a key with this version has. Versions that no key can have get one that none has.
    pub(crate) fn revision(&self, version: Version) -> i64 {
        if version.is_absent() {
            return 0;
        }
        let revision = version.0.checked_sub(self.base).filter(|&revision| revision > 0);
        revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(NO_REVISION)
    }
}

/// The wall clock, in units of 10 µs. Only the floor of versions; nothing is measured with it.
fn now_10us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros() / 10).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back_and_damage_is_seen() {
        let root = RootRecord::fresh(7);
        let bytes = root.encode();
        assert!(RootRecord::decode(&bytes).is_ok_and(|read| read == root));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(RootRecord::decode(&damaged).is_err(), "byte {place}");
        }
        assert!(RootRecord::decode(&[]).is_err());
        assert!(RootRecord::decode(&bytes[1..]).is_err());
    }

    #[test]
    fn versions_start_at_the_clock_and_map_back() {
        for start in [0, 1, 5_000_000_000] {
            let root = RootRecord::fresh(start);
            let first = root.version(start + 1);
            assert!(first.0.abs_diff(now_10us()) < 10_000_000, "{first}");
            for revision in [1, 2, start + 1, start + 1_000_000] {
                assert_eq!(root.revision(root.version(revision)), revision);
            }
            assert_eq!((root.version(0), root.revision(Version::ABSENT)), (Version::ABSENT, 0));
            for impossible in [1, root.base, u64::MAX] {
                assert!(!(0..=start + 1).contains(&root.revision(Version(impossible))), "{impossible}");
            }
        }
    }
}
