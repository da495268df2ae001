//! Certificates and tokens of a broker with TLS and access control, of its honest clients, and of its attackers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sixpin_client::Credentials;
use sixpin_server::access::token::Token;
use sixpin_testkit::authority::{Authority, Signed, Valid};

/// Whose certificates the broker takes.
pub const AUTHORITY: &str = "attacked";
/// In the folder of the authority: what an attacker is let in with, and the certificate that gives nobody a role.
const TOKEN_FILE: &str = "attacker.token";
const STRANGER: &str = "stranger";

/// All of them. The files live as long as this.
pub struct Secrets {
    authority: Authority,
    broker: Signed,
    folder: PathBuf,
    honest: Token,
    attacker: Token,
}

impl Secrets {
    /// New ones.
    pub fn new() -> io::Result<Self> {
        let authority = Authority::new(AUTHORITY);
        let folder = authority.file.parent().ok_or(io::ErrorKind::NotFound)?.to_owned();
        let token = |name| Token::new(name).ok_or(io::ErrorKind::InvalidInput);
        let (honest, attacker) = (token("honest")?, token("attacker")?);
        fs::write(folder.join(TOKEN_FILE), attacker.reveal())?;
        authority.sign(STRANGER, "stranger.example.org", Valid::Now);
        let broker = authority.sign("broker", "127.0.0.1", Valid::Now);
        Ok(Self { authority, broker, folder, honest, attacker })
    }

    /// Settings of the broker, as TOML.
    pub fn settings(&self) -> String {
        use std::fmt::Write as _;
        let files =
            [("certificate", &self.broker.certificate), ("key", &self.broker.key), ("client_ca", &self.authority.file)];
        let mut settings = "[tls]\nclient_auth = \"optional\"\n".to_owned();
        // Writing to a text does not fail.
        for (setting, file) in files {
            let _ = writeln!(settings, "{setting} = '{}'", file.display());
        }
        let rule = "{ lockspace = \"*\", prefix = \"\", allow = [\"lock\", \"inspect\", \"watch\"] }";
        let _ = writeln!(settings, "[access.roles.all]\nrules = [{rule}]");
        for token in [&self.honest, &self.attacker] {
            let (id, digest) = (token.id(), token.digest());
            let _ = writeln!(settings, "[access.tokens.{id}]\nsha256 = \"{digest}\"\nroles = [\"all\"]");
        }
        settings
    }

    /// What honest clients connect with.
    pub fn honest(&self) -> Credentials {
        Credentials::new().ca_file(&self.authority.file).token(self.honest.reveal())
    }

    /// Where [`Stolen::read`] finds what an attacker has.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// What an attacker has.
pub struct Stolen {
    /// A token that lets it in.
    pub token: String,
    /// A certificate that the broker takes, and that gives it no role.
    pub certificate: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// For its own clients.
    pub credentials: Credentials,
}

impl Stolen {
    /// From the folder of the secrets.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let token = fs::read_to_string(folder.join(TOKEN_FILE))?;
        let (certificate, key) =
            (folder.join(STRANGER).with_extension("pem"), folder.join(STRANGER).with_extension("key"));
        Ok(Self {
            certificate: vec![CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?],
            key: PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?,
            credentials: Credentials::new().ca_file(folder.join("ca.pem")).token(&token),
            token,
        })
    }
}
