//! Certificates and keys, as they stand in files.

use std::path::Path;

use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::files::content;

/// Longest file: every certificate that a system trusts fits.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// All certificates of a file. `what` names it for people.
pub(crate) fn certificates(what: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = content(what, file, BYTES_MAX)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| damaged(what, file))?;
    if found.is_empty() {
        return Err(nothing_in(what, file, &pem, "certificate"));
    }
    Ok(found)
}

/// The first private key of a file.
pub(crate) fn private_key(what: &str, file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = content(what, file, BYTES_MAX)?;
    if has(&pem, "ENCRYPTED") {
        return Err(format!("{what} `{}` is encrypted: write it without a password", file.display()));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => nothing_in(what, file, &pem, "private key"),
        _ => damaged(what, file),
    })
}

/// What is damaged is not shown: it may be a key.
fn damaged(what: &str, file: &Path) -> String {
    format!("{what} `{}` is damaged: it is no whole PEM file", file.display())
}

fn nothing_in(what: &str, file: &Path, pem: &[u8], wanted: &str) -> String {
    let file = file.display();
    let instead = ["CERTIFICATE REQUEST", "CERTIFICATE", "PRIVATE KEY", "PUBLIC KEY"];
    match instead.into_iter().find(|kind| has(pem, &format!("{kind}-----"))) {
        Some(kind) => format!("{what} `{file}` has no {wanted} in it, but a {}", kind.to_lowercase()),
        None => format!("{what} `{file}` has no {wanted} in it: it is no PEM file"),
    }
}

fn has(pem: &[u8], text: &str) -> bool {
    pem.windows(text.len()).any(|window| window == text.as_bytes())
}
