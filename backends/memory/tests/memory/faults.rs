//! The wrapper does to each call what its plan says, and nothing that the contract does not allow.

use std::time::Duration;

use bytes::Bytes;
use sixpin_core::backend::{
    Backend, Beat, BrokerInfo, Change, Generation, Guard, Key, Lane, StoreError, Write, WriteOutcome,
};
use sixpin_core::name::{Incarnation, Lockspace, ResourceId, ResourceName, Version};
use sixpin_core::standing::Standing;
use sixpin_memory::{Fault, Faulty, MemoryBackend, MemoryStore, Operation};

const BROKER: Incarnation = Incarnation(7);
const GUARD: Guard = Guard { broker: BROKER, lane: Lane(0), generation: Generation(1) };

fn key() -> Key {
    Key::Resource(ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("r").unwrap() })
}

fn registration() -> Beat {
    Beat {
        broker: BROKER,
        expected: Version::ABSENT,
        number: 0,
        broker_ttl: Duration::from_secs(5),
        round_trip: Duration::ZERO,
        standing: Standing::default(),
        info: BrokerInfo::default(),
    }
}

/// A registered broker's backend on which these faults strike the next calls, and the store beneath it.
async fn faulty(script: impl IntoIterator<Item = (Operation, Fault)>) -> (Faulty<MemoryBackend>, MemoryBackend) {
    let store = MemoryStore::new();
    store.backend(true).beat(registration()).await.unwrap();
    (Faulty::scripted(store.backend(true), script), store.backend(true))
}

async fn create(backend: &impl Backend, guard: Guard) -> WriteOutcome {
    let change = Change::Put(Bytes::from_static(b"x"));
    let write = Write { key: key(), expected: Version::ABSENT, change, notify: true };
    backend.commit(guard, vec![write]).await.remove(0)
}

async fn stands(backend: &impl Backend) -> bool {
    backend.read(&[key()]).await.unwrap()[0].bytes.is_some()
}

#[tokio::test]
async fn unavailable_is_not_stored() {
    let (faulty, store) = faulty([(Operation::Commit, Fault::Unavailable)]).await;
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Unavailable(_)));
    assert!(!stands(&store).await);
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Committed(_)), "one fault strikes once");
}

#[tokio::test]
async fn unknown_is_stored_or_not() {
    let (one, store) = faulty([(Operation::Commit, Fault::ReplyLost)]).await;
    assert!(matches!(create(&one, GUARD).await, WriteOutcome::Unknown(_)));
    assert!(stands(&store).await);

    let (two, store) = faulty([(Operation::Commit, Fault::RequestLost)]).await;
    assert!(matches!(create(&two, GUARD).await, WriteOutcome::Unknown(_)));
    assert!(!stands(&store).await);
}

#[tokio::test]
async fn what_is_late_strikes_when_it_is_delivered() {
    let (faulty, store) = faulty([(Operation::Commit, Fault::Late)]).await;
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Unknown(_)));
    assert!(!stands(&store).await);
    assert_eq!(faulty.deliver_late().await, 1);
    assert!(stands(&store).await);
    assert_eq!(faulty.deliver_late().await, 0);
}

#[tokio::test]
async fn what_is_late_strikes_nothing_once_its_lane_moved() {
    let (faulty, store) = faulty([(Operation::Commit, Fault::Late)]).await;
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Unknown(_)));
    let moved = Guard { generation: Generation(2), ..GUARD };
    faulty.advance(moved).await.unwrap();
    assert_eq!(faulty.deliver_late().await, 1);
    assert!(!stands(&store).await);
    assert!(matches!(create(&faulty, moved).await, WriteOutcome::Committed(_)));
}

#[tokio::test]
async fn a_conflict_without_a_reason_stores_nothing() {
    let (faulty, store) = faulty([(Operation::Commit, Fault::Conflict)]).await;
    assert_eq!(create(&faulty, GUARD).await, WriteOutcome::ConflictUnread);
    assert!(!stands(&store).await);
}

#[tokio::test]
async fn an_eviction_strikes_for_ever() {
    let (faulty, store) = faulty([(Operation::Commit, Fault::Evict)]).await;
    for _ in 0..2 {
        assert_eq!(create(&faulty, GUARD).await, WriteOutcome::Evicted);
    }
    assert!(!stands(&store).await);
    assert!(store.pulses().await.unwrap()[0].gone);
}

#[tokio::test]
async fn an_old_read_was_true_once() {
    let (faulty, store) = faulty([(Operation::Read, Fault::OldRead)]).await;
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Committed(_)));
    assert!(stands(&store).await);
    assert!(!stands(&faulty).await, "what stood there before the last write");
    assert!(stands(&faulty).await);
}

#[tokio::test]
async fn a_lost_hint_never_comes() {
    let (faulty, _) = faulty([(Operation::Changed, Fault::LoseHint)]).await;
    assert!(matches!(create(&faulty, GUARD).await, WriteOutcome::Committed(_)));
    let lost = tokio::time::timeout(Duration::from_millis(20), faulty.changed(key(), Version::ABSENT)).await;
    assert!(lost.is_err());
    faulty.changed(key(), Version::ABSENT).await;
}

#[tokio::test]
async fn calls_that_only_look_fail_without_effect() {
    let script = [
        (Operation::Read, Fault::Unavailable),
        (Operation::List, Fault::ReplyLost),
        (Operation::Pulses, Fault::Late),
        (Operation::Advance, Fault::RequestLost),
        (Operation::Beat, Fault::ReplyLost),
    ];
    let (faulty, store) = faulty(script).await;
    assert!(matches!(faulty.read(&[key()]).await, Err(StoreError::Unavailable(_))));
    let all = sixpin_core::backend::Family::AllResources;
    assert!(matches!(faulty.list(&all, None, 10).await, Err(StoreError::Unknown(_))));
    assert!(matches!(faulty.pulses().await, Err(StoreError::Unknown(_))));
    assert!(matches!(faulty.advance(GUARD).await, Err(StoreError::Unknown(_))));
    let first = store.pulses().await.unwrap()[0].version;
    let beat = Beat { number: 1, expected: first, ..registration() };
    assert!(matches!(faulty.beat(beat.clone()).await, Err(StoreError::Unknown(_))));
    let second = faulty.beat(beat).await.unwrap();
    assert!(second > first, "the first copy arrived, and the second found it");
}

#[tokio::test]
async fn a_plan_sees_every_call_in_order() {
    let store = MemoryStore::new();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    let faulty = Faulty::new(store.backend(true), move |call| {
        noted.lock().unwrap().push((call.number, call.operation, call.writes.len()));
        Fault::None
    });
    faulty.beat(registration()).await.unwrap();
    create(&faulty, GUARD).await;
    faulty.read(&[key()]).await.unwrap();
    let expected = [(0, Operation::Beat, 0), (1, Operation::Commit, 1), (2, Operation::Read, 0)];
    assert_eq!(*seen.lock().unwrap(), expected);
}
