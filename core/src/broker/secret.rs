//! Session secrets: an authentication code over the session's identity and that of the principal who opened it, keyed from the
//! store's root record.
//!
//! No broker needs to remember a secret, or whose session it is: any broker on the same store can check both. Whoever has got hold
//! of somebody's secret can do nothing with it under another name.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::api::Secret;
use crate::access::{ANONYMOUS, Principal};
use crate::backend::Root;
use crate::name::SessionId;

/// The secret of a session.
pub(super) fn secret_of(root: &Root, session: SessionId, principal: &Principal) -> Secret {
    let full = code(root, session, principal).finalize().into_bytes();
    let mut secret = Secret::default();
    secret.copy_from_slice(&full[..size_of::<Secret>()]);
    secret
}

/// Checks a secret in constant time.
pub(super) fn is_secret_of(root: &Root, session: SessionId, principal: &Principal, secret: &Secret) -> bool {
    code(root, session, principal).verify_truncated_left(secret).is_ok()
}

fn code(root: &Root, session: SessionId, principal: &Principal) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(&root.secret_key).expect("HMAC takes keys of every length");
    code.update(b"sixpin session");
    code.update(&session.opener.0.to_le_bytes());
    code.update(&session.serial.to_le_bytes());
    code.update(&session.ttl_ms.to_le_bytes());
    // Sessions of nobody in particular have the secrets that they had before there were principals.
    if principal.digest() != ANONYMOUS {
        code.update(&principal.digest().to_le_bytes());
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Quotas;
    use crate::name::Incarnation;

    #[test]
    fn a_secret_belongs_to_one_session_and_one_store() {
        let root = Root { secret_key: [7; 32], identity: 1 };
        let other = Root { secret_key: [8; 32], identity: 2 };
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 10_000 };
        let nobody = Principal::default();
        let secret = secret_of(&root, session, &nobody);
        assert!(is_secret_of(&root, session, &nobody, &secret));
        assert!(!is_secret_of(&other, session, &nobody, &secret));
        assert!(!is_secret_of(&root, SessionId { ttl_ms: 20_000, ..session }, &nobody, &secret));
        assert!(!is_secret_of(&root, SessionId { serial: 2, ..session }, &nobody, &secret));
    }

    #[test]
    fn a_secret_belongs_to_one_principal() {
        let root = Root { secret_key: [7; 32], identity: 1 };
        let session = SessionId { opener: Incarnation(1), serial: 1, ttl_ms: 10_000 };
        let known = |name| Principal::new(name, vec![], Quotas::default());
        let (one, other, nobody) = (known("a"), known("b"), Principal::default());
        let secret = secret_of(&root, session, &one);
        assert!(is_secret_of(&root, session, &one, &secret));
        assert!(!is_secret_of(&root, session, &other, &secret));
        assert!(!is_secret_of(&root, session, &nobody, &secret));
        // Rules change; who it is does not.
        assert!(is_secret_of(&root, session, &known("a"), &secret));
    }
}
