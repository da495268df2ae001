//! TLS, with certificates on both sides.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use sixpin_conformance::broker::{Broker, patience, put, resource};
use sixpin_core::backend::OpenError;
use sixpin_core::name::Version;
use sixpin_etcd::{EtcdBackend, Settings};
use sixpin_testkit::ports::Port;
use sixpin_testkit::{ServerProcess, etcd};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{patient_settings, refused};

/// An authority and what it signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate of 127.0.0.1 and its key, good for both sides: etcd is its own client now and then.
    fn sign(&self) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

struct Scene {
    _server: ServerProcess,
    port: Port,
    authority: Authority,
    files: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.sign();
        let port = Port::take().unwrap();
        let url = format!("https://127.0.0.1:{}", port.number());
        let mut plan = etcd().arguments([
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
            // Where the test asks whether it is ready.
            "--listen-metrics-urls",
            "http://127.0.0.1:{port}",
            "--cert-file",
            "{dir}/server.pem",
            "--key-file",
            "{dir}/server.key",
            "--client-cert-auth",
            "--trusted-ca-file",
            "{dir}/ca.pem",
        ]);
        plan.files = vec![
            ("ca.pem".into(), authority.pem.clone()),
            ("server.pem".into(), certificate),
            ("server.key".into(), key),
        ];
        Self { _server: plan.start().await.unwrap(), port, authority, files: tempfile::tempdir().unwrap() }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port.number())
    }

    /// A file of its own for each call.
    fn file(&self, content: &str) -> PathBuf {
        let number = std::fs::read_dir(self.files.path()).unwrap().count();
        let path = self.files.path().join(format!("{number}.pem"));
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Trusts `trusted` and shows a certificate of `signer`.
    fn settings(&self, trusted: &Authority, signer: Option<&Authority>) -> Settings {
        let own = signer.map(Authority::sign);
        Settings {
            ca: Some(self.file(&trusted.pem)),
            certificate: own.as_ref().map(|(certificate, _)| self.file(certificate)),
            key: own.as_ref().map(|(_, key)| self.file(key)),
            ..patient_settings()
        }
    }
}

#[tokio::test]
async fn with_the_right_certificates_everything_works() {
    let scene = Scene::new().await;
    let settings = scene.settings(&scene.authority, Some(&scene.authority));
    let mut broker =
        Broker::with(std::sync::Arc::new(EtcdBackend::open(&scene.url("etcds"), &settings).await.unwrap()));
    broker.registration = broker.backend.beat(broker.next_beat()).await.unwrap();
    let key = resource("r");
    let changed = broker.backend.changed(key.clone(), Version::ABSENT);
    let (changed, _) = tokio::join!(timeout(patience(), changed), broker.put(&key, Version::ABSENT, "x"));
    changed.expect("a hint comes");
    broker.write(put(&key, Version::ABSENT, "y")).await;
}

#[tokio::test]
async fn with_wrong_certificates_nothing_does() {
    let scene = Scene::new().await;
    let stranger = Authority::new();
    for (what, settings) in [
        ("a server that is not trusted", scene.settings(&stranger, Some(&scene.authority))),
        ("no certificate of our own", scene.settings(&scene.authority, None)),
        ("a certificate that the server does not trust", scene.settings(&scene.authority, Some(&stranger))),
        (
            "another name",
            Settings {
                server_name: Some("elsewhere".into()),
                ..scene.settings(&scene.authority, Some(&scene.authority))
            },
        ),
    ] {
        let error = refused(&scene.url("etcds"), &settings).await;
        assert!(matches!(error, OpenError::Unreachable(_)), "{what}: {error}");
        assert!(error.to_string().contains("certificate"), "{what}: {error}");
    }
    let error = refused(&scene.url("etcd"), &patient_settings()).await;
    assert!(matches!(error, OpenError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn files_that_are_no_certificates_are_refused() {
    let scene = Scene::new().await;
    let good = scene.settings(&scene.authority, Some(&scene.authority));
    let bad = Settings { certificate: Some(scene.file("nonsense")), ..good };
    assert!(matches!(refused(&scene.url("etcds"), &bad).await, OpenError::BadUrl(_)));
}
