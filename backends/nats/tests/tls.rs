//! Connections that nobody else can read, with certificates made for the test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sixpin_core::backend::Backend as _;
use sixpin_core::backend::OpenError;
use sixpin_nats::{NatsBackend, NatsConfig, Settings};
use sixpin_testkit::stores::nats_with;

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    /// An authority, and certificates of a server and of a client that it has signed.
    fn make() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(files.path("ca"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(authority, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
            let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
            std::fs::write(files.path(name), certificate.pem()).unwrap();
            std::fs::write(files.path(&format!("{name}-key")), key.serialize_pem()).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.pem"))
    }
}

#[tokio::test]
async fn certificates_are_checked_both_ways() {
    let files = Files::make();
    let mut plan = nats_with(
        "jetstream { store_dir: \"{dir}/jetstream\" }\n\
         tls { cert_file: \"{dir}/server.pem\", key_file: \"{dir}/server-key.pem\", ca_file: \"{dir}/ca.pem\", verify: true }\n",
    );
    // Where the server finds them, also in a container.
    for name in ["server", "server-key", "ca"] {
        plan.files.push((format!("{name}.pem"), std::fs::read_to_string(files.path(name)).unwrap()));
    }
    plan.probe.answer = "\"tls_required\":true";
    let server = plan.start().await.unwrap();
    let open = async |scheme: &str, settings: Settings| {
        let config = NatsConfig::new(&format!("{scheme}://{}", server.address()), settings)?;
        NatsBackend::open(config).await.map(|backend| backend.profile().name)
    };
    let good = Settings {
        ca: Some(files.path("ca")),
        certificate: Some(files.path("client")),
        key: Some(files.path("client-key")),
        ..Settings::default()
    };
    assert_eq!(open("tls", good.clone()).await, Ok("nats"));
    assert_eq!(open("nats", Settings { tls: true, ..good.clone() }).await, Ok("nats"));
    let nobody_trusts = Settings { ca: None, ..good.clone() };
    let no_certificate = Settings { certificate: None, key: None, ..good };
    for settings in [nobody_trusts, no_certificate] {
        let error = open("tls", settings).await;
        assert!(matches!(error, Err(OpenError::Unreachable(_) | OpenError::Login(_))), "{error:?}");
    }
}
