//! Several members; and a store that lost what it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sixpin_conformance::broker::{Broker, patience, put, resource};
use sixpin_conformance::workload::{self, Work};
use sixpin_core::backend::{Backend, Durability, StoreError};
use sixpin_core::name::Version;
use sixpin_etcd::{EtcdBackend, Settings};
use sixpin_testkit::ports::Port;
use sixpin_testkit::{ServerPlan, ServerProcess, copy_folder, etcd, until};

use crate::support::{open, opened, patient_settings, server};

/// Three members of one cluster. The ports are held for as long as the members live.
async fn three() -> (Vec<ServerProcess>, Vec<Port>) {
    let ports: Vec<Port> = (0..3).map(|_| Port::take().unwrap()).collect();
    let peer = |number: usize| format!("http://127.0.0.1:{}", ports[number].number());
    let cluster = (0..3).map(|number| format!("m{number}={}", peer(number))).collect::<Vec<_>>().join(",");
    let plan = |number: usize| -> ServerPlan {
        let own = peer(number);
        // The last value of an argument counts.
        etcd().arguments([
            "--name",
            &format!("m{number}"),
            "--listen-peer-urls",
            &own,
            "--initial-advertise-peer-urls",
            &own,
            "--initial-cluster",
            &cluster,
        ])
    };
    let (one, two, three) = tokio::join!(plan(0).start(), plan(1).start(), plan(2).start());
    (vec![one.unwrap(), two.unwrap(), three.unwrap()], ports)
}

/// Work goes on when members die and come back, one after the other; nothing is lost and nothing is there twice.
#[tokio::test]
async fn a_cluster_of_three_survives_the_loss_of_each_member() {
    let (members, _ports) = three().await;
    let addresses: Vec<String> = members.iter().map(|member| member.address().to_string()).collect();
    let url = format!("etcd://{}", addresses.join(","));
    let settings = Settings { request_timeout: Duration::from_secs(3), ..patient_settings() };
    let mut brokers = Vec::new();
    for _ in 0..4 {
        let backend: Arc<dyn Backend> = Arc::new(EtcdBackend::open(&url, &settings).await.unwrap());
        assert_eq!(backend.profile().durability, Durability::FailoverSafe);
        let mut broker = Broker::with(backend);
        broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
        brokers.push(broker);
    }
    let observer = brokers.pop().unwrap();
    let keys = [resource("journal")];
    let stop = Arc::new(AtomicBool::new(false));
    let load = workload::append_at_once(brokers, &keys, Work::until(&stop));
    let kills = async {
        for member in &members {
            workload::goes_on(&observer, &keys[0]).await;
            member.kill();
            workload::goes_on(&observer, &keys[0]).await;
            member.restart().await.unwrap();
        }
        workload::goes_on(&observer, &keys[0]).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (done, ()) = tokio::join!(load, kills);
    let counts: Vec<usize> = done.into_iter().map(|(_, count)| count).collect();
    workload::check_journal(&observer, &keys[0], &counts).await;
}

/// An older state of the store, under the same root and cluster: its revision is lower than one that was seen.
#[tokio::test]
async fn a_store_that_was_set_back_lost_its_memory() {
    let server = server().await;
    let settings = patient_settings();
    let before = opened(server.address(), &settings).await;
    let mut broker = Broker::with(before);
    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
    let key = resource("r");
    let mut version = broker.put(&key, Version::ABSENT, "0").await;

    let (data, copy) = (server.data_dir().join("etcd"), tempfile::tempdir().unwrap());
    server.kill();
    copy_folder(&data, &copy.path().join("etcd")).unwrap();
    server.restart().await.unwrap();
    version = broker.read_patiently(&key).await.version.max(version);
    for number in 1..20 {
        version = broker.put(&key, version, format!("{number}")).await;
    }
    server.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(&copy.path().join("etcd"), &data).unwrap();
    server.restart().await.unwrap();

    let forgot = |error: &StoreError| matches!(error, StoreError::Amnesia(_));
    let noticed = until(patience(), || async {
        broker.backend.read(std::slice::from_ref(&key)).await.is_err_and(|error| forgot(&error))
    });
    assert!(noticed.await, "a revision that fell must be noticed");
    assert!(broker.backend.beat(broker.next_beat()).await.is_err_and(|error| forgot(&error)));
    assert!(broker.backend.pulses().await.is_err_and(|error| forgot(&error)));
    assert!(broker.backend.advance(broker.guard()).await.is_err_and(|error| forgot(&error)));
    open(server.address(), &settings).await.map(|_| ()).expect("opened anew it is a store like any other");
}

/// A broker that only writes is told as well: the commit is in doubt, and what follows a doubt says why.
#[tokio::test]
async fn a_commit_into_a_store_that_was_wiped_is_no_commit() {
    let server = server().await;
    let settings = patient_settings();
    let mut broker = Broker::with(opened(server.address(), &settings).await);
    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
    let key = resource("r");
    broker.put(&key, Version::ABSENT, "x").await;
    server.restart_wiped().await.unwrap();
    let outcome = broker.write(put(&key, Version::ABSENT, "y")).await;
    assert!(!matches!(outcome, sixpin_core::backend::WriteOutcome::Committed(_)), "{outcome:?}");
    let told = until(patience(), || async {
        matches!(broker.backend.beat(broker.next_beat()).await, Err(StoreError::Amnesia(_)))
    });
    assert!(told.await, "the next beat says that the store lost its memory");
}
