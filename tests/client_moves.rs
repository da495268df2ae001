//! Sessions that outlive their connection and their broker.

use std::time::{Duration, Instant};

use sixpin_client::{ClaimEvent, Client, Error, Loss, Mode, SessionEvent, SessionEvents, State, proto};

use crate::client_world::{Broker, Network, SOON, wait_until_no_claim_is_left};
use crate::support::{self, store::Place};

async fn resumed(events: &mut SessionEvents) -> (String, u32) {
    resumed_within(SOON, events).await
}

async fn resumed_within(patience: Duration, events: &mut SessionEvents) -> (String, u32) {
    let wait = async {
        loop {
            match events.next().await.expect("the session is not over") {
                SessionEvent::Resumed { address, move_number, .. } => return (address, move_number),
                SessionEvent::State(State::Lost(loss)) => panic!("lost: {loss}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(patience, wait).await.expect("it resumes")
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let broker = Broker::as_processes().await;
    let network = Network::to(&broker.address).await;
    let session = Client::new([network.address.to_string()]).unwrap().session().open().await.unwrap();
    let mut events = session.events();
    let guard = session.lock("r", Mode::EX).blocking().await.unwrap();
    let fence = guard.fence();
    let waiting = session.lock("r", Mode::PR).into_future();
    assert_eq!(guard.next_event().await, ClaimEvent::Blocking { wanted: Mode::PR, own: false });
    for number in 1..=3 {
        network.cut();
        // Asked while there is no connection.
        let asked = session.lock(format!("s{number}"), Mode::EX).into_future();
        assert_eq!(resumed(&mut events).await, (network.address.to_string(), number));
        assert!(asked.await.unwrap().is_valid());
    }
    assert!(guard.is_valid());
    assert_eq!(guard.fence(), fence);
    guard.convert(Mode::PR).await.unwrap();
    assert_eq!(waiting.await.unwrap().mode(), Mode::PR);
    drop(guard);
    session.close().await.unwrap();
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_while_the_connection_is_cut_again_and_again() {
    let broker = Broker::as_processes().await;
    let network = Network::to(&broker.address).await;
    let client = Client::new([network.address.to_string()]).unwrap();
    let session = client.session().open().await.unwrap();
    let other = broker.client().session().open().await.unwrap();
    let workers: Vec<_> = (0..16)
        .map(|number| {
            let session = if number % 4 == 0 { other.clone() } else { session.clone() };
            tokio::spawn(async move {
                let mut last = 0;
                let end = Instant::now() + Duration::from_secs(3);
                let mut grants = 0;
                while Instant::now() < end {
                    let guard = session.lock(format!("r{}", number % 3), Mode::EX).await?;
                    assert!(guard.fence() > last, "fences rise");
                    last = guard.fence();
                    grants += 1;
                    let dropped = session.lock(format!("r{}", number % 3), Mode::PR).into_future();
                    guard.release().await?;
                    drop(dropped);
                }
                Ok::<_, Error>(grants)
            })
        })
        .collect();
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(170)).await;
        network.cut();
    }
    for worker in workers {
        assert!(worker.await.unwrap().unwrap() > 0);
    }
    assert!(session.move_number() > 3, "the connection was cut {} times", session.move_number());
    wait_until_no_claim_is_left(&broker.client()).await;
}

#[tokio::test]
async fn without_any_network_the_session_is_lost_at_its_deadline() {
    let broker = Broker::as_processes().await;
    let network = Network::to(&broker.address).await;
    let client = Client::new([network.address.to_string()]).unwrap();
    let session = client.session().ttl(Duration::from_secs(1)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    let start = Instant::now();
    network.down();
    let timed = session.lock("s", Mode::EX).wait(Duration::from_millis(100)).await.unwrap_err();
    assert!(timed.is_timed_out(), "{timed}");
    assert_eq!(tokio::time::timeout(SOON, guard.lost()).await.unwrap(), Loss::Deadline);
    // The broker gives the lock away only later.
    let other = broker.client().session().open().await.unwrap();
    drop(other.lock("r", Mode::EX).wait(SOON).await.unwrap());
    assert!(start.elapsed() > Duration::from_secs(1));
    network.up();
    // A lost session does not come back.
    assert!(matches!(session.lock("r", Mode::EX).await, Err(Error::Lost(Loss::Deadline))));
}

#[tokio::test]
async fn a_session_bound_to_its_connection_is_lost_with_it() {
    let broker = Broker::as_processes().await;
    let network = Network::to(&broker.address).await;
    let client = Client::new([network.address.to_string()]).unwrap();
    let session = client.session().ttl(Duration::from_secs(1)).connection_bound().open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    network.cut();
    assert_eq!(tokio::time::timeout(SOON, guard.lost()).await.unwrap(), Loss::Disconnected);
    let other = broker.client().session().open().await.unwrap();
    drop(other.lock("r", Mode::EX).wait(SOON).await.unwrap());
}

/// Two brokers of this process on one store.
async fn two_brokers() -> (support::Broker, support::Broker) {
    two_brokers_with("").await
}

async fn two_brokers_with(settings: &str) -> (support::Broker, support::Broker) {
    let place = Place::new();
    (support::Broker::on(&place, settings).await, support::Broker::on(&place, settings).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_broker() {
    let (first_broker, second_broker) = two_brokers().await;
    let (first, second) = (first_broker.server.address.to_string(), second_broker.server.address.to_string());
    let network = Network::to(&first).await;
    let client = Client::new([network.address.to_string(), second.clone()]).unwrap();
    let session = client.session().open().await.unwrap();
    let mut events = session.events();
    let held = session.lock("held", Mode::EX).await.unwrap();
    let fence = held.fence();
    let waiting = session.lock("wanted", Mode::EX);
    let other = Client::new([&second]).unwrap().session().open().await.unwrap();
    let blocker = other.lock("wanted", Mode::EX).await.unwrap();
    let waiting = waiting.into_future();
    let late = other.lock("wanted", Mode::PR);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let late = late.into_future();
    network.down();
    assert_eq!(resumed(&mut events).await, (second.clone(), 1));
    assert_eq!(session.address(), second);
    assert!(held.is_valid());
    assert_eq!(held.fence(), fence);
    // It kept its place in the queue.
    blocker.release().await.unwrap();
    let granted = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    granted.release().await.unwrap();
    tokio::time::timeout(SOON, late).await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    session.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_session_is_known_under_the_same_label_wherever_it_moves() {
    let (first_broker, second_broker) = two_brokers().await;
    let network = Network::to(&first_broker.server.address.to_string()).await;
    let second = second_broker.server.address.to_string();
    let client = Client::new([network.address.to_string(), second.clone()]).unwrap();
    let session = client.session().label("alice@web1:1").open().await.unwrap();
    let mut events = session.events();
    let _guard = session.lock("r", Mode::EX).await.unwrap();
    network.down();
    assert_eq!(resumed(&mut events).await, (second, 1));
    let request = proto::ListSessionsRequest { sessions: vec![session.id()], ..Default::default() };
    let found = second_broker.inspect().await.list_sessions(request).await.unwrap().into_inner().sessions;
    assert_eq!((found.len(), found[0].label.as_str()), (1, "alice@web1:1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_thousands_of_claims_moves() {
    const CLAIMS: usize = 5_000;
    let (first_broker, second_broker) = two_brokers_with("session_ttl_max = \"5m\"\n").await;
    let first = Network::to(first_broker.server.address.to_string()).await;
    let second = Network::to(second_broker.server.address.to_string()).await;
    let client = Client::new([first.address.to_string(), second.address.to_string()]).unwrap();
    // What it does takes long on a machine that is busy, and is not to be taken for silence.
    let ttl = Duration::from_secs(180);
    let session = client.session().ttl(ttl).open().await.unwrap();
    let mut events = session.events();
    let asked: Vec<_> = (0..CLAIMS).map(|n| session.lock(format!("orders/{n}"), Mode::EX).into_future()).collect();
    let guards = futures::future::try_join_all(asked).await.unwrap();
    let fences: Vec<u64> = guards.iter().map(sixpin_client::Guard::fence).collect();
    // To the other broker, then to the same one on another connection.
    first.down();
    assert_eq!(resumed_within(ttl, &mut events).await.0, second.address.to_string());
    second.cut();
    assert_eq!(resumed_within(ttl, &mut events).await.0, second.address.to_string());
    for (guard, fence) in guards.iter().zip(fences) {
        guard.check().unwrap();
        assert_eq!((guard.mode(), guard.fence()), (Mode::EX, fence));
    }
    let other = Client::new([second.address.to_string()]).unwrap().session().open().await.unwrap();
    let last = format!("orders/{}", CLAIMS - 1);
    assert!(other.lock(&last, Mode::EX).try_lock().await.unwrap_err().would_wait());
    assert_eq!(session.unlock_all(None).await, Ok(u32::try_from(CLAIMS).unwrap()));
    other.lock(&last, Mode::EX).try_lock().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_drains_hands_its_sessions_over() {
    let (first_broker, second_broker) = two_brokers().await;
    let (first, second) = (first_broker.server.address.to_string(), second_broker.server.address.to_string());
    let client = Client::new([first.clone(), second.clone()]).unwrap();
    let session = client.session().open().await.unwrap();
    assert_eq!(session.address(), first);
    let mut events = session.events();
    let held = session.lock("held", Mode::EX).await.unwrap();
    let waiting = session.lock("held", Mode::PR).into_future();
    let (drained, (address, _)) = tokio::join!(first_broker.server.drain(), resumed(&mut events));
    let () = drained;
    assert_eq!(address, second);
    held.release().await.unwrap();
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap().release().await.unwrap();
    let inspection = Client::new([&second]).unwrap().inspection();
    let sessions = inspection.list_sessions(proto::ListSessionsRequest::default()).await.unwrap().sessions;
    assert_eq!(sessions.iter().map(|other| other.session.as_str()).collect::<Vec<_>>(), [session.id()]);
}
