//! Which server keeps which tag: always the same one, or the node of a cluster that owns the tag's slot.
//!
//! The cluster client of the client crate is not used, because it sends a request again by itself after errors that
//! leave the outcome open; a second copy of a compare-and-swap then reports a conflict with the first. Sixteen tags
//! need no more than this table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::Value;
use sixpin_core::backend::OpenError;
use tokio::time::Instant;

use crate::config::Address;
use crate::connection::{Failure, Link};
use crate::dial::{Way, in_turn};
use crate::keys::Tag;
use crate::scripts::bytes_of;

/// Tags of a store in a cluster. Part of the format: records are found by it.
pub(crate) const CLUSTER_TAGS: u8 = 16;
const SLOTS: u16 = 16_384;
/// The cluster is not asked for its layout more often than this.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes a link to a place. Such a link checks nothing of its tags, because they can move.
pub(crate) type MakeLink = Box<dyn Fn(Way) -> Link + Send + Sync>;

/// See the module.
pub(crate) enum Routes {
    /// One server, or one master at a time.
    One(Arc<Link>),
    /// The nodes of a cluster.
    Many(Cluster),
}

impl Routes {
    /// The link to the server that keeps a tag.
    pub(crate) async fn link(&self, tag: Tag) -> Result<Arc<Link>, Failure> {
        match self {
            Self::One(link) => Ok(link.clone()),
            Self::Many(cluster) => cluster.link(tag).await.map_err(|error| Failure::NotSent(error.to_string())),
        }
    }

    /// One link per server that keeps any tag.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<Link>>, OpenError> {
        match self {
            Self::One(link) => Ok(vec![link.clone()]),
            Self::Many(cluster) => cluster.all().await,
        }
    }

    /// The histories of the servers that keep the tags, as far as they are known.
    pub(crate) fn histories(&self) -> BTreeSet<u64> {
        match self {
            Self::One(link) => BTreeSet::from([link.history()]),
            Self::Many(cluster) => cluster.histories(),
        }
    }

    /// A request for a tag failed; perhaps the tag has moved.
    pub(crate) fn failed(&self, failure: &Failure) {
        if let Self::Many(cluster) = self {
            cluster.failed(failure);
        }
    }
}

/// The layout of a cluster, as far as it was last heard.
pub(crate) struct Cluster {
    seeds: Vec<Address>,
    make: MakeLink,
    layout: Mutex<Layout>,
}

#[derive(Default)]
struct Layout {
    owners: BTreeMap<Tag, Address>,
    links: BTreeMap<Address, Arc<Link>>,
    asked: Option<Instant>,
    // How often it was asked for.
    turn: usize,
    doubtful: bool,
}

impl Cluster {
    /// A cluster found through some of its nodes.
    pub(crate) fn new(seeds: Vec<Address>, make: MakeLink) -> Self {
        Self { seeds, make, layout: Mutex::default() }
    }

    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn link(&self, tag: Tag) -> Result<Arc<Link>, OpenError> {
        let due = {
            let layout = self.layout();
            let rested = layout.asked.is_none_or(|asked| asked.elapsed() >= PAUSE);
            rested && (layout.doubtful || !layout.owners.contains_key(&tag))
        };
        if due {
            // If nobody answers, what was heard before may still be right.
            if let Err(error) = self.ask().await
                && !self.layout().owners.contains_key(&tag)
            {
                return Err(error);
            }
        }
        let mut layout = self.layout();
        let Some(owner) = layout.owners.get(&tag).cloned() else {
            return Err(OpenError::Unreachable(format!("no node of the cluster serves {{s{}}}", tag.0)));
        };
        Ok(self.link_to(&mut layout, owner))
    }

    fn link_to(&self, layout: &mut Layout, address: Address) -> Arc<Link> {
        let make = || Arc::new((self.make)(Way::To(address.clone())));
        layout.links.entry(address.clone()).or_insert_with(make).clone()
    }

    async fn all(&self) -> Result<Vec<Arc<Link>>, OpenError> {
        for tag in (0..CLUSTER_TAGS).map(Tag) {
            self.link(tag).await?;
        }
        let layout = self.layout();
        let owners: BTreeSet<&Address> = layout.owners.values().collect();
        Ok(layout.links.iter().filter(|(address, _)| owners.contains(address)).map(|(_, link)| link.clone()).collect())
    }

    fn histories(&self) -> BTreeSet<u64> {
        let layout = self.layout();
        layout.owners.values().map(|owner| layout.links.get(owner).map_or(0, |link| link.history())).collect()
    }

    fn failed(&self, failure: &Failure) {
        let moved = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "NOREPLICAS", "MASTERDOWN"]
            .iter()
            .any(|code| failure.is(code));
        if moved || !matches!(failure, Failure::Refused { .. }) {
            self.layout().doubtful = true;
        }
    }

    /// Asks the nodes, known ones and seeds, side by side, until one tells the layout.
    async fn ask(&self) -> Result<(), OpenError> {
        let nodes: Vec<(Address, Arc<Link>)> = {
            let mut layout = self.layout();
            layout.asked = Some(Instant::now());
            layout.turn += 1;
            let known: BTreeSet<Address> = layout.owners.values().chain(&self.seeds).cloned().collect();
            let known = in_turn(known.into_iter().collect(), layout.turn);
            known.into_iter().map(|address| (address.clone(), self.link_to(&mut layout, address))).collect()
        };
        let asked = sixpin_race::race(nodes.iter().map(ask_node).collect()).await;
        let (_, owners) = asked.map_err(|errors| {
            let wrong = errors.iter().find(|error| matches!(error, OpenError::BadUrl(_))).cloned();
            let last = || errors.last().cloned();
            let nobody = || OpenError::Unreachable("no node of the cluster is given".into());
            wrong.or_else(last).unwrap_or_else(nobody)
        })?;
        let mut layout = self.layout();
        layout.links.retain(|address, _| owners.values().any(|owner| owner == address));
        layout.owners = owners;
        layout.doubtful = false;
        Ok(())
    }
}

/// The layout as one node tells it.
async fn ask_node((address, node): &(Address, Arc<Link>)) -> Result<BTreeMap<Tag, Address>, OpenError> {
    // Connecting apart from asking, so that a refused login is told as one.
    node.connect().await?;
    match node.send(redis::cmd("CLUSTER").arg("SLOTS")).await {
        Ok(answer) => Ok(owners_in(&answer, address)),
        Err(failure) if failure.to_string().contains("cluster support disabled") => {
            Err(OpenError::BadUrl("this is not a cluster: use redis://host:port".into()))
        }
        Err(failure) => Err(OpenError::Unreachable(format!("the cluster does not tell its layout: {failure}"))),
    }
}

/// Who owns each tag, from an answer of `CLUSTER SLOTS`. A node that does not know its own host means the one that was
/// asked.
fn owners_in(answer: &Value, asked: &Address) -> BTreeMap<Tag, Address> {
    let mut owners = BTreeMap::new();
    let Value::Array(ranges) = answer else { return owners };
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else { continue };
        let [host, Value::Int(port), ..] = master.as_slice() else { continue };
        let host = match bytes_of(host) {
            None | Some(b"" | b"?") => asked.host.clone(),
            Some(host) => String::from_utf8_lossy(host).into_owned(),
        };
        let Ok(port) = u16::try_from(*port) else { continue };
        for tag in (0..CLUSTER_TAGS).map(Tag) {
            if (*first..=*last).contains(&i64::from(slot_of(tag))) {
                owners.insert(tag, Address { host: host.clone(), port });
            }
        }
    }
    owners
}

/// The slot of a tag: CRC-16 (XMODEM) of what stands between the braces.
fn slot_of(tag: Tag) -> u16 {
    let mut crc: u16 = 0;
    for byte in format!("s{}", tag.0).into_bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_spread_over_the_slots() {
        let slots: std::collections::BTreeSet<u16> = (0..CLUSTER_TAGS).map(|tag| slot_of(Tag(tag))).collect();
        assert_eq!(slots.len(), 16);
        // As `CLUSTER KEYSLOT {s0}` says.
        assert_eq!(slot_of(Tag(0)), 11_097);
        // A cluster of three gives each node some.
        for third in [0..5_461, 5_461..10_923, 10_923..16_384] {
            assert!(slots.iter().filter(|slot| third.contains(*slot)).count() >= 3, "{slots:?}");
        }
    }

    #[test]
    fn the_layout_is_read_and_a_nameless_node_is_the_one_asked() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())]);
        let range = |first, last, node| Value::Array(vec![Value::Int(first), Value::Int(last), node]);
        let answer = Value::Array(vec![
            range(0, 8_000, node(Value::BulkString(b"a".to_vec()), 1)),
            range(8_001, 12_000, node(Value::Nil, 2)),
            Value::Int(7),
        ]);
        let asked = Address { host: "me".into(), port: 9 };
        let owners = owners_in(&answer, &asked);
        assert_eq!(owners.get(&Tag(2)), Some(&Address { host: "a".into(), port: 1 }));
        assert_eq!(owners.get(&Tag(0)), Some(&Address { host: "me".into(), port: 2 }));
        // Its slot is 15224, which nobody serves.
        assert_eq!(owners.get(&Tag(1)), None);
    }
}
