//! Three servers: one may go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sixpin_conformance::broker::{Broker, resource};
use sixpin_conformance::workload::{self, Work};
use sixpin_core::backend::{Durability, OpenError};
use sixpin_nats::{NatsBackend, NatsConfig, Settings};
use sixpin_testkit::ServerProcess;
use sixpin_testkit::ports::Port;
use sixpin_testkit::stores::nats_with;
use tokio::time::{Instant, sleep, timeout};

use crate::support::BUCKET;

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    servers: Vec<ServerProcess>,
    // Held as long as the servers use them.
    _ports: Vec<Port>,
}

impl Cluster {
    async fn start() -> Self {
        let ports: Vec<Port> = (0..3).map(|_| Port::take().unwrap()).collect();
        let routes: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{}", port.number())).collect();
        let starts = ports.iter().enumerate().map(|(number, port)| {
            let configuration = format!(
                "server_name: n{number}\njetstream {{ store_dir: \"{{dir}}/jetstream\" }}\n\
                 cluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                port.number(),
                routes.join(", ")
            );
            nats_with(&configuration).start()
        });
        let servers = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
        Self { servers, _ports: ports }
    }

    async fn open(&self) -> Result<NatsBackend, OpenError> {
        let hosts: Vec<String> = self.servers.iter().map(|server| server.address().to_string()).collect();
        let settings = Settings { replicas: Some(3), request_timeout: Duration::from_secs(2), ..Settings::default() };
        NatsBackend::open(NatsConfig::new(&format!("nats://{}", hosts.join(",")), settings)?).await
    }

    /// A registered broker, as soon as the servers have found each other and elected leaders.
    async fn joined(&self) -> Broker {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.open().await {
                Ok(backend) => {
                    let mut broker = Broker::with(Arc::new(backend));
                    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
                    return broker;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The server that leads the stream.
    async fn leader(&self) -> &ServerProcess {
        let deadline = Instant::now() + PATIENCE;
        let request = || json!({}).to_string().into();
        loop {
            assert!(Instant::now() < deadline, "nobody leads the stream");
            for server in &self.servers {
                let Ok(client) = async_nats::connect(server.address().to_string()).await else { continue };
                let asked = client.request(format!("$JS.API.STREAM.INFO.{BUCKET}"), request());
                let Ok(Ok(reply)) = timeout(Duration::from_secs(2), asked).await else { continue };
                let info: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
                let leader = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n'));
                if let Some(server) = leader.and_then(|number| self.servers.get(number.parse::<usize>().ok()?)) {
                    return server;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Writers go on while the leader dies and comes back, and while it stands still and finds out late that it was
/// deposed. Nothing is lost, nothing is doubled, and nobody takes an old leader's word for a loss of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_may_go_away() {
    let cluster = Cluster::start().await;
    let mut brokers = Vec::new();
    for _ in 0..3 {
        brokers.push(cluster.joined().await);
    }
    let observer = cluster.joined().await;
    assert_eq!(observer.profile().durability, Durability::FailoverSafe);
    let keys = [resource("journal")];
    let stop = Arc::new(AtomicBool::new(false));
    let trouble = async {
        workload::goes_on(&observer, &keys[0]).await;
        let leader = cluster.leader().await;
        leader.kill();
        sleep(Duration::from_secs(1)).await;
        leader.restart().await.unwrap();
        workload::goes_on(&observer, &keys[0]).await;

        let leader = cluster.leader().await;
        leader.freeze();
        sleep(Duration::from_secs(12)).await;
        leader.resume();
        workload::goes_on(&observer, &keys[0]).await;
        stop.store(true, Ordering::SeqCst);
    };
    let load = workload::append_at_once(brokers, &keys, Work::until(&stop));
    let (done, ()) = tokio::join!(load, trouble);
    let counts: Vec<usize> = done.into_iter().map(|(_, count)| count).collect();
    workload::check_journal(&observer, &keys[0], &counts).await;
}

/// A broker that starts just then waits until another server leads, and does not give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_just_lost_its_leader_can_be_opened() {
    let cluster = Cluster::start().await;
    drop(cluster.joined().await);
    cluster.leader().await.kill();
    cluster.open().await.unwrap();
}
