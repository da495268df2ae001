//! Messages that hold a secret, as they look in a log.

use std::fmt;

use crate::v1::Authenticate;

impl fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::session_request::Body;
    use crate::v1::{Authenticate, SessionRequest};

    #[test]
    fn a_credential_is_not_shown() {
        let body = Some(Body::Authenticate(Authenticate { token: "very secret".into() }));
        let shown = format!("{:?}", SessionRequest { request: 0, body });
        assert!(shown.contains("Authenticate") && !shown.contains("very secret"), "{shown}");
    }
}
