//! Who did what: one JSON line for each thing that somebody answerable for a broker may be asked about later.
//!
//! Invariants: nothing waits for a line to be written, and nothing fails for it: what cannot be written is counted, and said in the
//! log once a minute. No line holds a secret.
//!
//! * this file: what a line says; `locks`: what became of locks; `writer`: how it comes into the file.

mod locks;
mod writer;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use sixpin_core::mode::Mode;
use sixpin_core::name::{ClaimNumber, Fence, Lockspace, ResourceId, ResourceName, SessionId};

use crate::metrics::refusals::Refusals;
use writer::{Weight, Writer};

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditConfig {
    /// Where lines go; absent: to the log, with the target `audit`.
    pub file: Option<PathBuf>,
    /// Grants, releases and losses of locks as well.
    pub locks: bool,
}

/// Writes what happens.
#[derive(Debug, Default)]
pub struct Audit {
    broker: String,
    /// Absent: nothing is written.
    to: Option<To>,
    locks: bool,
    pace: Mutex<Pace>,
    refusals: Refusals,
}

/// Refusals of this second. Whoever is refused decides how often, so only some are written; the rest is counted.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

/// Refusals that are written in a second.
const REFUSALS_PER_SECOND_MAX: u32 = 100;

impl Pace {
    /// Whether one more is written, and how many were left out before it.
    fn one_more(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            (self.since, self.written) = (Some(now), 0);
        }
        if self.written >= REFUSALS_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[derive(Debug)]
enum To {
    Log,
    File(Writer),
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("`audit.file`: {}: {error}", file.display())]
pub struct CannotAudit {
    file: PathBuf,
    error: std::io::Error,
}

/// What happened. What does not apply is absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Line {
    time: String,
    broker: String,
    /// Who.
    pub principal: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// What: a verb of a rule, or another one of docs/security.md.
    pub verb: String,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockspace: Option<String>,
    /// On what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whose session is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Which claim of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<u64>,
    /// The fence of a grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<u64>,
    /// The mode held from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// How it came out.
    pub outcome: Outcome,
    /// So many refusals before it were not written, because they came too fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
    /// Why it came out so, if it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How something came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    #[default]
    Done,
    /// It was not allowed.
    Refused,
    /// It could not be done.
    Failed,
}

impl Line {
    /// Somebody did this.
    pub fn new(principal: impl Into<String>, address: Option<SocketAddr>, verb: impl fmt::Display) -> Self {
        let address = address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        Self { principal: principal.into(), address, verb: verb.to_string(), ..Self::default() }
    }

    /// On this resource.
    #[must_use]
    pub fn on(self, resource: &ResourceId) -> Self {
        self.at(Some(&resource.lockspace), Some(&resource.name))
    }

    /// In this lockspace, on the resource of this name, as far as there is one.
    #[must_use]
    pub fn at(mut self, lockspace: Option<&Lockspace>, name: Option<&ResourceName>) -> Self {
        self.lockspace = lockspace.map(ToString::to_string);
        self.resource = name.map(ToString::to_string);
        self
    }

    /// To this session.
    #[must_use]
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session.to_string());
        self
    }

    /// To this claim.
    #[must_use]
    pub fn claim(mut self, claim: Option<ClaimNumber>, fence: Option<Fence>) -> Self {
        self.claim = claim.map(|claim| claim.0);
        self.fence = fence.map(|fence| fence.0);
        self
    }

    /// Which holds this from then on.
    #[must_use]
    pub fn mode(mut self, mode: Option<Mode>) -> Self {
        self.mode = mode.map(|mode| mode.to_string());
        self
    }

    /// And it came out so.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome, reason: impl fmt::Display) -> Self {
        self.outcome = outcome;
        self.reason = Some(reason.to_string());
        self
    }
}

impl Audit {
    /// Opens the file, if there is one. Without a configuration nothing is written.
    pub fn start(config: Option<&AuditConfig>, broker: &str) -> Result<Self, CannotAudit> {
        let Some(config) = config else { return Ok(Self::default()) };
        let to = match &config.file {
            None => To::Log,
            Some(file) => {
                let cannot = |error| CannotAudit { file: file.clone(), error };
                To::File(Writer::open(file).map_err(cannot)?)
            }
        };
        Ok(Self { broker: broker.to_owned(), to: Some(to), locks: config.locks, ..Self::default() })
    }

    /// Grants, releases and losses are written as well.
    pub fn locks(&self) -> bool {
        self.locks && self.to.is_some()
    }

    /// Writes a line, if lines are written.
    pub fn write(&self, line: impl FnOnce() -> Line) {
        self.put(line, Weight::Administration);
    }

    /// Writes a line about a lock. Where lines come too fast for the disk, these are the first that are lost.
    fn write_lock(&self, line: impl FnOnce() -> Line) {
        self.put(line, Weight::Lock);
    }

    /// Counts that something was not allowed, and writes it down.
    pub(crate) fn denied(&self, verb: &str, line: impl FnOnce() -> Line) {
        self.refusals.denied(verb);
        self.write_refusal(line);
    }

    /// Counts that nobody is known by what was shown, and writes it down.
    pub(crate) fn not_authenticated(&self, reason: &'static str, line: impl FnOnce() -> Line) {
        self.refusals.not_authenticated(reason);
        self.write_refusal(line);
    }

    /// How many were refused.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Lines that could not be written.
    pub fn dropped(&self) -> u64 {
        match &self.to {
            Some(To::File(writer)) => writer.lost(),
            Some(To::Log) | None => 0,
        }
    }

    /// Writes that something was refused, or counts it among those that are not written.
    fn write_refusal(&self, line: impl FnOnce() -> Line) {
        if self.to.is_none() {
            return;
        }
        let one_more = self.pace.lock().unwrap_or_else(PoisonError::into_inner).one_more(Instant::now());
        let Some(left_out) = one_more else { return };
        self.put(|| Line { left_out: (left_out > 0).then_some(left_out), ..line() }, Weight::Administration);
    }

    fn put(&self, line: impl FnOnce() -> Line, weight: Weight) {
        let Some(to) = &self.to else { return };
        let line = Line {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            broker: self.broker.clone(),
            ..line()
        };
        // Nothing of a line can fail to be JSON.
        let Ok(text) = serde_json::to_string(&line) else { return };
        match to {
            To::Log => tracing::info!(target: "audit", "{text}"),
            To::File(writer) => writer.write(text, weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_with_what_applies() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let config = AuditConfig { file: Some(file.clone()), locks: false };
        let audit = Audit::start(Some(&config), "north").unwrap();
        let resource =
            ResourceId { lockspace: Lockspace::default(), name: ResourceName::new("a \"quoted\" name").unwrap() };
        audit.write(|| Line::new("token:a", None, "force").on(&resource).outcome(Outcome::Refused, "no rule"));
        drop(audit);
        let text = std::fs::read_to_string(&file).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        for (field, value) in [
            ("broker", "north"),
            ("principal", "token:a"),
            ("verb", "force"),
            ("lockspace", "default"),
            ("resource", "a \"quoted\" name"),
            ("outcome", "refused"),
            ("reason", "no rule"),
        ] {
            assert_eq!(line[field], value, "{text}");
        }
        assert!(line.get("claim").is_none() && line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn refusals_that_come_too_fast_are_counted() {
        let (mut refusals, start) = (Pace::default(), Instant::now());
        let written = (0..1_000).filter(|_| refusals.one_more(start).is_some()).count();
        assert_eq!(written, REFUSALS_PER_SECOND_MAX as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(refusals.one_more(later), Some(900));
        assert_eq!(refusals.one_more(later), Some(0));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let config = AuditConfig { file: Some("/nowhere/audit.jsonl".into()), locks: false };
        let error = Audit::start(Some(&config), "north").unwrap_err().to_string();
        assert!(error.contains("/nowhere/audit.jsonl"), "{error}");
    }
}
