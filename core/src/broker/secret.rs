//! Session secrets: an authentication code over the session's identity, keyed from the store's root record.
//!
//! No broker needs to remember a secret: any broker on the same store can check it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::api::Secret;
use crate::backend::Root;
use crate::name::SessionId;

/// The secret of a session.
pub(super) fn secret_of(root: &Root, session: SessionId) -> Secret {
    let full = code(root, session).finalize().into_bytes();
    let mut secret = Secret::default();
    secret.copy_from_slice(&full[..size_of::<Secret>()]);
    secret
}

/// Checks a secret in constant time.
pub(super) fn is_secret_of(root: &Root, session: SessionId, secret: &Secret) -> bool {
    code(root, session).verify_truncated_left(secret).is_ok()
}

fn code(root: &Root, session: SessionId) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(&root.secret_key).expect("HMAC takes keys of every length");
    code.update(b"sixpin session");
    code.update(&session.opener.0.to_le_bytes());
    code.update(&session.serial.to_le_bytes());
    code.update(&session.ttl_ms.to_le_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Incarnation;

    #[test]
    fn a_secret_belongs_to_one_session_and_one_store() {
        let root = Root { secret_key: [7; 32], identity: 1 };
        let other = Root { secret_key: [8; 32], identity: 2 };
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 10_000 };
        let secret = secret_of(&root, session);
        assert!(is_secret_of(&root, session, &secret));
        assert!(!is_secret_of(&other, session, &secret));
        assert!(!is_secret_of(&root, SessionId { ttl_ms: 20_000, ..session }, &secret));
        assert!(!is_secret_of(&root, SessionId { serial: 2, ..session }, &secret));
    }
}
