//! TLS with brokers: what is trusted and shown, and the handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use rustls_pki_types::ServerName;
use sixpin_proto::frames::ALPN;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::host;
use crate::encrypted::Encrypted;
use crate::error::Error;
use crate::files::Reread;
use crate::pem::{certificates, private_key};
use crate::tls_trouble::{Peer, no_handshake};

/// How gRPC is called where a broker is offered what to speak.
pub(crate) const GRPC: &[u8] = b"h2";

/// What a connection is made for, which decides what is offered to be spoken on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A session's stream, which speaks frames with a broker that does.
    Stream,
    /// Calls of gRPC.
    Calls,
}

/// The files of a program's own certificate.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// How connections are encrypted.
pub(crate) struct Tls {
    configs: Reread<Configs>,
    ca: Option<PathBuf>,
    own: Option<PathBuf>,
}

/// What the files say, for each purpose.
#[derive(Clone)]
struct Configs {
    stream: Arc<ClientConfig>,
    calls: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the authorities of a file, or those of the system, and shows a certificate, if there is one.
    pub(crate) fn new(ca: Option<PathBuf>, own: Option<Own>) -> Result<Self, Error> {
        let own_files = own.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        let files = ca.iter().cloned().chain(own_files).collect();
        let certificate = own.as_ref().map(|own| own.certificate.clone());
        let configs = {
            let ca = ca.clone();
            Reread::new(files, move || Configs::read(ca.as_deref(), own.as_ref()))?
        };
        Ok(Self { configs, ca, own: certificate })
    }

    /// Encrypts a connection that was just made, within this time.
    pub(crate) async fn encrypt(
        &self,
        address: &str,
        tcp: TcpStream,
        purpose: Purpose,
        within: Duration,
    ) -> Result<Encrypted, String> {
        let name = ServerName::try_from(host(address).to_owned())
            .map_err(|_| format!("`{}` is no name that a certificate could have", host(address)))?;
        let configs = self.configs.get();
        let config = match purpose {
            Purpose::Stream => configs.stream,
            Purpose::Calls => configs.calls,
        };
        let peer = Peer { address: address.to_owned(), ca: self.ca.clone(), own: self.own.clone() };
        match tokio::time::timeout(within, TlsConnector::from(config).connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(Encrypted::new(stream, peer)),
            Ok(Err(error)) => Err(no_handshake(&peer, &error)),
            Err(_) => Err(format!("`{address}` does not answer TLS in time")),
        }
    }
}

impl Configs {
    fn read(ca: Option<&Path>, own: Option<&Own>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(ca.map_or_else(trusted_by_the_system, trusted_by)?);
        let config = match own {
            None => config.with_no_client_auth(),
            Some(Own { certificate, key }) => config
                .with_client_auth_cert(
                    certificates("the certificate file", certificate)?,
                    private_key("the key file", key)?,
                )
                .map_err(|error| no_pair(certificate, key, &error))?,
        };
        let speaking = |names: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self { stream: speaking(&[ALPN, GRPC]), calls: speaking(&[GRPC]) })
    }
}

fn trusted_by(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the CA file", file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate in the CA file `{}` is damaged: {error}", file.display()))?;
    }
    Ok(roots)
}

fn trusted_by_the_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if taken == 0 {
        return Err("this system trusts no authority: name a CA file that signs the brokers' certificates".to_owned());
    }
    Ok(roots)
}

fn no_pair(certificate: &Path, key: &Path, error: &rustls::Error) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key in `{key}` does not belong to the certificate in `{certificate}`")
        }
        _ => format!("the certificate in `{certificate}` can not be used with the key in `{key}`: {error}"),
    }
}
