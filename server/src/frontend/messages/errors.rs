//! What went wrong, as a message: our reason, and what people read.

use std::time::Duration;

use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;

/// What passes by itself is worth trying again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The reason, machine-readable.
pub(crate) fn reason(error: &RequestError) -> v1::Reason {
    match error {
        RequestError::Invalid(_) => v1::Reason::Invalid,
        RequestError::NotFound(_) => v1::Reason::NotFound,
        RequestError::Busy(_) => v1::Reason::Busy,
        RequestError::Limit(_) => v1::Reason::Limit,
        RequestError::SessionGone(_) => v1::Reason::SessionGone,
        RequestError::NotHere { .. } => v1::Reason::NotHere,
        RequestError::Damaged(_) => v1::Reason::Damaged,
        RequestError::Unavailable(_) => v1::Reason::Unavailable,
        RequestError::Unknown(_) => v1::Reason::Unknown,
        RequestError::Draining { .. } => v1::Reason::Draining,
        RequestError::StaleOperation(_) => v1::Reason::StaleOperation,
        RequestError::StaleMove(_) => v1::Reason::StaleMove,
        RequestError::WrongToken(_) => v1::Reason::WrongToken,
        RequestError::Unsupported(_) => v1::Reason::Unsupported,
        RequestError::Unauthenticated => v1::Reason::Unauthenticated,
        RequestError::Denied(_) => v1::Reason::Denied,
    }
}

/// The error as a reply on a stream.
pub(crate) fn to_proto(error: &RequestError) -> v1::Error {
    let address = match error {
        RequestError::NotHere { address, .. } | RequestError::Draining { address } => address.clone(),
        _ => String::new(),
    };
    let retry_after_ms = retry_after(error).map_or(0, |after| after.as_millis() as u32);
    v1::Error { reason: reason(error).into(), message: error.to_string(), address, retry_after_ms }
}

/// When to try again what was refused so.
pub(crate) fn retry_after(error: &RequestError) -> Option<Duration> {
    matches!(error, RequestError::Unavailable(_)).then_some(RETRY_AFTER)
}
