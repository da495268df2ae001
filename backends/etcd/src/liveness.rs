//! Registrations, lanes and their generations: who may write.
//!
//! A registration is two keys. One tells who the broker is and is rewritten by every beat. The other, the guard, stands
//! while the broker may write: it is made together with the first and deleted when the first becomes `gone`, and every
//! commit is conditional on it. So a beat does not change what commits compare, and a commit never waits for a beat.
//!
//! A lane's generation is a key whose *name* holds the number. A commit under generation g is conditional on the absence
//! of any key with a larger one, so a lane that never moved needs no key, and nobody needs to read the generation first.
//!
//! Whatever changes here stands in a nested transaction, which etcd does not count against the quota: see
//! [`Quota`](crate::store::Quota).

use sixpin_core::backend::{Beat, Guard, Pulse, Slot, StoreError, WriteOutcome};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::registration::Registration;

use crate::outcome::Failure;
use crate::store::{Guarded, Quota, Store, not_understood};
use crate::wire::{
    KeyValue, Txn, TxnOp, TxnResponse, absent, at_revision, delete, delete_range, get, get_range, into_range, into_txn,
    present, put,
};

/// Registrations read at once.
const PULSES_PER_PAGE: i64 = 500;
/// How often a goodbye is tried again because a beat came between reading and writing. Beats of one broker come one
/// after the other, so once is enough unless somebody else writes as well.
const GOODBYES_MAX: usize = 8;

/// Registers or renews; answers the registration's version.
pub(crate) async fn beat(store: &Store, beat: Beat) -> Result<Version, StoreError> {
    store.remembers()?;
    let registers = beat.number == 0 && beat.expected.is_absent();
    let (own, guard) = (store.keys.registration(beat.broker), store.keys.guard(beat.broker));
    let mut compares = vec![store.same_root(), store.has_version(own.clone(), beat.expected)];
    let mut changes = vec![put(own.clone(), Registration::of(&beat).encode())];
    if registers {
        compares.push(absent(guard.clone()));
        changes.push(put(guard, Vec::new()));
    } else {
        compares.push(present(guard));
    }
    let look = Txn::new().when(vec![store.same_root()]).and_then(vec![get(own)]);
    let request = Txn::new()
        .when(compares)
        .and_then(vec![TxnOp::txn(Txn::new().and_then(changes))])
        .or_else(vec![TxnOp::txn(look)]);
    let (revision, answer) = store.send(request).await.map_err(Failure::of_change)?;
    if answer.succeeded {
        return Ok(store.version(revision));
    }
    let Some(found) = first_txn(answer) else { return Err(not_understood().of_change()) };
    if !found.succeeded {
        store.confirm().await.map_err(Failure::of_read)?;
        return Err(StoreError::Unavailable("the member that was asked is behind the others".into()));
    }
    let Some(kv) = first_key(found) else { return Err(StoreError::Evicted) };
    let (stored, version) = (registration(store, &kv)?, store.version(kv.mod_revision));
    match stored {
        stored if stored.gone => Err(StoreError::Evicted),
        // A repeat: the first copy arrived, its answer did not.
        stored if stored.beat == beat.number => Ok(version),
        _ if registers => Err(StoreError::Evicted),
        _ if version < beat.expected => Err(StoreError::Amnesia("the registration's version fell".into())),
        _ => Err(StoreError::Unavailable("a later beat is stored".into())),
    }
}

/// Moves a lane to a generation; a smaller one changes nothing.
pub(crate) async fn advance(store: &Store, guard: Guard) -> Result<(), StoreError> {
    store.remembers()?;
    let Guard { broker, lane, generation } = guard;
    let moved = vec![
        delete_range(store.keys.smaller_generations(broker, lane, generation)),
        put(store.keys.generation(broker, lane, generation), Vec::new()),
    ];
    let operations = vec![TxnOp::txn(Txn::new().and_then(moved))];
    match store.guarded(guard, operations, Quota::Exempt).await.map_err(Failure::of_change)? {
        // The lane is further on already, which shuts out as much.
        Guarded::Done(..) | Guarded::Stale => Ok(()),
        Guarded::Evicted => Err(StoreError::Evicted),
    }
}

/// A clean goodbye: the registration is `gone`, whatever its version was.
pub(crate) async fn leave(store: &Store, broker: Incarnation) -> Result<(), StoreError> {
    let own = store.keys.registration(broker);
    for _ in 0..GOODBYES_MAX {
        let read = store.read(vec![get(own.clone())]).await?;
        let Some(kv) = read.into_iter().next().and_then(into_range).and_then(|it| it.kvs.into_iter().next()) else {
            return Ok(());
        };
        let stored = registration(store, &kv)?;
        if stored.gone {
            return Ok(());
        }
        let request = Txn::new()
            .when(vec![at_revision(own.clone(), kv.mod_revision)])
            .and_then(vec![bury(store, broker, stored)]);
        if store.send(request).await.map_err(Failure::of_change)?.1.succeeded {
            return Ok(());
        }
    }
    Err(StoreError::Unavailable("the registration changes all the time".into()))
}

/// Turns a registration that still has the version `seen` into `gone`. One that is absent gets one that is gone, so that
/// it can never register.
pub(crate) async fn evict(store: &Store, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
    let key = store.keys.registration(target);
    // What it said of itself is kept, for people. The read decides nothing: what is written is conditional on `seen`.
    let mut stored = Registration::default();
    if !seen.is_absent() {
        match store.read(vec![get(key.clone())]).await.map(|read| read.into_iter().next()) {
            Ok(Some(answer)) => {
                let kv = into_range(answer).and_then(|range| range.kvs.into_iter().next());
                let kv = kv.filter(|kv| store.version(kv.mod_revision) == seen);
                stored = kv.and_then(|kv| registration(store, &kv).ok()).unwrap_or_default();
            }
            Ok(None) => {}
            Err(error) => return WriteOutcome::Unavailable(error.to_string()),
        }
    }
    // Gone already, at this very version: nothing changes, but the guard is asked.
    let change = if stored.gone { Vec::new() } else { vec![bury(store, target, stored.clone())] };
    let txn = Txn::new().when(vec![store.has_version(key.clone(), seen)]).and_then(change).or_else(vec![get(key)]);
    let committed = |revision| if stored.gone { seen } else { store.version(revision) };
    decided(store, store.guarded(guard, vec![TxnOp::txn(txn)], Quota::Exempt).await, committed)
}

/// Deletes a registration that is `gone`, at exactly the version `seen`, with its lanes. Its guard is absent: that is
/// what `gone` means here.
pub(crate) async fn clear(store: &Store, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
    let key = store.keys.registration(target);
    let compares = vec![present(key.clone()), store.has_version(key.clone(), seen), absent(store.keys.guard(target))];
    let forgotten = vec![delete(key.clone()), delete_range(store.keys.lanes(target))];
    let txn = Txn::new().when(compares).and_then(forgotten).or_else(vec![get(key)]);
    decided(store, store.guarded(guard, vec![TxnOp::txn(txn)], Quota::Exempt).await, |_| Version::ABSENT)
}

/// All registrations.
pub(crate) async fn pulses(store: &Store) -> Result<Vec<Pulse>, StoreError> {
    let mut pulses = Vec::new();
    let mut range = store.keys.registrations();
    loop {
        let read = store.read(vec![get_range(range.clone(), PULSES_PER_PAGE)]).await?;
        let Some(page) = read.into_iter().next().and_then(into_range) else {
            return Err(not_understood().of_read());
        };
        let last = page.kvs.last().map(|kv| kv.key.clone());
        for kv in page.kvs {
            let Some(broker) = store.keys.broker(&kv.key) else { continue };
            pulses.push(registration(store, &kv)?.pulse(broker, store.version(kv.mod_revision)));
        }
        match last {
            Some(last) if page.more => range = range.after(last),
            _ => return Ok(pulses),
        }
    }
}

/// Declares a broker dead: its registration says so, and its guard is no more.
fn bury(store: &Store, broker: Incarnation, stored: Registration) -> TxnOp {
    let changes =
        vec![put(store.keys.registration(broker), stored.buried().encode()), delete(store.keys.guard(broker))];
    TxnOp::txn(Txn::new().and_then(changes))
}

/// What became of the only operation under a guard.
fn decided(store: &Store, answer: Result<Guarded, Failure>, committed: impl FnOnce(i64) -> Version) -> WriteOutcome {
    let (revision, responses) = match answer {
        Ok(Guarded::Done(revision, responses)) => (revision, responses),
        Ok(Guarded::Stale) => return WriteOutcome::Stale,
        Ok(Guarded::Evicted) => return WriteOutcome::Evicted,
        Err(failure) => return failure.outcome(),
    };
    match responses.into_iter().next().and_then(into_txn) {
        Some(answer) if answer.succeeded => WriteOutcome::Committed(committed(revision)),
        // A registration is no record: the conflict tells its version only.
        Some(answer) => WriteOutcome::Conflict(Slot {
            version: first_key(answer).map_or(Version::ABSENT, |kv| store.version(kv.mod_revision)),
            bytes: None,
        }),
        None => not_understood().outcome(),
    }
}

fn registration(store: &Store, kv: &KeyValue) -> Result<Registration, StoreError> {
    Registration::decode(&kv.value).map_err(|what| {
        let key = String::from_utf8_lossy(&kv.key).into_owned();
        let version = store.version(kv.mod_revision);
        StoreError::Corrupt(format!("the registration at {key}, version {version}: {what}"))
    })
}

fn first_txn(answer: TxnResponse) -> Option<TxnResponse> {
    into_txn(answer.responses.into_iter().next()?)
}

fn first_key(answer: TxnResponse) -> Option<KeyValue> {
    into_range(answer.responses.into_iter().next()?)?.kvs.into_iter().next()
}
