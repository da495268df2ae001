//! Losing locks: the client knows before anybody else is granted them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sixpin_client::proto::{ExpireSessionRequest, ForceUnlockRequest, Resource};
use sixpin_client::{ClaimEvent, Client, Error, Loss, Mode, State};
use sixpin_testkit::proxy::{Mode as Network, Proxy};

use crate::client_world::{Broker, SOON, signal, wait_until_no_claim_is_left};

const TTL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_costs_the_lock_at_the_deadline() {
    let broker = Broker::as_processes().await;
    let session = broker.client().session().ttl(TTL).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let waiting = session.lock("r", Mode::EX).into_future();
    let mut state = session.state();
    assert_eq!(state.current(), State::Safe);
    broker.freeze();
    assert_eq!(state.changed().await, Some(State::Uncertain));
    assert!(guard.is_valid());
    let loss = tokio::time::timeout(SOON, guard.lost()).await.unwrap();
    assert_eq!(loss, Loss::Deadline);
    assert_eq!(guard.check(), Err(Error::Lost(Loss::Deadline)));
    assert_eq!(guard.valid_for(), Duration::ZERO);
    assert!(matches!(waiting.await, Err(Error::Lost(Loss::Deadline))));
    assert_eq!(state.changed().await, Some(State::Lost(Loss::Deadline)));
    assert_eq!(state.changed().await, None);
    // What was lost stays lost, whatever the broker says when it runs again.
    broker.thaw();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!guard.is_valid());
    drop(guard);
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_freeze_of_the_broker_costs_nothing() {
    let broker = Broker::as_processes().await;
    let session = broker.client().session().ttl(Duration::from_secs(5)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    broker.freeze();
    let waiting = session.lock("s", Mode::EX).into_future();
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.thaw();
    waiting.await.unwrap().release().await.unwrap();
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cut_off_knows_before_anybody_else_is_granted() {
    // Once the network says nothing at all, once it says that the connection is gone.
    let (silent, closed) = tokio::join!(cut_off_by(Network::BlackHole), cut_off_by(Network::Cut));
    for (trouble, (told, granted)) in [("silence", silent), ("closed connections", closed)] {
        println!("{trouble}: told {told:?} after the cut, granted to the next {granted:?} after it");
    }
}

/// How long after the cut the holder was told, and how long after it the next one had the lock.
async fn cut_off_by(trouble: Network) -> (Duration, Duration) {
    let broker = Broker::as_processes().await;
    let network = Proxy::start(broker.address.parse().unwrap()).await.unwrap();
    let client = Client::new([network.address().to_string()]).unwrap();
    // Half a second lies between the client's deadline and the broker's.
    let session = client.session().ttl(Duration::from_secs(5)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let other = broker.client().session().open().await.unwrap();
    let waiting = other.lock("r", Mode::EX).into_future();
    network.set(trouble);
    let cut = Instant::now();
    let told = tokio::spawn(async move {
        let loss = guard.lost().await;
        (loss, Instant::now(), guard)
    });
    let granted = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    let granted_at = Instant::now();
    let (loss, told_at, guard) = told.await.unwrap();
    assert_eq!((loss, guard.check()), (Loss::Deadline, Err(Error::Lost(Loss::Deadline))), "{trouble:?}");
    assert!(told_at < granted_at, "{trouble:?}: told {:?} too late", told_at - granted_at);
    assert!(granted.fence() > guard.fence());
    (told_at - cut, granted_at - cut)
}

#[tokio::test]
async fn a_forced_release_is_told_and_confirmed_by_letting_go() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = client.session().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let admin = Client::new([&broker.admin_address]).unwrap().administration();
    let force = ForceUnlockRequest {
        resource: Some(Resource { lockspace: String::new(), name: "r".into() }),
        session: session.id(),
        ..ForceUnlockRequest::default()
    };
    let forcing = tokio::spawn(async move { admin.force_unlock(force).await });
    let event = tokio::time::timeout(SOON, guard.next_event()).await.unwrap();
    assert_eq!(event, ClaimEvent::Lost(Loss::Forced));
    assert_eq!(guard.check(), Err(Error::Lost(Loss::Forced)));
    // The session lives on; the lock is nobody else's before the program has let go of it.
    let other = client.session().open().await.unwrap();
    assert!(other.lock("r", Mode::EX).try_lock().await.unwrap_err().would_wait());
    let let_go = Instant::now();
    drop(guard);
    let reply = tokio::time::timeout(SOON, forcing).await.unwrap().unwrap().unwrap();
    assert!(reply.free && let_go.elapsed() < Duration::from_secs(5));
    drop(other.lock("r", Mode::EX).wait(SOON).await.unwrap());
    assert!(session.is_valid());
}

#[tokio::test]
async fn an_expired_session_loses_everything_and_confirms() {
    let broker = Broker::start().await;
    let session = broker.client().session().ttl(Duration::from_secs(30)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let waiting = session.lock("r", Mode::EX).into_future();
    let admin = Client::new([&broker.admin_address]).unwrap().administration();
    let expire = ExpireSessionRequest { session: session.id(), ..ExpireSessionRequest::default() };
    let expiring = tokio::spawn(async move { admin.expire_session(expire).await });
    let loss = tokio::time::timeout(SOON, session.lost()).await.unwrap();
    assert_eq!(loss, Loss::Forced);
    assert!(matches!(waiting.await, Err(Error::Lost(Loss::Forced))));
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Forced)));
    let started = Instant::now();
    tokio::time::timeout(SOON, expiring).await.unwrap().unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "the broker did not hear of the confirmation");
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn a_program_whose_session_has_finished_can_end_at_once() {
    let broker = Broker::start().await;
    let client = broker.client();
    let (sender, name) = tokio::sync::oneshot::channel();
    let program = tokio::task::spawn_blocking(move || {
        // A runtime of its own: its end cuts everything off, as the end of a process does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let session = client.session().ttl(Duration::from_secs(60)).open().await.unwrap();
            let guard = session.lock("r", Mode::EX).await.unwrap();
            sender.send(session.id()).unwrap();
            guard.lost().await;
            drop(guard);
            session.finished().await;
        });
    });
    let admin = Client::new([&broker.admin_address]).unwrap().administration();
    let expire = ExpireSessionRequest { session: name.await.unwrap(), ..ExpireSessionRequest::default() };
    // Without the word of the program this would take the TTL.
    tokio::time::timeout(SOON, admin.expire_session(expire)).await.unwrap().unwrap();
    program.await.unwrap();
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn after_its_own_freeze_a_process_finds_the_lock_lost_at_the_first_look() {
    let broker = Broker::as_processes().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "client_loss::holder_that_is_frozen"])
        .env("SIXPIN_ENDPOINTS", &broker.address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = move |word: &str| {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(word));
        line.unwrap_or_else(|| panic!("it never said `{word}`"))
    };
    said("holding");
    signal(&child, Signal::STOP);
    tokio::time::sleep(TTL + TTL / 2).await;
    signal(&child, Signal::CONT);
    let line = said("first look");
    child.wait().unwrap();
    assert!(line.contains("Err(Lost(Deadline))"), "{line}");
}

/// The other process of the test above.
#[test]
#[ignore = "started by another test"]
fn holder_that_is_frozen() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let session = runtime.block_on(Client::from_env().unwrap().session().ttl(TTL).open()).unwrap();
    let guard = runtime.block_on(session.lock("r", Mode::EX).into_future()).unwrap();
    // This thread looks all the time, so its first look after the freeze is nobody else's second.
    let mut last = Instant::now();
    let end = last + SOON;
    println!("holding");
    loop {
        let gap = last.elapsed();
        last = Instant::now();
        let look = guard.check();
        if gap > TTL {
            println!("first look after {gap:?}: {look:?}");
            return;
        }
        assert!(last < end, "nobody froze this process");
        std::thread::sleep(Duration::from_millis(1));
    }
}
