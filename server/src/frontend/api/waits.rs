//! Who waits longest and for whom, and what most wait for.
//!
//! The waits are those of the sessions that the broker asked vouches for. Its table says which there are; who is in the way is
//! read from the store, for all waits side by side: first who is in the way of each, then what those wait for, and so on. Where that
//! leads to a session of another broker, that broker has to be asked.
//!
//! Invariants: what the caller may not inspect is as if it were not there: it is not listed, counted or followed. The table
//! is looked through in parts, so that nobody who locks waits for long, and no more is kept of a record than is shown.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use sixpin_core::access::{Place, Verb};
use sixpin_core::broker::api::{Query, Reply, RequestError, WaitView};
use sixpin_core::limits::PAGE_MAX;
use sixpin_core::name::{ClaimId, Lockspace, ResourceId, SessionId, Version};
use sixpin_core::resource::{ClaimView, Queue, Resource};

use super::errors::unexpected;
use super::inspect::Stored;
use super::{Api, Caller, Checked};
use crate::runtime::{EngineHandle, clock};

/// A chain is followed so far.
const CHAIN_MAX: usize = 16;
/// Sessions and claims that are looked at in one part of the table.
const LOOKS_OF_PART: usize = 4_096;

/// What is waited for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// In this lockspace; absent: in all.
    pub lockspace: Option<Lockspace>,
    /// The beginning of the names.
    pub prefix: String,
}

/// Which waits are shown.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Waits for this.
    pub wanted: Wanted,
    /// That have lasted for so long, by wall clocks.
    pub min: Duration,
    /// Of these sessions; empty: of all.
    pub sessions: BTreeSet<SessionId>,
    /// At most so many.
    pub limit: usize,
}

/// A claim that waits, and who is in its way, each as it is shown.
#[derive(Debug)]
pub struct Wait<T> {
    /// The claim.
    pub claim: T,
    /// Since when, by wall clocks, in milliseconds.
    pub since_ms: u64,
    /// The first is in the way of the claim, each further one in the way of what the session before it waits for.
    pub chain: Vec<T>,
    /// How the chain ends.
    pub end: End,
}

/// How a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The last one waits for nothing that the caller may inspect.
    Holder,
    /// The last one waits for somebody earlier in it.
    Cycle,
    /// Another broker knows what the last one waits for.
    Elsewhere,
    /// It is longer than is followed.
    Long,
}

impl Wanted {
    fn includes(&self, id: &ResourceId) -> bool {
        self.lockspace.as_ref().is_none_or(|own| *own == id.lockspace) && id.name.as_str().starts_with(&self.prefix)
    }
}

impl Which {
    fn includes(&self, wait: &WaitView, now_ms: u64) -> bool {
        Duration::from_millis(now_ms.saturating_sub(wait.since_ms)) >= self.min
            && (self.sessions.is_empty() || self.sessions.contains(&wait.claim.session))
            && self.wanted.includes(&wait.resource)
    }
}

impl Api {
    /// The longest waits, the longest first. What the records say of claims is made into what is shown as they are read.
    pub async fn waits<T: Clone>(
        &self,
        from: &Caller,
        which: &Which,
        show: impl Fn(&ResourceId, &ClaimView<'_>) -> T,
    ) -> Result<Vec<Wait<T>>, RequestError> {
        let mut waits = Vec::new();
        for engine in self.engines_of(&which.wanted) {
            waits.extend(Search::begin(engine, from, which).await?.waits(&show).await?);
        }
        waits.sort_by_key(|wait| wait.since_ms);
        waits.truncate(which.limit);
        Ok(waits)
    }

    /// What most sessions of this broker wait for, each as it is shown; that with most waiters first, of whatever broker.
    pub async fn contended<T>(
        &self,
        from: &Caller,
        wanted: &Wanted,
        limit: usize,
        show: impl Fn(&ResourceId, Version, &Stored) -> T,
    ) -> Result<Vec<T>, RequestError> {
        let mut contended = Vec::new();
        for engine in self.engines_of(wanted) {
            let ids = most_wanted(engine, from, wanted, limit).await?;
            engine
                .read_all(&ids, |id, version, stored| {
                    let waiters = stored.as_ref().map_or(0, Resource::queued_len);
                    if waiters > 0 {
                        contended.push((waiters, show(id, version, &stored)));
                    }
                })
                .await?;
        }
        contended.sort_by_key(|(waiters, _)| Reverse(*waiters));
        Ok(contended.into_iter().take(limit).map(|(_, shown)| shown).collect())
    }

    fn engines_of(&self, wanted: &Wanted) -> &[EngineHandle] {
        match &wanted.lockspace {
            Some(lockspace) => std::slice::from_ref(self.engine(lockspace)),
            None => self.runtime.engines(),
        }
    }
}

/// Sees each wait that the caller may know of.
async fn each_wait(engine: &EngineHandle, from: &Caller, mut see: impl FnMut(WaitView)) -> Checked<()> {
    let mut after = None;
    loop {
        let (waits, next) = match engine.query(Query::Waits { after, looks: LOOKS_OF_PART }).await? {
            Reply::Waits { waits, next } => (waits, next),
            other => return Err(unexpected(&other)),
        };
        let visible = waits.into_iter().filter(|wait| from.may(Verb::Inspect, Place::Resource(&wait.resource)));
        visible.for_each(&mut see);
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

/// The resources that most waits are for.
async fn most_wanted(engine: &EngineHandle, from: &Caller, wanted: &Wanted, limit: usize) -> Checked<Vec<ResourceId>> {
    let mut counts: BTreeMap<ResourceId, usize> = BTreeMap::new();
    let count = |wait: WaitView| {
        if wanted.includes(&wait.resource) {
            *counts.entry(wait.resource).or_default() += 1;
        }
    };
    each_wait(engine, from, count).await?;
    let mut least = Least::new(limit);
    for (id, count) in counts {
        least.add((Reverse(count), id));
    }
    Ok(least.in_order().into_iter().map(|(_, id)| id).collect())
}

/// A claim that waits, and for what.
type Waiting = (ClaimId, ResourceId);

/// The waits of one store, and what was found out of them.
struct Search<'a> {
    engine: &'a EngineHandle,
    /// Those that are shown.
    listed: Vec<Waiting>,
    /// The longest of each session.
    longest: BTreeMap<SessionId, (u64, Waiting)>,
}

/// What a record says of a claim that waits.
struct Link<T> {
    claim: T,
    since_ms: u64,
    blocker: T,
    next: Next,
}

/// What whoever is in the way waits for.
enum Next {
    /// A claim of its own.
    Wait(Waiting),
    /// For nothing that this broker knows of.
    Ends(SessionId),
    /// For nothing: it has no session any more.
    Orphan,
}

impl<'a> Search<'a> {
    async fn begin(engine: &'a EngineHandle, from: &Caller, which: &Which) -> Checked<Self> {
        let (mut least, mut longest) = (Least::new(which.limit), BTreeMap::new());
        let now_ms = clock::wall_ms();
        let see = |wait: WaitView| {
            let place = (wait.claim, wait.resource.clone());
            if which.includes(&wait, now_ms) {
                least.add((wait.since_ms, place.clone()));
            }
            let known = longest.entry(wait.claim.session).or_insert_with(|| (wait.since_ms, place.clone()));
            if wait.since_ms < known.0 {
                *known = (wait.since_ms, place);
            }
        };
        each_wait(engine, from, see).await?;
        let listed = least.in_order().into_iter().map(|(_, place)| place).collect();
        Ok(Self { engine, listed, longest })
    }

    /// Reads who is in the way of whom, and shows it. A wait that ended meanwhile is not there any more.
    async fn waits<T: Clone>(self, show: impl Fn(&ResourceId, &ClaimView<'_>) -> T) -> Checked<Vec<Wait<T>>> {
        let links = self.links(show).await?;
        let here = self.vouched_for(&links).await?;
        Ok(self.listed.iter().filter_map(|(claim, _)| wait(&links, &here, *claim)).collect())
    }

    /// Follows all chains side by side, one step further with each round of reads.
    async fn links<T>(&self, show: impl Fn(&ResourceId, &ClaimView<'_>) -> T) -> Checked<BTreeMap<ClaimId, Link<T>>> {
        let mut links = BTreeMap::new();
        let mut open: BTreeSet<Waiting> = self.listed.iter().cloned().collect();
        for _ in 0..CHAIN_MAX {
            if open.is_empty() {
                break;
            }
            let found = self.read(std::mem::take(&mut open), &show).await?;
            open.extend(found.iter().filter_map(|(_, link)| link.next_wait()).cloned());
            links.extend(found);
            open.retain(|(claim, _)| !links.contains_key(claim));
        }
        Ok(links)
    }

    /// Reads who is in the way of these.
    async fn read<T>(
        &self,
        places: BTreeSet<Waiting>,
        show: impl Fn(&ResourceId, &ClaimView<'_>) -> T,
    ) -> Checked<Vec<(ClaimId, Link<T>)>> {
        let mut claims: BTreeMap<ResourceId, Vec<ClaimId>> = BTreeMap::new();
        for (claim, id) in places {
            claims.entry(id).or_default().push(claim);
        }
        let ids: Vec<ResourceId> = claims.keys().cloned().collect();
        let mut found = Vec::new();
        self.engine
            .read_all(&ids, |id, _, stored| {
                let (Ok(resource), Some(claims)) = (stored, claims.get(id)) else { return };
                let link = |claim: &ClaimId| Some((*claim, self.link(id, &resource, *claim, &show)?));
                found.extend(claims.iter().filter_map(link));
            })
            .await?;
        Ok(found)
    }

    fn link<T>(
        &self,
        id: &ResourceId,
        resource: &Resource,
        claim: ClaimId,
        show: impl Fn(&ResourceId, &ClaimView<'_>) -> T,
    ) -> Option<Link<T>> {
        let blocker = resource.blocker_of(claim)?;
        let waiter = resource.claim(claim)?;
        let next = match self.longest.get(&blocker.id.session) {
            _ if blocker.queue != Queue::Granted => Next::Wait((blocker.id, id.clone())),
            _ if blocker.orphan => Next::Orphan,
            Some((_, place)) => Next::Wait(place.clone()),
            None => Next::Ends(blocker.id.session),
        };
        Some(Link { claim: show(id, &waiter), since_ms: waiter.since_ms, blocker: show(id, &blocker), next })
    }

    /// Those of the sessions at which a chain ends that this broker vouches for: it knows that they do not wait.
    async fn vouched_for<T>(&self, links: &BTreeMap<ClaimId, Link<T>>) -> Checked<BTreeSet<SessionId>> {
        let ends = links.values().filter_map(|link| match link.next {
            Next::Ends(session) => Some(session),
            _ => None,
        });
        let ends: Vec<SessionId> = ends.collect::<BTreeSet<_>>().into_iter().collect();
        let mut here = BTreeSet::new();
        for sessions in ends.chunks(PAGE_MAX) {
            match self.engine.query(Query::SessionsNamed { sessions: sessions.to_vec() }).await? {
                Reply::Sessions { sessions, .. } => here.extend(sessions.into_iter().map(|view| view.session)),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(here)
    }
}

impl<T> Link<T> {
    fn next_wait(&self) -> Option<&Waiting> {
        match &self.next {
            Next::Wait(place) => Some(place),
            Next::Ends(_) | Next::Orphan => None,
        }
    }
}

/// The chain of one wait; none if the wait is over.
fn wait<T: Clone>(links: &BTreeMap<ClaimId, Link<T>>, here: &BTreeSet<SessionId>, claim: ClaimId) -> Option<Wait<T>> {
    let first = links.get(&claim)?;
    let (mut chain, mut passed, mut at) = (Vec::new(), BTreeSet::from([claim]), first);
    let end = loop {
        chain.push(at.blocker.clone());
        let next = match &at.next {
            Next::Wait((next, _)) => *next,
            Next::Ends(session) if !here.contains(session) => break End::Elsewhere,
            Next::Ends(_) | Next::Orphan => break End::Holder,
        };
        if !passed.insert(next) {
            break End::Cycle;
        }
        if chain.len() == CHAIN_MAX {
            break End::Long;
        }
        // It was granted before its record was read.
        let Some(link) = links.get(&next) else { break End::Holder };
        at = link;
    };
    Some(Wait { claim: first.claim.clone(), since_ms: first.since_ms, chain, end })
}

/// The least of many, without keeping more of them than are wanted.
struct Least<T> {
    heap: BinaryHeap<T>,
    limit: usize,
}

impl<T: Ord> Least<T> {
    fn new(limit: usize) -> Self {
        Self { heap: BinaryHeap::new(), limit }
    }

    fn add(&mut self, one: T) {
        if self.heap.len() < self.limit {
            self.heap.push(one);
        } else if let Some(mut greatest) = self.heap.peek_mut().filter(|greatest| one < **greatest) {
            *greatest = one;
        }
    }

    fn in_order(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_kept_in_order() {
        let mut least = Least::new(3);
        for number in [5, 1, 4, 1, 9, 2] {
            least.add(number);
        }
        assert_eq!(least.in_order(), [1, 1, 2]);
        let mut none = Least::new(0);
        none.add(1);
        assert_eq!(none.in_order(), [0; 0]);
    }
}
