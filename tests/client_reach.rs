//! How the client library finds a broker, how long it waits, and how a program ends that uses it.

use std::time::{Duration, Instant};

use sixpin_client::{Client, Error, Mode, Refusal};
use tokio::runtime::{Builder, Runtime};

use crate::client_world::{Broker, SOON, wait_until_no_claim_is_left};
use crate::support::endpoints::{Hung, limited, pinged};

#[tokio::test]
async fn an_address_that_hangs_or_is_full_holds_up_nobody() {
    let (broker, hung) = (Broker::as_processes().await, Hung::start());
    for bad in [hung.address(), limited(0), limited(1)] {
        let client = Client::new([bad.to_string(), broker.address.clone()]).unwrap();
        let started = Instant::now();
        let session = client.session().open().await.unwrap();
        println!("opened after {:?}", started.elapsed());
        assert_eq!(session.address(), broker.address);
        session.lock("r", Mode::EX).await.unwrap().release().await.unwrap();
        let status = client.inspection().get_status().await;
        assert!(status.is_ok(), "{status:?}");
    }
}

#[tokio::test]
async fn opening_ends_in_time_and_says_what_it_met() {
    let hung = Hung::start();
    let client = Client::new([hung.address().to_string(), "127.0.0.1:1".to_owned()]).unwrap();
    let started = Instant::now();
    let error = client.session().timeout(Duration::from_millis(600)).open().await.unwrap_err();
    println!("given up after {:?}", started.elapsed());
    assert!(started.elapsed() < SOON);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("no broker answered at {} (no answer), 127.0.0.1:1 (", hung.address())),
        "{text}"
    );
    assert!(text.contains("connection refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_at_a_broker_that_is_frozen() {
    let broker = Broker::as_processes().await;
    let client = broker.client();
    let session = client.session().ttl(Duration::from_secs(60)).open().await.unwrap();
    broker.freeze();
    for request in
        [session.lock("r", Mode::EX).wait(Duration::from_millis(300)), session.lock("r", Mode::EX).try_lock()]
    {
        let started = Instant::now();
        let error = tokio::time::timeout(SOON, request.into_future()).await.expect("a wait is a bound").unwrap_err();
        println!("ended after {:?}", started.elapsed());
        assert_eq!(error.not_granted().map(|refusal| refusal.why), Some(Refusal::Undecided), "{error}");
        assert!(error.is_timed_out() && error.is_temporary());
    }
    broker.thaw();
    // Nothing of them stays behind.
    session.lock("r", Mode::EX).wait(SOON).await.unwrap().release().await.unwrap();
    wait_until_no_claim_is_left(&broker.client()).await;
}

/// Many at once: whether a connection is seen as used when its request is sent is a race of two tasks, and a connection
/// must not go without pings for its outcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_pings_a_broker_that_is_silent() {
    let silent: Vec<_> = (0..200).map(|_| pinged()).collect();
    let (mut opening, mut heard) = (Vec::new(), Vec::new());
    for (address, pings) in silent {
        let client = Client::builder([format!("grpc://{address}")]).connect_timeout(3 * SOON).build().unwrap();
        opening.push(tokio::spawn(client.session().timeout(3 * SOON).open()));
        heard.push(tokio::task::spawn_blocking(move || pings.recv_timeout(2 * SOON)));
    }
    for (number, heard) in heard.into_iter().enumerate() {
        heard.await.unwrap().unwrap_or_else(|error| panic!("connection {number}: {error}"));
    }
    opening.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Locks, and ends as with a `?`: guard and session are dropped on the way out.
async fn fail_under_a_lock(client: &Client) -> Result<(), Error> {
    let session = client.session().ttl(Duration::from_secs(60)).open().await?;
    let _guard = session.lock("r", Mode::EX).await?;
    Err(Error::Setting("the work has failed".to_owned()))
}

async fn panic_under_a_lock(client: &Client) {
    let session = client.session().ttl(Duration::from_secs(60)).open().await.unwrap();
    let _guard = session.lock("r", Mode::EX).await.unwrap();
    panic!("the work has failed");
}

/// As `main` does with a runtime: when the work has ended, it is gone.
fn main_with<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(work)
}

#[test]
fn a_program_that_ends_with_an_error_or_a_panic_has_released_everything() {
    let around = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let broker = around.block_on(Broker::start());
    let runtimes = || {
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        [one, many]
    };
    let free = || {
        around.block_on(async {
            let session = broker.client().session().open().await.unwrap();
            session.lock("r", Mode::EX).try_lock().await.is_ok()
        })
    };
    for runtime in runtimes() {
        let client = broker.client();
        let ended = main_with(runtime, client.run(fail_under_a_lock(&client)));
        assert!(matches!(ended, Err(Error::Setting(_))));
        assert!(free(), "the lock was left to its TTL after an error");
    }
    for runtime in runtimes() {
        let client = broker.client();
        let work = std::panic::AssertUnwindSafe(|| main_with(runtime, client.run(panic_under_a_lock(&client))));
        assert!(std::panic::catch_unwind(work).is_err());
        assert!(free(), "the lock was left to its TTL after a panic");
    }
}

#[tokio::test]
async fn a_client_that_is_closed_has_released_what_others_still_hold() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = client.clone().session().ttl(Duration::from_secs(60)).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    client.close().await;
    assert!(guard.check().is_err());
    let other = broker.client().session().open().await.unwrap();
    other.lock("r", Mode::EX).try_lock().await.unwrap().release().await.unwrap();
}
