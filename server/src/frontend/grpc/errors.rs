//! What went wrong, as gRPC says it: a code for every program, and our own reason for those that know sixpin. At the end of a
//! call the reason is in the standard details of its status (`google.rpc.ErrorInfo`, `RetryInfo`).

use std::collections::HashMap;

use http::{HeaderValue, Response};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::{ERROR_DOMAIN, v1};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::frontend::api::errors::{too_long, undecodable};
use crate::frontend::messages::errors::{reason, retry_after, to_proto};

/// The gRPC code for programs that do not know our reasons.
pub(in crate::frontend) fn code(error: &RequestError) -> Code {
    match error {
        RequestError::Invalid(_) | RequestError::StaleOperation(_) | RequestError::StaleMove(_) => {
            Code::InvalidArgument
        }
        RequestError::NotFound(_) => Code::NotFound,
        RequestError::Busy(_) | RequestError::NotHere { .. } => Code::FailedPrecondition,
        RequestError::Limit(_) => Code::ResourceExhausted,
        RequestError::SessionGone(_) => Code::Aborted,
        RequestError::Damaged(_) => Code::DataLoss,
        RequestError::Unavailable(_) | RequestError::Draining { .. } => Code::Unavailable,
        RequestError::Unknown(_) => Code::Unknown,
        RequestError::WrongToken(_) => Code::PermissionDenied,
        RequestError::Unsupported(_) => Code::Unimplemented,
        RequestError::Unauthenticated => Code::Unauthenticated,
        RequestError::Denied(_) => Code::PermissionDenied,
    }
}

/// The error as the end of a call.
pub(super) fn status(error: &RequestError) -> Status {
    let said = to_proto(error);
    let mut details = ErrorDetails::new();
    let metadata: HashMap<_, _> =
        [("address".to_owned(), said.address)].into_iter().filter(|(_, is)| !is.is_empty()).collect();
    details.set_error_info(reason_name(reason(error)), ERROR_DOMAIN, metadata);
    if let Some(after) = retry_after(error) {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(code(error), said.message, details)
}

/// As the standard details name it.
fn reason_name(reason: v1::Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("REASON_")
}

/// What tonic itself said about a message that it could not read. Those codes say "our mistake"; the proto files promise
/// others.
pub(super) fn unreadable(status: &Status) -> RequestError {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => too_long(),
        Code::Internal => undecodable(status.message()),
        // The transport broke: nobody is there to hear this.
        _ => RequestError::Unavailable(status.message().into()),
    }
}

/// The same for an answer as a whole, where a message was refused before it came to our services.
pub(super) fn in_our_words(mut response: Response<Body>) -> Response<Body> {
    let refused = Status::from_header_map(response.headers())
        .filter(|status| matches!(status.code(), Code::Internal | Code::OutOfRange));
    if let Some(refused) = refused {
        let headers = response.headers_mut();
        headers.remove(Status::GRPC_MESSAGE);
        if status(&unreadable(&refused)).add_header(headers).is_err() {
            headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("3"));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_status_carries_the_reason_and_the_address() {
        let error = RequestError::Draining { address: "b:1".into() };
        let status = status(&error);
        assert_eq!(status.code(), Code::Unavailable);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("DRAINING", ERROR_DOMAIN));
        assert_eq!(info.metadata.get("address").map(String::as_str), Some("b:1"));
        assert!(status.get_details_retry_info().is_none());
    }

    #[test]
    fn what_passes_says_when_to_try_again() {
        let status = status(&RequestError::Unavailable("not now".into()));
        assert_eq!(status.get_details_retry_info().and_then(|info| info.retry_delay), Some(Duration::from_secs(1)));
    }
}
