//! How a broker goes: its clients move, its waiters keep their places, and nobody is left hanging.

use std::time::{Duration, Instant};

use sixpin_proto::v1;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::store::{Place, Reason};
use crate::support::stream::Session;
use crate::support::{Broker, live_claim, resume_request, soon, try_lock, wait_lock};

fn drain(timeout_ms: u64) -> v1::DrainBrokerRequest {
    v1::DrainBrokerRequest { timeout_ms: Some(timeout_ms) }
}

fn resume(session: &Session, waiting: bool) -> v1::Resume {
    let operation = u32::from(waiting);
    let live = v1::LiveClaim { operation, ..live_claim(1, "r") };
    resume_request(&session.opened, 1, vec![live])
}

#[tokio::test]
async fn clients_move_to_another_broker_and_keep_locks_and_places() {
    let place = Place::new();
    let (going, staying) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    // Each has to know the other before it can send clients there.
    crate::support::until("the brokers know each other", async || {
        let brokers = going.inspect().await.list_brokers(v1::ListBrokersRequest {}).await.unwrap().into_inner();
        brokers.brokers.len() == 2
    })
    .await;
    let (mut holder, mut waiter) = (going.session().await, going.session().await);
    let held = holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    assert!(matches!(waiter.ask(Ask::Lock(wait_lock(1, "r", v1::Mode::Ex))).await, Body::Queued(_)));
    let mut admin = going.admin().await;
    let drained = tokio::spawn(async move { admin.drain_broker(drain(5_000)).await });
    for session in [&mut holder, &mut waiter] {
        match session.event().await {
            Body::Move(to) => assert_eq!(to.addresses, [staying.server.address.to_string()]),
            other => panic!("{other:?}"),
        }
    }
    let mut holder_there = Session::silent(&staying).await;
    match holder_there.ask(Ask::Resume(resume(&holder, false))).await {
        Body::Resumed(resumed) => assert_eq!(resumed.claims[0].mode(), v1::Mode::Ex),
        other => panic!("{other:?}"),
    }
    let mut waiter_there = Session::silent(&staying).await;
    match waiter_there.ask(Ask::Resume(resume(&waiter, true))).await {
        Body::Resumed(resumed) => assert!(resumed.claims[0].waiting),
        other => panic!("{other:?}"),
    }
    let reply = soon("the end of the drain", drained).await.unwrap().unwrap().into_inner();
    assert_eq!(reply.sessions, 2);
    assert_eq!(holder_there.unlock(1, 2).await.status(), v1::Status::Released);
    match waiter_there.event().await {
        Body::Completion(granted) => {
            assert_eq!(granted.status(), v1::Status::Granted);
            assert!(granted.fence > held.fence);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_drain_with_nobody_to_go_to_waits_for_holders_and_refuses_the_others() {
    let broker = Broker::alone(Reason::OwnEnd, "").await;
    let (mut holder, mut waiter) = (broker.session().await, broker.session().await);
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    assert!(matches!(waiter.ask(Ask::Lock(wait_lock(1, "r", v1::Mode::Ex))).await, Body::Queued(_)));
    let mut admin = broker.admin().await;
    let drained = tokio::spawn(async move { admin.drain_broker(drain(8_000)).await });
    let mut health = HealthClient::new(broker.channel().await);
    crate::support::until("health to say so", async || {
        let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
        status == ServingStatus::NotServing
    })
    .await;
    let status = broker.locks().await.open_session(v1::Open::default()).await.unwrap_err();
    assert_eq!(crate::support::reason(&status), (tonic::Code::Unavailable, v1::Reason::Draining));
    assert!(!drained.is_finished(), "there is a holder");
    assert_eq!(holder.unlock(1, 2).await.status(), v1::Status::Released);
    let begun = Instant::now();
    soon("the end of the drain", drained).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(6));
    // The waiter hears something final rather than nothing.
    let _ = soon("the end of the waiter's stream", waiter.end()).await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_holders_for_ever() {
    let broker = Broker::alone(Reason::OwnEnd, "").await;
    let mut holder = broker.session().await;
    holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    let begun = Instant::now();
    soon("the end of the drain", broker.admin().await.drain_broker(drain(300))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    let _ = soon("the end of the holder's stream", holder.end()).await;
    let status = broker.locks().await.open_session(v1::Open::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    // A second drain finds it done.
    soon("the same answer", broker.admin().await.drain_broker(drain(300))).await.unwrap();
}
