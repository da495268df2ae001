//! Authorities for tests, and the files of what they sign.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use tempfile::TempDir;

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
    /// The file of its own certificate.
    pub file: PathBuf,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    /// Today.
    Now,
    /// Until 2001.
    Before,
    /// From the year 3000 on.
    Later,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub struct Signed {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Authority {
    /// One that nobody trusts yet.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key is made");
        let folder = tempfile::tempdir().expect("a folder is made");
        let file = folder.path().join("ca.pem");
        write(&file, &params.self_signed(&key).expect("it signs itself").pem());
        Self { issuer: Issuer::new(params, key), folder, file }
    }

    /// Signs a certificate for this name: a host, an address or a URI. The files are called so; those of an earlier one are
    /// replaced.
    pub fn sign(&self, file: &str, name: &str, valid: Valid) -> Signed {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![san(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        match valid {
            Valid::Now => {}
            Valid::Before => params.not_after = date_time_ymd(2001, 1, 1),
            Valid::Later => params.not_before = date_time_ymd(3000, 1, 1),
        }
        let key = KeyPair::generate().expect("a key is made");
        let pem = params.signed_by(&key, &self.issuer).expect("it is signed").pem();
        let place = |ending: &str| self.folder.path().join(format!("{file}.{ending}"));
        let signed = Signed { certificate: place("pem"), key: place("key") };
        write(&signed.key, &key.serialize_pem());
        write(&signed.certificate, &pem);
        signed
    }
}

fn san(name: &str) -> SanType {
    let text = || name.try_into().expect("a name of ASCII");
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if name.contains("://") => SanType::URI(text()),
        Err(_) => SanType::DnsName(text()),
    }
}

/// As a whole, so that nobody reads half of it.
fn write(file: &Path, text: &str) {
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, file)).expect("a file is written");
}
