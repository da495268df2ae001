//! What stands in PEM files. Each mistake names the setting, the file, and what is wrong with it; nothing of a file is repeated.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

/// Largest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: {}: {text}", file.display())]
pub struct BadFile {
    /// The setting that names it.
    pub setting: &'static str,
    /// Where it is.
    pub file: PathBuf,
    /// What is wrong.
    pub text: String,
}

/// A file and the setting that names it.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    setting: &'static str,
    path: &'a Path,
}

impl<'a> File<'a> {
    /// The file that this setting names.
    pub fn new(setting: &'static str, path: &'a Path) -> Self {
        Self { setting, path }
    }

    /// The file is bad.
    pub fn bad(&self, text: impl fmt::Display) -> BadFile {
        BadFile { setting: self.setting, file: self.path.to_owned(), text: text.to_string() }
    }

    /// All that is in it.
    pub fn bytes(&self) -> Result<Vec<u8>, BadFile> {
        let told = |error| self.bad(format_args!("it cannot be read: {error}"));
        let file = std::fs::File::open(self.path).map_err(told)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(self.bad(format_args!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    /// The certificates in it, at least one.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, BadFile> {
        let bytes = self.bytes()?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.bad(format_args!("it is no PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(self.bad("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
        }
        Ok(certificates)
    }

    /// The certificates in it, as those that sign others.
    pub fn authorities(&self) -> Result<RootCertStore, BadFile> {
        let mut authorities = RootCertStore::empty();
        for certificate in self.certificates()? {
            authorities.add(certificate).map_err(|error| self.bad(explained(&error)))?;
        }
        Ok(authorities)
    }

    /// The private key in it.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, BadFile> {
        PrivateKeyDer::from_pem_slice(&self.bytes()?).map_err(|_| {
            self.bad("there is no private key in it that can be used (PKCS #8, PKCS #1 or SEC 1, not encrypted)")
        })
    }
}

/// What the library found wrong, for people.
pub(super) fn explained(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "it does not belong to the certificate".into(),
        Error::InvalidCertificate(CertificateError::BadEncoding) => "it holds a certificate that cannot be read".into(),
        other => other.to_string(),
    }
}
