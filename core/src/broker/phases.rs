//! The life of one incarnation: it starts, serves, drains, leaves, and is over.
//!
//! Invariants: nothing is vouched for before the registration is acknowledged, nor once the goodbye may have been sent; what is
//! over does nothing any more.

use std::time::Duration;

use super::Broker;
use super::api::{ConnectionId, DoneStatus, Effect, Ending, Event, LogLevel, LostReason, Reply, ReplyTo};
use super::table::Life;
use super::timers::Timer;
use crate::name::ClaimId;

/// Clients get this long to move before a draining broker leaves, unless all are gone earlier.
const MOVE_PATIENCE: Duration = Duration::from_secs(3);

/// Where this incarnation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not registered yet.
    Starting,
    Serving,
    /// Clients were told to move.
    Draining {
        told: u32,
    },
    /// The goodbye is on its way: nothing is vouched for any more.
    Leaving,
    Over,
}

impl Broker {
    pub(super) fn drain(&mut self, from: ReplyTo, timeout: Duration) {
        self.drainers.push(from);
        if !matches!(self.phase, Phase::Serving | Phase::Starting) {
            return;
        }
        let shared = self.config.profile.contract.is_shared();
        self.phase = Phase::Draining { told: self.sessions.len() as u32 };
        self.delete_kept_idle();
        self.log(LogLevel::Info, "broker drains", self.config.incarnation.to_string(), format!("within {timeout:?}"));
        let patience = if shared { timeout.min(MOVE_PATIENCE) } else { timeout };
        self.timers.set(self.now.mono + patience, Timer::Drain);
        let addresses = self.liveness.addresses(self.now.mono);
        // Without another broker on this store there is nowhere to go: holders finish, and nothing new is granted.
        if shared {
            for connection in self.connections.keys().copied().collect::<Vec<_>>() {
                let event = Event::Move { addresses: addresses.clone() };
                self.out.push(Effect::Event { connection, event });
            }
        } else {
            self.refuse_waiters();
        }
    }

    /// A drain on a store of its own: what waits will not be granted.
    fn refuse_waiters(&mut self) {
        let waiting: Vec<ClaimId> = self
            .sessions
            .iter()
            .flat_map(|(id, session)| session.claims.iter().map(move |(number, claim)| (*id, *number, claim)))
            .filter(|(.., claim)| claim.pending.is_some())
            .map(|(session, number, _)| ClaimId { session, number })
            .collect();
        for claim in waiting {
            self.withdraw(claim, None, crate::command::CancelReason::Cancelled);
        }
    }

    /// Leaves as soon as nothing holds it back, or when the time is over.
    pub(super) fn drain_on(&mut self, over: bool) {
        if !matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        let shared = self.config.profile.contract.is_shared();
        let busy = self.shards.iter().any(|shard| !shard.flights.is_empty());
        let held = self.sessions.values().any(|session| !session.claims.is_empty());
        let attached = !self.connections.is_empty();
        let done = if shared { !attached && !busy } else { !held && !busy };
        if !done && !over {
            return;
        }
        if let Phase::Draining { told } = self.phase {
            self.told = told;
        }
        self.phase = Phase::Leaving;
        self.out.push(Effect::Leave);
    }

    /// The registration is `gone`, or the store is away and others will find out by silence.
    pub(super) fn left(&mut self) {
        if self.phase != Phase::Leaving {
            return;
        }
        for to in std::mem::take(&mut self.drainers) {
            let sessions = self.told;
            self.reply(to, Reply::Drained { sessions });
        }
        self.end(Ending::Left);
    }

    /// This incarnation is over.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.phase == Phase::Over {
            return;
        }
        match &ending {
            Ending::Left => self.log(LogLevel::Info, "broker left", self.config.incarnation.to_string(), String::new()),
            Ending::Evicted => {
                self.log(
                    LogLevel::Warn,
                    "broker was evicted",
                    self.config.incarnation.to_string(),
                    "clients move".into(),
                );
            }
            Ending::Outdated { format } => {
                let text = format!(
                    "records are written in format {format}, and this program reads {} at most",
                    self.config.format_max
                );
                self.log(LogLevel::Error, "broker is too old", self.config.incarnation.to_string(), text);
            }
            Ending::Amnesia { text, .. } => {
                let text = text.clone();
                self.log(LogLevel::Error, "the store lost its memory", self.config.incarnation.to_string(), text);
            }
        }
        match ending {
            Ending::Amnesia { .. } => self.lose_all(LostReason::Amnesia),
            Ending::Left | Ending::Evicted | Ending::Outdated { .. } if self.config.profile.contract.is_shared() => {
                self.disconnect_all();
            }
            // Whoever stops a broker that is alone with its store knows what that ends.
            Ending::Left => self.lose_all(LostReason::Forced),
            Ending::Evicted | Ending::Outdated { .. } => self.lose_all(LostReason::Amnesia),
        }
        self.phase = Phase::Over;
        self.out.push(Effect::Over(ending));
    }

    /// Others write what this program cannot read: it leaves the store to them.
    pub(super) fn outdated(&mut self, format: u8) {
        self.end(Ending::Outdated { format });
    }

    /// The store lost its memory: nothing that was granted is honoured.
    pub(super) fn store_forgot(&mut self, text: String) {
        let hold_back = self.longest_belief();
        self.end(Ending::Amnesia { text, hold_back });
    }

    /// Ends everything without the store: its memory, or this broker's registration, is gone. It is counted as that.
    pub(super) fn lose_all(&mut self, counted: LostReason) {
        self.note_all_lost();
        self.count_all_lost(counted);
        let reason = LostReason::Amnesia;
        for session in std::mem::take(&mut self.sessions).into_values() {
            if let Some(connection) = session.connection {
                let event = Event::Lost { reason, claims: Vec::new() };
                self.out.push(Effect::Event { connection, event });
                self.out.push(Effect::Disconnect { connection });
            }
        }
        self.connections.clear();
    }

    /// A session that was lost before is not lost again, and one that its client has closed is not lost.
    fn count_all_lost(&mut self, reason: LostReason) {
        let now = self.now.mono;
        let mut lost = 0;
        for (id, session) in &mut self.sessions {
            match session.life {
                Life::Burying { .. } => {
                    if let Some(before) = session.lost.take() {
                        self.facts.all_lost(before, 1);
                    }
                }
                Life::Closing => {}
                Life::Moving | Life::Vouching | Life::Ending => lost += 1,
            }
            let is_closed = session.life == Life::Closing;
            session.claims.for_each_mut(|number, claim| {
                let lost = claim.is_lost_by(DoneStatus::Lost, is_closed);
                self.facts.dropped_with_all(now, ClaimId { session: *id, number: *number }, claim, lost);
            });
        }
        if lost > 0 {
            self.facts.all_lost(reason, lost);
        }
    }

    /// Ends all streams: clients resume elsewhere, or here with the next incarnation.
    pub(super) fn disconnect_all(&mut self) {
        let addresses = self.liveness.addresses(self.now.mono);
        let connections: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in connections {
            self.out.push(Effect::Event { connection, event: Event::Move { addresses: addresses.clone() } });
            self.out.push(Effect::Disconnect { connection });
            self.disconnected(connection);
        }
    }
}
