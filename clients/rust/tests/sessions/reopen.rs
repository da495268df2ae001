//! Sessions that are opened again after a loss, at a broker that loses them on command.

use std::time::{Duration, Instant};

use sixpin_client::proto::{LostReason, Reason};
use sixpin_client::{
    Client, Error, Guard, Loss, Mode, Refusal, Session, SessionBuilder, SessionEvent, State, StateWatch,
};

use crate::soon;
use crate::stub::{Mood, Stub};

fn client(stub: &Stub) -> Client {
    let client = Client::builder([&stub.address]).connect_timeout(Duration::from_millis(300));
    client.build().unwrap()
}

fn reopening(stub: &Stub) -> SessionBuilder {
    client(stub).session().reopen(Duration::MAX)
}

async fn until(state: &mut StateWatch, wanted: State) {
    soon(async {
        while state.current() != wanted {
            state.changed().await.expect("the session is not over");
        }
    })
    .await;
}

async fn reopening_ended(session: &Session) -> State {
    let mut state = session.state();
    soon(async {
        while matches!(state.current(), State::Reopening(_)) {
            state.changed().await;
        }
        state.current()
    })
    .await
}

#[tokio::test]
async fn a_loss_ends_what_is_held_and_what_waits_and_a_new_session_takes_new_locks() {
    let stub = Stub::start().await;
    let session = reopening(&stub).open().await.unwrap();
    let mut events = session.events();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let waiting = session.lock("taken", Mode::EX).into_future();
    stub.lose(LostReason::Expired);
    assert_eq!(soon(waiting).await.unwrap_err(), Error::Lost(Loss::Expired));
    assert_eq!(guard.check(), Err(Error::Lost(Loss::Expired)));
    // The program knows, so it may ask again.
    let again = soon(session.lock("r", Mode::EX).into_future()).await.unwrap();
    assert_eq!((session.id().as_str(), session.check()), ("S2", Ok(())));
    assert_eq!(soon(events.next()).await, Some(SessionEvent::State(State::Reopening(Loss::Expired))));
    let reopened = soon(events.next()).await;
    assert!(matches!(reopened, Some(SessionEvent::Reopened { session, .. }) if session == "S2"));
    assert_eq!(soon(events.next()).await, Some(SessionEvent::State(State::Safe)));
    // The guard of the lost session stays lost, although claims of both sessions have the same number.
    assert_eq!((guard.claim(), again.claim()), (1, 1));
    assert_eq!(guard.lost().await, Loss::Expired);
    assert_eq!(guard.state().unwrap().current(), State::Lost(Loss::Expired));
    assert_eq!(guard.valid_for(), Duration::ZERO);
    assert_eq!(soon(guard.convert(Mode::PR).into_future()).await, Err(Error::Lost(Loss::Expired)));
    assert_eq!(soon(guard.release().into_future()).await, Err(Error::Lost(Loss::Expired)));
    assert!(again.is_valid());
    soon(again.release().into_future()).await.unwrap();
}

#[tokio::test]
async fn while_no_broker_answers_locks_wait_within_their_time() {
    let stub = Stub::start().await;
    let session = reopening(&stub).ttl(Duration::from_secs(1)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    stub.is(Mood::Silent);
    assert_eq!(soon(guard.lost()).await, Loss::Deadline);
    // Asked for in the same moment, perhaps before the session's own task has heard of the loss.
    let patient = session.lock("r", Mode::EX).into_future();
    assert_eq!((session.check(), session.is_valid()), (Err(Error::Lost(Loss::Deadline)), false));
    until(&mut session.state(), State::Reopening(Loss::Deadline)).await;
    assert_eq!(soon(session.lost()).await, Loss::Deadline);
    assert_eq!((session.check(), session.valid_for()), (Err(Error::Lost(Loss::Deadline)), Duration::ZERO));
    let asked = Instant::now();
    let refused = soon(session.lock("r", Mode::EX).wait(Duration::from_millis(300)).into_future()).await.unwrap_err();
    assert_eq!(refused.not_granted().unwrap().why, Refusal::Undecided);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    stub.is(Mood::Well);
    let again = soon(patient).await.unwrap();
    assert!(again.is_valid() && !guard.is_valid());
    assert_eq!(reopening_ended(&session).await, State::Safe);
    assert_ne!(session.id(), "S1");
}

#[tokio::test]
async fn closing_while_it_is_opened_again_ends_it() {
    for by_the_client in [false, true] {
        let stub = Stub::start().await;
        let client = client(&stub);
        let session = client.session().reopen(Duration::MAX).open().await.unwrap();
        stub.is(Mood::Refuses(Reason::Unavailable));
        stub.lose(LostReason::Amnesia);
        let mut state = session.state();
        until(&mut state, State::Reopening(Loss::Amnesia)).await;
        let waiting = session.lock("r", Mode::EX).into_future();
        if by_the_client {
            soon(client.close()).await;
        } else {
            soon(session.close()).await.unwrap();
        }
        assert_eq!(soon(waiting).await.unwrap_err(), Error::Closed);
        assert_eq!(state.current(), State::Closed);
        soon(session.finished()).await;
        stub.is(Mood::Well);
        assert_eq!(soon(session.lock("r", Mode::EX).into_future()).await.unwrap_err(), Error::Closed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(stub.opened(), 1);
    }
}

#[tokio::test]
async fn closing_right_after_a_loss_opens_nothing() {
    let stub = Stub::start().await;
    let session = reopening(&stub).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    stub.lose(LostReason::Forced);
    assert_eq!(soon(guard.lost()).await, Loss::Forced);
    // Before or after the next session was started: both may be met.
    let closed = soon(session.close()).await;
    assert!(matches!(closed, Ok(()) | Err(Error::Lost(Loss::Forced))), "{closed:?}");
    assert!(matches!(session.state().current(), State::Closed | State::Lost(Loss::Forced)));
    drop(guard);
    soon(session.finished()).await;
    assert_eq!(stub.opened(), 1);
}

#[tokio::test]
async fn each_loss_is_followed_by_a_session_and_no_guard_comes_back() {
    let stub = Stub::start().await;
    let session = reopening(&stub).open().await.unwrap();
    let mut guards = Vec::new();
    for reason in [LostReason::Forced, LostReason::Amnesia] {
        let guard = session.lock("r", Mode::EX).await.unwrap();
        stub.lose(reason);
        soon(guard.lost()).await;
        guards.push(guard);
    }
    let third = soon(session.lock("r", Mode::EX).into_future()).await.unwrap();
    assert_eq!((session.id().as_str(), stub.opened()), ("S3", 3));
    let checks: Vec<_> = guards.iter().map(Guard::check).collect();
    assert_eq!(checks, [Err(Error::Lost(Loss::Forced)), Err(Error::Lost(Loss::Amnesia))]);
    third.release().await.unwrap();
    // It is over only when the guards of all its sessions were let go of.
    soon(session.close()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), session.finished()).await.is_err());
    drop(guards);
    soon(session.finished()).await;
}

#[tokio::test]
async fn it_gives_up_when_its_time_is_over() {
    let stub = Stub::start().await;
    let session = client(&stub).session().reopen(Duration::from_millis(400)).open().await.unwrap();
    let (mut state, mut events) = (session.state(), session.events());
    stub.is(Mood::Refuses(Reason::Unavailable));
    stub.lose(LostReason::Expired);
    until(&mut state, State::Reopening(Loss::Expired)).await;
    let waiting = session.lock("r", Mode::EX).into_future();
    assert!(matches!(soon(waiting).await, Err(Error::Unreachable { .. })));
    assert_eq!(soon(state.changed()).await, Some(State::Lost(Loss::Expired)));
    assert_eq!(soon(state.changed()).await, None);
    assert_eq!(soon(session.lost()).await, Loss::Expired);
    assert_eq!(soon(session.lock("r", Mode::EX).into_future()).await.unwrap_err(), Error::Lost(Loss::Expired));
    assert_eq!(soon(session.close()).await, Err(Error::Lost(Loss::Expired)));
    for expected in [State::Reopening(Loss::Expired), State::Lost(Loss::Expired)] {
        assert_eq!(soon(events.next()).await, Some(SessionEvent::State(expected)));
    }
    assert_eq!(soon(events.next()).await, None);
}

#[tokio::test]
async fn what_brokers_refuse_for_good_is_not_asked_again() {
    let stub = Stub::start().await;
    let session = reopening(&stub).open().await.unwrap();
    let mut state = session.state();
    stub.is(Mood::Refuses(Reason::Invalid));
    stub.lose(LostReason::Expired);
    until(&mut state, State::Lost(Loss::Expired)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((stub.opened(), stub.asked_to_open()), (1, 2));
}

#[tokio::test]
async fn a_session_that_nobody_can_use_is_not_opened_again() {
    let stub = Stub::start().await;
    let session = reopening(&stub).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let mut state = session.state();
    drop(session);
    stub.lose(LostReason::Expired);
    assert_eq!(soon(guard.lost()).await, Loss::Expired);
    until(&mut state, State::Lost(Loss::Expired)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stub.asked_to_open(), 1);
}

#[tokio::test]
async fn unless_asked_for_a_loss_is_final() {
    let stub = Stub::start().await;
    let session = client(&stub).session().open().await.unwrap();
    let (mut state, mut events) = (session.state(), session.events());
    stub.lose(LostReason::Expired);
    assert_eq!(soon(session.lost()).await, Loss::Expired);
    until(&mut state, State::Lost(Loss::Expired)).await;
    assert_eq!(soon(session.lock("r", Mode::EX).into_future()).await.unwrap_err(), Error::Lost(Loss::Expired));
    assert_eq!(soon(events.next()).await, Some(SessionEvent::State(State::Lost(Loss::Expired))));
    assert_eq!(soon(events.next()).await, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stub.asked_to_open(), 1);
}

#[test]
fn locks_are_asked_for_outside_the_runtime_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (session, guard) = runtime.block_on(async {
        let stub = Stub::start().await;
        let session = reopening(&stub).open().await.unwrap();
        let guard = session.lock("r", Mode::EX).await.unwrap();
        stub.lose(LostReason::Expired);
        guard.lost().await;
        (session, guard)
    });
    let asked = session.lock("r", Mode::EX).into_future();
    let again = runtime.block_on(soon(asked)).unwrap();
    assert!(again.is_valid() && !guard.is_valid());
}
