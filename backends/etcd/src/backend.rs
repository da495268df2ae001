//! The store behind the trait of all stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sixpin_core::backend::{
    Backend, Beat, Contract, Durability, Family, Guard, Key, OpenError, Page, Profile, Pulse, Root, Slot, StoreError,
    Write, WriteOutcome,
};
use sixpin_core::limits;
use sixpin_core::name::{Incarnation, Version};
use sixpin_hints::Hints;
use tokio::task::JoinHandle;

use crate::check::check;
use crate::commit::{self, BATCH_BYTES_MAX, Limits};
use crate::compaction;
use crate::config::{Config, Settings};
use crate::connection::Connection;
use crate::keys::Keys;
use crate::liveness;
use crate::store::{Store, not_understood};
use crate::watch::Watch;
use crate::wire::{get, get_keys, into_range};

/// Keys read in one transaction. etcd allows 128 operations by default.
const READS_MAX: usize = 120;
/// A call is given up by itself after the request timeout; this much later the caller may give it up.
const PATIENCE_AFTER_TIMEOUT: Duration = Duration::from_millis(500);

/// A store on etcd, as one broker sees it.
pub struct EtcdBackend {
    store: Arc<Store>,
    hints: Arc<Hints>,
    profile: Profile,
    request_timeout: Duration,
    tasks: Vec<JoinHandle<()>>,
}

impl EtcdBackend {
    /// Checks everything that can be checked without a server.
    pub fn check(url: &str, settings: &Settings) -> Result<(), OpenError> {
        Config::new(url, settings).map(|_| ())
    }

    /// Checks the cluster at a URL and opens the store in it. The error says what to change.
    pub async fn open(url: &str, settings: &Settings) -> Result<Self, OpenError> {
        let config = Config::new(url, settings)?;
        let connection = Connection::for_requests(&config).await?;
        let keys = Keys::new(&config.prefix);
        let findings = check(&connection, &keys, config.compact_every.is_some()).await?;
        let store = Arc::new(Store::open(connection, keys).await?);
        let hints = Arc::new(Hints::default());
        let watch = Watch {
            connection: Connection::for_watch(&config).await?,
            store: store.clone(),
            hints: hints.clone(),
            next: store.highest() + 1,
        };
        let mut tasks = vec![tokio::spawn(watch.run())];
        if let Some(every) = config.compact_every {
            tasks.push(tokio::spawn(compaction::run(store.clone(), every)));
        }
        let profile = Profile {
            name: "etcd",
            durability: if findings.voters >= 3 { Durability::FailoverSafe } else { Durability::PowerSafe },
            record_bytes_max: limits::RECORD_BYTES_MAX,
            batch_writes_max: findings.batch_writes_max,
            batch_bytes_max: BATCH_BYTES_MAX,
            contract: Contract::Checking,
            commit_timeout: config.request_timeout + PATIENCE_AFTER_TIMEOUT,
        };
        Ok(Self { store, hints, profile, request_timeout: config.request_timeout, tasks })
    }

    async fn read_all(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        let mut slots = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READS_MAX.min(self.profile.batch_writes_max)) {
            let gets = keys.iter().map(|key| get(self.store.keys.record(key))).collect();
            let answers = self.store.read(gets).await?;
            if answers.len() != keys.len() {
                return Err(not_understood().of_read());
            }
            for answer in answers {
                let range = into_range(answer).ok_or_else(|| not_understood().of_read())?;
                slots.push(commit::slot(&self.store, range.kvs));
            }
        }
        Ok(slots)
    }

    async fn list_page(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let keys = &self.store.keys;
        let Some(mut range) = keys.family(family, after) else {
            return Err(StoreError::NoSuchPlace);
        };
        let limit = limit.clamp(1, limits::PAGE_MAX);
        let mut page = Page::default();
        loop {
            let wanted = i64::try_from(limit - page.keys.len()).unwrap_or(i64::MAX);
            let read = self.store.read(vec![get_keys(range.clone(), wanted)]).await?;
            let Some(found) = read.into_iter().next().and_then(into_range) else {
                return Err(not_understood().of_read());
            };
            for kv in &found.kvs {
                // A key that is nobody's record was written by somebody else, and is left alone.
                if let Some(key) = keys.parse_record(&kv.key) {
                    page.keys.push((key, self.store.version(kv.mod_revision)));
                }
            }
            let last = found.kvs.last().filter(|_| found.more).map(|kv| kv.key.clone());
            let Some(last) = last else { return Ok(page) };
            if page.keys.len() >= limit {
                page.next = keys.cursor(&last);
                return Ok(page);
            }
            range = range.after(last);
        }
    }
}

#[async_trait]
impl Backend for EtcdBackend {
    fn profile(&self) -> Profile {
        self.profile.clone()
    }

    fn root(&self) -> Root {
        self.store.root.root.clone()
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Slot>, StoreError> {
        self.read_all(keys).await
    }

    async fn commit(&self, guard: Guard, writes: Vec<Write>) -> Vec<WriteOutcome> {
        let limits = Limits { batch_writes_max: self.profile.batch_writes_max, patience: self.request_timeout };
        commit::commit(&self.store, limits, guard, writes).await
    }

    async fn advance(&self, guard: Guard) -> Result<(), StoreError> {
        liveness::advance(&self.store, guard).await
    }

    async fn changed(&self, key: Key, seen: Version) {
        self.hints.changed(self.store.keys.record(&key), seen).await;
    }

    async fn list(&self, family: &Family, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.list_page(family, after, limit).await
    }

    async fn beat(&self, beat: Beat) -> Result<Version, StoreError> {
        liveness::beat(&self.store, beat).await
    }

    async fn leave(&self, broker: Incarnation) -> Result<(), StoreError> {
        liveness::leave(&self.store, broker).await
    }

    async fn evict(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        liveness::evict(&self.store, guard, target, seen).await
    }

    async fn clear(&self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        liveness::clear(&self.store, guard, target, seen).await
    }

    async fn pulses(&self) -> Result<Vec<Pulse>, StoreError> {
        liveness::pulses(&self.store).await
    }
}

impl Drop for EtcdBackend {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
