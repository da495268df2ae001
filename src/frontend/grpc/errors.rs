//! What went wrong, as gRPC says it: a code for every program, and our own reason for those that know sixpin.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message as _;
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::frontend::api::errors::{too_long, undecodable};

/// The binary metadata that carries a [`v1::Error`].
pub const ERROR_METADATA: &str = "sixpin-error-bin";

/// The reason, machine-readable.
pub(super) fn reason(error: &RequestError) -> v1::Reason {
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
        RequestError::WrongSecret(_) => v1::Reason::WrongSecret,
    }
}

/// The gRPC code for programs that do not know our reasons.
pub(super) fn code(error: &RequestError) -> Code {
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
        RequestError::WrongSecret(_) => Code::PermissionDenied,
    }
}

/// The error as a reply on a stream.
pub(super) fn to_proto(error: &RequestError) -> v1::Error {
    let address = match error {
        RequestError::NotHere { address, .. } | RequestError::Draining { address } => address.clone(),
        _ => String::new(),
    };
    v1::Error { reason: reason(error).into(), message: error.to_string(), address }
}

/// The error as the end of a call.
pub(super) fn status(error: &RequestError) -> Status {
    with_detail(code(error), &to_proto(error))
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

/// A status as the end of an answer that has begun.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}

fn with_detail(code: Code, error: &v1::Error) -> Status {
    let mut status = Status::new(code, error.message.clone());
    let detail = MetadataValue::from_bytes(&Bytes::from(error.encode_to_vec()));
    status.metadata_mut().insert_bin(ERROR_METADATA, detail);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_reason_and_the_address() {
        let error = RequestError::Draining { address: "b:1".into() };
        let status = status(&error);
        assert_eq!(status.code(), Code::Unavailable);
        let bytes = status.metadata().get_bin(ERROR_METADATA).unwrap().to_bytes().unwrap();
        let detail = v1::Error::decode(bytes).unwrap();
        assert_eq!(detail.reason(), v1::Reason::Draining);
        assert_eq!(detail.address, "b:1");
    }
}
