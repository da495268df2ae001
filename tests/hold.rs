//! `Hold`: one call, one lock.

use std::time::{Duration, Instant};

use sixpin_proto::v1;
use tonic::{Code, Streaming};
use v1::hold_response::Body;

use crate::support::{Broker, reason, resource, soon, token, try_lock, until, wait_lock};

fn hold(name: &str) -> v1::HoldRequest {
    v1::HoldRequest {
        resource: Some(resource(name)),
        what: Some(v1::Mode::Ex.into()),
        ttl_ms: Some(1_000),
        ..Default::default()
    }
}

async fn next(stream: &mut Streaming<v1::HoldResponse>) -> Option<Body> {
    soon("an event", stream.message()).await.unwrap().map(|event| event.body.unwrap())
}

fn granted(body: Option<Body>) -> v1::HoldGranted {
    match body {
        Some(Body::Granted(granted)) => granted,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_open_stream_counts_as_being_heard() {
    let broker = Broker::start().await;
    // Inside a program a stream goes on only while it is looked at.
    broker.use_sockets();
    let mut stream = broker.locks().await.hold(hold("r")).await.unwrap().into_inner();
    let held = granted(next(&mut stream).await);
    assert_eq!(held.completion.unwrap().status(), v1::Status::Granted);
    assert_eq!(held.ttl_ms, 1_000);
    // Well beyond the TTL and its tolerance.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(broker.state("r").await.claims.len(), 1);
}

#[tokio::test]
async fn the_end_of_the_stream_frees_the_lock_when_the_ttl_has_passed_and_not_before() {
    let broker = Broker::start().await;
    let mut stream = broker.locks().await.hold(hold("r")).await.unwrap().into_inner();
    granted(next(&mut stream).await);
    let dropped = Instant::now();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(broker.state("r").await.claims.len(), 1);
    until("the end of the session", async || broker.state("r").await.claims.is_empty()).await;
    assert!(dropped.elapsed() >= Duration::from_millis(600), "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_hold_that_waits_is_queued_and_then_granted() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut stream = broker.locks().await.hold(hold("r")).await.unwrap().into_inner();
    assert!(matches!(next(&mut stream).await, Some(Body::Queued(_))));
    holder.unlock(1, 2).await;
    granted(next(&mut stream).await);
}

#[tokio::test]
async fn a_hold_that_is_not_granted_says_so_and_ends() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let request = v1::HoldRequest { timeout_ms: Some(0), ..hold("r") };
    let mut stream = broker.locks().await.hold(request).await.unwrap().into_inner();
    let completion = granted(next(&mut stream).await).completion.unwrap();
    assert_eq!(completion.status(), v1::Status::WouldWait);
    assert!(next(&mut stream).await.is_none());
    until("the end of its session", async || broker.sessions().await == 1).await;
}

#[tokio::test]
async fn a_holder_hears_that_it_blocks_and_that_it_lost() {
    let broker = Broker::start().await;
    let request = v1::HoldRequest { blocking: true, ..hold("r") };
    let mut stream = broker.locks().await.hold(request).await.unwrap().into_inner();
    let held = granted(next(&mut stream).await);
    let mut waiter = broker.session().await;
    waiter.ask(v1::session_request::Body::Lock(wait_lock(1, "r", v1::Mode::Pr))).await;
    assert!(matches!(next(&mut stream).await, Some(Body::Blocking(_))));
    let force = v1::ForceUnlockRequest {
        resource: Some(resource("r")),
        session: held.session,
        now: true,
        ..Default::default()
    };
    broker.admin().await.force_unlock(force).await.unwrap();
    match next(&mut stream).await {
        Some(Body::Lost(lost)) => assert_eq!(lost.reason(), v1::LostReason::Forced),
        other => panic!("{other:?}"),
    }
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn the_client_of_a_hold_may_ask_whether_it_lives() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let mut stream = locks.hold(hold("r")).await.unwrap().into_inner();
    let held = granted(next(&mut stream).await);
    let opened = v1::Opened { session: held.session, token: held.token, ..Default::default() };
    let call = v1::KeepAliveRequest { token: token(&opened), move_number: 0 };
    assert_eq!(locks.keep_alive(call).await.unwrap().into_inner().kept_alive.unwrap().ttl_ms, 1_000);
}

#[tokio::test]
async fn a_hold_that_makes_no_sense_is_refused_as_a_call() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let cases = [
        v1::HoldRequest { resource: None, ..hold("r") },
        v1::HoldRequest { what: None, ..hold("r") },
        v1::HoldRequest { what: Some(v1::hold_request::What::Mode(77)), ..hold("r") },
        v1::HoldRequest { ttl_ms: Some(999), ..hold("r") },
        v1::HoldRequest { label: "x".repeat(65), ..hold("r") },
        v1::HoldRequest { timeout_ms: Some(u64::MAX), ..hold("r") },
    ];
    for request in cases {
        let status = locks.hold(request.clone()).await.expect_err(&format!("{request:?}"));
        assert_eq!(reason(&status), (Code::InvalidArgument, v1::Reason::Invalid), "{request:?}");
    }
    let mut session = broker.session().await;
    assert_eq!(session.lock(try_lock(1, "r", v1::Mode::Ex)).await.status(), v1::Status::Granted);
}

#[tokio::test]
async fn a_hold_that_ends_while_it_waits_leaves_the_queue_at_once() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let long = || v1::HoldRequest { ttl_ms: Some(60_000), ..hold("r") };
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = broker.locks().await.hold(long()).await.unwrap().into_inner();
        assert!(matches!(next(&mut stream).await, Some(Body::Queued(_))));
        streams.push(stream);
    }
    let mut last = broker.locks().await.hold(long()).await.unwrap().into_inner();
    assert!(matches!(next(&mut last).await, Some(Body::Queued(_))));
    drop(streams);
    until("the end of those who left", async || broker.state("r").await.claims.len() == 2).await;
    until("the end of their sessions", async || broker.sessions().await == 2).await;
    holder.unlock(1, 2).await;
    granted(next(&mut last).await);
}

#[tokio::test]
async fn a_hold_that_said_so_releases_by_ending() {
    let broker = Broker::start().await;
    let request = v1::HoldRequest { release_on_cancel: true, ttl_ms: Some(60_000), ..hold("r") };
    let mut stream = broker.locks().await.hold(request).await.unwrap().into_inner();
    granted(next(&mut stream).await);
    drop(stream);
    until("the release", async || broker.state("r").await.claims.is_empty()).await;
    until("the end of its session", async || broker.sessions().await == 0).await;
}

#[tokio::test]
async fn closing_the_session_of_a_hold_releases_at_once() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let request = v1::HoldRequest { ttl_ms: Some(60_000), ..hold("r") };
    let mut stream = locks.hold(request).await.unwrap().into_inner();
    let held = granted(next(&mut stream).await);
    let opened = v1::Opened { session: held.session, token: held.token, ..Default::default() };
    locks.close_session(v1::CloseSessionRequest { token: token(&opened) }).await.unwrap();
    assert!(broker.state("r").await.claims.is_empty());
}
