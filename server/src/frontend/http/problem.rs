//! What went wrong, as `application/problem+json` (RFC 9457): a status for every program, and our own reason for those that know
//! sixpin.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use sixpin_core::broker::api::RequestError;
use sixpin_proto::v1;

use super::json::write;
use crate::frontend::grpc::errors::code;
use crate::frontend::messages::errors::{reason, to_proto};

/// How long who asks too much may wait before it asks again.
const PAUSE_SECONDS: u32 = 1;

/// Something that is no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// A request was refused.
    Error(RequestError),
    /// An operation ended otherwise than it was asked to, which is nobody's mistake.
    No(Box<v1::Completion>),
    /// A body has more bytes than this.
    TooLong(usize),
    /// A page of another site asks.
    OtherSite,
    /// Who shows no credential calls the broker so.
    OtherName(String),
    /// No route has the path.
    NoRoute,
    /// Routes have the path, with these methods only.
    OtherMethods(String),
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::Error(error)
    }
}

impl Problem {
    /// A body of at most so many bytes that did not come.
    pub(super) fn unread(error: &(dyn std::error::Error + Send + Sync + 'static), bytes_max: usize) -> Self {
        if error.is::<http_body_util::LengthLimitError>() {
            Self::TooLong(bytes_max)
        } else {
            Self::Error(RequestError::Invalid(format!("the body did not come whole, so nothing changed: {error}")))
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::No(_) => StatusCode::CONFLICT,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OtherSite | Self::OtherName(_) => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::OtherMethods(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Error(error) => match error {
                RequestError::Invalid(_)
                | RequestError::StaleOperation(_)
                | RequestError::StaleMove(_)
                | RequestError::Unsupported(_) => StatusCode::BAD_REQUEST,
                RequestError::Unauthenticated => StatusCode::UNAUTHORIZED,
                RequestError::WrongToken(_) | RequestError::Denied(_) => StatusCode::FORBIDDEN,
                RequestError::NotFound(_) => StatusCode::NOT_FOUND,
                RequestError::Busy(_) | RequestError::Damaged(_) => StatusCode::CONFLICT,
                RequestError::SessionGone(_) => StatusCode::GONE,
                RequestError::NotHere { .. } => StatusCode::MISDIRECTED_REQUEST,
                RequestError::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
                RequestError::Unavailable(_) | RequestError::Draining { .. } | RequestError::Unknown(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            },
        }
    }

    /// Its status, and what it says.
    pub(super) fn into_parts(self) -> (StatusCode, Map<String, Value>) {
        (self.status(), self.body())
    }

    /// What it says.
    pub(super) fn body(self) -> Map<String, Value> {
        let status = self.status();
        let (title, detail, more) = match self {
            Self::Error(error) => {
                let said = to_proto(&error);
                let reason = reason(&error).as_str_name().trim_start_matches("REASON_");
                let mut more = json!({
                    "reason": reason,
                    "code": format!("{:?}", code(&error)),
                    "mayHaveHappened": matches!(error, RequestError::Unknown(_)),
                });
                if !said.address.is_empty() {
                    more["address"] = said.address.into();
                }
                let pause =
                    if status == StatusCode::TOO_MANY_REQUESTS { PAUSE_SECONDS * 1_000 } else { said.retry_after_ms };
                if pause > 0 {
                    more["retryAfterMs"] = pause.into();
                }
                (title(status), said.message, more)
            }
            Self::No(completion) => {
                let reason = completion.status().as_str_name().trim_start_matches("STATUS_");
                let detail = no(completion.status());
                let more = json!({ "reason": reason, "mayHaveHappened": false, "completion": write(&*completion) });
                ("Not granted", detail.to_owned(), more)
            }
            Self::TooLong(bytes_max) => {
                let detail = format!("a body has at most {bytes_max} bytes here; nothing changed");
                (title(status), detail, json!({ "reason": "LIMIT", "mayHaveHappened": false }))
            }
            Self::OtherName(name) => {
                let detail = format!(
                    "without a credential this broker is not called `{name}`: use its address or localhost, or list the name under `http.hosts`"
                );
                (title(status), detail, json!({ "reason": "DENIED", "mayHaveHappened": false }))
            }
            Self::OtherSite => {
                let detail = "pages of other sites may not ask here; nothing changed".to_owned();
                (title(status), detail, json!({ "reason": "DENIED", "mayHaveHappened": false }))
            }
            Self::NoRoute => {
                let detail =
                    "there is no such path: /openapi.json lists all; a `/` in a name is written %2F".to_owned();
                (title(status), detail, json!({ "reason": "NOT_FOUND", "mayHaveHappened": false }))
            }
            Self::OtherMethods(methods) => {
                let detail = format!("this path has {methods} only");
                (title(status), detail, json!({ "reason": "INVALID", "mayHaveHappened": false }))
            }
        };
        let mut body = Map::new();
        body.insert("title".into(), title.into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), detail.into());
        if let Value::Object(more) = more {
            body.extend(more);
        }
        body
    }
}

/// As RFC 9110 calls it.
fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Problem")
}

fn no(status: v1::Status) -> &'static str {
    match status {
        v1::Status::WouldWait => "the lock is held by others, and the request does not wait",
        v1::Status::TimedOut => "the lock was not free in time",
        v1::Status::Deadlock => "the conversion would wait for one that waits for it; the claim keeps its mode",
        v1::Status::Cancelled => "the request was cancelled",
        _ => "the claim is over: nothing is held under its number",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let allow = match &self {
            Self::OtherMethods(methods) => Some(methods.clone()),
            _ => None,
        };
        let body = self.body();
        let pause = body.get("retryAfterMs").and_then(Value::as_u64);
        let mut response = Response::new(Body::from(Value::from(body).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(pause) = pause {
            headers.insert(RETRY_AFTER, HeaderValue::from(pause.div_ceil(1_000)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(Ok(allow)) = allow.map(HeaderValue::try_from) {
            headers.insert(http::header::ALLOW, allow);
        }
        response
    }
}
