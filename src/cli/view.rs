//! How what a broker tells is shown: to programs as JSON, to people in few words.
//!
//! Fences, tickets and versions are 64-bit numbers beyond 2^53, which many JSON readers round: they are text.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Serialize, Serializer};
use sixpin_proto::v1;

use super::vouchers::Vouchers;

/// A resource and its queues.
#[derive(Debug, Serialize)]
pub struct ResourceView {
    lockspace: String,
    name: String,
    #[serde(serialize_with = "as_text")]
    version: u64,
    claims: Vec<ClaimView>,
    value_block: Option<ValueView>,
    claims_left_out: u32,
    /// Why the stored record cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// One claim.
#[derive(Debug, Serialize)]
pub struct ClaimView {
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    queue: &'static str,
    granted: Option<&'static str>,
    requested: Option<&'static str>,
    session: String,
    claim: u64,
    #[serde(serialize_with = "as_text")]
    fence: u64,
    #[serde(serialize_with = "as_text")]
    ticket: u64,
    grant_seq: u32,
    owner: String,
    label: String,
    age_ms: u64,
    persistent: bool,
    orphan: bool,
    demoted: bool,
    wants_blocking: bool,
    told: Option<&'static str>,
    /// What follows is known where the session's broker was asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_label: Option<String>,
}

/// A value block.
#[derive(Debug, Serialize)]
pub struct ValueView {
    hex: String,
    text: Option<String>,
    seq: u64,
    invalid: bool,
}

impl ResourceView {
    /// As from the state alone, with what is known of the sessions.
    pub fn with(state: v1::ResourceState, vouchers: &Vouchers) -> Self {
        let mut view = Self::from(state);
        for claim in &mut view.claims {
            let Some(voucher) = vouchers.get(&claim.session) else { continue };
            claim.broker = Some(voucher.broker.clone());
            if voucher.silent.is_none() {
                claim.client_address = Some(voucher.session.client_address.clone());
                claim.session_label = Some(voucher.session.label.clone());
            }
        }
        view
    }
}

impl From<v1::ResourceState> for ResourceView {
    fn from(state: v1::ResourceState) -> Self {
        let resource = state.resource.unwrap_or_default();
        Self {
            lockspace: resource.lockspace,
            name: resource.name,
            version: state.version,
            claims: state.claims.into_iter().map(ClaimView::from).collect(),
            value_block: state.value.map(ValueView::from),
            claims_left_out: state.left_out,
            damage: Some(state.damage).filter(|damage| !damage.is_empty()),
        }
    }
}

impl From<v1::ClaimInfo> for ClaimView {
    fn from(claim: v1::ClaimInfo) -> Self {
        Self {
            queue: match claim.queue() {
                v1::Queue::Unspecified => "unknown",
                v1::Queue::Granted => "granted",
                v1::Queue::Converting => "converting",
                v1::Queue::Waiting => "waiting",
            },
            granted: mode(claim.granted()),
            requested: mode(claim.requested()),
            told: mode(claim.told()),
            resource: claim.resource.map(|resource| resource.name),
            session: claim.session,
            claim: claim.claim,
            fence: claim.fence,
            ticket: claim.ticket,
            grant_seq: claim.grant_seq,
            owner: claim.owner,
            label: claim.label,
            age_ms: claim.age_ms,
            persistent: claim.persistent,
            orphan: claim.orphan,
            demoted: claim.demoted,
            wants_blocking: claim.blocking,
            broker: None,
            client_address: None,
            session_label: None,
        }
    }
}

impl From<v1::Value> for ValueView {
    fn from(value: v1::Value) -> Self {
        let bytes = value.bytes.unwrap_or_default();
        Self { hex: hex(&bytes), text: printable(&bytes), seq: value.seq, invalid: value.invalid }
    }
}

/// A state in the words of people: `BACKEND_STATE_SERVING` without its prefix is `serving`.
pub fn state(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase().replace('_', "-")
}

/// The name of a mode; absent if none is held or wanted.
pub fn mode(mode: v1::Mode) -> Option<&'static str> {
    match mode {
        v1::Mode::Unspecified => None,
        v1::Mode::Nl => Some("NL"),
        v1::Mode::Cr => Some("CR"),
        v1::Mode::Cw => Some("CW"),
        v1::Mode::Pr => Some("PR"),
        v1::Mode::Pw => Some("PW"),
        v1::Mode::Ex => Some("EX"),
    }
}

/// The mode of a claim in its queue: `EX`, or `PR>EX` where it converts.
pub fn claim_mode(claim: &v1::ClaimInfo) -> String {
    let (granted, requested) = (mode(claim.granted()), mode(claim.requested()));
    match (claim.queue(), granted, requested) {
        (v1::Queue::Converting, Some(granted), Some(requested)) => format!("{granted}>{requested}"),
        (v1::Queue::Granted, Some(granted), _) => granted.to_owned(),
        (_, _, Some(requested)) => requested.to_owned(),
        (_, granted, None) => granted.unwrap_or("?").to_owned(),
    }
}

/// Who has a claim, in the words that say most to a person.
pub fn who(claim: &v1::ClaimInfo) -> String {
    let session = || format!("session {}", claim.session);
    let mut text = match (claim.label.is_empty(), claim.owner.is_empty()) {
        (true, true) => session(),
        (true, false) => format!("`{}` ({})", claim.owner, session()),
        (false, true) => claim.label.clone(),
        (false, false) => format!("{} for `{}`", claim.label, claim.owner),
    };
    if claim.orphan {
        text.push_str(" (orphan)");
    }
    text
}

/// A name as the last argument of a command that a person may copy into a shell.
pub fn argument(name: &str) -> String {
    let end_of_options = if name.starts_with('-') { "-- " } else { "" };
    format!("{end_of_options}'{}'", name.replace('\'', r"'\''"))
}

/// A time in one or two units: `950ms`, `12s`, `3m05s`, `2h10m`, `4d03h`.
pub fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A time that was waited for or is to be waited for, for people.
pub fn span(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

/// `1 session`, `2 sessions`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The bytes as text without the zeroes they are padded with; absent if they are not text.
pub fn printable(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// A 64-bit number as text.
pub fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let ages = [0, 999, 1_000, 59_999, 60_000, 3_599_000, 3_600_000, 86_400_000, 400_000_000].map(age);
        assert_eq!(ages.join(" "), "0ms 999ms 1s 59s 1m00s 59m59s 1h00m 1d00h 4d15h");
    }

    #[test]
    fn a_name_can_be_copied_into_a_shell() {
        let shown = ["jobs", "-foo", "a b", "it's"].map(argument);
        assert_eq!(shown, ["'jobs'", "-- '-foo'", "'a b'", r"'it'\''s'"]);
    }

    #[test]
    fn a_value_block_is_shown_as_text_where_it_is_text() {
        assert_eq!(printable(b"42\0\0").as_deref(), Some("42"));
        assert_eq!(printable(b"\0\0").as_deref(), Some(""));
        assert_eq!(printable(b"a\nb"), None);
        assert_eq!(printable(&[0xff, 1]), None);
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }

    #[test]
    fn large_numbers_are_text_in_json() {
        let view = ResourceView::from(v1::ResourceState { version: 1 << 60, ..Default::default() });
        let json = serde_json::to_value(view).unwrap();
        assert_eq!(json["version"], "1152921504606846976");
    }
}
