//! What shows that a form was made by this broker, for whoever sends it: a page of another site can send a form in somebody's name, but
//! cannot read the one that it would have to copy this from.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Makes seals, with a key that is made at the start: a form does not outlive its broker.
#[derive(Clone)]
pub(in super::super) struct Seals([u8; 64]);

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seals(…)")
    }
}

impl Default for Seals {
    fn default() -> Self {
        Self(rand::random())
    }
}

impl Seals {
    /// The seal of what is done to whom, for whoever asks.
    pub(super) fn seal(&self, who: &str, what: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(self.code(who, what).finalize().into_bytes())
    }

    /// Whether this is the seal of it.
    pub(super) fn is_of(&self, seal: &str, who: &str, what: &[&str]) -> bool {
        URL_SAFE_NO_PAD.decode(seal).is_ok_and(|bytes| self.code(who, what).verify_slice(&bytes).is_ok())
    }

    fn code(&self, who: &str, what: &[&str]) -> Hmac<Sha256> {
        let mut code = <Hmac<Sha256>>::new(&self.0.into());
        for part in std::iter::once(&who).chain(what) {
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part.as_bytes());
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_thing_for_one_who_asks_at_one_broker() {
        let seals = Seals::default();
        let seal = seals.seal("token:a", &["force", "r", "1"]);
        assert!(seals.is_of(&seal, "token:a", &["force", "r", "1"]));
        assert!(!seals.is_of(&seal, "token:b", &["force", "r", "1"]));
        assert!(!seals.is_of(&seal, "token:a", &["force", "r1", ""]));
        assert!(!Seals::default().is_of(&seal, "token:a", &["force", "r", "1"]));
        for bad in ["", "x", "zz", &seal[2..], "ää"] {
            assert!(!seals.is_of(bad, "token:a", &["force", "r", "1"]), "{bad}");
        }
    }
}
