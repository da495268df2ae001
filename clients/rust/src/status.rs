//! What the end of a gRPC call means.

use std::error::Error as _;

use sixpin_proto::{ERROR_DOMAIN, v1};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::address::address;
use crate::error::{Error, OF_TLS, Refused};

/// What a broker said machine-readably; absent if the way to it failed.
fn own_error(status: &Status) -> Option<v1::Error> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    Some(v1::Error {
        // One that came with a later level: the code of the status has to do.
        reason: v1::Reason::from_str_name(&format!("REASON_{}", info.reason))?.into(),
        message: status.message().to_owned(),
        address: info.metadata.get("address").cloned().unwrap_or_default(),
        retry_after_ms: retry.map_or(0, |after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
    })
}

/// Whether another broker may carry out what one has answered so: it is going, full, or cannot now, or its connection
/// was closed, as a limit does.
pub(crate) fn another_may_do_it(status: &Status) -> bool {
    match own_error(status) {
        Some(error) => matches!(
            error.reason(),
            v1::Reason::Unavailable | v1::Reason::Draining | v1::Reason::Limit | v1::Reason::Unknown
        ),
        // What was met on the way is of that way.
        None if !is_of_a_broker(status) => true,
        None => matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Cancelled
                | Code::Internal
                | Code::Unknown
        ),
    }
}

/// Where the broker is that has to be asked instead, if that is an address to go to.
pub(crate) fn directions(status: &Status) -> Option<String> {
    let error = own_error(status).filter(|error| error.reason() == v1::Reason::NotHere)?;
    address(&error.address).ok()
}

/// Why a call outside sessions was refused.
pub(crate) fn refusal(status: &Status) -> Error {
    let without = |reason| Refused { reason, message: describe(status), address: String::new() };
    match (own_error(status), status.code()) {
        // The session that was asked about, not one of the caller's own.
        (Some(error), _) if error.reason() == v1::Reason::SessionGone => Error::NotFound(Refused::from_proto(error)),
        (Some(error), _) => Error::from_proto(error),
        (None, _) if !is_of_a_broker(status) => Error::Unavailable(without(v1::Reason::Unavailable)),
        (None, Code::Unimplemented) => Error::Unsupported,
        // What stands before a broker says no more than this.
        (None, Code::Unauthenticated) => Error::Denied(without(v1::Reason::Unauthenticated)),
        (None, Code::PermissionDenied) => Error::Denied(without(v1::Reason::Denied)),
        (None, Code::InvalidArgument | Code::OutOfRange) => Error::Invalid(without(v1::Reason::Invalid)),
        (None, Code::NotFound) => Error::NotFound(without(v1::Reason::NotFound)),
        (None, Code::ResourceExhausted) => Error::Limit(without(v1::Reason::Limit)),
        (None, Code::Unavailable | Code::DeadlineExceeded) => Error::Unavailable(without(v1::Reason::Unavailable)),
        (None, _) => Error::Unknown(without(v1::Reason::Unknown)),
    }
}

/// A refusal that is about who asks, as a stream would say it.
pub(crate) fn about_identity(status: &Status) -> Option<v1::Error> {
    match refusal(status) {
        Error::Denied(Refused { reason, message, address }) => {
            Some(v1::Error { reason: reason.into(), message, address, ..v1::Error::default() })
        }
        _ => None,
    }
}

/// Whether somebody at the other end has answered so. What fails on the way has a cause here.
pub(crate) fn is_of_a_broker(status: &Status) -> bool {
    status.source().is_none()
}

/// A status for people: what the broker said, or what went wrong on the way to it.
pub(crate) fn describe(status: &Status) -> String {
    match (status.source(), status.message()) {
        (Some(cause), _) => innermost(cause),
        (None, "") => status.code().description().to_owned(),
        (None, message) => message.to_owned(),
    }
}

/// The cause at the bottom of an error: what a person wants to read.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let reason = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason);
    if reason == Some(h2::Reason::INADEQUATE_SECURITY) {
        return format!("{OF_TLS}the broker at this address speaks nothing else: write https:// in front of it");
    }
    error.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn directions_are_followed_only_to_an_address() {
        let not_here = |address: &str| {
            let metadata = [("address".to_owned(), address.to_owned())];
            let details = ErrorDetails::with_error_info("NOT_HERE", ERROR_DOMAIN, metadata);
            Status::with_error_details(Code::FailedPrecondition, "not here", details)
        };
        assert_eq!(directions(&not_here("north:6617")).as_deref(), Some("north:6617"));
        for nowhere in ["", ":6617", "http://north:6617"] {
            assert_eq!(directions(&not_here(nowhere)), None, "{nowhere}");
            assert!(
                matches!(refusal(&not_here(nowhere)), Error::Unavailable(refused) if refused.message == "not here")
            );
        }
    }
}
