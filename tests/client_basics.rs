//! The client library against a broker: what it promises while nothing fails.

use std::time::Duration;

use sixpin_client::{ClaimEvent, Client, Error, Loss, Mode, SessionEvent, State, proto};

use crate::client_world::{Broker, SOON, all_claims, wait_until_no_claim_is_left, wait_until_no_session_is_left};

#[tokio::test]
async fn a_lock_is_held_until_it_is_released() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let other = broker.client().session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    assert_eq!((guard.mode(), guard.is_valid()), (Mode::EX, true));
    assert!(guard.valid_for() > Duration::from_secs(5));
    let refused = other.lock("r", Mode::EX).try_lock().await.unwrap_err();
    assert!(refused.would_wait());
    assert_eq!(refused.not_granted().unwrap().blockers[0].session, session.id());
    let first = guard.fence();
    guard.release().await.unwrap();
    assert!(other.lock("r", Mode::EX).try_lock().await.unwrap().fence() > first);
}

#[tokio::test]
async fn a_single_lock_has_a_session_of_its_own() {
    let broker = Broker::start().await;
    let client = broker.client();
    let guard = client.lock("r", Mode::EX).ttl(Duration::from_secs(30)).label("cron").await.unwrap();
    let session = client.inspection().list_sessions(proto::ListSessionsRequest::default()).await.unwrap().sessions;
    let session = <[_; 1]>::try_from(session).unwrap().into_iter().next().unwrap();
    assert_eq!((session.ttl_ms, session.label.as_str()), (30_000, "cron"));
    let refused = client.lock("r", Mode::EX).try_lock().await.unwrap_err();
    assert_eq!(refused.not_granted().unwrap().blockers[0].session, session.session);
    let refused = client.lock("r", Mode::EX).wait(Duration::from_secs(3)).await.unwrap_err();
    assert!(refused.is_timed_out(), "{refused}");
    let waiting = tokio::spawn(client.lock("r", Mode::EX).wait(SOON).into_future());
    guard.release().await.unwrap();
    drop(waiting.await.unwrap().unwrap());
    wait_until_no_claim_is_left(&client).await;
    wait_until_no_session_is_left(&client).await;
    let lost = client.lock("r", Mode::EX).lockspace("no such space").await.unwrap_err();
    assert!(matches!(lost, Error::Invalid(_)), "{lost}");
}

#[tokio::test]
async fn a_dropped_guard_is_released() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    drop(session.lock("r", Mode::EX).await.unwrap());
    let again = session.lock("r", Mode::EX).wait(SOON).await.unwrap();
    again.release().await.unwrap();
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn a_wait_times_out() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let _guard = session.lock("r", Mode::PR).await.unwrap();
    let error = session.lock("r", Mode::EX).wait(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.is_timed_out() && error.is_temporary(), "{error}");
}

#[tokio::test]
async fn a_cancelled_lock_says_so() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let _guard = session.lock("r", Mode::EX).await.unwrap();
    let waiting = session.lock("r", Mode::EX).into_future();
    waiting.cancel();
    let error = waiting.await.unwrap_err();
    assert_eq!(error.not_granted().unwrap().why, sixpin_client::Refusal::Cancelled);
}

#[tokio::test]
async fn conversions_move_the_value_block() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let keeper = session.lock("r", Mode::NL).value_block().await.unwrap();
    assert_eq!(keeper.value().unwrap().seq, 0);
    let writer = session.lock("r", Mode::EX).await.unwrap();
    writer.release().value("hello").await.unwrap();
    let grant = keeper.convert(Mode::PR).value_block().await.unwrap();
    assert_eq!((grant.mode, keeper.mode()), (Mode::PR, Mode::PR));
    let value = keeper.value().unwrap();
    assert_eq!((&value.bytes.unwrap()[..5], value.seq, value.invalid), (&b"hello"[..], 1, false));
}

#[tokio::test]
async fn a_conversion_deadlock_keeps_the_old_mode() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let one = session.lock("r", Mode::PR).await.unwrap();
    let two = session.lock("r", Mode::PR).await.unwrap();
    let upgrade = one.convert(Mode::EX).into_future();
    let error = two.convert(Mode::EX).await.unwrap_err();
    assert!(error.is_deadlock(), "{error}");
    assert_eq!(two.mode(), Mode::PR);
    two.release().await.unwrap();
    assert_eq!(upgrade.await.unwrap().mode, Mode::EX);
    assert_eq!(one.mode(), Mode::EX);
}

#[tokio::test]
async fn a_demoted_conversion_shows_in_the_guard() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let one = session.lock("r", Mode::PR).await.unwrap();
    let two = session.lock("r", Mode::PR).await.unwrap();
    let upgrade = one.convert(Mode::EX).into_future();
    let demoted = two.convert(Mode::EX).on_deadlock(proto::ConversionDeadlock::Demote).into_future();
    assert_eq!(upgrade.await.unwrap().mode, Mode::EX);
    demoted.cancel();
    let error = demoted.await.unwrap_err();
    assert!(error.not_granted().unwrap().demoted);
    assert_eq!(two.mode(), Mode::NL);
}

#[tokio::test]
async fn a_holder_hears_whom_it_blocks() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).blocking().await.unwrap();
    let waiting = session.lock("r", Mode::PR).into_future();
    let event = tokio::time::timeout(SOON, guard.next_event()).await.unwrap();
    assert_eq!(event, ClaimEvent::Blocking { wanted: Mode::PR, own: false });
    guard.convert(Mode::PR).await.unwrap();
    assert_eq!(waiting.await.unwrap().mode(), Mode::PR);
}

#[tokio::test]
async fn unlock_all_goes_by_owner_and_tells_the_guards() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let one = session.lock("a", Mode::EX).owner("x").await.unwrap();
    let two = session.lock("b", Mode::EX).owner("y").await.unwrap();
    assert_eq!(session.unlock_all(Some("x")).await.unwrap(), 1);
    assert_eq!(one.check(), Err(Error::Lost(Loss::Released)));
    assert_eq!(two.check(), Ok(()));
    assert_eq!(session.unlock_all(None).await.unwrap(), 1);
    assert_eq!(one.release().await, Err(Error::Lost(Loss::Released)));
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn the_last_handle_closes_the_session() {
    let broker = Broker::start().await;
    let session = broker.client().session().label("short").open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    drop(session);
    // A guard keeps its session alive.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(guard.is_valid());
    drop(guard);
    wait_until_no_session_is_left(&broker.client()).await;
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn a_closed_session_says_so_and_its_guards_are_lost() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let mut events = session.events();
    session.close().await.unwrap();
    assert_eq!(guard.check(), Err(Error::Closed));
    assert_eq!(guard.lost().await, Loss::Closed);
    assert!(matches!(session.lock("r", Mode::EX).await, Err(Error::Closed)));
    assert_eq!(events.next().await, Some(SessionEvent::State(State::Closed)));
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn an_orphan_is_left_and_adopted() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let claim = session.lock("r", Mode::EX).persistent().await.unwrap().leave();
    let name = session.id();
    session.close().await.unwrap();
    let session = broker.client().session().open().await.unwrap();
    let missing = session.lock("other", Mode::EX).adopt_orphan().await.unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing}");
    let guard = session.lock("r", Mode::EX).adopt_orphan().await.unwrap();
    assert_eq!(guard.grant().adopted, Some((name, claim)));
    guard.release().await.unwrap();
    assert_eq!(all_claims(&broker.client()).await, []);
}

#[tokio::test]
async fn many_operations_share_one_session() {
    let broker = Broker::start().await;
    let session = broker.client().session().open().await.unwrap();
    let tasks: Vec<_> = (0..800)
        .map(|number| {
            let session = session.clone();
            tokio::spawn(async move {
                let guard = session.lock(format!("r{}", number % 50), Mode::EX).await?;
                guard.release().await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn without_a_broker_opening_fails_in_time() {
    let client = Client::builder(["127.0.0.1:1"]).open_timeout(Duration::from_millis(300)).build().unwrap();
    let error = client.session().open().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_temporary(), "{error}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let broker = Broker::start().await;
    let error = broker.client().session().ttl(Duration::from_millis(1)).open().await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let session = broker.client().session().open().await.unwrap();
    let error = session.lock("", Mode::EX).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
