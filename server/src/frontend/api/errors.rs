//! What callers are told when their request makes no sense, or something does not fit. Nothing changed, unless it says so.

use sixpin_core::broker::api::{Reply, RequestError};
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_core::name::{Lockspace, NameError};

/// A request that makes no sense.
pub fn invalid(text: impl Into<String>) -> RequestError {
    RequestError::Invalid(text.into())
}

/// A name that is not allowed, with the field it stood in.
pub fn bad_name(field: &str, error: &NameError) -> RequestError {
    invalid(format!("`{field}`: {error}"))
}

/// A field that must be there.
pub fn missing(field: &str) -> RequestError {
    invalid(format!("`{field}` is missing"))
}

/// Something that this version does not have.
pub fn unsupported(what: &str) -> RequestError {
    RequestError::Unsupported(format!("this broker has no {what}: it locks in modes only. Nothing changed"))
}

/// A message beyond the limit.
pub fn too_long() -> RequestError {
    RequestError::Limit(format!("a message is at most {MESSAGE_BYTES_MAX} bytes; nothing changed"))
}

/// A message that is not what the protocol says.
pub fn undecodable(detail: &str) -> RequestError {
    invalid(format!("the message cannot be decoded, so nothing changed: {detail}"))
}

/// More than one connection or client may have at once.
pub fn over_limit(limit: &str) -> RequestError {
    RequestError::Limit(format!("{limit}: nothing changed; try again later"))
}

/// A resource that is not where the session is.
pub fn other_store(lockspace: &Lockspace) -> RequestError {
    invalid(format!("lockspace `{lockspace}` is on another store than the session: open a session for it"))
}

/// The machine answered something else than what was asked: a bug on our side, said without harm to the caller.
pub fn unexpected(reply: &Reply) -> RequestError {
    tracing::error!(?reply, "the broker gave an answer that does not fit the request");
    RequestError::Unknown("the broker gave an answer that does not fit the request: repeat it".into())
}
