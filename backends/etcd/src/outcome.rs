//! What each answer of etcd means: exactly one thing.

use etcd_client::Error;
use sixpin_core::backend::{OpenError, StoreError, WriteOutcome};
use tonic::{Code, Status};

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Nothing was stored. What was asked is not allowed as it is; parts of it may be.
    #[error("etcd refuses the request: {0}")]
    Invalid(String),
    /// Nothing was stored: the database is at its quota. What only deletes still works.
    #[error("etcd's database is full (compact and defragment it, then disarm the alarm): {0}")]
    Full(String),
    /// Nothing was stored, for another reason that may pass.
    #[error("{0}")]
    Refused(String),
    /// Nothing was stored: the user may not do this.
    #[error("etcd refuses the login: {0}")]
    Login(String),
    /// May have been stored, or may still be.
    #[error("{0}")]
    Doubt(String),
    /// The members disagree about what is stored. Stop.
    #[error("etcd says that its data is corrupt: {0}")]
    Corrupt(String),
    /// Not the store that was opened, or an older state of it.
    #[error("{0}")]
    Amnesia(String),
}

impl Failure {
    /// What the error of a call says. The table is in `docs/backends/etcd.md`.
    pub(crate) fn of(error: &Error) -> Self {
        let Error::GRpcStatus(status) = error else { return Self::Doubt(error.to_string()) };
        let text = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument if text.contains("user name is empty") => {
                Self::Login(format!("{text} (no `user` is set)"))
            }
            Code::InvalidArgument => Self::Invalid(text),
            Code::PermissionDenied | Code::Unauthenticated => Self::Login(text),
            Code::ResourceExhausted if text.contains("database space exceeded") => Self::Full(text),
            Code::ResourceExhausted if text.contains("too many requests") => Self::Refused(text),
            Code::DataLoss => Self::Corrupt(text),
            // Also transport and decoding, which are given a code here and not by the server: what it did cannot be seen.
            code => Self::Doubt(format!("{code}: {}", describe(status))),
        }
    }

    /// Another member may do better.
    pub(crate) fn blames_the_member(&self) -> bool {
        matches!(self, Self::Doubt(_) | Self::Refused(_))
    }

    /// What became of a write of this request.
    pub(crate) fn outcome(&self) -> WriteOutcome {
        match self {
            Self::Invalid(_) | Self::Full(_) | Self::Refused(_) | Self::Login(_) => {
                WriteOutcome::Unavailable(self.to_string())
            }
            // The next call that can say so tells that the store is not to be used any more.
            Self::Doubt(_) | Self::Corrupt(_) | Self::Amnesia(_) => WriteOutcome::Unknown(self.to_string()),
        }
    }

    /// What a call that changes something answers.
    pub(crate) fn of_change(self) -> StoreError {
        match self {
            Self::Doubt(text) => StoreError::Unknown(text),
            other => other.of_read(),
        }
    }

    /// What a call that changes nothing answers: nothing can have happened.
    pub(crate) fn of_read(self) -> StoreError {
        match self {
            Self::Corrupt(_) => StoreError::Corrupt(self.to_string()),
            Self::Amnesia(text) => StoreError::Amnesia(text),
            other => StoreError::Unavailable(other.to_string()),
        }
    }

    /// Why opening the store failed.
    pub(crate) fn of_open(self) -> OpenError {
        match self {
            Self::Login(_) => OpenError::Login(format!("{self}: check `user`, the password, and what its role may do")),
            Self::Invalid(_) | Self::Full(_) | Self::Corrupt(_) | Self::Amnesia(_) => {
                OpenError::Unsafe(self.to_string())
            }
            Self::Refused(_) | Self::Doubt(_) => OpenError::Unreachable(format!(
                "etcd cannot be reached: {self}: check the endpoints and the certificates"
            )),
        }
    }
}

/// The server no longer knows who we are: the token expired, its member restarted, or users were changed. It refused
/// before doing anything, so logging in and sending again is one request.
pub(crate) fn wants_login(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    match status.code() {
        Code::Unauthenticated => true,
        _ => ["invalid auth token", "auth store is old", "user name is empty"]
            .iter()
            .any(|text| status.message().contains(text)),
    }
}

/// An error with its causes, which its own text leaves out.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, text: &str) -> Failure {
        Failure::of(&Status::new(code, text).into())
    }

    #[test]
    fn what_was_certainly_not_stored_is_unavailable() {
        for (code, text) in [
            (Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
        ] {
            assert!(matches!(failure(code, text).outcome(), WriteOutcome::Unavailable(_)), "{code:?} {text}");
            assert!(matches!(failure(code, text).of_change(), StoreError::Unavailable(_)), "{code:?} {text}");
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for code in 0..=16 {
            let code = Code::from(code);
            if matches!(code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated) {
                continue;
            }
            let failure = failure(code, "etcdserver: request timed out");
            assert!(matches!(failure.outcome(), WriteOutcome::Unknown(_)), "{code:?}");
        }
    }

    #[test]
    fn corrupt_data_is_told_by_everything_that_can_tell_it() {
        let corrupt = failure(Code::DataLoss, "etcdserver: corrupt cluster");
        assert!(matches!(corrupt.outcome(), WriteOutcome::Unknown(_)), "a commit has no word for it");
        assert!(matches!(corrupt.clone().of_change(), StoreError::Corrupt(_)));
        assert!(matches!(corrupt.of_read(), StoreError::Corrupt(_)));
    }

    #[test]
    fn a_forgotten_login_is_recognised_whatever_its_code() {
        for (code, text) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::Unknown, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
        ] {
            assert!(wants_login(&Status::new(code, text).into()), "{text}");
        }
        assert!(!wants_login(&Status::new(Code::PermissionDenied, "etcdserver: permission denied").into()));
    }
}
