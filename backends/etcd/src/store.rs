//! Transactions on one store, each of which notices if it is not the same store any more.
//!
//! A store is recognised by its root record, by the id of its cluster, and by revisions that never fall. A sign that one
//! of these is wrong may come from a member that is merely behind (members have served stale reads while looking
//! healthy), so before anything is said the sign is checked by a transaction that goes through consensus. If that
//! confirms it, the store lost its memory, and every later call says so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use sixpin_core::backend::{Guard, OpenError, StoreError};
use sixpin_core::name::Version;

use crate::connection::Connection;
use crate::keys::Keys;
use crate::outcome::Failure;
use crate::root::RootRecord;
use crate::wire::{
    Compare, ResponseHeader, ResponseOp, Txn, TxnOp, TxnResponse, absent, at_revision, delete, get, has_value,
    into_range, none, present, put,
};

/// A store as it was when it was opened.
pub(crate) struct Store {
    connection: Connection,
    pub(crate) keys: Keys,
    pub(crate) root: RootRecord,
    // The root record as it is stored: what every read compares.
    root_bytes: Vec<u8>,
    cluster: u64,
    // The highest revision that an answer told.
    highest: AtomicI64,
    amnesia: OnceLock<String>,
}

/// How a transaction under a guard ended.
#[derive(Debug)]
pub(crate) enum Guarded {
    /// Its operations were carried out, at this revision.
    Done(i64, Vec<ResponseOp>),
    /// Nothing was: the lane moved on.
    Stale,
    /// Nothing was: the sender may not write any more.
    Evicted,
}

/// Whether a transaction stores records, which count against the quota of the database.
///
/// etcd counts only the puts that stand directly in a transaction, and ours are nested. Without more, records would be
/// stored beyond the quota, until the disk or the memory of the members is full. So a transaction that stores records has
/// one more put in the branch that is hardly ever taken: it makes etcd look at the quota.
///
/// Signs of life, evictions and the moves of lanes overwrite a few keys, and are wanted most of all when the database is
/// full: a broker that cannot beat is declared dead, and all its locks are lost. They are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Refused when the database is full.
    Counts,
    /// Goes through.
    Exempt,
}

impl Store {
    /// Reads the root record of the store, or creates it.
    pub(crate) async fn open(connection: Connection, keys: Keys) -> Result<Self, OpenError> {
        let key = keys.root();
        // The first answer tells the revision, from which a new root counts; the second one is of whoever came first.
        for created in [false, true] {
            let read = Txn::new().and_then(vec![get(key.clone())]);
            let answer = connection.txn(read).await.map_err(Failure::of_open)?;
            let header = answer.header.ok_or_else(|| not_understood().of_open())?;
            let stored = answer.responses.into_iter().next().and_then(into_range);
            let stored = stored.ok_or_else(|| not_understood().of_open())?.kvs.into_iter().next();
            if let Some(kv) = stored {
                let root = RootRecord::decode(&kv.value).map_err(|what| {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    OpenError::Unsafe(format!(
                        "the root record at `{key}` in etcd is not usable: {what}; use another `prefix`"
                    ))
                })?;
                return Ok(Self::with_root(connection, keys, root, kv.value, &header));
            }
            if !created {
                let root = RootRecord::fresh(header.revision).encode();
                let request = Txn::new()
                    .when(vec![absent(key.clone())])
                    .and_then(vec![put(key.clone(), root)])
                    .or_else(vec![get(key.clone())]);
                connection.txn(request).await.map_err(Failure::of_open)?;
            }
        }
        Err(OpenError::Unreachable("etcd: the root record that was just written cannot be read: try again".into()))
    }

    fn with_root(
        connection: Connection,
        keys: Keys,
        root: RootRecord,
        root_bytes: Vec<u8>,
        header: &ResponseHeader,
    ) -> Self {
        let highest = AtomicI64::new(header.revision);
        Self { connection, keys, root, root_bytes, cluster: header.cluster_id, highest, amnesia: OnceLock::new() }
    }

    /// The highest revision that was seen.
    pub(crate) fn highest(&self) -> i64 {
        self.highest.load(Ordering::SeqCst)
    }

    /// Fails once it is known that the store lost its memory.
    pub(crate) fn remembers(&self) -> Result<(), StoreError> {
        match self.amnesia.get() {
            Some(text) => Err(StoreError::Amnesia(text.clone())),
            None => Ok(()),
        }
    }

    /// The version of what was last written at a revision.
    pub(crate) fn version(&self, revision: i64) -> Version {
        self.root.version(revision)
    }

    /// True if a key has exactly this version.
    pub(crate) fn has_version(&self, key: impl Into<Vec<u8>>, version: Version) -> Compare {
        at_revision(key, self.root.revision(version))
    }

    /// True if the root record is the one that was there when the store was opened.
    pub(crate) fn same_root(&self) -> Compare {
        has_value(self.keys.root(), self.root_bytes.clone())
    }

    /// Reads. Not through consensus, so what comes back is a hint.
    pub(crate) async fn read(&self, operations: Vec<TxnOp>) -> Result<Vec<ResponseOp>, StoreError> {
        self.remembers()?;
        let request = Txn::new().when(vec![self.same_root()]).and_then(operations);
        let (_, answer) = self.send(request).await.map_err(Failure::of_read)?;
        if answer.succeeded {
            return Ok(answer.responses);
        }
        self.confirm().await.map_err(Failure::of_read)?;
        Err(StoreError::Unavailable("the member that was asked is behind the others".into()))
    }

    /// Operations that are carried out only if the guard holds, in the same atomic step.
    pub(crate) async fn guarded(&self, guard: Guard, operations: Vec<TxnOp>, quota: Quota) -> Result<Guarded, Failure> {
        let own = self.keys.guard(guard.broker);
        let larger = self.keys.larger_generations(guard.broker, guard.lane, guard.generation);
        let mut otherwise = vec![get(own.clone())];
        if quota == Quota::Counts {
            otherwise.push(put(self.keys.scratch("quota"), ""));
        }
        let compares = vec![present(own), none(larger)];
        let request = Txn::new().when(compares).and_then(operations).or_else(otherwise);
        let (revision, answer) = self.send(request).await?;
        if answer.succeeded {
            return Ok(Guarded::Done(revision, answer.responses));
        }
        let own = answer.responses.into_iter().next().and_then(into_range);
        match own {
            Some(range) if range.kvs.is_empty() => {
                // Either it was declared dead, or the store forgot everything.
                self.confirm().await?;
                Ok(Guarded::Evicted)
            }
            Some(_) => Ok(Guarded::Stale),
            None => Err(not_understood()),
        }
    }

    /// Any transaction. Answers with the revision at which it was applied.
    pub(crate) async fn send(&self, request: Txn) -> Result<(i64, TxnResponse), Failure> {
        // Whatever was seen before the request was sent, the request comes after it.
        let floor = self.highest();
        let answer = self.connection.txn(request).await?;
        let header = answer.header.ok_or_else(not_understood)?;
        if self.contradicts(&header, floor).is_some() {
            self.confirm().await?;
            return Err(Failure::Doubt("an answer was older than one before it".into()));
        }
        self.highest.fetch_max(header.revision, Ordering::SeqCst);
        Ok((header.revision, answer))
    }

    /// Makes sure, through consensus, that this is still the store that was opened.
    pub(crate) async fn confirm(&self) -> Result<(), Failure> {
        let floor = self.highest();
        // A transaction without a write is only a read. This write deletes what never is: it goes through consensus,
        // adds nothing to the history, and is accepted by a full database.
        let nothing = || vec![delete(self.keys.scratch("nothing"))];
        let request = Txn::new().when(vec![self.same_root()]).and_then(nothing()).or_else(nothing());
        let answer = self.connection.txn(request).await?;
        let header = answer.header.ok_or_else(not_understood)?;
        let contradiction = if answer.succeeded {
            self.contradicts(&header, floor)
        } else {
            Some("the root record is another one, or gone".into())
        };
        let Some(text) = contradiction else {
            self.highest.fetch_max(header.revision, Ordering::SeqCst);
            return Ok(());
        };
        tracing::error!(text, "etcd lost its memory");
        Err(Failure::Amnesia(self.amnesia.get_or_init(|| text).clone()))
    }

    /// Forgets the history before a revision.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), Failure> {
        self.connection.compact(revision).await
    }

    fn contradicts(&self, header: &ResponseHeader, floor: i64) -> Option<String> {
        if header.cluster_id != self.cluster {
            return Some(format!("the cluster is {:016x} and was {:016x}", header.cluster_id, self.cluster));
        }
        (header.revision < floor).then(|| format!("the revision is {} and was {floor}", header.revision))
    }
}

/// An answer without something that etcd always sends.
pub(crate) fn not_understood() -> Failure {
    Failure::Doubt("the answer is not one of etcd".into())
}
