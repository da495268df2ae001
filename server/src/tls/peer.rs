//! What a certificate says of the one who shows it.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What a client's certificate says. The handshake has checked who signed it, and that it is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Whom it is for: its first URI among the alternative names, or else its first DNS name. Never its common name, which
    /// authorities do not check. None if there is neither.
    pub name: Option<String>,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

impl PeerCertificate {
    /// Reads what a client has shown. None if it cannot be read, which the handshake would have refused.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        Some(Self { name: name(&read), not_after: moment(read.validity().not_after.timestamp()) })
    }
}

fn name(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let uri = names.iter().find_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    let dns = || names.iter().find_map(|name| if let GeneralName::DNSName(dns) = name { Some(*dns) } else { None });
    // A DNS name that looks like a URI is no name.
    let dns = || dns().filter(|name| !name.contains([':', '/']));
    uri.or_else(dns).filter(|name| !name.is_empty()).map(ToOwned::to_owned)
}

/// A broker's own certificate must be valid now: clients would refuse it.
pub(super) fn check_own(certificate: &CertificateDer<'_>) -> Result<(), String> {
    let (_, read) =
        X509Certificate::from_der(certificate).map_err(|_| "it holds a certificate that cannot be read".to_owned())?;
    let validity = read.validity();
    if validity.is_valid() {
        Ok(())
    } else {
        Err(format!(
            "the certificate is valid from {} to {}, which is not now",
            validity.not_before, validity.not_after
        ))
    }
}

/// A number of seconds since 1970; what lies before is 1970.
fn moment(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
        params.subject_alt_names = names.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_name_is_the_first_uri_or_the_first_dns_name_and_never_the_common_name() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let name = |names: &[SanType]| PeerCertificate::read(&certificate(names)).unwrap().name;
        assert_eq!(name(&[]), None);
        assert_eq!(name(&[dns("a.example.org"), dns("b.example.org")]).as_deref(), Some("a.example.org"));
        let both = [dns("a.example.org"), uri("spiffe://example.org/a"), uri("spiffe://example.org/b")];
        assert_eq!(name(&both).as_deref(), Some("spiffe://example.org/a"));
        assert_eq!(name(&[SanType::IpAddress([127, 0, 0, 1].into())]), None);
    }

    #[test]
    fn a_certificate_of_our_own_is_valid_now() {
        check_own(&certificate(&[])).unwrap();
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let old = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let text = check_own(old.der()).unwrap_err();
        assert!(text.contains("which is not now") && text.contains("2001"), "{text}");
    }
}
