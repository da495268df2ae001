//! The `Session` stream: replies, events, order and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_memory::{Fault, Faulty, MemoryStore, Operation};
use sixpin_proto::v1;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::stream::Session;
use crate::support::{Broker, convert, live_claim, reason, resume_request, soon, try_lock, unlock, until, wait_lock};

#[tokio::test]
async fn a_lock_is_granted_with_a_fence_and_released() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    assert_eq!(session.opened.ttl_ms, 10_000);
    assert_eq!(session.opened.keepalive_ms, 3_333);
    assert_eq!(session.opened.value_block_bytes, 32);
    assert_eq!(session.opened.requests_max, 256);
    assert_eq!(session.opened.secret.len(), 16);
    let first = session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    assert_eq!((first.status(), first.mode(), first.immediate), (v1::Status::Granted, v1::Mode::Ex, true));
    assert_eq!(session.unlock(1, 2).await.status(), v1::Status::Released);
    let second = session.lock(wait_lock(2, "r", v1::Mode::Ex)).await;
    assert!(second.fence > first.fence);
    assert_eq!(broker.state("r").await.claims.len(), 1);
}

#[tokio::test]
async fn a_waiter_is_queued_told_and_granted() {
    let broker = Broker::start().await;
    let (mut holder, mut waiter) = (broker.session().await, broker.session().await);
    let lock = v1::Lock { blocking: true, ..wait_lock(1, "r", v1::Mode::Ex) };
    let held = holder.lock(lock).await;
    let queued = match waiter.ask(Ask::Lock(wait_lock(1, "r", v1::Mode::Pr))).await {
        Body::Queued(queued) => queued,
        other => panic!("{other:?}"),
    };
    assert_eq!((queued.claim, queued.operation, queued.position), (1, 1, 0));
    assert!(queued.ticket > held.fence);
    match holder.event().await {
        Body::Blocking(blocking) => assert_eq!((blocking.claim, blocking.wanted()), (1, v1::Mode::Pr)),
        other => panic!("{other:?}"),
    }
    holder.unlock(1, 2).await;
    match waiter.event().await {
        Body::Completion(completion) => {
            assert_eq!((completion.claim, completion.operation), (1, 1));
            assert_eq!((completion.status(), completion.immediate), (v1::Status::Granted, false));
            assert!(completion.fence > held.fence);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_may_be_sent_before_the_session_is_open() {
    let broker = Broker::start().await;
    let mut stream = Session::silent(&broker).await;
    stream.send(Ask::Open(v1::Open::default())).await;
    stream.send(Ask::Lock(try_lock(1, "r", v1::Mode::Ex))).await;
    stream.send(Ask::Unlock(unlock(1, 2))).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let message = stream.message().await.unwrap().unwrap();
        kinds.push((message.request, matches!(message.body, Some(Body::Completion(_)))));
    }
    assert_eq!(kinds, [(1, false), (2, true), (3, true)]);
}

#[tokio::test]
async fn a_repeat_is_answered_the_same_and_changes_nothing() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    let first = session.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    let claims = async || broker.state("r").await.claims.into_iter().map(|claim| (claim.queue, claim.fence));
    let before: Vec<_> = claims().await.collect();
    let again = session.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    assert_eq!((first.fence, first.grant_seq), (again.fence, again.grant_seq));
    // Not the version: a store that cannot compare without writing writes the same once more.
    assert_eq!(claims().await.collect::<Vec<_>>(), before);
}

#[tokio::test]
async fn a_wait_times_out_and_a_cancel_withdraws() {
    let broker = Broker::start().await;
    let (mut holder, mut waiter) = (broker.session().await, broker.session().await);
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    // A broker that just came may have to wait until the others know of it.
    waiter.lock(wait_lock(7, "s", v1::Mode::Ex)).await;
    let timed = v1::Lock { timeout_ms: Some(50), ..wait_lock(1, "r", v1::Mode::Ex) };
    assert!(matches!(waiter.ask(Ask::Lock(timed)).await, Body::Queued(_)));
    match waiter.event().await {
        Body::Completion(completion) => {
            assert_eq!(completion.status(), v1::Status::TimedOut);
            assert_eq!(completion.blockers[0].session, holder.opened.session);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(waiter.ask(Ask::Lock(wait_lock(2, "r", v1::Mode::Ex))).await, Body::Queued(_)));
    match waiter.ask(Ask::Cancel(v1::Cancel { claim: 2, operation: 1 })).await {
        Body::Cancelled(cancelled) => assert_eq!(cancelled.result(), v1::CancelResult::Cancelled),
        other => panic!("{other:?}"),
    }
    match waiter.event().await {
        Body::Completion(completion) => assert_eq!(completion.status(), v1::Status::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_value_block_goes_from_one_holder_to_the_next() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Nl)).await;
    session.lock(wait_lock(2, "r", v1::Mode::Ex)).await;
    let write = v1::Unlock { value_block: true, value: b"hello".to_vec().into(), ..unlock(2, 2) };
    session.complete(Ask::Unlock(write)).await;
    let read = v1::Lock { value_block: true, ..wait_lock(3, "r", v1::Mode::Cr) };
    let value = session.lock(read).await.value.unwrap();
    let bytes = value.bytes.unwrap();
    assert_eq!((&bytes[..5], bytes.len(), value.seq, value.invalid), (&b"hello"[..], 32, 1, false));
}

#[tokio::test]
async fn keepalive_unlock_all_confirm_and_close() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    match session.ask(Ask::KeepAlive(v1::KeepAlive { move_number: 0 })).await {
        Body::KeptAlive(kept) => assert_eq!(kept.ttl_ms, 10_000),
        other => panic!("{other:?}"),
    }
    for claim in 1..=3 {
        session.lock(wait_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
    }
    match session.ask(Ask::UnlockAll(v1::UnlockAll::default())).await {
        Body::UnlockedAll(all) => assert_eq!(all.released, 3),
        other => panic!("{other:?}"),
    }
    // What was released is not lost: a repeat says so, and no event says otherwise.
    assert_eq!(session.unlock(1, 2).await.status(), v1::Status::Released);
    assert_eq!(session.ask_plain(Ask::ConfirmLost(v1::ConfirmLost { claims: vec![1] })).await, None);
    assert!(matches!(session.ask(Ask::Close(v1::Close {})).await, Body::Closed(_)));
    session.end().await.unwrap();
    assert_eq!(broker.sessions().await, 0);
}

#[tokio::test]
async fn a_second_stream_takes_the_session_over() {
    let broker = Broker::start().await;
    let mut first = Session::open(&broker, v1::Open { ttl_ms: Some(5_000), ..Default::default() }).await;
    first.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut second = Session::silent(&broker).await;
    let resume = resume_request(&first.opened, 1, vec![live_claim(1, "r")]);
    match second.ask(Ask::Resume(resume)).await {
        Body::Resumed(resumed) => {
            assert_eq!(resumed.move_number, 1);
            assert_eq!((resumed.claims[0].claim, resumed.claims[0].mode()), (1, v1::Mode::Ex));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(second.unlock(1, 2).await.status(), v1::Status::Released);
    // A broker that the session left may not hear of it before the session's TTL has passed.
    first.end().await.unwrap();
}

#[tokio::test]
async fn a_resume_comes_in_parts() {
    let broker = Broker::start().await;
    let mut first = Session::open(&broker, v1::Open { ttl_ms: Some(5_000), ..Default::default() }).await;
    for claim in 1..=3 {
        first.lock(wait_lock(claim, &format!("r{claim}"), v1::Mode::Ex)).await;
    }
    let live = |claim: u64| live_claim(claim, &format!("r{claim}"));
    let part = |claim: u64, more: bool| v1::Resume { claims: vec![live(claim)], more, ..Default::default() };
    let mut second = Session::silent(&broker).await;
    let head = v1::Resume { next_claim: 4, more: true, ..resume_request(&first.opened, 1, vec![live(1)]) };
    second.send(Ask::Resume(head)).await;
    // Nothing comes between the parts, and nothing is lost by an attempt.
    assert_eq!(second.refused(Ask::KeepAlive(v1::KeepAlive { move_number: 1 })).await, v1::Reason::Invalid);
    second.send(Ask::Resume(part(2, true))).await;
    match second.ask(Ask::Resume(part(3, false))).await {
        Body::Resumed(resumed) => {
            let held: Vec<_> = resumed.claims.iter().map(|claim| (claim.claim, claim.mode())).collect();
            assert_eq!(held, [(1, v1::Mode::Ex), (2, v1::Mode::Ex), (3, v1::Mode::Ex)]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(second.unlock(3, 2).await.status(), v1::Status::Released);
    // A broker that the session left may not hear of it before the session's TTL has passed.
    first.end().await.unwrap();
}

#[tokio::test]
async fn a_claim_whose_newest_grant_the_store_does_not_know_is_lost() {
    let broker = Broker::start().await;
    let mut first = broker.session().await;
    first.lock(wait_lock(1, "kept", v1::Mode::Ex)).await;
    first.lock(wait_lock(2, "older", v1::Mode::Pr)).await;
    let live = |claim, name, grant_seq| v1::LiveClaim { grant_seq, ..live_claim(claim, name) };
    let claims = vec![live(1, "kept", 1), live(2, "older", 2)];
    let resume = v1::Resume { next_claim: 3, ..resume_request(&first.opened, 1, claims) };
    let mut second = Session::silent(&broker).await;
    match second.ask(Ask::Resume(resume)).await {
        Body::Resumed(resumed) => {
            let held: Vec<_> = resumed.claims.iter().map(|claim| (claim.claim, claim.mode())).collect();
            assert_eq!(held, [(1, v1::Mode::Ex), (2, v1::Mode::Unspecified)]);
        }
        other => panic!("{other:?}"),
    }
    // As with everything that is taken away it is free once the holder has said that it knows.
    assert_eq!(second.ask_plain(Ask::ConfirmLost(v1::ConfirmLost { claims: vec![2] })).await, None);
    let mut other = broker.session().await;
    let granted = match other.ask(Ask::Lock(wait_lock(1, "older", v1::Mode::Ex))).await {
        Body::Queued(_) => other.event().await,
        at_once => at_once,
    };
    assert!(matches!(granted, Body::Completion(done) if done.status() == v1::Status::Granted));
    assert_eq!(second.unlock(1, 2).await.status(), v1::Status::Released);
}

#[tokio::test]
async fn a_resume_is_answered_although_a_write_of_the_same_resource_is_under_way() {
    let slow = Arc::new(AtomicBool::new(false));
    let delay = slow.clone();
    let store = Faulty::new(MemoryStore::new().backend(true), move |call| {
        let delayed = call.operation == Operation::Commit && delay.load(Ordering::Relaxed);
        if delayed { Fault::Delay(Duration::from_millis(500)) } else { Fault::None }
    });
    let broker = Broker::behind(Arc::new(store), "").await;
    let first = broker.session().await;
    let resume = |next_claim, void_claims| {
        let request = resume_request(&first.opened, 1, vec![live_claim(1, "r")]);
        v1::Resume { next_claim, void_claims, ..request }
    };
    let mut second = Session::silent(&broker).await;
    assert!(matches!(second.ask(Ask::Resume(resume(2, vec![]))).await, Body::Resumed(_)));
    let mut third = Session::silent(&broker).await;
    slow.store(true, Ordering::Relaxed);
    second.send(Ask::Lock(try_lock(2, "r", v1::Mode::Ex))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A repeat of the move, by a client that still believes in a claim that is not there any more.
    match third.ask(Ask::Resume(resume(3, vec![2]))).await {
        Body::Resumed(resumed) => assert_eq!(resumed.claims[0].mode(), v1::Mode::Unspecified),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_closed_its_side_still_gets_its_answers() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    session.send(Ask::Lock(try_lock(1, "r", v1::Mode::Ex))).await;
    session.half_close();
    assert!(matches!(session.message().await.unwrap().unwrap().body, Some(Body::Completion(_))));
    session.end().await.unwrap();
}

#[tokio::test]
async fn a_bound_session_that_is_closed_releases_at_once() {
    let broker = Broker::start().await;
    let open = v1::Open { connection_bound: true, ..Default::default() };
    let mut bound = Session::open(&broker, open).await;
    bound.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut other = broker.session().await;
    assert!(matches!(other.ask(Ask::Lock(wait_lock(1, "r", v1::Mode::Ex))).await, Body::Queued(_)));
    bound.ask(Ask::Close(v1::Close {})).await;
    match other.event().await {
        Body::Completion(completion) => assert_eq!(completion.status(), v1::Status::Granted),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bound_session_whose_stream_ends_leaves_the_queues_and_keeps_its_locks() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "waited", v1::Mode::Ex)).await;
    let open = v1::Open { connection_bound: true, ttl_ms: Some(60_000), ..Default::default() };
    let mut bound = Session::open(&broker, open).await;
    bound.lock(wait_lock(1, "held", v1::Mode::Ex)).await;
    assert!(matches!(bound.ask(Ask::Lock(wait_lock(2, "waited", v1::Mode::Ex))).await, Body::Queued(_)));
    drop(bound);
    until("the end of the wait", async || broker.state("waited").await.claims.len() == 1).await;
    assert_eq!(broker.state("held").await.claims.len(), 1, "its client may have been told of this one");
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_the_session_for_its_ttl() {
    let broker = Broker::start().await;
    let open = v1::Open { ttl_ms: Some(1_000), ..Default::default() };
    let mut lost = Session::open(&broker, open).await;
    lost.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    drop(lost);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(broker.state("r").await.claims.len(), 1);
    until("the end of the session", async || broker.state("r").await.claims.is_empty()).await;
}

#[tokio::test]
async fn many_requests_in_flight_are_each_answered_once() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    for round in 0..20u64 {
        let claims = round * 100 + 1..=round * 100 + 100;
        for claim in claims.clone() {
            session.send(Ask::Lock(try_lock(claim, &format!("r{}", claim % 7), v1::Mode::Cr))).await;
            session.send(Ask::Unlock(unlock(claim, 2))).await;
        }
        let mut answered = 0;
        while answered < 200 {
            let message = soon("an answer", session.message()).await.unwrap().unwrap();
            assert!(matches!(message.body, Some(Body::Completion(_))), "{message:?}");
            answered += 1;
        }
    }
    let status = broker.inspect().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.backends[0].claims, 0);
}

#[tokio::test]
async fn a_conversion_needs_no_resource_on_a_stream() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Pr)).await;
    let up = session.complete(Ask::Convert(convert(1, 2, v1::Mode::Ex))).await;
    assert_eq!((up.status(), up.mode(), up.grant_seq), (v1::Status::Granted, v1::Mode::Ex, 2));
}

#[tokio::test]
async fn the_stream_ends_for_its_own_reasons_only() {
    let broker = Broker::start().await;
    let cases: Vec<(&str, Vec<v1::SessionRequest>)> = vec![
        ("not opened first", vec![message(1, Ask::KeepAlive(v1::KeepAlive::default()))]),
        ("no content first", vec![v1::SessionRequest { request: 1, body: None }]),
        ("no number", vec![message(0, Ask::Open(v1::Open::default()))]),
        ("opened twice", vec![message(1, Ask::Open(v1::Open::default())), message(2, Ask::Open(v1::Open::default()))]),
    ];
    for (what, messages) in cases {
        let mut stream = Session::silent(&broker).await;
        for message in messages {
            stream.send_raw(message).await;
        }
        let status = stream.end().await.expect_err(what);
        assert_eq!(reason(&status), (Code::InvalidArgument, v1::Reason::Invalid), "{what}: {status}");
    }
}

fn message(request: u64, body: Ask) -> v1::SessionRequest {
    v1::SessionRequest { request, body: Some(body) }
}

#[tokio::test]
async fn as_many_requests_as_may_be_in_flight_are_all_answered() {
    let broker = Broker::start().await;
    let mut session = broker.session().await;
    let pairs = u64::from(session.opened.requests_max) / 2;
    let mut asked = Vec::new();
    for claim in 1..=pairs {
        let lock = try_lock(claim, &format!("r/{claim}"), v1::Mode::Ex);
        asked.push((session.send(Ask::Lock(lock)).await, v1::Status::Granted));
        asked.push((session.send(Ask::Unlock(unlock(claim, 2))).await, v1::Status::Released));
    }
    let mut answered = Vec::new();
    while answered.len() < asked.len() {
        match session.message().await.unwrap().unwrap() {
            v1::SessionResponse { request, body: Some(Body::Completion(done)) } => {
                answered.push((request, done.status()));
            }
            other => panic!("{other:?}"),
        }
    }
    answered.sort_unstable_by_key(|(request, _)| *request);
    assert_eq!(answered, asked);
}
