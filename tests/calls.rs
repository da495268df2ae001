//! The unary calls.

use std::time::Duration;

use sixpin_proto::v1;
use tonic::Code;

use crate::support::store::Place;
use crate::support::{
    Broker, convert, credential, live_claim, open, reason, resume_request, soon, try_lock, unlock, until, wait_lock,
};

#[tokio::test]
async fn a_session_lives_by_calls_alone() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let me = || Some(credential(&opened));
    let call = v1::LockRequest { credential: me(), lock: Some(try_lock(1, "r", v1::Mode::Pr)) };
    let granted = locks.lock(call.clone()).await.unwrap().into_inner();
    assert_eq!(granted.status(), v1::Status::Granted);
    assert_eq!(locks.lock(call).await.unwrap().into_inner().fence, granted.fence, "a repeat is the same");
    let call = v1::ConvertRequest { credential: me(), convert: Some(convert(1, 2, v1::Mode::Ex)) };
    assert_eq!(locks.convert(call).await.unwrap().into_inner().mode(), v1::Mode::Ex);
    let call = v1::KeepAliveRequest { credential: me(), move_number: 0 };
    assert_eq!(locks.keep_alive(call).await.unwrap().into_inner().ttl_ms, 10_000);
    let call = v1::UnlockRequest { credential: me(), unlock: Some(unlock(1, 3)) };
    assert_eq!(locks.unlock(call.clone()).await.unwrap().into_inner().status(), v1::Status::Released);
    assert_eq!(locks.unlock(call).await.unwrap().into_inner().status(), v1::Status::Released);
    let call = v1::UnlockAllRequest { credential: me(), unlock_all: Some(v1::UnlockAll::default()) };
    assert_eq!(locks.unlock_all(call).await.unwrap().into_inner().released, 0);
    let call = v1::CancelRequest { credential: me(), cancel: Some(v1::Cancel { claim: 1, operation: 0 }) };
    assert_eq!(locks.cancel(call).await.unwrap().into_inner().result(), v1::CancelResult::Gone);
    locks.close_session(v1::CloseSessionRequest { credential: me() }).await.unwrap();
    let status = locks.keep_alive(v1::KeepAliveRequest { credential: me(), move_number: 0 }).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Aborted, v1::Reason::SessionGone));
}

#[tokio::test]
async fn a_lock_call_answers_when_it_is_granted() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let call = v1::LockRequest { credential: Some(credential(&opened)), lock: Some(wait_lock(1, "r", v1::Mode::Ex)) };
    let waiting = tokio::spawn(async move { locks.lock(call).await });
    until("the waiter", async || broker.state("r").await.claims.len() == 2).await;
    assert!(!waiting.is_finished());
    holder.unlock(1, 2).await;
    let granted = soon("the grant", waiting).await.unwrap().unwrap().into_inner();
    assert_eq!((granted.status(), granted.immediate), (v1::Status::Granted, false));
}

#[tokio::test]
async fn a_lock_call_that_is_given_up_is_cancelled() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let call = v1::LockRequest { credential: Some(credential(&opened)), lock: Some(wait_lock(1, "r", v1::Mode::Ex)) };
    let given_up = tokio::time::timeout(Duration::from_millis(200), locks.lock(call)).await;
    assert!(given_up.is_err());
    until("the cancel", async || broker.state("r").await.claims.len() == 1).await;
}

/// A call is cut and sent again under the same numbers while the lock becomes free: what the answer says is what is stored.
#[tokio::test]
async fn a_repeat_of_a_cut_lock_call_is_answered_as_it_is_stored() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    for round in 1..=100 {
        let name = format!("r{round}");
        holder.lock(wait_lock(round, &name, v1::Mode::Ex)).await;
        let lock = v1::Lock { timeout_ms: Some(30_000), ..wait_lock(round, &name, v1::Mode::Ex) };
        let call = v1::LockRequest { credential: Some(credential(&opened)), lock: Some(lock) };
        let mut caller = locks.clone();
        let (cut, repeat) = (call.clone(), call);
        let waits = tokio::spawn(async move { caller.lock(cut).await });
        until("the waiter", async || broker.state(&name).await.claims.len() == 2).await;
        waits.abort();
        let mut caller = locks.clone();
        let repeated = tokio::spawn(async move { caller.lock(repeat).await });
        holder.unlock(round, 2).await;
        let completion = soon("the answer", repeated).await.unwrap().unwrap().into_inner();
        let stored = broker.state(&name).await.claims.len();
        let granted = completion.status() == v1::Status::Granted;
        assert_eq!(stored, usize::from(granted), "round {round}: {:?}", completion.status());
    }
}

/// Letting go of a number ends it, whether or not a copy of its request comes later.
#[tokio::test]
async fn a_late_copy_of_a_lock_call_creates_nothing() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let lock = |claim| v1::LockRequest {
        credential: Some(credential(&opened)),
        lock: Some(try_lock(claim, &format!("r{claim}"), v1::Mode::Ex)),
    };
    let release = |claim| v1::UnlockRequest { credential: Some(credential(&opened)), unlock: Some(unlock(claim, 2)) };
    // Granted and released; released before any copy came; refused.
    locks.lock(lock(1)).await.unwrap();
    locks.unlock(release(1)).await.unwrap();
    let status = locks.unlock(release(2)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, v1::Reason::NotFound));
    let mut holder = broker.session().await;
    holder.lock(try_lock(1, "r3", v1::Mode::Ex)).await;
    assert_eq!(locks.lock(lock(3)).await.unwrap().into_inner().status(), v1::Status::WouldWait);
    holder.unlock(1, 2).await;
    for (claim, status) in [(1, v1::Status::Gone), (2, v1::Status::Gone), (3, v1::Status::WouldWait)] {
        assert_eq!(locks.lock(lock(claim)).await.unwrap().into_inner().status(), status, "claim {claim}");
        assert!(broker.state(&format!("r{claim}")).await.claims.is_empty(), "claim {claim}");
    }
}

#[tokio::test]
async fn a_lock_call_times_out_as_an_ordinary_result() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    for (timeout_ms, status) in [(0, v1::Status::WouldWait), (50, v1::Status::TimedOut)] {
        let lock = v1::Lock { timeout_ms: Some(timeout_ms), ..wait_lock(timeout_ms + 1, "r", v1::Mode::Ex) };
        let call = v1::LockRequest { credential: Some(credential(&opened)), lock: Some(lock) };
        let completion = locks.lock(call).await.unwrap().into_inner();
        assert_eq!(completion.status(), status);
        assert_eq!(completion.blockers.len(), 1);
    }
}

#[tokio::test]
async fn a_session_cannot_be_used_with_a_wrong_secret_or_after_its_end() {
    let broker = Broker::start().await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let mut wrong = credential(&opened);
    wrong.secret = vec![0; 16].into();
    let call = v1::LockRequest { credential: Some(wrong.clone()), lock: Some(try_lock(1, "r", v1::Mode::Ex)) };
    let status = locks.lock(call).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, v1::Reason::WrongSecret));
    let status = locks.close_session(v1::CloseSessionRequest { credential: Some(wrong) }).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, v1::Reason::WrongSecret));
    assert_eq!(broker.state("r").await.version, 0);
}

#[tokio::test]
async fn a_call_resumes_a_session_at_another_broker() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let opened = open(&mut first.locks().await).await;
    let lock = v1::LockRequest { credential: Some(credential(&opened)), lock: Some(try_lock(1, "r", v1::Mode::Ex)) };
    first.locks().await.lock(lock).await.unwrap();
    // Only an explicit resume moves a session.
    let mut locks = second.locks().await;
    let call = v1::KeepAliveRequest { credential: Some(credential(&opened)), move_number: 0 };
    let status = locks.keep_alive(call).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
    let live = live_claim(1, "r");
    let resumed =
        soon("the move", locks.resume_session(resume_request(&opened, 1, vec![live]))).await.unwrap().into_inner();
    assert_eq!(resumed.claims[0].mode(), v1::Mode::Ex);
    let call = v1::KeepAliveRequest { credential: Some(credential(&opened)), move_number: 1 };
    locks.keep_alive(call).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_an_idle_session_left_does_not_say_that_it_is_gone() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let mut former = first.locks().await;
    let short = v1::Open { ttl_ms: Some(1000), ..Default::default() };
    let opened = former.open_session(short).await.unwrap().into_inner();
    let mut locks = second.locks().await;
    soon("the move", locks.resume_session(resume_request(&opened, 1, Vec::new()))).await.unwrap();
    let alive = || v1::KeepAliveRequest { credential: Some(credential(&opened)), move_number: 1 };
    // Until the former broker, which nobody told of the move, has counted the session's silence out.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        locks.keep_alive(alive()).await.unwrap();
    }
    let status = former.keep_alive(alive()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
}
