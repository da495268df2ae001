//! Real processes: the networked store keeps the contract, and brokers and clients keep their promises on every store.

#![expect(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::time::Duration;

use sixpin_faults::run::Shape;
use sixpin_faults::world::{Plan, StoreKind};

mod conformance;
mod full;
mod members;
mod memory;
mod order;
mod panics;
mod times;
mod torture;
mod trouble;

/// Broker, store and client.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sixpin-faults");

fn plan(store: StoreKind) -> Plan {
    Plan { program: PROGRAM, store, brokers: 3, broker_ttl: Duration::from_secs(1) }
}

/// A load that leaves a busy machine time to breathe. Its sessions have a TTL that no fault outlasts.
fn shape(store: StoreKind) -> Shape {
    let (plan, ttl) = (plan(store), Duration::from_secs(25));
    Shape { plan, sessions: 10, processes: 0, workers: 1, resources: 4, ttl, seed: u64::from(std::process::id()) }
}

/// The same tests on every store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        on_every_store!(@ net Net [$($test)+]);
        on_every_store!(@ net_marking NetMarking [$($test)+]);
        on_every_store!(@ redis Redis [$($test)+]);
        on_every_store!(@ etcd Etcd [$($test)+]);
        on_every_store!(@ nats Nats [$($test)+]);
    };
    (@ $name:ident $store:ident [$($test:ident)+]) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(sixpin_faults::world::StoreKind::$store).await;
                }
            )+
        }
    };
}
use on_every_store;
