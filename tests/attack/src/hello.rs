//! TLS as an attacker speaks it: it does not look at whom it talks to, which costs it the less.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion, version,
};

/// ALPN of HTTP/2.
pub const HTTP2: &[u8] = b"h2";
/// The type of records that are part of a handshake.
pub const HANDSHAKE: u8 = 0x16;
/// The head of a record.
pub const HEAD: usize = 5;

/// What an attacker shows in a handshake.
pub type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// How to shake hands: in which version, to speak what, and what is shown.
pub fn config(
    version: &'static SupportedProtocolVersion,
    alpn: &[u8],
    shown: Option<Shown>,
) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless));
    let mut config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// A record.
pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &(payload.len() as u16).to_be_bytes(), payload].concat()
}

/// A `ClientHello` in its record.
pub fn client_hello() -> io::Result<Vec<u8>> {
    let config = config(&version::TLS13, HTTP2, None)?;
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
