//! Every check of a request that needs no state.
//!
//! What depends on the state of a claim or a resource, and which options contradict each other, is the machine's to judge.
//! Each refusal names the field, as the front end calls it.

use std::time::Duration;

use bytes::Bytes;
use sixpin_core::command::Options;
use sixpin_core::limits;
use sixpin_core::name::{ClaimNumber, Label, OperationNumber, SessionId};
use sixpin_core::token::SessionToken;

use super::Checked;
use super::errors::{bad_name, invalid};

/// Entries of a page unless the caller says how many.
const PAGE_DEFAULT: usize = 100;

/// The TTL of a session in milliseconds, if one is asked for.
pub fn session_ttl(ttl_ms: Option<u64>) -> Checked<Option<Duration>> {
    let (min, max) = (limits::SESSION_TTL_MIN, limits::SESSION_TTL_MAX);
    let ttl = ttl_ms.map(Duration::from_millis);
    match ttl {
        Some(ttl) if ttl < min || ttl > max => Err(invalid(format!(
            "`ttl_ms` is {}: a session's TTL is {} to {} milliseconds",
            ttl.as_millis(),
            min.as_millis(),
            max.as_millis()
        ))),
        ttl => Ok(ttl),
    }
}

/// A session's name.
pub fn session_id(field: &str, text: &str) -> Checked<SessionId> {
    text.parse().map_err(|error| bad_name(field, &error))
}

/// Names of sessions, as many as a page has at most.
pub fn sessions(names: &[String]) -> Checked<Vec<SessionId>> {
    if names.len() > limits::PAGE_MAX {
        return Err(invalid(format!("`sessions` has {} entries: at most {}", names.len(), limits::PAGE_MAX)));
    }
    names.iter().map(|name| session_id("sessions", name)).collect()
}

/// A session's token.
pub fn token(text: &str) -> Checked<SessionToken> {
    text.parse().map_err(|error| invalid(format!("`token`: {error}")))
}

/// A label or owner.
pub fn label(field: &str, text: &str) -> Checked<Label> {
    Label::new(text).map_err(|error| bad_name(field, &error))
}

/// A claim's number.
pub fn claim_number(claim: u64) -> Checked<ClaimNumber> {
    number("claim", claim).map(ClaimNumber)
}

/// An operation's number.
pub fn operation_number(operation: u32) -> Checked<OperationNumber> {
    number("operation", u64::from(operation)).map(|_| OperationNumber(operation))
}

/// A number that is counted from 1.
pub fn number(field: &str, number: u64) -> Checked<u64> {
    if number == 0 { Err(invalid(format!("`{field}` is 0: it is counted from 1"))) } else { Ok(number) }
}

/// How long to wait, in milliseconds; absent: for ever.
pub fn wait(field: &str, timeout_ms: Option<u64>) -> Checked<Option<Duration>> {
    let wait = timeout_ms.map(Duration::from_millis);
    if wait.is_some_and(|wait| wait > limits::WAIT_MAX) {
        let max = limits::WAIT_MAX.as_millis();
        return Err(invalid(format!("`{field}` is more than {max}: leave it out to wait for ever")));
    }
    Ok(wait)
}

/// Bytes for a value block; none: it is not written.
pub fn value(bytes: Bytes) -> Checked<Option<Bytes>> {
    let max = limits::VALUE_BLOCK_BYTES_MAX;
    if bytes.len() > max {
        return Err(invalid(format!("`value` has {} bytes: a value block has at most {max}", bytes.len())));
    }
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// The lists of a resume. A session may bring along whatever any broker let it have, so no limit of this one counts.
pub fn resume_lists(claims: usize, void: usize) -> Checked<()> {
    if void > limits::VOID_CLAIMS_MAX {
        return Err(invalid(format!("`void_claims` has more than {} entries", limits::VOID_CLAIMS_MAX)));
    }
    if claims > limits::CLAIMS_PER_SESSION_MAX {
        return Err(invalid(format!("`claims` has more than {} entries", limits::CLAIMS_PER_SESSION_MAX)));
    }
    Ok(())
}

/// How many entries a page has; 0: as many as is usual.
pub fn page_limit(limit: u32) -> Checked<usize> {
    match limit as usize {
        0 => Ok(PAGE_DEFAULT),
        limit if limit <= limits::PAGE_MAX => Ok(limit),
        limit => Err(invalid(format!("`limit` is {limit}: a page has at most {} entries", limits::PAGE_MAX))),
    }
}

/// The beginning of a resource's name.
pub fn prefix(prefix: &str) -> Checked<()> {
    if prefix.len() > limits::RESOURCE_NAME_BYTES_MAX || prefix.chars().any(char::is_control) {
        return Err(invalid("`prefix` is longer than a resource name, or has control characters"));
    }
    Ok(())
}

/// The options whose flag is set.
pub fn options<const N: usize>(flags: [(Options, bool); N]) -> Options {
    flags.into_iter().filter(|(_, on)| *on).fold(Options::empty(), |options, (option, _)| options | option)
}
