//! A store that misbehaves, a broker that is declared dead, a store that forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_memory::{Fault, Faulty, MemoryStore, Operation};
use sixpin_proto::v1;
use tonic::Code;
use v1::session_request::Body as Ask;
use v1::session_response::Body;

use crate::support::stream::Session;
use crate::support::{Broker, credential, live_claim, reason, resume_request, soon, unlock, until, wait_lock};

/// Every third commit goes wrong, each time in another way.
fn troubled(store: &MemoryStore) -> Faulty<sixpin_memory::MemoryBackend> {
    let faults = [Fault::ReplyLost, Fault::RequestLost, Fault::Unavailable, Fault::Conflict];
    let mut commits = 0;
    Faulty::new(store.backend(true), move |call| {
        if call.operation != Operation::Commit {
            return Fault::None;
        }
        commits += 1;
        if commits % 3 == 0 { faults[commits / 3 % faults.len()] } else { Fault::None }
    })
}

#[tokio::test]
async fn a_store_that_loses_and_refuses_costs_time_and_no_lock() {
    let broker = Broker::behind(Arc::new(troubled(&MemoryStore::new())), "").await;
    let mut sessions = [broker.session().await, broker.session().await];
    let mut last = 0;
    for claim in 1..=40 {
        let session = &mut sessions[claim % 2];
        let granted = soon("a grant", session.lock(wait_lock(claim as u64, "r", v1::Mode::Ex))).await;
        assert_eq!(granted.status(), v1::Status::Granted);
        assert!(granted.fence > last, "fences rise");
        last = granted.fence;
        let released = soon("a release", session.unlock(claim as u64, 2)).await;
        assert_eq!(released.status(), v1::Status::Released);
    }
    until("nothing to be left", async || broker.state("r").await.claims.is_empty()).await;
}

#[tokio::test]
async fn a_broker_that_was_declared_dead_starts_anew_and_its_sessions_resume() {
    let backend = Arc::new(Faulty::new(MemoryStore::new().backend(true), |_| Fault::None));
    let broker = Broker::behind(backend.clone(), "broker_ttl = \"1s\"").await;
    let before = incarnation(&broker).await;
    let mut session = broker.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut evicted = false;
    backend.set_plan(move |call| {
        let now = call.operation == Operation::Commit && !std::mem::replace(&mut evicted, true);
        if now { Fault::Evict } else { Fault::None }
    });
    session.send(Ask::Lock(wait_lock(2, "s", v1::Mode::Ex))).await;
    let _ = soon("the end of the stream", session.end()).await;
    until("a new incarnation", async || incarnation(&broker).await != before).await;
    until("it to serve", async || status(&broker).await.state == "serving").await;
    // The session was opened by the old one; the new one takes it in when it may.
    let mut moves = 0;
    soon("the session", async {
        loop {
            moves += 1;
            let mut stream = Session::silent(&broker).await;
            match stream.ask(Ask::Resume(resume(&session, moves))).await {
                Body::Resumed(resumed) => {
                    assert_eq!(resumed.claims[0].mode(), v1::Mode::Ex);
                    assert_eq!(stream.complete(Ask::Unlock(unlock(1, 2))).await.status(), v1::Status::Released);
                    return;
                }
                Body::Error(error) => assert_eq!(error.reason(), v1::Reason::Unavailable, "{error:?}"),
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_forgot_everything_ends_all_sessions_and_is_used_again_later() {
    let store = MemoryStore::new();
    let broker = Broker::on(&store, "broker_ttl = \"1s\"\nsession_ttl = \"1s\"\nsession_ttl_max = \"1s\"").await;
    let mut session = broker.session().await;
    session.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    store.wipe();
    let mut lost = None;
    let ended = soon("the end of the stream", async {
        loop {
            match session.message().await {
                Ok(Some(message)) => match message.body {
                    Some(Body::Lost(reason)) => lost = Some(reason.reason()),
                    other => panic!("{other:?}"),
                },
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    })
    .await;
    assert!(lost == Some(v1::LostReason::Amnesia) || ended.is_err(), "{lost:?}, {ended:?}");
    // Nothing is granted until nobody believes in what was lost; then there is a new store.
    let status = broker.locks().await.open_session(v1::Open::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, v1::Reason::Unavailable));
    until("it to serve", async || broker.locks().await.open_session(v1::Open::default()).await.is_ok()).await;
    // Nobody keeps these sessions alive, so each asks for less than its TTL.
    let mut attempt = 0;
    until("a grant", async || {
        attempt += 1;
        let mut session = broker.session().await;
        let request = wait_lock(1, &format!("r{attempt}"), v1::Mode::Ex);
        let lock = tokio::time::timeout(Duration::from_millis(500), session.lock(request));
        lock.await.is_ok_and(|done| done.status() == v1::Status::Granted)
    })
    .await;
}

/// Two brokers on one store; the commits of the first are refused while `refuses` is set.
async fn two_brokers(refuses: &Arc<AtomicBool>) -> (Broker, Broker) {
    let (store, refuses) = (MemoryStore::new(), refuses.clone());
    let first = Faulty::new(store.backend(true), move |call| {
        let refused = call.operation == Operation::Commit && refuses.load(Ordering::SeqCst);
        if refused { Fault::Unavailable } else { Fault::None }
    });
    (Broker::behind(Arc::new(first), "").await, Broker::on(&store, "").await)
}

/// A session that was opened at the first broker, and lives at the second for longer than the first remembers it.
async fn moved_long_ago(first: &Broker, second: &Broker, live: Vec<v1::LiveClaim>, opened: &v1::Opened) {
    let mut elsewhere = second.locks().await;
    let resume = resume_request(opened, 1, live);
    elsewhere.resume_session(resume).await.unwrap();
    until("the first broker to give it up", async || {
        let call = v1::KeepAliveRequest { credential: Some(credential(opened)), move_number: 1 };
        elsewhere.keep_alive(call).await.unwrap();
        let sessions = first.inspect().await.list_sessions(v1::ListSessionsRequest::default()).await.unwrap();
        sessions.into_inner().sessions.iter().all(|session| session.state != "vouching")
    })
    .await;
}

#[tokio::test]
async fn a_session_that_a_former_broker_is_still_burying_is_not_said_to_be_over() {
    let refuses = Arc::new(AtomicBool::new(false));
    let (first, second) = two_brokers(&refuses).await;
    let mut locks = first.locks().await;
    let open = v1::Open { ttl_ms: Some(1_000), ..Default::default() };
    let opened = locks.open_session(open).await.unwrap().into_inner();
    let lock = Some(wait_lock(1, "r", v1::Mode::Ex));
    locks.lock(v1::LockRequest { credential: Some(credential(&opened)), lock }).await.unwrap();
    // The first broker has not heard that the session moved, and can not write that it died.
    refuses.store(true, Ordering::SeqCst);
    let live = live_claim(1, "r");
    moved_long_ago(&first, &second, vec![live.clone()], &opened).await;
    let refused = locks.resume_session(resume_request(&opened, 2, vec![live.clone()])).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unavailable, v1::Reason::Unavailable));
    let resumed = second.locks().await.resume_session(resume_request(&opened, 3, vec![live])).await.unwrap();
    assert_eq!(resumed.into_inner().claims[0].mode(), v1::Mode::Ex);
}

#[tokio::test]
async fn a_session_that_was_idle_when_it_moved_away_may_come_back() {
    let (first, second) = two_brokers(&Arc::default()).await;
    let open = v1::Open { ttl_ms: Some(1_000), ..Default::default() };
    let opened = first.locks().await.open_session(open).await.unwrap().into_inner();
    moved_long_ago(&first, &second, Vec::new(), &opened).await;
    first.locks().await.resume_session(resume_request(&opened, 2, Vec::new())).await.unwrap();
}

fn resume(session: &Session, move_number: u32) -> v1::Resume {
    let live = live_claim(1, "r");
    let request = resume_request(&session.opened, move_number, vec![live]);
    v1::Resume { next_claim: 3, void_claims: vec![2], ..request }
}

async fn incarnation(broker: &Broker) -> String {
    let status = broker.inspect().await.get_status(v1::GetStatusRequest {}).await;
    status.map(|status| status.into_inner().incarnation).unwrap_or_default()
}

async fn status(broker: &Broker) -> v1::BackendStatus {
    match broker.inspect().await.get_status(v1::GetStatusRequest {}).await {
        Ok(status) => status.into_inner().backends.remove(0),
        Err(_) => v1::BackendStatus::default(),
    }
}
