//! How client commands trust brokers, and who asks: the flags that all of them take.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};
use sixpin_client::{Client, Credentials, TOKEN_VARIABLE};

use super::connect::Address;
use super::failure::Failure;

/// How brokers are trusted, and who asks them. None of it is a secret: the token itself is only in a file or in the environment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
pub struct CredentialArgs {
    /// Trust brokers whose certificate is signed by a CA in this file (PEM), and ask them with TLS. Absent: `https://` trusts whom
    /// the system trusts.
    #[arg(long, env = "SIXPIN_CA", hide_env_values = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca: Option<OsString>,
    /// Show brokers the certificate in this file (PEM).
    #[arg(long, env = "SIXPIN_CERT", hide_env_values = true, value_name = "FILE", requires = "key")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    cert: Option<OsString>,
    /// The key of that certificate (PEM).
    #[arg(long, env = "SIXPIN_KEY", hide_env_values = true, value_name = "FILE", requires = "cert")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    key: Option<OsString>,
    /// Show brokers the token that is the first line of this file. Absent: the one in the variable `SIXPIN_TOKEN`, if it is set.
    #[arg(long, env = "SIXPIN_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    token_file: Option<OsString>,
    /// Not a way to show a token.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = |_: &str| Ok::<_, String>(Seen))]
    #[serde(skip)]
    token: Option<Seen>,
}

/// A token that stood on the command line. It is not kept.
#[derive(Debug, Clone, Copy)]
struct Seen;

impl CredentialArgs {
    /// A client of brokers at these addresses, of which there is at least one.
    pub fn client(&self, addresses: &[Address]) -> Result<Client, Failure> {
        self.check()?;
        self.client_of(addresses.iter().map(Address::as_str))
    }

    /// The same for addresses that are text.
    pub fn client_of<'a>(&self, addresses: impl IntoIterator<Item = &'a str>) -> Result<Client, Failure> {
        Client::builder(addresses).credentials(self.credentials()).build().map_err(Failure::usage)
    }

    /// Refuses a token on the command line.
    pub fn check(&self) -> Result<(), Failure> {
        if self.token.is_none() {
            return Ok(());
        }
        Err(Failure::usage("a token does not belong on the command line, which others on this host can read")
            .hint("put it into the variable SIXPIN_TOKEN, or name a file that has it with `--token-file`"))
    }

    /// Whether there is anything of it.
    pub fn is_some(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.token_file.is_some() || token().is_some()
    }

    fn credentials(&self) -> Credentials {
        let mut credentials = Credentials::new();
        if let Some(ca) = &self.ca {
            credentials = credentials.ca_file(ca);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            credentials = credentials.certificate_files(cert, key);
        }
        match (&self.token_file, token()) {
            (Some(file), _) => credentials.token_file(file),
            (None, Some(token)) => credentials.token(token),
            (None, None) => credentials,
        }
    }
}

/// The token of the environment. One that is no text is refused later, for its characters.
fn token() -> Option<String> {
    let token = std::env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty())?;
    Some(token.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        credentials: CredentialArgs,
    }

    fn parsed(arguments: &[&str]) -> Result<CredentialArgs, String> {
        let line = Line::try_parse_from(["sixpin"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        Ok(line.credentials)
    }

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let both = parsed(&["--ca", "ca.pem", "--cert", "c.pem", "--key", "k.pem", "--token-file", "t"]).unwrap();
        assert!(both.is_some());
        for (half, other) in [("--cert", "--key <FILE>"), ("--key", "--cert <FILE>")] {
            let refused = parsed(&[half, "f.pem"]).unwrap_err();
            assert!(refused.contains(other), "{refused}");
        }
    }

    #[test]
    fn a_token_on_the_command_line_is_refused_and_not_shown() {
        for line in [&["--token", "hidden"][..], &["--token=hidden"], &["--token"]] {
            let credentials = parsed(line).unwrap();
            assert!(!format!("{credentials:?}").contains("hidden"));
            let refused = credentials.check().unwrap_err().lines();
            assert!(refused.contains("SIXPIN_TOKEN") && refused.contains("--token-file"), "{refused}");
            assert!(!refused.contains("hidden"), "{refused}");
        }
    }

    #[test]
    fn a_bad_file_is_named_before_anybody_is_asked() {
        let credentials = parsed(&["--ca", "/nowhere/ca.pem"]).unwrap();
        let refused = credentials.client(&["host:1".parse().unwrap()]).unwrap_err();
        assert!(refused.text().contains("the CA file `/nowhere/ca.pem` can not be read"), "{}", refused.text());
        let refused = credentials.client(&["http://host:1".parse().unwrap()]).unwrap_err();
        assert!(refused.text().contains("`http://host:1` is without TLS"), "{}", refused.text());
    }
}
