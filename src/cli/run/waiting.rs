//! What a person sees who waits for a lock: for whom. And that nobody waits for himself.

use std::io::IsTerminal as _;
use std::time::Duration;

use nix::unistd::{Pid, tcgetpgrp};
use sixpin_client::{Client, Inspection, Mode};
use sixpin_core::name::ResourceName;
use sixpin_proto::v1;

use super::command;
use super::messages::Order;
use super::voice::Voice;
use crate::cli::connect::Space;
use crate::cli::{show, view};

/// Waits shorter than this are not worth a word.
const SILENT_FOR: Duration = Duration::from_millis(300);
/// How often a terminal is brought up to date.
const UPDATE_EVERY: Duration = Duration::from_secs(1);
/// Columns of a terminal that does not say how many it has.
const WIDTH_UNKNOWN: usize = 80;
/// Why nobody is granted anything.
const SETTLING: &str = ": nobody has it, but the broker grants nothing yet, in case its store forgot locks";
/// Holders that are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// Shows that the lock is waited for, until it is dropped. It ends by itself only if the wait never would: what is waited
/// for is held by a `run` around this one.
pub(super) async fn show_waiting(
    order: &Order,
    voice: &Voice,
    client: &Client,
    session: &str,
    resource: &ResourceName,
    space: &Space,
) {
    let around = std::env::var(command::SESSIONS).unwrap_or_default();
    let inspection = client.inspection();
    tokio::time::sleep(SILENT_FOR).await;
    let line = Line::new(voice, Pid::from_raw(order.front_group));
    loop {
        // Reads are hints: what can not be read now is shown a second later.
        if let Ok(state) = show::state(&inspection, space, resource).await {
            if waits_for(&around, &state, session) {
                return;
            }
            let why = if state.claims.is_empty() && settles(&inspection).await { SETTLING } else { "" };
            line.draw(describe(&state, order, session) + why);
            let queued = state.claims.iter().any(|claim| claim.session == session);
            if !line.is_terminal && (queued || around.is_empty()) {
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(UPDATE_EVERY).await;
    }
}

/// Whether a broker that gave no answer in time grants nothing yet, whoever asks. It has a moment to say so.
pub(super) async fn broker_settles(inspection: &Inspection) -> bool {
    tokio::time::timeout(SILENT_FOR, settles(inspection)).await.unwrap_or(false)
}

/// Whether the broker grants nothing yet, whoever asks.
async fn settles(inspection: &Inspection) -> bool {
    let status = inspection.get_status().await;
    status.is_ok_and(|status| status.backends.iter().any(|backend| backend.state() == v1::BackendState::Settling))
}

/// Whether a claim that waits can only be granted after one of `around`, the sessions that end after it: because they
/// exclude each other, or because somebody ahead of it waits for that one.
fn waits_for(around: &str, state: &v1::ResourceState, session: &str) -> bool {
    let mode = |mode: v1::Mode| Mode::from_proto(mode.into());
    let queued = || state.claims.iter().filter(|claim| claim.queue() != v1::Queue::Granted);
    if !queued().any(|claim| claim.session == session) {
        return false;
    }
    let ahead = queued().take_while(|claim| claim.session != session);
    let own = queued().filter(|claim| claim.session == session);
    let wanted: Vec<Mode> = ahead.chain(own).filter_map(|claim| mode(claim.requested())).collect();
    let held = state.claims.iter().filter(|claim| around.split(' ').any(|outer| outer == claim.session));
    held.filter_map(|claim| mode(claim.granted())).any(|held| wanted.iter().any(|wanted| !held.compatible(*wanted)))
}

/// For whom a session waits, in one line.
fn describe(state: &v1::ResourceState, order: &Order, session: &str) -> String {
    let what = format!("waiting for {} on `{}`", order.mode, order.resource);
    let holders: Vec<&v1::ClaimInfo> = state.claims.iter().filter(|claim| claim.granted != 0).collect();
    let queued = state.claims.iter().filter(|claim| claim.queue() != v1::Queue::Granted);
    let ahead = queued.take_while(|claim| claim.session != session).count();
    let mut parts: Vec<String> = holders.iter().take(NAMED_MAX).map(|claim| held(claim)).collect();
    if holders.len() > NAMED_MAX {
        parts.push(format!("{} more", holders.len() - NAMED_MAX));
    }
    let held = if parts.is_empty() { String::new() } else { format!(", held by {}", parts.join(", ")) };
    let ahead = if ahead == 0 { String::new() } else { format!(", {ahead} ahead in the queue") };
    format!("{what}{held}{ahead}")
}

fn held(claim: &v1::ClaimInfo) -> String {
    let mode = view::mode(claim.granted()).unwrap_or("?");
    format!("{} ({mode} for {})", view::who(claim), view::age(claim.age_ms))
}

/// One line of standard error: on a terminal it is drawn again and again, elsewhere written once.
struct Line<'a> {
    voice: &'a Voice,
    is_terminal: bool,
    front: Pid,
}

impl<'a> Line<'a> {
    fn new(voice: &'a Voice, front: Pid) -> Self {
        Self { voice, is_terminal: std::io::stderr().is_terminal() && !voice.is_quiet(), front }
    }

    fn draw(&self, text: String) {
        if !self.is_terminal {
            self.voice.note(text);
        } else if tcgetpgrp(std::io::stderr()) == Ok(self.front) {
            let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
            let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH_UNKNOWN);
            let shown: String = format!("sixpin: {text}").chars().take(width.saturating_sub(1)).collect();
            self.voice.write(format!("\r\x1b[2K{shown}"));
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.is_terminal && tcgetpgrp(std::io::stderr()) == Ok(self.front) {
            self.voice.write("\r\x1b[2K".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use v1::Mode::{Ex, Pr};
    use v1::Queue::{Granted, Waiting};

    use super::*;

    #[test]
    fn a_waiter_sees_holders_and_its_place() {
        let claim = |session: &str, queue: v1::Queue, granted: v1::Mode| {
            let (session, label) = (session.to_owned(), format!("{session}@web1:1"));
            let mut claim = v1::ClaimInfo { session, label, age_ms: 12_000, ..Default::default() };
            claim.set_queue(queue);
            claim.set_granted(granted);
            claim
        };
        let state = v1::ResourceState {
            claims: vec![
                claim("a", v1::Queue::Granted, v1::Mode::Pr),
                claim("b", v1::Queue::Waiting, v1::Mode::Unspecified),
                claim("me", v1::Queue::Waiting, v1::Mode::Unspecified),
            ],
            ..Default::default()
        };
        let order = Order { resource: "deploy".into(), mode: "EX".into(), ..Order::default() };
        assert_eq!(
            describe(&state, &order, "me"),
            "waiting for EX on `deploy`, held by a@web1:1 (PR for 12s), 1 ahead in the queue"
        );
    }

    #[test]
    fn a_wait_for_a_session_around_is_found() {
        let claim = |session: &str, queue: v1::Queue, mode: v1::Mode| {
            let mut claim = v1::ClaimInfo { session: session.to_owned(), ..Default::default() };
            claim.set_queue(queue);
            match queue {
                Granted => claim.set_granted(mode),
                _ => claim.set_requested(mode),
            }
            claim
        };
        let found = |around: &str, claims: &[(&str, v1::Queue, v1::Mode)]| {
            let claims = claims.iter().map(|(session, queue, mode)| claim(session, *queue, *mode)).collect();
            waits_for(around, &v1::ResourceState { claims, ..Default::default() }, "me")
        };
        assert!(found("b a", &[("a", Granted, Ex), ("me", Waiting, Ex)]));
        assert!(!found("b", &[("a", Granted, Ex), ("me", Waiting, Ex)]), "by somebody else");
        assert!(!found("", &[("a", Granted, Ex), ("me", Waiting, Ex)]));
        assert!(!found("a", &[("a", Granted, Ex)]), "not queued yet");
        assert!(!found("a", &[("a", Granted, Pr), ("c", Granted, Ex), ("me", Waiting, Pr)]), "they go together");
        assert!(found("a", &[("a", Granted, Pr), ("c", Waiting, Ex), ("me", Waiting, Pr)]), "one ahead waits for it");
        assert!(!found("a", &[("a", Granted, Pr), ("me", Waiting, Pr), ("c", Waiting, Ex)]), "that one comes later");
    }
}
