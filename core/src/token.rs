//! The session token: all that a client needs to say which session is its own, in one opaque text.
//!
//! It names the session, the lockspace whose store the session lives in, and the secret that only its client knows. Brokers
//! remember none of it: any broker on the same store can check a token. Clients keep it and send it back; what is in it is no
//! part of the API, so a later format can have another prefix.

use std::fmt;
use std::str::FromStr;

use crate::broker::api::Secret;
use crate::name::{Lockspace, SessionId};

/// Says "sixpin session", and which format follows; whoever looks for secrets in texts finds it.
const PREFIX: &str = "sxs1";
/// Stands in no lockspace, session or secret, and is allowed in a bearer token (RFC 6750) and in a URL.
const SEPARATOR: char = '~';

/// Who a session's client is. Formatted with `{}` it is the text that clients have; `{:?}` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    /// The session.
    pub session: SessionId,
    /// The lockspace whose store it lives in.
    pub lockspace: Lockspace,
    /// Proves that a caller is its client.
    pub secret: Secret,
}

/// A text that is no session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a session token: send the one that the session was opened with, as it is")]
pub struct BadToken;

impl fmt::Display for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, lockspace, secret } = self;
        let secret = u128::from_be_bytes(*secret);
        write!(f, "{PREFIX}{SEPARATOR}{lockspace}{SEPARATOR}{session}{SEPARATOR}{secret:032x}")
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionToken({} in {})", self.session, self.lockspace)
    }
}

impl FromStr for SessionToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.split(SEPARATOR);
        let (Some(PREFIX), Some(lockspace), Some(session), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken);
        };
        Ok(Self {
            session: session.parse().map_err(|_| BadToken)?,
            lockspace: Lockspace::new(lockspace).map_err(|_| BadToken)?,
            secret: secret_of_hex(secret).ok_or(BadToken)?,
        })
    }
}

/// One secret, one spelling: all its digits, in lower case.
fn secret_of_hex(hex: &str) -> Option<Secret> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_spelled_so = hex.len() == 2 * size_of::<Secret>() && hex.bytes().all(is_digit);
    u128::from_str_radix(hex, 16).ok().filter(|_| is_spelled_so).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    fn token() -> SessionToken {
        SessionToken {
            session: SessionId { opener: Incarnation(0xab), serial: 3, ttl_ms: 10_000 },
            lockspace: Lockspace::new("a.b-c_d").unwrap(),
            secret: [0xf0; 16],
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let text = token().to_string();
        assert_eq!(text, "sxs1~a.b-c_d~00000000000000ab-3-10000~f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0");
        assert_eq!(text.parse(), Ok(token()));
    }

    #[test]
    fn nothing_else_is_a_token() {
        let text = token().to_string();
        for wrong in [
            String::new(),
            text.replace("sxs1", "sxs2"),
            text.replace("a.b", "A.b"),
            text.replace("-3-", "-03-"),
            text.replace("f0f0", "F0F0"),
            text.replacen("f0", "", 1),
            text.replacen("f0", "é", 1),
            format!("{text}~"),
            format!(" {text}"),
        ] {
            assert_eq!(wrong.parse::<SessionToken>(), Err(BadToken), "{wrong}");
        }
    }

    #[test]
    fn a_secret_does_not_get_into_a_log_by_accident() {
        assert_eq!(format!("{:?}", token()), "SessionToken(00000000000000ab-3-10000 in a.b-c_d)");
    }
}
