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
    let call = v1::LockCall { credential: me(), lock: Some(try_lock(1, "r", v1::Mode::Pr)) };
    let granted = locks.lock(call.clone()).await.unwrap().into_inner();
    assert_eq!(granted.status(), v1::Status::Granted);
    assert_eq!(locks.lock(call).await.unwrap().into_inner().fence, granted.fence, "a repeat is the same");
    let call = v1::ConvertCall { credential: me(), convert: Some(convert(1, 2, v1::Mode::Ex)) };
    assert_eq!(locks.convert(call).await.unwrap().into_inner().mode(), v1::Mode::Ex);
    let call = v1::KeepAliveCall { credential: me(), move_number: 0 };
    assert_eq!(locks.keep_alive(call).await.unwrap().into_inner().ttl_ms, 10_000);
    let call = v1::UnlockCall { credential: me(), unlock: Some(unlock(1, 3)) };
    assert_eq!(locks.unlock(call.clone()).await.unwrap().into_inner().status(), v1::Status::Released);
    assert_eq!(locks.unlock(call).await.unwrap().into_inner().status(), v1::Status::Released);
    let call = v1::UnlockAllCall { credential: me(), unlock_all: Some(v1::UnlockAllRequest::default()) };
    assert_eq!(locks.unlock_all(call).await.unwrap().into_inner().released, 0);
    let call = v1::CancelCall { credential: me(), cancel: Some(v1::CancelRequest { claim: 1, operation: 0 }) };
    assert_eq!(locks.cancel(call).await.unwrap().into_inner().result(), v1::CancelResult::Gone);
    locks.close_session(v1::CloseCall { credential: me() }).await.unwrap();
    let status = locks.keep_alive(v1::KeepAliveCall { credential: me(), move_number: 0 }).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Aborted, v1::Reason::SessionGone));
}

#[tokio::test]
async fn a_lock_call_answers_when_it_is_granted() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    let call = v1::LockCall { credential: Some(credential(&opened)), lock: Some(wait_lock(1, "r", v1::Mode::Ex)) };
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
    let call = v1::LockCall { credential: Some(credential(&opened)), lock: Some(wait_lock(1, "r", v1::Mode::Ex)) };
    let given_up = tokio::time::timeout(Duration::from_millis(200), locks.lock(call)).await;
    assert!(given_up.is_err());
    until("the cancel", async || broker.state("r").await.claims.len() == 1).await;
}

#[tokio::test]
async fn a_lock_call_times_out_as_an_ordinary_result() {
    let broker = Broker::start().await;
    let mut holder = broker.session().await;
    holder.lock(wait_lock(1, "r", v1::Mode::Ex)).await;
    let mut locks = broker.locks().await;
    let opened = open(&mut locks).await;
    for (timeout_ms, status) in [(0, v1::Status::WouldWait), (50, v1::Status::TimedOut)] {
        let lock = v1::LockRequest { timeout_ms: Some(timeout_ms), ..wait_lock(timeout_ms + 1, "r", v1::Mode::Ex) };
        let call = v1::LockCall { credential: Some(credential(&opened)), lock: Some(lock) };
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
    let call = v1::LockCall { credential: Some(wrong.clone()), lock: Some(try_lock(1, "r", v1::Mode::Ex)) };
    let status = locks.lock(call).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, v1::Reason::WrongSecret));
    let status = locks.close_session(v1::CloseCall { credential: Some(wrong) }).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, v1::Reason::WrongSecret));
    assert_eq!(broker.state("r").await.version, 0);
}

#[tokio::test]
async fn a_call_resumes_a_session_at_another_broker() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let opened = open(&mut first.locks().await).await;
    let lock = v1::LockCall { credential: Some(credential(&opened)), lock: Some(try_lock(1, "r", v1::Mode::Ex)) };
    first.locks().await.lock(lock).await.unwrap();
    // Only an explicit resume moves a session.
    let mut locks = second.locks().await;
    let call = v1::KeepAliveCall { credential: Some(credential(&opened)), move_number: 0 };
    let status = locks.keep_alive(call).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
    let live = live_claim(1, "r");
    let resumed =
        soon("the move", locks.resume_session(resume_request(&opened, 1, vec![live]))).await.unwrap().into_inner();
    assert_eq!(resumed.claims[0].mode(), v1::Mode::Ex);
    let call = v1::KeepAliveCall { credential: Some(credential(&opened)), move_number: 1 };
    locks.keep_alive(call).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_an_idle_session_left_does_not_say_that_it_is_gone() {
    let place = Place::new();
    let (first, second) = (Broker::on(&place, "").await, Broker::on(&place, "").await);
    let mut former = first.locks().await;
    let short = v1::OpenRequest { ttl_ms: Some(1000), ..Default::default() };
    let opened = former.open_session(short).await.unwrap().into_inner();
    let mut locks = second.locks().await;
    soon("the move", locks.resume_session(resume_request(&opened, 1, Vec::new()))).await.unwrap();
    let alive = || v1::KeepAliveCall { credential: Some(credential(&opened)), move_number: 1 };
    // Until the former broker, which nobody told of the move, has counted the session's silence out.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        locks.keep_alive(alive()).await.unwrap();
    }
    let status = former.keep_alive(alive()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::FailedPrecondition, v1::Reason::NotHere));
}
