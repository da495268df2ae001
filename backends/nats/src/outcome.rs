//! What an answer to a publish means. Every answer is exactly one [`Answer`].

use async_nats::{Message, RequestErrorKind};
use serde::Deserialize;

/// An error as JetStream words it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ApiError {
    /// What kind: unlike the HTTP-like code, this is exact.
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

/// Error codes of JetStream that mean something here.
pub(crate) mod code {
    pub(crate) const NOT_AVAILABLE: u64 = 10008;
    pub(crate) const NO_MESSAGE: u64 = 10037;
    pub(crate) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub(crate) const TOO_LARGE: u64 = 10054;
    pub(crate) const STREAM_EXISTS: u64 = 10058;
    pub(crate) const NO_STREAM: u64 = 10059;
    pub(crate) const OTHER_STREAM: u64 = 10060;
    pub(crate) const WRONG_SEQUENCE: u64 = 10071;
    pub(crate) const NOT_ENABLED: u64 = 10076;
    pub(crate) const NOT_CAUGHT_UP: u64 = 10163;
    pub(crate) const WRITE_IN_FLIGHT: u64 = 10164;
    pub(crate) const BAD_TTL: u64 = 10165;
    pub(crate) const NO_TTL: u64 = 10166;
    pub(crate) const TOO_MANY_REQUESTS: u64 = 10167;
}

/// How a publish ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Stored at this sequence.
    Stored(u64),
    /// Not stored: the subject stands at another sequence, if the server said which.
    Conflict(Option<u64>),
    /// Not stored, for another reason.
    Refused(String),
    /// The server answered, and does not know. Nothing of the request is under way to it.
    Doubtful(String),
    /// Nobody answered: the request may be under way, or still in the queue of the connection, which is of no more use.
    Missing(String),
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

/// Reads the answer to a publish into `stream`.
pub(crate) fn read(stream: &str, reply: Result<Message, async_nats::RequestError>) -> Answer {
    match reply {
        Ok(message) => acknowledged(stream, &message.payload),
        Err(error) => match error.kind() {
            // Both are found before anything is sent.
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Answer::Refused(error.to_string())
            }
            // A server that is cut off from the others says so for as long as it is, while these agree on a leader: the
            // connection is given up, and the next one is to a server that knows the leader.
            RequestErrorKind::NoResponders => Answer::Missing("no server leads the stream".into()),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Answer::Missing(error.to_string()),
        },
    }
}

fn acknowledged(stream: &str, payload: &[u8]) -> Answer {
    let ack: Ack = match serde_json::from_slice(payload) {
        Ok(ack) => ack,
        Err(error) => return Answer::Doubtful(format!("the acknowledgement cannot be understood: {error}")),
    };
    match ack.error {
        Some(error) => refused(&error),
        None if ack.stream != stream => Answer::Doubtful(format!("the stream `{}` acknowledged", ack.stream)),
        None if ack.seq == 0 => Answer::Doubtful("the acknowledgement names no sequence".into()),
        // Nothing is sent with an id by which the server could take it for a repeat.
        None if ack.duplicate => Answer::Doubtful("the server took the write for a repeat".into()),
        None => Answer::Stored(ack.seq),
    }
}

fn refused(error: &ApiError) -> Answer {
    match error.err_code {
        // The text is "wrong last sequence: 17".
        code::WRONG_SEQUENCE => {
            Answer::Conflict(error.description.rsplit_once(' ').and_then(|(_, number)| number.parse().ok()))
        }
        code::WRITE_IN_FLIGHT => Answer::Conflict(None),
        code::NOT_CAUGHT_UP
        | code::TOO_MANY_REQUESTS
        | code::TOO_LARGE
        | code::OTHER_STREAM
        | code::BAD_TTL
        | code::NO_TTL => Answer::Refused(error.to_string()),
        // Whatever else it says, a failed write of a store among them, it does not say that nothing was stored.
        _ => Answer::Doubtful(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_knows_no_leader_is_left() {
        let nobody = async_nats::RequestError::new(RequestErrorKind::NoResponders);
        assert!(matches!(read("s", Err(nobody)), Answer::Missing(_)));
    }

    #[test]
    fn every_answer_is_one_thing() {
        let error = |code: u64, text: &str| {
            format!(
                r#"{{"type":"x","error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"s","seq":0}}"#
            )
        };
        let is = |payload: &str| acknowledged("s", payload.as_bytes());
        assert_eq!(is(r#"{"stream":"s","seq":7}"#), Answer::Stored(7));
        assert_eq!(is(r#"{"stream":"s","domain":"d","seq":7}"#), Answer::Stored(7));
        assert_eq!(is(&error(10071, "wrong last sequence: 17")), Answer::Conflict(Some(17)));
        assert_eq!(is(&error(10071, "wrong last sequence")), Answer::Conflict(None));
        assert_eq!(is(&error(10164, "wrong last sequence")), Answer::Conflict(None));
        for refused in [10163, 10167, 10054, 10060, 10165, 10166] {
            assert!(matches!(is(&error(refused, "no")), Answer::Refused(_)), "{refused}");
        }
        for doubtful in [10077, 10023, 10008, 10047, 10070, 1, 99_999] {
            assert!(matches!(is(&error(doubtful, "hm")), Answer::Doubtful(_)), "{doubtful}");
        }
        for odd in [
            "",
            "+OK",
            "{}",
            r#"{"stream":"t","seq":7}"#,
            r#"{"stream":"s","seq":7,"duplicate":true}"#,
            r#"{"stream":"s","seq":-1}"#,
        ] {
            assert!(matches!(is(odd), Answer::Doubtful(_)), "{odd}");
        }
    }
}
