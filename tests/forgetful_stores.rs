//! Stores that forget everything, or their last writes: nobody is granted what somebody still believes to hold.
//!
//! Whoever holds a lock here does so through a broker that cannot reach the store any more, so that neither the broker nor
//! its client hears of the loss before their own time is over. No test asks when something is granted, only that it is not
//! too early; where something must not take the long way, the long way is longer than anybody waits.

use std::net::SocketAddr;
use std::time::Duration;

use sixpin_client::{Client, Guard, Mode, Session};
use sixpin_server::config;
use sixpin_server::server::Server;
use sixpin_testkit::proxy::{Mode as Network, Proxy};
use sixpin_testkit::{ServerPlan, ServerProcess, copy_folder, etcd, nats, redis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

const TTL: Duration = Duration::from_secs(3);
/// Whoever waits for what may have been forgotten waits for about four seconds.
const SOON_OVER: &str = "session_ttl_max = \"10s\"\nsession_ttl = \"3s\"\nbroker_ttl = \"1s\"\n";
/// Whoever waits for that now waits longer than a test.
const NOT_SOON: &str = "session_ttl_max = \"1h\"\nbroker_ttl = \"2s\"\n";
const NEW: &str = "first_start_grace = \"0s\"\n";

/// A broker whose way to the store can be cut.
struct Broker {
    server: Server,
    to_store: Proxy,
}

impl Broker {
    async fn start(scheme: &str, store: SocketAddr, settings: &str) -> Self {
        let to_store = Proxy::start(store).await.unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"off\"\nname = \"test\"\nbackend = \"{scheme}://{}\"\n{settings}",
            to_store.address()
        );
        let config = config::parse(&text, "", [], toml::Table::new()).unwrap();
        Self { server: Server::start(config).await.unwrap(), to_store }
    }

    async fn session(&self) -> Session {
        let client = Client::new([self.server.address.to_string()]).unwrap();
        client.session().ttl(TTL).open().await.unwrap()
    }

    /// A lock that is held through this broker, with the session that holds it.
    async fn holds(&self) -> (Session, Guard) {
        let session = self.session().await;
        let guard = session.lock("r", Mode::EX).await.unwrap();
        (session, guard)
    }
}

/// Asks another broker until it grants, with new sessions if the store lost the old ones; nobody may believe to hold the
/// lock then.
async fn granted_after_the_loss(broker: &Broker, held: &Guard) {
    let ask = async {
        loop {
            let client = Client::new([broker.server.address.to_string()]).unwrap();
            if let Ok(session) = client.session().ttl(TTL).open().await
                && let Ok(guard) = session.lock("r", Mode::EX).await
            {
                assert!(held.check().is_err(), "granted although somebody holds it for {:?} more", held.valid_for());
                assert!(guard.fence() > held.fence(), "{} is not above {}", guard.fence(), held.fence());
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE * 3, ask).await.expect("the lock is granted again");
}

/// The broker of a holder is cut off, the store forgets everything, and another broker that was there before is asked.
async fn forgotten_while_cut_off(scheme: &str, store: SocketAddr, forget: impl AsyncFnOnce()) {
    let settings = format!("{NEW}{SOON_OVER}");
    let holder = Broker::start(scheme, store, &settings).await;
    let other = Broker::start(scheme, store, &settings).await;
    let (_session, guard) = holder.holds().await;
    holder.to_store.set(Network::BlackHole);
    forget().await;
    granted_after_the_loss(&other, &guard).await;
}

async fn started(plan: ServerPlan) -> ServerProcess {
    plan.start().await.unwrap()
}

/// One command to Redis.
async fn tell_redis(store: SocketAddr, command: &str) {
    let mut stream = TcpStream::connect(store).await.unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

/// Deletes all keys of etcd.
async fn empty_etcd(store: SocketAddr) {
    let body = r#"{"key":"AA==","range_end":"AA=="}"#;
    let length = body.len();
    let request = format!(
        "POST /v3/kv/deleterange HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = TcpStream::connect(store).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_grants_nothing_that_a_broker_cut_off_vouches_for() {
    let store = started(redis()).await;
    forgotten_while_cut_off("redis", store.address(), async || tell_redis(store.address(), "FLUSHALL").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_starts_on_a_flushed_redis_grants_nothing_that_others_vouch_for() {
    let store = started(redis()).await;
    let holder = Broker::start("redis", store.address(), &format!("{NEW}{SOON_OVER}")).await;
    let (_session, guard) = holder.holds().await;
    holder.to_store.set(Network::BlackHole);
    tell_redis(store.address(), "FLUSHALL").await;
    // The second one finds a root record and a registration.
    let first = Broker::start("redis", store.address(), SOON_OVER).await;
    let second = Broker::start("redis", store.address(), SOON_OVER).await;
    tokio::join!(granted_after_the_loss(&second, &guard), async {
        let session = first.session().await;
        assert!(session.lock("r", Mode::PR).try_lock().await.is_err() || guard.check().is_err());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_etcd_grants_nothing_that_a_broker_cut_off_vouches_for() {
    let store = started(etcd()).await;
    forgotten_while_cut_off("etcd", store.address(), async || empty_etcd(store.address()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_nats_stream_grants_nothing_that_a_broker_cut_off_vouches_for() {
    let store = started(nats()).await;
    forgotten_while_cut_off("nats", store.address(), async || store.restart_wiped().await.unwrap()).await;
}

/// The server comes back with what it had before the last grant, as after a power cut or when a replica takes over that
/// had not received it.
async fn comes_back_without_the_last_grant(scheme: &str, store: ServerProcess, data: &str) {
    let settings = format!("{NEW}{SOON_OVER}");
    let holder = Broker::start(scheme, store.address(), &settings).await;
    let other = Broker::start(scheme, store.address(), &settings).await;
    let session = holder.session().await;
    let client = other.session().await;
    client.lock("q", Mode::EX).await.unwrap().release().await.unwrap();
    let (data, old) = (store.data_dir().join(data), store.data_dir().join("old"));
    // Copied between two beats, so that their brokers miss none.
    copy_folder(&data, &old).unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    holder.to_store.set(Network::BlackHole);
    store.kill();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&old, &data).unwrap();
    store.restart().await.unwrap();
    granted_after_the_loss(&other, &guard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_last_write_grants_nothing_before_all_brokers_spoke() {
    let store = started(redis()).await;
    comes_back_without_the_last_grant("redis", store, "appendonlydir").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_lost_its_last_write_grants_nothing_before_all_brokers_spoke() {
    let store = started(nats()).await;
    comes_back_without_the_last_grant("nats", store, "jetstream").await;
}

/// All brokers live and miss nothing: they say so at once, and nobody waits for what may have been forgotten.
async fn costs_nobody_his_lock(scheme: &str, store: ServerProcess) {
    let settings = format!("{NEW}{NOT_SOON}");
    let holder = Broker::start(scheme, store.address(), &settings).await;
    let other = Broker::start(scheme, store.address(), &settings).await;
    let client = Client::new([holder.server.address.to_string()]).unwrap();
    let session = client.session().ttl(PATIENCE * 3).open().await.unwrap();
    let guard = session.lock("r", Mode::EX).await.unwrap();
    store.kill();
    store.restart().await.unwrap();
    let ask = async {
        loop {
            let client = Client::new([other.server.address.to_string()]).unwrap();
            if let Ok(session) = client.session().open().await
                && session.lock("s", Mode::EX).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE * 3, ask).await.expect("something else is granted soon");
    assert_eq!(guard.check(), Ok(()));
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_redis_that_lost_nothing_costs_nobody_his_lock() {
    costs_nobody_his_lock("redis", started(redis()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_nats_server_that_lost_nothing_costs_nobody_his_lock() {
    costs_nobody_his_lock("nats", started(nats()).await).await;
}
