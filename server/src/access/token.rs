//! Static tokens: `sxp_`, a name, `_`, and 32 random bytes as base64url.
//!
//! The configuration has the SHA-256 of the whole text. A slow hash would protect nothing, because nobody can guess 32 random bytes,
//! and would let whoever sends wrong tokens use up the processor.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Whoever looks for secrets in texts finds it.
const PREFIX: &str = "sxp_";
/// Random bytes of a token.
const SECRET_BYTES: usize = 32;
/// Longest name.
const ID_BYTES_MAX: usize = 64;

/// A token as its holder has it. Not `Debug`: it is a secret.
pub struct Token {
    id: String,
    text: String,
}

impl Token {
    /// A new one with this name. None if it is no name for a token.
    pub fn new(id: &str) -> Option<Self> {
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
        Self::parse(&format!("{PREFIX}{id}_{secret}"))
    }

    /// Reads one. None if it has not the form of a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_secret = URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES);
        (is_id(id) && is_secret).then(|| Self { id: id.to_owned(), text: text.to_owned() })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its holder shows.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What the configuration has of it.
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.text).into())
    }
}

/// A name of a token: 1 to 64 characters of a-z, 0-9, `-` and `.`.
pub fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// The SHA-256 of a token, 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Compares without telling by the time how much is right.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no digest. It is not repeated: somebody may have put the token itself there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no SHA-256: write the 64 hexadecimal digits that `sixpin token new` prints")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoDigest);
        }
        let mut digest = [0; 32];
        for (place, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| NoDigest)?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_made_and_no_two_are_alike() {
        let (one, other) = (Token::new("billing-1").unwrap(), Token::new("billing-1").unwrap());
        let read = Token::parse(one.reveal()).unwrap();
        assert_eq!((read.id(), read.digest()), ("billing-1", one.digest()));
        assert!(!one.digest().is(&other.digest()));
        assert!(one.reveal().starts_with("sxp_billing-1_"), "{}", one.reveal());
        assert_eq!(one.digest().to_string().parse(), Ok(one.digest()));
    }

    #[test]
    fn nothing_else_is_a_token() {
        let text = Token::new("a").unwrap().reveal().to_owned();
        for wrong in [
            String::new(),
            "sxp_a_".into(),
            text.replace("sxp_", "sxs_"),
            text.replace("_a_", "_A_"),
            text.replace("_a_", "__"),
            text[..text.len() - 2].to_owned(),
            format!("{text}AA"),
            format!("{text}="),
            format!(" {text}"),
        ] {
            assert!(Token::parse(&wrong).is_none(), "{wrong}");
        }
        for bad in ["", "a_b", "A", "a b", &"x".repeat(65)] {
            assert!(Token::new(bad).is_none(), "{bad}");
        }
        for wrong in ["", "00", &"g".repeat(64), &format!("+{}", "0".repeat(63)), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<Digest>(), Err(NoDigest), "{wrong}");
        }
    }
}
