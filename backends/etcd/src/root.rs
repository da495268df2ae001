//! The root record, and the versions that count from it.
//!
//! etcd counts its writes from 1 for the whole cluster. A version is that revision plus a base, chosen so that the
//! versions of a new root start at the wall clock: then they rise also over the loss of the whole cluster.

use std::time::{Duration, SystemTime};

use sixpin_core::backend::Root;
use sixpin_core::name::Version;
use sixpin_core::root;

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
        root::encode(&self.root, self.base)
    }

    /// Reads what [`RootRecord::encode`] wrote; an error says what is wrong with anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        root::decode(bytes).map(|(root, base)| Self { root, base })
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
