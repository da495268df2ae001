//! A backend with one bug, around a backend without.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sixpin_conformance::broker::{clock_10us, info};
use sixpin_core::backend::{
    Backend, Beat, Change, Durability, Family, Generation, Guard, Key, Lane, Page, Profile, Pulse, Root, Slot,
    StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, Version};
use sixpin_core::standing::{History, Standing};

use crate::bug::Bug;
use crate::machine::World;

/// Writes for those who may not.
const SHADOW: Guard = Guard { broker: Incarnation(0xdead), lane: Lane(0), generation: Generation(1) };

/// Brings `inner` to the answers of a backend with the bug of its world, if that is a bug of its side.
pub(crate) struct Mutant {
    world: Arc<World>,
    bug: Option<Bug>,
    inner: Arc<dyn Backend>,
    is_server: bool,
    first_reads: Mutex<BTreeMap<Key, Slot>>,
    created: Mutex<BTreeMap<Key, u64>>,
    generations: Mutex<BTreeMap<(Incarnation, Lane), Generation>>,
    beats: Mutex<BTreeMap<Incarnation, u64>>,
    watches: AtomicUsize,
}

impl Mutant {
    pub(crate) fn server(world: Arc<World>, inner: Arc<dyn Backend>) -> Self {
        let bug = world.bug.filter(|bug| !bug.is_of_client());
        Self::with(world, bug, inner, true)
    }

    pub(crate) fn client(world: Arc<World>, inner: Arc<dyn Backend>) -> Self {
        let bug = world.bug.filter(|bug| bug.is_of_client());
        Self::with(world, bug, inner, false)
    }

    fn with(world: Arc<World>, bug: Option<Bug>, inner: Arc<dyn Backend>, is_server: bool) -> Self {
        Self {
            world,
            bug,
            inner,
            is_server,
            first_reads: Mutex::default(),
            created: Mutex::default(),
            generations: Mutex::default(),
            beats: Mutex::default(),
            watches: AtomicUsize::default(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The name under which the bug keeps a key.
    fn disguise(&self, key: &Key) -> Key {
        let Key::Resource(id) = key else { return key.clone() };
        let name = id.name.as_str();
        let (lockspace, name) = match self.bug {
            Some(Bug::FoldsCase) => (id.lockspace.as_str(), name.to_lowercase()),
            Some(Bug::TrimsNames) if !name.trim().is_empty() => (id.lockspace.as_str(), name.trim().to_owned()),
            Some(Bug::CutsLongNames) => (id.lockspace.as_str(), name.chars().take(1_000).collect()),
            Some(Bug::MixesLockspaces) if name.len() < 900 => ("all", format!("{}{name}", id.lockspace)),
            _ => return key.clone(),
        };
        let lockspace = Lockspace::new(lockspace).unwrap();
        ResourceName::new(&name).map_or_else(|_| key.clone(), |name| Key::Resource(ResourceId { lockspace, name }))
    }

    /// The version that the bug shows for one that is stored.
    fn shown(&self, key: &Key, version: Version) -> Version {
        if version.is_absent() {
            return version;
        }
        let since_start = |start: u64| Version(version.0 - start + 1);
        match self.bug {
            Some(Bug::RepeatsVersions) => Version(version.0 / 1_000_000 * 1_000_000),
            Some(Bug::CountsFromOne) => since_start(version.0.min(170_000_000_000_000)),
            Some(Bug::RestartsVersionsAfterDelete) => {
                since_start(self.created.lock().unwrap().get(key).copied().unwrap_or(version.0))
            }
            _ => version,
        }
    }

    async fn there(&self, key: &Key) -> Slot {
        self.inner.read(std::slice::from_ref(key)).await.map(|mut slots| slots.remove(0)).unwrap_or_default()
    }

    /// What the bug makes of a write before it reaches the store.
    async fn alter(&self, write: &mut Write) {
        write.key = self.disguise(&write.key);
        let there = self.there(&write.key).await;
        match (self.bug, &mut write.change) {
            (Some(Bug::IgnoresVersions | Bug::WritesLateUpdates), _)
            | (Some(Bug::DeletesAnyVersion), Change::Delete)
            | (Some(Bug::ComparesNothing), Change::Compare) => write.expected = there.version,
            (Some(Bug::ComparesThenSwaps), _) if write.expected == there.version => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                write.expected = self.there(&write.key).await.version;
            }
            (Some(Bug::CutsBytesAtNul), Change::Put(bytes)) => {
                let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
                bytes.truncate(end);
            }
            (Some(Bug::TakesEmptyForAbsent), Change::Put(bytes)) if bytes.is_empty() => write.change = Change::Delete,
            (Some(Bug::RepeatsVersions | Bug::CountsFromOne | Bug::RestartsVersionsAfterDelete), _)
                if write.expected == self.shown(&write.key, there.version) =>
            {
                write.expected = there.version;
            }
            _ => {}
        }
    }

    /// What the bug makes of an outcome.
    fn tell(&self, key: &Key, outcome: WriteOutcome) -> WriteOutcome {
        match outcome {
            WriteOutcome::Committed(version) => {
                if self.has(Bug::RestartsVersionsAfterDelete) {
                    self.created.lock().unwrap().entry(key.clone()).or_insert(version.0);
                }
                WriteOutcome::Committed(self.shown(key, version))
            }
            WriteOutcome::Conflict(_) if self.has(Bug::ConflictsTellTheWrongThing) => {
                WriteOutcome::Conflict(Slot::default())
            }
            WriteOutcome::Conflict(slot) => {
                WriteOutcome::Conflict(Slot { version: self.shown(key, slot.version), ..slot })
            }
            WriteOutcome::Unknown(reason)
                if self.has(Bug::CallsUnknownUnavailable) || self.has(Bug::CallsLateUnavailable) =>
            {
                WriteOutcome::Unavailable(reason)
            }
            outcome => outcome,
        }
    }

    async fn commit(&self, mut guard: Guard, mut writes: Vec<Write>) -> Vec<WriteOutcome> {
        if self.is_server {
            self.world.thaw().await;
            let refuses = self.world.refuses.load(Ordering::SeqCst);
            if refuses && !self.has(Bug::StoresWhatItRefuses) {
                return vec![WriteOutcome::Unavailable("refused".into()); writes.len()];
            }
            if refuses {
                let count = writes.len();
                self.inner.commit(guard, writes).await;
                return vec![WriteOutcome::Unavailable("refused".into()); count];
            }
            if self.has(Bug::ForgetsOnRestart) && self.world.commits.fetch_add(1, Ordering::SeqCst).is_multiple_of(7) {
                *self.world.on_disk.lock().unwrap() = Some(self.world.store.snapshot());
            }
        }
        for write in &mut writes {
            self.alter(write).await;
        }
        let keys: Vec<(Key, bool)> =
            writes.iter().map(|write| (write.key.clone(), write.change == Change::Delete)).collect();
        let count = writes.len();
        match self.bug {
            Some(Bug::AllOrNothing) => {
                for write in &writes {
                    if self.there(&write.key).await.version != write.expected {
                        return vec![WriteOutcome::ConflictUnread; count];
                    }
                }
            }
            Some(Bug::DropsTheEndOfLargeBatches) => writes.truncate(500),
            Some(Bug::IgnoresMovedLanes | Bug::LateAfterFreeze | Bug::ForgetsGenerations) => {
                guard.generation = Generation(u64::MAX);
            }
            Some(Bug::LetsLanesGoBack) => {
                let stored = self.generations.lock().unwrap().get(&(guard.broker, guard.lane)).copied();
                if stored.is_some_and(|stored| guard.generation < stored) {
                    return vec![WriteOutcome::Stale; count];
                }
            }
            _ => {}
        }
        let again = writes.clone();
        let mut outcomes = self.inner.commit(guard, writes).await;
        let all_are = |outcomes: &[WriteOutcome], wanted: fn(&WriteOutcome) -> bool| outcomes.iter().all(wanted);
        if self.has(Bug::SendsAgainByItself) && all_are(&outcomes, |it| matches!(it, WriteOutcome::Unknown(_))) {
            outcomes = self.inner.commit(guard, again).await;
        } else if self.has(Bug::AcceptsTheEvicted) && all_are(&outcomes, |it| *it == WriteOutcome::Evicted) {
            self.shadow().await;
            outcomes = self.inner.commit(SHADOW, again).await;
        } else if self.has(Bug::RegistersAfterLoss) && all_are(&outcomes, |it| *it == WriteOutcome::Evicted) {
            let _ = self.world.store.backend(true).beat(registration(guard.broker)).await;
            outcomes = self.inner.commit(guard, again).await;
        }
        outcomes.resize(count, WriteOutcome::Committed(Version(1)));
        for ((key, is_delete), outcome) in keys.iter().zip(&mut outcomes) {
            *outcome = self.tell(key, outcome.clone());
            if *is_delete && matches!(outcome, WriteOutcome::Committed(_)) {
                self.created.lock().unwrap().remove(key);
            }
        }
        if self.has(Bug::ReversesOutcomes) {
            outcomes.reverse();
        }
        outcomes
    }

    /// Registers the shadow, once.
    async fn shadow(&self) {
        let _ = self.inner.beat(registration(SHADOW.broker)).await;
    }

    async fn pulse(&self, broker: Incarnation) -> Option<Pulse> {
        self.inner.pulses().await.ok()?.into_iter().find(|pulse| pulse.broker == broker)
    }

    async fn beat(&self, mut beat: Beat) -> Result<Version, StoreError> {
        let stored = self.pulse(beat.broker).await;
        if self.has(Bug::BeatsOnAnyVersion) {
            beat.expected = stored.as_ref().map_or(Version::ABSENT, |pulse| pulse.version);
        }
        if self.has(Bug::RefusesRepeatedBeats)
            && self.beats.lock().unwrap().insert(beat.broker, beat.number) == Some(beat.number)
        {
            return Err(StoreError::Unavailable("seen before".into()));
        }
        let answer = self.inner.beat(beat.clone()).await;
        if self.has(Bug::BeatsKeepTheVersion) && beat.number > 0 {
            return answer.map(|_| beat.expected);
        }
        let revives = self.has(Bug::RevivesByBeat) || self.has(Bug::RevivesByLateBeat);
        if revives && answer == Err(StoreError::Evicted) {
            self.shadow().await;
            let seen = stored.map_or(Version::ABSENT, |pulse| pulse.version);
            self.inner.clear(SHADOW, beat.broker, seen).await;
            return self.inner.beat(Beat { expected: Version::ABSENT, number: 0, ..beat }).await;
        }
        answer
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut family = family.clone();
        if let (Some(Bug::IgnoresPrefixes), Family::Resources { prefix, .. }) = (self.bug, &mut family) {
            prefix.clear();
        }
        let page = self.inner.list(&family, after, limit).await;
        if self.has(Bug::GoesOnFromAnywhere) && page == Err(StoreError::NoSuchPlace) {
            return Ok(Page::default());
        }
        let mut page = page?;
        for (key, version) in &mut page.keys {
            *version = self.shown(key, *version);
        }
        match self.bug {
            Some(Bug::ListsOnePageOnly) => page.next = None,
            Some(Bug::SkipsAtPageEnds) if after.is_some() => drop(page.keys.remove(0)),
            _ => {}
        }
        Ok(page)
    }
}

fn registration(broker: Incarnation) -> Beat {
    Beat {
        broker,
        expected: Version::ABSENT,
        number: 0,
        broker_ttl: Duration::from_secs(5),
        round_trip: Duration::ZERO,
        standing: Standing::default(),
        info: info(broker),
    }
}

#[async_trait]
impl Backend for Mutant {
    fn profile(&self) -> Profile {
        let profile = self.inner.profile();
        Profile {
            durability: Durability::CrashSafe,
            commit_timeout: Duration::from_millis(200),
            record_bytes_max: if self.has(Bug::StoresTooLarge) { 16 * 1024 } else { profile.record_bytes_max },
            batch_writes_max: if self.has(Bug::StoresBatchesTooLarge) { 8 } else { profile.batch_writes_max },
            ..profile
        }
    }

    fn root(&self) -> Root {
        self.inner.root()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        if self.is_server {
            self.world.thaw().await;
        }
        let keys: Vec<Key> = keys.iter().map(|key| self.disguise(key)).collect();
        let mut slots = match self.inner.read(&keys).await {
            Err(StoreError::Amnesia(_)) if self.has(Bug::NoticesNoLoss) => {
                self.world.store.backend(true).read(&keys).await?
            }
            answer => answer?,
        };
        for (key, slot) in keys.iter().zip(&mut slots) {
            slot.version = self.shown(key, slot.version);
            if self.has(Bug::ServesOldReads) {
                *slot = self.first_reads.lock().unwrap().entry(key.clone()).or_insert_with(|| slot.clone()).clone();
            }
        }
        Ok(slots)
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        self.commit(guard, writes).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        if self.is_server {
            self.world.thaw().await;
        }
        match self.bug {
            Some(Bug::ForgetsGenerations) => return Ok(()),
            Some(Bug::LetsLanesGoBack) => {
                self.generations.lock().unwrap().insert((guard.broker, guard.lane), guard.generation);
                return Ok(());
            }
            Some(Bug::MovesAllLanes) => {
                for lane in 0..20 {
                    self.inner.advance(Guard { lane: Lane(lane), ..guard }).await?;
                }
            }
            _ => {}
        }
        self.inner.advance(guard).await
    }

    async fn changed(&self, key: Key, seen: Version) {
        let is_first = self.watches.fetch_add(1, Ordering::SeqCst) == 0;
        if self.has(Bug::NeverHints) || (self.has(Bug::WakesOneWatcher) && !is_first) {
            std::future::pending::<()>().await;
        }
        self.inner.changed(self.disguise(&key), seen).await;
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.list(family, after, limit).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        self.beat(beat).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        if self.has(Bug::LeavesNothing) {
            return Ok(());
        }
        self.inner.leave(broker).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        let stored = self.pulse(target).await.map(|pulse| pulse.version);
        match (self.bug, stored) {
            (Some(Bug::EvictsAnyVersion), Some(stored)) => self.inner.evict(guard, target, stored).await,
            (Some(Bug::EvictsNothingOfTheAbsent), None) => WriteOutcome::Committed(Version(clock_10us())),
            (Some(Bug::ForgetsGenerations), _) => {
                let guard = Guard { generation: Generation(u64::MAX), ..guard };
                self.inner.evict(guard, target, seen).await
            }
            (Some(Bug::ForgetsTheGoneOnRestart), _) => {
                *self.world.on_disk.lock().unwrap() = Some(self.world.store.snapshot());
                self.inner.evict(guard, target, seen).await
            }
            _ => self.inner.evict(guard, target, seen).await,
        }
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        if self.has(Bug::ForgetsTheLiving) && self.pulse(target).await.is_some_and(|it| it.version == seen) {
            let _ = self.inner.leave(target).await;
            let gone = self.pulse(target).await.map_or(seen, |pulse| pulse.version);
            return self.inner.clear(guard, target, gone).await;
        }
        self.inner.clear(guard, target, seen).await
    }

    fn history(&self) -> History {
        self.inner.history()
    }

    fn trust(&self, history: History) {
        self.inner.trust(history);
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        self.inner.pulses().await
    }
}
