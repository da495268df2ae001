//! What a person sees who waits for a lock: for whom.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use nix::unistd::{Pid, tcgetpgrp};
use sixpin_core::name::ResourceName;
use sixpin_proto::v1;

use super::words::Order;
use crate::cli::connect::{Address, Brokers, Space};
use crate::cli::failure::note;
use crate::cli::{show, view};

/// Waits shorter than this are not worth a word.
const SILENT_FOR: Duration = Duration::from_millis(300);
/// How often a terminal is brought up to date.
const UPDATE_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the display may take.
const CLEAR_WITHIN: Duration = Duration::from_millis(100);
/// Holders that are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// Shows that the lock is waited for, until it is dropped. It never ends by itself.
pub(super) async fn show_waiting(order: &Order, session: &str, resource: &ResourceName, space: &Space) {
    let addresses: Vec<Address> = order.endpoints.iter().filter_map(|address| address.parse().ok()).collect();
    let brokers = Brokers::among(addresses);
    tokio::time::sleep(SILENT_FOR).await;
    let mut line = Line::new(Pid::from_raw(order.front_group));
    loop {
        // Reads are hints, and this is only for people: what can not be read now is shown a second later.
        if let Ok(state) = show::state(&brokers, space, resource).await {
            line.draw(describe(&state, order, session));
        }
        if !line.is_terminal {
            return std::future::pending().await;
        }
        tokio::time::sleep(UPDATE_EVERY).await;
    }
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
///
/// A thread writes it, because a terminal that stands still (Ctrl-S) must not hold up keepalives.
struct Line {
    is_terminal: bool,
    /// Absent once it was closed.
    writer: Option<SyncSender<String>>,
    written: Receiver<()>,
    front: Pid,
}

impl Line {
    fn new(front: Pid) -> Self {
        let (writer, lines) = sync_channel::<String>(1);
        let (done, written) = sync_channel(1);
        std::thread::spawn(move || {
            for line in lines {
                // Nobody can be told that standard error is gone.
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }
            let _ = done.send(());
        });
        Self { is_terminal: std::io::stderr().is_terminal(), writer: Some(writer), written, front }
    }

    fn draw(&mut self, text: String) {
        if !self.is_terminal {
            note(text);
        } else if tcgetpgrp(std::io::stderr()) == Ok(self.front) {
            let width = usize::from(rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col));
            let shown: String = format!("sixpin: {text}").chars().take(width.saturating_sub(1)).collect();
            self.write(format!("\r\x1b[2K{shown}"));
        }
    }

    fn write(&self, text: String) {
        // A terminal that stands still will be drawn again.
        let _ = self.writer.as_ref().map(|writer| writer.try_send(text));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_terminal && tcgetpgrp(std::io::stderr()) == Ok(self.front) {
            self.write("\r\x1b[2K".to_owned());
        }
        self.writer = None;
        // What is written next must come after it, unless the terminal stands still.
        let _ = self.written.recv_timeout(CLEAR_WITHIN);
    }
}

#[cfg(test)]
mod tests {
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
        let order = Order {
            endpoints: vec![],
            lockspace: "default".into(),
            resource: "deploy".into(),
            mode: "EX".into(),
            patience: None,
            ttl: Duration::from_secs(10),
            kill_after: Duration::from_secs(2),
            label: String::new(),
            owner: String::new(),
            front_group: 1,
        };
        assert_eq!(
            describe(&state, &order, "me"),
            "waiting for EX on `deploy`, held by a@web1:1 (PR for 12s), 1 ahead in the queue"
        );
    }
}
