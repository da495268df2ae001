//! What is refused when a store is opened, and how it is said.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sixpin_conformance::broker::{Broker, put, resource};
use sixpin_core::backend::{Backend, OpenError, StoreError, WriteOutcome};
use sixpin_core::name::Version;
use sixpin_etcd::{EtcdBackend, Settings};
use sixpin_testkit::ports::Port;

use crate::support::{admin, fresh_prefix, open, opened, patient_settings, refused, server, shared_server};

#[tokio::test]
async fn a_url_that_makes_no_sense_is_refused() {
    for url in ["redis://127.0.0.1", "etcd://", "etcd://127.0.0.1:port", "etcd://127.0.0.1/db"] {
        let error = refused(url, &Settings::default()).await;
        assert!(matches!(error, OpenError::BadUrl(_)), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_unreachable_in_bounded_time() {
    let (one, two) = (Port::take().unwrap(), Port::take().unwrap());
    let url = format!("etcd://127.0.0.1:{},127.0.0.1:{}", one.number(), two.number());
    let begin = Instant::now();
    let error = refused(&url, &Settings::default()).await;
    assert!(matches!(error, OpenError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("check the endpoints"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn one_endpoint_that_answers_is_enough() {
    let nobody = Port::take().unwrap();
    let url = format!("etcd://127.0.0.1:{},{}", nobody.number(), shared_server().await.address());
    let settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
    let backend: Arc<dyn Backend> = Arc::new(EtcdBackend::open(&url, &settings).await.unwrap());
    let mut broker = Broker::with(backend);
    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
    broker.put(&resource("r"), Version::ABSENT, "x").await;
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_refused() {
    let other = server().await;
    let url = format!("etcd://{},{}", shared_server().await.address(), other.address());
    let error = refused(&url, &patient_settings()).await;
    // Two fresh single members may have the same id of the cluster only if they have the same addresses.
    assert!(matches!(error, OpenError::BadUrl(_)), "{error}");
    assert!(error.to_string().contains("different etcd clusters"), "{error}");
}

#[tokio::test]
async fn all_who_open_a_new_store_at_once_find_one_root() {
    let settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
    let address = shared_server().await.address();
    let opens = (0..8).map(|_| opened(address, &settings));
    let backends = futures::future::join_all(opens).await;
    for backend in &backends {
        assert_eq!(backend.root(), backends[0].root());
    }
}

#[tokio::test]
async fn stores_with_different_prefixes_know_nothing_of_each_other() {
    let address = shared_server().await.address();
    let open = async || {
        let settings = Settings { prefix: fresh_prefix(), ..patient_settings() };
        let mut broker = Broker::with(opened(address, &settings).await);
        broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
        broker
    };
    let (one, two) = (open().await, open().await);
    assert_ne!(one.backend.root(), two.backend.root());
    one.put(&resource("r"), Version::ABSENT, "one").await;
    two.sees(&resource("r"), Version::ABSENT, None).await;
    assert_eq!(two.pulse_of(one.incarnation).await, None);
    let stranger = two.backend.commit(one.guard(), vec![put(&resource("s"), Version::ABSENT, "x")]).await;
    assert_eq!(stranger, [WriteOutcome::Evicted]);
}

/// Nothing is cleaned up that cannot be understood.
#[tokio::test]
async fn a_root_record_that_is_not_ours_is_refused_and_left_alone() {
    let server = server().await;
    // `sixpin/root` = `theirs`
    put_raw(server.address(), "c2l4cGluL3Jvb3Q=", "dGhlaXJz").await;
    for _ in 0..2 {
        let error = open(server.address(), &patient_settings()).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Unsafe(_)));
        assert!(error.to_string().contains("sixpin/root") && error.to_string().contains("prefix"), "{error}");
    }
}

#[tokio::test]
async fn a_registration_that_cannot_be_understood_is_corrupt() {
    let server = server().await;
    let backend = opened(server.address(), &patient_settings()).await;
    // `sixpin/broker/00000000000000ab` = `theirs`
    put_raw(server.address(), "c2l4cGluL2Jyb2tlci8wMDAwMDAwMDAwMDAwMGFi", "dGhlaXJz").await;
    let error = backend.pulses().await.unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("sixpin/broker/00000000000000ab")), "{error}");
}

async fn put_raw(address: SocketAddr, key: &str, value: &str) {
    admin(address, "kv/put", None, &format!(r#"{{"key":"{key}","value":"{value}"}}"#)).await;
}
