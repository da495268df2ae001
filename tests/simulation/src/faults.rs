//! What goes wrong, when.

use sixpin_core::broker::api::{AdminRequest, ConnectionId, Input, ReplyTo};

use crate::plan::{self, Fault, MS, Time};
use crate::world::{Event, World};

/// Brokers that an administrator asks answer to nobody.
const NOBODY: ReplyTo = ReplyTo { connection: ConnectionId(0), request: 0 };

impl World {
    /// One fault, and the next one later.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let duration =
            if self.rng.u32(..10) < 3 { self.rng.u64(900 * MS..3_000 * MS) } else { self.rng.u64(20 * MS..1_000 * MS) };
        let until = self.now + duration;
        let slot = self.rng.usize(..self.plan.brokers);
        let client = self.rng.usize(..self.plan.clients);
        // What callers leave is for them to say.
        let faults = self.plan.faults.without(Fault::PlacesLeft);
        let kinds: Vec<Fault> = faults.each().map(|(fault, _)| fault).collect();
        if !kinds.is_empty() {
            let kind = kinds[self.rng.usize(..kinds.len())];
            self.strike(kind, slot, client, until);
        }
        let pause = self.rng.u64(20 * MS..400 * MS);
        self.after(pause, Event::Fault);
    }

    fn strike(&mut self, kind: Fault, slot: usize, client: usize, until: Time) {
        let duration = until - self.now;
        let runs = self.brokers[slot].machine.is_some();
        match kind {
            Fault::BrokerPauses => self.pause_broker(slot, until, false),
            Fault::BrokerSuspends => {
                // Long enough to be evicted, short enough that nobody is buried yet.
                let ttl = self.plan.broker_ttl.as_micros() as Time;
                let critical = self.now + ttl + self.rng.u64(0..800 * MS);
                let until = if self.rng.bool() { critical } else { until };
                self.pause_broker(slot, until, true);
            }
            Fault::StoreCuts => {
                self.trace(|| format!("FAULT b{slot} cut off from the store for {duration} us"));
                self.brokers[slot].store_cut_until = until;
            }
            Fault::ClientCuts => {
                // Sometimes one broker is all that a client can reach.
                let alone = self.rng.u32(..4) == 0;
                let except = if alone { " all but" } else { "" };
                self.trace(|| format!("FAULT c{client} cut off from{except} b{slot} for {duration} us"));
                for other in (0..self.plan.brokers).filter(|other| (*other == slot) != alone) {
                    self.cuts.insert((client, other), until);
                }
            }
            Fault::StreamBreaks => self.break_stream(client),
            Fault::BrokerKills if runs => {
                self.trace(|| format!("FAULT b{slot} killed for {duration} us"));
                self.check.tally.kills += 1;
                self.broker_stops(slot);
                self.at(until, Event::BrokerStarts { slot });
            }
            Fault::ClientPauses => {
                self.trace(|| format!("FAULT c{client} paused for {duration} us"));
                self.pause_client(client, until);
            }
            Fault::ClientKills => {
                self.trace(|| format!("FAULT c{client} killed for {duration} us"));
                self.client_stops(client);
                self.at(until, Event::ClientStarts { client });
            }
            Fault::Drains if runs => {
                self.trace(|| format!("FAULT b{slot} drains"));
                self.admin(slot, AdminRequest::Drain { timeout: std::time::Duration::from_secs(2) });
            }
            Fault::Outages => {
                self.trace(|| format!("FAULT store away for {duration} us"));
                self.store_away_until = until;
                self.store_away_since = self.now;
            }
            Fault::Administrators => self.administrator(client),
            Fault::Wipes | Fault::LostWrites => {
                // It matters most to those who cannot hear of it, or come just then.
                match self.rng.u32(..4) {
                    0 => self.pause_broker(slot, until, false),
                    1 => self.strike(Fault::StoreCuts, slot, client, until),
                    2 => self.strike(Fault::BrokerKills, slot, client, self.now + duration / 4),
                    _ => {}
                }
                if kind == Fault::Wipes { self.wipe() } else { self.lose_writes() }
            }
            Fault::ChangedLimits => self.change_limits(slot),
            Fault::DeletedRecords => self.delete_record(),
            Fault::DamagedRecords => self.damage_record(),
            // The others happen to single messages.
            _ => {}
        }
    }

    /// A broker goes on with other limits, and so does the one that is started in its place.
    fn change_limits(&mut self, slot: usize) {
        let limits = plan::other_limits(&mut self.rng);
        self.trace(|| format!("FAULT b{slot} has other limits: {limits:?}"));
        self.check.tally.limits_changed += u64::from(self.brokers[slot].machine.is_some());
        self.brokers[slot].limits = Some(limits.clone());
        let incarnation = self.brokers[slot].incarnation;
        let input = Box::new(Input::Limits(limits));
        self.after(0, Event::BrokerInput { slot, incarnation, input });
    }

    fn pause_broker(&mut self, slot: usize, until: Time, suspend: bool) {
        let node = &mut self.brokers[slot];
        let from = node.paused_until.max(self.now);
        if suspend && until > from {
            node.suspended += until - from;
            node.suspended_until = until;
        }
        node.paused_until = node.paused_until.max(until);
        self.trace(|| format!("FAULT b{slot} paused until {until} us, suspend {suspend}"));
    }

    /// A stream of the client ends: each side learns of it when it does.
    fn break_stream(&mut self, client: usize) {
        let Some(stream) = self.newest_stream(client) else { return };
        self.trace(|| format!("FAULT s{stream} of c{client} breaks"));
        let (up, down) = (self.rng.u64(0..600 * MS), self.rng.u64(0..600 * MS));
        self.after(up, Event::UpEnds { stream });
        self.after(down, Event::DownEnds { stream });
    }

    /// An administrator takes a claim away or ends a session, and asks every broker, since one of them vouches.
    fn administrator(&mut self, client: usize) {
        let Some(session) = self.clients[client].session else { return };
        let claims: Vec<(u64, usize)> =
            self.clients[client].held.iter().map(|(claim, held)| (*claim, held.resource)).collect();
        let request = if claims.is_empty() || self.rng.u32(..4) == 0 {
            AdminRequest::ExpireSession { session, now: false, no_wait: true }
        } else {
            let (claim, resource) = claims[self.rng.usize(..claims.len())];
            self.check.let_go(session, claim);
            AdminRequest::ForceUnlock {
                resource: self.plan.resource(resource),
                session,
                claim: Some(sixpin_core::name::ClaimNumber(claim)),
                now: false,
                no_wait: true,
            }
        };
        self.check.forced.insert(session);
        self.check.tally.forced += 1;
        self.trace(|| format!("FAULT administrator at c{client}: {request:?}"));
        for slot in 0..self.plan.brokers {
            self.admin(slot, request.clone());
        }
    }

    pub(crate) fn admin(&mut self, slot: usize, request: AdminRequest) {
        let incarnation = self.brokers[slot].incarnation;
        let input = Box::new(Input::Admin { from: NOBODY, request });
        self.after(0, Event::BrokerInput { slot, incarnation, input });
    }

    /// Everything is well from now on.
    pub(crate) fn heal(&mut self) {
        self.trace(|| "HEAL".into());
        self.healed = true;
        let cuts = self.cuts.values().copied().max().unwrap_or(0);
        let paused = self.clients.iter().map(|client| client.paused_until).max().unwrap_or(0);
        self.well_from = self.now.max(self.store_away_until).max(cuts).max(paused);
        self.store_away_until = self.store_away_until.min(self.now);
        self.cuts.clear();
        if self.plan.faults.has(Fault::DeletedRecords) {
            self.after(100 * MS, Event::DeleteWhenWell);
        }
        for slot in 0..self.brokers.len() {
            // A clock that stood still cannot be given the time back.
            let wakes = self.now.max(self.brokers[slot].suspended_until);
            let node = &self.brokers[slot];
            self.well_from = self.well_from.max(wakes).max(node.paused_until).max(node.store_cut_until);
            self.brokers[slot].paused_until = wakes;
            self.brokers[slot].store_cut_until = 0;
            self.after(MS, Event::BrokerStarts { slot });
        }
        for client in 0..self.clients.len() {
            self.clients[client].paused_until = self.now;
        }
    }
}
