//! Brokers that start on a store: one that knows nothing, and one where another broker went without a word. The latter is
//! point 40 of the list of what must hold (`docs/checklist.md`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sixpin_memory::{Fault, Faulty, MemoryStore};
use sixpin_proto::v1;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::stream::Session;
use crate::support::{Broker, convert, resource, resume_request, soon, wait_lock};

/// What of a claim is the store's: everything but its age.
fn lasting(state: v1::ResourceState) -> (u64, Vec<v1::ClaimInfo>, Option<v1::Value>) {
    let claims = state.claims.into_iter().map(|claim| v1::ClaimInfo { age_ms: 0, ..claim }).collect();
    (state.version, claims, state.value)
}

/// The session of claim 1 on a resource, on a stream to another broker.
async fn moved(session: &Session, broker: &Broker, name: &str, last_operation: u32, waits: bool) -> Session {
    let operation = if waits { last_operation } else { 0 };
    let live =
        v1::LiveClaim { claim: 1, resource: Some(resource(name)), operation, last_operation, ..Default::default() };
    let resume = resume_request(&session.opened, 1, vec![live]);
    let mut stream = Session::silent(broker).await;
    match stream.ask(Ask::Resume(resume)).await {
        Body::Resumed(resumed) => assert_eq!(resumed.claims[0].waiting, waits, "{resumed:?}"),
        other => panic!("{other:?}"),
    }
    stream
}

/// The next event, which must be a grant.
async fn granted(session: &mut Session) -> v1::Completion {
    match session.event().await {
        Body::Completion(completion) if completion.status() == v1::Status::Granted => completion,
        other => panic!("not granted: {other:?}"),
    }
}

fn write(claim: u64, operation: u32, mode: v1::Mode, value: &'static [u8]) -> Ask {
    Ask::Convert(v1::Convert { value_block: true, value: value.into(), ..convert(claim, operation, mode) })
}

fn waiting(body: Body) {
    assert!(matches!(body, Body::Queued(_)), "not queued: {body:?}");
}

#[tokio::test]
async fn a_new_broker_keeps_modes_order_value_blocks_validity_persistence_and_fences() {
    let store = MemoryStore::new();
    let dying = Arc::new(Faulty::new(store.backend(true), |_| Fault::None));
    let first = Broker::behind(dying.clone(), "").await;

    // `queues`: a holder who wrote the value block, a converter, and two waiters.
    let [mut holder, mut converter, mut writer, mut reader] =
        [first.session().await, first.session().await, first.session().await, first.session().await];
    holder.lock(wait_lock(1, "queues", v1::Mode::Ex)).await;
    holder.complete(write(1, 2, v1::Mode::Pr, b"v7")).await;
    converter.lock(wait_lock(1, "queues", v1::Mode::Cr)).await;
    let upgrade = v1::Convert { timeout_ms: None, ..convert(1, 2, v1::Mode::Ex) };
    waiting(converter.ask(Ask::Convert(upgrade)).await);
    waiting(writer.ask(Ask::Lock(wait_lock(1, "queues", v1::Mode::Pw))).await);
    waiting(reader.ask(Ask::Lock(wait_lock(1, "queues", v1::Mode::Pr))).await);

    // `doubt`: an orphan, and a value block whose last writer died.
    let (mut keeper, mut dead, mut parent) = (first.session().await, first.session().await, first.session().await);
    keeper.lock(wait_lock(1, "doubt", v1::Mode::Nl)).await;
    dead.lock(wait_lock(1, "doubt", v1::Mode::Ex)).await;
    dead.complete(write(1, 2, v1::Mode::Ex, b"last")).await;
    dead.ask(Ask::Close(v1::Close {})).await;
    parent.lock(v1::Lock { persistent: true, ..wait_lock(1, "doubt", v1::Mode::Cr) }).await;
    parent.ask(Ask::Close(v1::Close {})).await;

    let before = [lasting(first.state("queues").await), lasting(first.state("doubt").await)];
    let highest = before[0].1.iter().map(|claim| claim.fence).max().unwrap();
    assert_eq!(before[0].1.len(), 4);
    assert!(before[1].1.iter().any(|claim| claim.orphan && claim.persistent), "{:?}", before[1]);
    assert!(before[1].2.as_ref().unwrap().invalid);

    // Nothing that the first broker still tries comes to the store.
    dying.set_plan(|_| Fault::RequestLost);
    drop(first);
    let second = Broker::on(&store, "").await;
    let after = [lasting(second.state("queues").await), lasting(second.state("doubt").await)];
    assert_eq!(after, before);
    let mut holder = moved(&holder, &second, "queues", 2, false).await;
    let mut converter = moved(&converter, &second, "queues", 2, true).await;
    let mut writer = moved(&writer, &second, "queues", 1, true).await;
    let mut reader = moved(&reader, &second, "queues", 1, true).await;
    let mut keeper = moved(&keeper, &second, "doubt", 1, false).await;
    let moved = [lasting(second.state("queues").await), lasting(second.state("doubt").await)];
    assert_eq!([&moved[0].1, &moved[1].1], [&before[0].1, &before[1].1]);

    // The queues go on in their order, with fences above all earlier ones.
    assert_eq!(holder.unlock(1, 3).await.status(), v1::Status::Released);
    let converted = granted(&mut converter).await;
    assert_eq!(converted.mode(), v1::Mode::Ex);
    assert_eq!(converter.unlock(1, 3).await.status(), v1::Status::Released);
    let written = granted(&mut writer).await;
    assert_eq!(writer.unlock(1, 2).await.status(), v1::Status::Released);
    let read = granted(&mut reader).await;
    let fences = [highest, converted.fence, written.fence, read.fence];
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");

    // The orphan still blocks, and the value block is still in doubt.
    let upgrade = v1::Convert { value_block: true, ..convert(1, 2, v1::Mode::Ex) };
    assert_eq!(keeper.complete(Ask::Convert(upgrade)).await.status(), v1::Status::WouldWait);
    let read = v1::Convert { value_block: true, ..convert(1, 3, v1::Mode::Cr) };
    let value = keeper.complete(Ask::Convert(read)).await.value.unwrap();
    assert!(value.invalid && value.bytes.as_ref().unwrap().starts_with(b"last"), "{value:?}");
}

#[tokio::test]
async fn grants_are_held_back_only_where_the_store_knows_nothing() {
    let store = MemoryStore::new();
    let started = Instant::now();
    let first = Broker::on(&store, "first_start_grace = \"1s\"").await;
    let mut session = first.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "granted after {:?}", started.elapsed());
    // There is a record now, so nothing was forgotten.
    let second = Broker::on(&store, "first_start_grace = \"1h\"").await;
    let mut other = second.session().await;
    let granted = soon("a grant", other.lock(wait_lock(1, "s", v1::Mode::Ex))).await;
    assert_eq!(granted.status(), v1::Status::Granted);
}
