//! What goes wrong with TLS, in plain words.

use std::io;
use std::path::{Path, PathBuf};

use rustls::{AlertDescription, CertificateError, Error};

use crate::error::OF_TLS;

/// Whom a connection is to, and by which files.
#[derive(Debug)]
pub(crate) struct Peer {
    /// `host:port`.
    pub(crate) address: String,
    /// Who is trusted; absent: whom the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate that is shown.
    pub(crate) own: Option<PathBuf>,
}

/// Why there was no handshake.
pub(crate) fn no_handshake(peer: &Peer, error: &io::Error) -> String {
    let address = &peer.address;
    match of_tls(error) {
        Some(Error::InvalidMessage(_)) => format!("{OF_TLS}{}", no_tls(address)),
        Some(error) => words(peer, error),
        // The end of a connection may as well come from a broker that just starts or stops.
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => no_tls(address),
            _ => format!("TLS with `{address}` failed: {}", error.to_string().to_lowercase()),
        },
    }
}

fn no_tls(address: &str) -> String {
    format!("`{address}` does not answer TLS: it may be a listener without TLS; then write http:// in front")
}

/// What TLS found wrong with a connection, if it was TLS.
pub(crate) fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What TLS found wrong, for people.
pub(crate) fn words(peer: &Peer, error: &Error) -> String {
    let address = &peer.address;
    match error {
        Error::InvalidCertificate(error) => format!("{OF_TLS}{}", untrusted(peer, error)),
        Error::AlertReceived(alert) => refused(peer, *alert),
        Error::PeerIncompatible(why) => {
            format!(
                "{OF_TLS}`{address}` and this program have no version or cipher in common ({why:?}): 1.2 or 1.3 is needed"
            )
        }
        _ => format!("TLS with `{address}` failed: {error}"),
    }
}

/// What is wrong with the broker's certificate.
fn untrusted(peer: &Peer, error: &CertificateError) -> String {
    let address = &peer.address;
    let its = format!("the certificate of `{address}`");
    match error {
        // The second is a CA that was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match &peer.ca {
            Some(ca) => {
                format!("{its} is not signed by a CA of `{}`: name the file of the one that signed it", ca.display())
            }
            None => {
                format!("{its} is not signed by a CA that this system trusts: name the file of the one that signed it")
            }
        },
        CertificateError::NotValidForNameContext { presented, .. } => match names(presented) {
            names if names.is_empty() => format!("{its} has no names: it needs this one"),
            names => format!("{its} is for other names: call it by one of these: {names}"),
        },
        CertificateError::NotValidForName => format!("{its} is for another name"),
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = about(time.as_secs().saturating_sub(not_after.as_secs()));
            format!("{its} expired {ago} ago, if the clock of this host is right: it needs a new one")
        }
        CertificateError::Expired => format!("{its} has expired"),
        CertificateError::NotValidYetContext { time, not_before } => {
            let left = about(not_before.as_secs().saturating_sub(time.as_secs()));
            format!("{its} is not valid before {left} from now, if the clock of this host is right")
        }
        CertificateError::NotValidYet => format!("{its} is not valid yet"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{its} is not made for servers")
        }
        CertificateError::Revoked => format!("{its} was revoked"),
        _ => format!("{its} is not good: {error}"),
    }
}

/// Why the broker ended it.
fn refused(peer: &Peer, alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let address = &peer.address;
    let own = peer.own.as_deref().map(Path::display);
    let words = match (alert, own) {
        (Alert::CertificateRequired, _) => {
            format!("`{address}` wants a certificate of this program: name one and its key")
        }
        (Alert::UnknownCA | Alert::DecryptError, Some(own)) => {
            format!("`{address}` does not trust who signed this program's certificate `{own}`")
        }
        (Alert::CertificateExpired, Some(own)) => {
            format!("`{address}` says that this program's certificate `{own}` has expired, or is not valid yet")
        }
        (Alert::CertificateRevoked, Some(own)) => {
            format!("`{address}` says that this program's certificate `{own}` was revoked")
        }
        (
            Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown | Alert::AccessDenied,
            Some(own),
        ) => format!("`{address}` refuses this program's certificate `{own}` ({alert:?})"),
        (Alert::ProtocolVersion, _) => {
            format!("`{address}` speaks no version that this program does: 1.2 or 1.3")
        }
        (Alert::NoApplicationProtocol, _) => format!("`{address}` speaks it, but not gRPC: it is no broker"),
        (Alert::UnrecognisedName, _) => format!("`{address}` does not know itself by this name"),
        // Whatever it was, it may pass.
        _ => return format!("`{address}` ended TLS: {alert:?}"),
    };
    format!("{OF_TLS}{words}")
}

/// Names of a certificate as they are read: rustls writes `DnsName("a")` and `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// A time in its largest unit.
fn about(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}
