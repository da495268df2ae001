//! How a program trusts brokers, and shows them who it is.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Error;
use crate::tls::{Own, Tls};
use crate::token::Token;

/// The environment variable that names the file of certificates of authorities (CA) that sign those of brokers.
pub const CA_VARIABLE: &str = "SIXPIN_CA";
/// The environment variable that names the file of this program's certificate.
pub const CERTIFICATE_VARIABLE: &str = "SIXPIN_CERT";
/// The environment variable that names the file of the key of this program's certificate.
pub const KEY_VARIABLE: &str = "SIXPIN_KEY";
/// The environment variable that names the file of this program's token.
pub const TOKEN_FILE_VARIABLE: &str = "SIXPIN_TOKEN_FILE";
/// The environment variable that is this program's token. A file goes before it.
pub const TOKEN_VARIABLE: &str = "SIXPIN_TOKEN";

/// What a [`Client`](crate::Client) trusts brokers by, and shows them: see
/// [`ClientBuilder::credentials`](crate::ClientBuilder::credentials).
///
/// Files are read when the client is made, and again at each new connection if they have changed; if they are bad then, what
/// was read before goes on being used.
#[derive(Clone, Default)]
pub struct Credentials {
    ca: Option<PathBuf>,
    own: Option<Own>,
    token: Option<TokenFrom>,
}

/// Where a token is.
#[derive(Clone)]
enum TokenFrom {
    Here(String),
    File(PathBuf),
}

impl std::fmt::Debug for Credentials {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has_token = self.token.is_some();
        f.debug_struct("Credentials")
            .field("ca", &self.ca)
            .field("own", &self.own)
            .field("has_token", &has_token)
            .finish()
    }
}

impl Credentials {
    /// None: brokers are reached without TLS, or trusted by the system's authorities if their addresses are `https://`.
    pub fn new() -> Self {
        Self::default()
    }

    /// What `SIXPIN_CA`, `SIXPIN_CERT` and `SIXPIN_KEY`, `SIXPIN_TOKEN_FILE` or `SIXPIN_TOKEN` say. One that is empty counts as
    /// absent.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if only one of `SIXPIN_CERT` and `SIXPIN_KEY` is set.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let own = match (get(CERTIFICATE_VARIABLE), get(KEY_VARIABLE)) {
            (Some(certificate), Some(key)) => Some(Own { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => return Err(half(CERTIFICATE_VARIABLE, KEY_VARIABLE)),
            (None, Some(_)) => return Err(half(KEY_VARIABLE, CERTIFICATE_VARIABLE)),
        };
        let file = get(TOKEN_FILE_VARIABLE).map(|file| TokenFrom::File(file.into()));
        // One that is no text is refused for its characters.
        let here = || get(TOKEN_VARIABLE).map(|token| TokenFrom::Here(token.to_string_lossy().into_owned()));
        Ok(Self { ca: get(CA_VARIABLE).map(Into::into), own, token: file.or_else(here) })
    }

    /// Trusts brokers whose certificate is signed by an authority in this file (PEM, one or more certificates), and no others.
    /// Turns TLS on.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Shows brokers this program's certificate, which the first file has with those between it and its authority; the second
    /// one has its key, without a password. Both are PEM. Turns TLS on.
    #[must_use]
    pub fn certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.own = Some(Own { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Shows brokers this token, which is a secret: it is sent only with TLS, or to this host.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(TokenFrom::Here(token.into()));
        self
    }

    /// The same with the token that is the first line of a file.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token = Some(TokenFrom::File(file.into()));
        self
    }

    /// Whether there is something that means TLS.
    pub(crate) fn means_tls(&self) -> bool {
        self.ca.is_some() || self.own.is_some()
    }

    /// Reads the files.
    pub(crate) fn load(self, tls: bool) -> Result<Security, Error> {
        let token = match self.token {
            Some(TokenFrom::Here(text)) => Some(Token::of_text(text)?),
            Some(TokenFrom::File(file)) => Some(Token::of_file(file)?),
            None => None,
        };
        let tls = if tls { Some(Tls::new(self.ca, self.own)?) } else { None };
        Ok(Security { tls, token })
    }
}

fn half(set: &str, absent: &str) -> Error {
    Error::Setting(format!("{set} is set and {absent} is not: a certificate and its key go together"))
}

/// Credentials that were read.
#[derive(Default)]
pub(crate) struct Security {
    /// Absent: no connection has TLS. Otherwise all have.
    pub(crate) tls: Option<Tls>,
    pub(crate) token: Option<Token>,
}

impl std::fmt::Debug for Security {
    /// Without the token and the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Credentials, Error> {
        Credentials::from_variables(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn variables_say_all_of_it() {
        let all =
            of(&[("SIXPIN_CA", "ca"), ("SIXPIN_CERT", "c"), ("SIXPIN_KEY", "k"), ("SIXPIN_TOKEN", "hidden")]).unwrap();
        let shown = format!("{all:?}");
        assert!(["\"ca\"", "\"c\"", "\"k\"", "has_token: true"].iter().all(|part| shown.contains(part)), "{shown}");
        assert!(!shown.contains("hidden"), "{shown}");
        let file = of(&[("SIXPIN_TOKEN", "hidden"), ("SIXPIN_TOKEN_FILE", "f")]).unwrap();
        assert!(matches!(file.token, Some(TokenFrom::File(_))));
        let none = of(&[("SIXPIN_CA", ""), ("SIXPIN_KEY", ""), ("SIXPIN_TOKEN", "")]).unwrap();
        assert!(!none.means_tls() && none.token.is_none());
        let half = of(&[("SIXPIN_KEY", "k")]).unwrap_err().to_string();
        assert_eq!(half, "SIXPIN_KEY is set and SIXPIN_CERT is not: a certificate and its key go together");
    }
}
