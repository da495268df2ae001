//! Many brokers on one store act as one: what is done through one is seen, waited for and undone through another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sixpin_proto::v1;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::hints::Hints;
use crate::support::store::Place;
use crate::support::stream::Session;
use crate::support::{Broker, convert, reason, resource, try_lock, unlock, until, wait_lock};

async fn two_brokers() -> (Broker, Broker) {
    let place = Place::new();
    (Broker::on(&place, "").await, Broker::on(&place, "").await)
}

fn completion(event: Body) -> v1::Completion {
    match event {
        Body::Completion(completion) => completion,
        other => panic!("not completed: {other:?}"),
    }
}

/// Waits in the queue of `r`; says with which ticket.
async fn queue(session: &mut Session, claim: u64) -> u64 {
    match session.ask(Ask::Lock(wait_lock(claim, "r", v1::Mode::Ex))).await {
        Body::Queued(queued) => queued.ticket,
        other => panic!("not queued: {other:?}"),
    }
}

#[tokio::test]
async fn a_lock_taken_through_one_broker_is_seen_waited_for_and_released_through_another() {
    let (first, second) = two_brokers().await;
    let (mut holder, mut waiter) = (first.session().await, second.session().await);
    let held = holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    let refused = waiter.lock(try_lock(1, "r", v1::Mode::Pr)).await;
    assert_eq!(refused.status(), v1::Status::WouldWait);
    assert_eq!(refused.blockers[0].session, holder.opened.session);
    let ticket = queue(&mut waiter, 2).await;
    assert!(ticket > held.fence);
    // Both brokers tell the same.
    let (here, there) = (first.state("r").await, second.state("r").await);
    assert_eq!((here.version, &here.claims.len()), (there.version, &2));
    let sessions = |state: &v1::ResourceState| state.claims.iter().map(|c| c.session.clone()).collect::<Vec<_>>();
    assert_eq!(sessions(&here), sessions(&there));
    assert_eq!(holder.unlock(1, 2).await.status(), v1::Status::Released);
    let granted = completion(waiter.event().await);
    assert_eq!((granted.status(), granted.claim), (v1::Status::Granted, 2));
    assert!(granted.fence > held.fence);
}

#[tokio::test]
async fn conversions_blocking_notifications_and_value_blocks_cross_brokers() {
    let (first, second) = two_brokers().await;
    let (mut one, mut other) = (first.session().await, second.session().await);
    let shared = |claim| v1::Lock { blocking: true, ..try_lock(claim, "r", v1::Mode::Pr) };
    assert_eq!(one.lock(shared(1)).await.status(), v1::Status::Granted);
    assert_eq!(other.lock(shared(1)).await.status(), v1::Status::Granted);
    let up = v1::Convert { timeout_ms: None, ..convert(1, 2, v1::Mode::Ex) };
    assert!(matches!(one.ask(Ask::Convert(up)).await, Body::Queued(_)));
    match other.event().await {
        Body::Blocking(blocking) => assert_eq!((blocking.claim, blocking.wanted()), (1, v1::Mode::Ex)),
        event => panic!("{event:?}"),
    }
    // Down to NL: it blocks nobody and keeps the value block alive.
    assert_eq!(other.complete(Ask::Convert(convert(1, 2, v1::Mode::Nl))).await.status(), v1::Status::Granted);
    let converted = completion(one.event().await);
    assert_eq!((converted.status(), converted.mode()), (v1::Status::Granted, v1::Mode::Ex));
    let write = v1::Unlock { value_block: true, value: b"hello".to_vec().into(), ..unlock(1, 3) };
    assert_eq!(one.complete(Ask::Unlock(write)).await.status(), v1::Status::Released);
    let read = v1::Lock { value_block: true, ..try_lock(2, "r", v1::Mode::Pr) };
    let value = other.lock(read).await.value.unwrap();
    assert_eq!((&value.bytes.unwrap()[..5], value.seq, value.invalid), (&b"hello"[..], 1, false));
}

#[tokio::test]
async fn waiters_are_served_in_the_order_of_their_tickets_whichever_broker_they_are_at() {
    let (first, second) = two_brokers().await;
    let mut holder = first.session().await;
    let mut fence = holder.lock(try_lock(1, "r", v1::Mode::Ex)).await.fence;
    let mut waiters = Vec::new();
    for number in 0..8 {
        let broker = if number % 3 == 0 { &first } else { &second };
        let mut waiter = broker.session().await;
        let ticket = queue(&mut waiter, 1).await;
        waiters.push((ticket, waiter));
    }
    assert!(waiters.is_sorted_by(|one, next| one.0 < next.0), "tickets rise with the order of arrival");
    holder.unlock(1, 2).await;
    for (_, mut waiter) in waiters {
        // All want EX, so anybody else who was granted out of order would keep this one waiting.
        let granted = completion(waiter.event().await);
        assert_eq!(granted.status(), v1::Status::Granted);
        assert!(granted.fence > fence, "fences rise");
        fence = granted.fence;
        assert_eq!(waiter.unlock(1, 2).await.status(), v1::Status::Released);
    }
    until("an empty queue", async || second.state("r").await.claims.is_empty()).await;
}

#[tokio::test]
async fn a_cancel_and_a_closed_session_make_room_at_the_other_broker() {
    let (first, second) = two_brokers().await;
    let (mut holder, mut given_up, mut next) = (first.session().await, first.session().await, second.session().await);
    holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    queue(&mut given_up, 1).await;
    queue(&mut next, 1).await;
    given_up.ask(Ask::Cancel(v1::Cancel { claim: 1, operation: 1 })).await;
    assert_eq!(second.state("r").await.claims.len(), 2);
    assert!(matches!(holder.ask(Ask::Close(v1::Close {})).await, Body::Closed(_)));
    assert_eq!(completion(next.event().await).status(), v1::Status::Granted);
}

#[tokio::test]
async fn a_lock_is_taken_away_through_another_broker() {
    let (first, second) = two_brokers().await;
    let mut holder = first.session().await;
    holder.lock(try_lock(1, "r", v1::Mode::Ex)).await;
    let force = |now| v1::ForceUnlockRequest {
        resource: Some(resource("r")),
        session: holder.opened.session.clone(),
        now,
        ..Default::default()
    };
    // The holder is to be told first, and only its own broker can do that: it is named.
    let status = second.admin().await.force_unlock(force(false)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
    // Without telling it first, every broker can; the holder learns of it when it does something with the lock.
    let reply = second.admin().await.force_unlock(force(true)).await.unwrap().into_inner();
    assert!(reply.free);
    let mut other = second.session().await;
    assert_eq!(other.lock(wait_lock(1, "r", v1::Mode::Ex)).await.status(), v1::Status::Granted);
    assert_eq!(holder.unlock(1, 2).await.status(), v1::Status::Lost);
    assert_eq!(second.state("r").await.claims.len(), 1);
}

/// Hands `r` over from broker to broker; says how many hints came.
async fn hand_over(hints_lost: bool, times: u64) -> usize {
    let place = Place::new();
    let came = Arc::new(AtomicUsize::new(0));
    let mut sessions = Vec::new();
    let mut brokers = Vec::new();
    for _ in 0..2 {
        let hints = Hints { store: place.open().await, lost: hints_lost, came: came.clone() };
        let broker = Broker::behind(Arc::new(hints), "").await;
        sessions.push(broker.session().await);
        brokers.push(broker);
    }
    let mut fence = sessions[0].lock(try_lock(1, "r", v1::Mode::Ex)).await.fence;
    for claim in 1..=times {
        let [holder, waiter] = &mut sessions[..] else { unreachable!("two brokers") };
        queue(waiter, claim + 1).await;
        assert_eq!(holder.unlock(claim, 2).await.status(), v1::Status::Released);
        let granted = completion(waiter.event().await);
        assert_eq!(granted.status(), v1::Status::Granted);
        assert!(granted.fence > fence, "fences rise");
        fence = granted.fence;
        sessions.reverse();
    }
    came.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_release_through_one_broker_wakes_a_waiter_at_another_by_a_hint() {
    assert!(hand_over(false, 20).await > 0, "no hint came");
}

#[tokio::test]
async fn a_waiter_at_another_broker_is_granted_also_if_every_hint_is_lost() {
    assert_eq!(hand_over(true, 4).await, 0);
}

#[tokio::test]
async fn one_broker_serves_one_lockspace_from_memory_and_another_from_the_store_of_all() {
    let place = Place::new();
    let settings = "[backends.own]\nurl = \"memory:\"\n[lockspaces.fast]\nbackend = \"own\"\n[lockspaces.orders]\n";
    let (first, second) = (Broker::on(&place, settings).await, Broker::on(&place, settings).await);
    let session = async |broker: &Broker, lockspace: &str| {
        let open = v1::Open { lockspace: lockspace.into(), ..Default::default() };
        Session::open(broker, open).await
    };
    let lock = |lockspace: &str| {
        let name = v1::Resource { lockspace: lockspace.into(), name: "r".into() };
        v1::Lock { resource: Some(name), ..try_lock(1, "r", v1::Mode::Ex) }
    };
    // Memory is each broker's own; the store is everybody's.
    let mut kept = Vec::new();
    for (lockspace, at_second) in [("fast", v1::Status::Granted), ("orders", v1::Status::WouldWait)] {
        let (mut here, mut there) = (session(&first, lockspace).await, session(&second, lockspace).await);
        assert_eq!(here.lock(lock(lockspace)).await.status(), v1::Status::Granted, "{lockspace}");
        assert_eq!(there.lock(lock(lockspace)).await.status(), at_second, "{lockspace}");
        kept.extend([here, there]);
    }
    let status = first.inspect().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    let backends: Vec<_> = status.backends.iter().map(|backend| (&*backend.name, &backend.lockspaces[..])).collect();
    let kind = place.open().await.profile().name;
    assert_eq!(backends, [(kind, &["orders".to_owned()][..]), ("memory", &["fast".to_owned()][..])]);
}
