//! TLS on the listeners: certificates, keys and certificate authorities from files.
//!
//! Invariants: what is in use was read and checked as a whole; files that are bad later change nothing, and what was read before
//! stays in use. Sessions of TLS are not resumed: every handshake looks at the client's certificate anew, so that one that has
//! expired or whose authority was taken away opens no connection any more.
//!
//! * [`files`]: what stands in PEM files, and what is wrong with it;
//! * [`peer`]: what a client's certificate says; `verifier`: how much work it may make.

pub mod files;
pub mod peer;
mod verifier;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use sixpin_proto::frames;
use tokio_rustls::TlsAcceptor;

use files::{BadFile, File};
use peer::PeerCertificate;
use verifier::ShortChains;

/// ALPN of HTTP/2.
pub(crate) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a listener has and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One that is shown must be good.
    Optional,
    /// No connection without one.
    Required,
}

/// TLS of one listener. What is read from files may be read again while connections come.
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<InUse>>,
}

/// What was read of files.
pub(crate) struct InUse {
    server: Arc<ServerConfig>,
    /// Until when the certificate is valid.
    not_after: Option<SystemTime>,
}

impl Tls {
    /// Reads the files.
    pub fn load(config: TlsConfig) -> Result<Arc<Self>, BadFile> {
        validity(&config)?;
        let current = RwLock::new(read(&config)?);
        Ok(Arc::new(Self { config, current }))
    }

    /// Reads the files again, and changes nothing yet. A certificate that has expired is better than none: clients say so.
    pub(crate) fn read_again(&self) -> Result<Arc<InUse>, BadFile> {
        if let Err(error) = validity(&self.config) {
            tracing::error!(%error, "clients will refuse this broker");
        }
        read(&self.config)
    }

    /// Connections that come from now on have this.
    pub(crate) fn replace(&self, new: Arc<InUse>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.config.certificate, &self.config.key].into_iter().chain(&self.config.client_ca)
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.in_use().server.clone().into()
    }

    /// Until when the certificate is valid.
    pub(crate) fn not_after(&self) -> Option<SystemTime> {
        self.in_use().not_after
    }

    fn in_use(&self) -> Arc<InUse> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.config).finish()
    }
}

/// Checks the files without using them.
pub fn check(config: &TlsConfig) -> Result<(), BadFile> {
    validity(config)?;
    read(config).map(drop)
}

/// The certificate is valid now.
fn validity(config: &TlsConfig) -> Result<(), BadFile> {
    let certificate = File::new("certificate", &config.certificate);
    let chain = certificate.certificates()?;
    peer::check_own(&chain[0]).map_err(|text| certificate.bad(text))
}

fn read(config: &TlsConfig) -> Result<Arc<InUse>, BadFile> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = File::new("certificate", &config.certificate);
    let chain = certificate.certificates()?;
    let not_after = PeerCertificate::read(&chain[0]).map(|own| own.not_after);
    let key = File::new("key", &config.key);
    let versions = [&TLS13, &TLS12];
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| key.bad(error))?;
    let builder = match (&config.client_ca, config.client_auth) {
        (None, _) | (_, ClientAuth::None) => builder.with_no_client_auth(),
        (Some(path), asked) => {
            let file = File::new("client_ca", path);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(file.authorities()?), provider);
            let verifier = if asked == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(ShortChains::new(verifier.build().map_err(|error| file.bad(error))?))
        }
    };
    let mut server = builder.with_single_cert(chain, key.key()?).map_err(|error| key.bad(files::explained(&error)))?;
    server.alpn_protocols = [frames::ALPN, HTTP2, HTTP1].map(<[u8]>::to_vec).to_vec();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Arc::new(InUse { server: Arc::new(server), not_after }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate for `localhost` that signed itself, and its key.
    fn pair(directory: &std::path::Path, name: &str) -> TlsConfig {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        TlsConfig { certificate, key, client_ca: None, client_auth: ClientAuth::None }
    }

    #[test]
    fn each_mistake_names_the_file_and_what_is_wrong_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let good = pair(directory.path(), "a");
        let other = pair(directory.path(), "b");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        check(&good).unwrap();
        let authority =
            TlsConfig { client_ca: Some(good.certificate.clone()), client_auth: ClientAuth::Required, ..good.clone() };
        check(&authority).unwrap();
        for (config, setting, text) in [
            (TlsConfig { certificate: "nowhere.pem".into(), ..good.clone() }, "certificate", "cannot be read"),
            (TlsConfig { certificate: empty.clone(), ..good.clone() }, "certificate", "no certificate"),
            (TlsConfig { certificate: good.key.clone(), ..good.clone() }, "certificate", "no certificate"),
            (TlsConfig { key: good.certificate.clone(), ..good.clone() }, "key", "no private key"),
            (TlsConfig { key: other.key.clone(), ..good.clone() }, "key", "does not belong to the certificate"),
            (TlsConfig { client_ca: Some(empty.clone()), ..authority.clone() }, "client_ca", "no certificate"),
        ] {
            let bad = check(&config).unwrap_err();
            assert!(bad.setting == setting && bad.to_string().contains(text), "{bad}");
        }
    }

    #[test]
    fn files_that_are_bad_later_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let config = pair(directory.path(), "a");
        let tls = Tls::load(config.clone()).unwrap();
        let before = tls.current.read().unwrap().clone();
        std::fs::write(&config.certificate, "nothing").unwrap();
        assert!(tls.read_again().is_err());
        assert!(Arc::ptr_eq(&before, &tls.current.read().unwrap()));
        pair(directory.path(), "a");
        tls.replace(tls.read_again().unwrap());
        assert!(!Arc::ptr_eq(&before, &tls.current.read().unwrap()));
    }
}
