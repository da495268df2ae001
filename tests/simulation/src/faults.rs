//! What goes wrong, when.

use sixpin_core::broker::api::{AdminRequest, ConnectionId, Input, ReplyTo};

use crate::plan::{MS, Time};
use crate::world::{Event, World};

/// Brokers that an administrator drains answer to nobody.
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
        let faults = self.plan.faults;
        match self.rng.u32(..12) {
            0 | 1 if faults.broker_pauses => self.pause_broker(slot, until, false),
            2 if faults.broker_suspends => self.pause_broker(slot, until, true),
            3 | 4 if faults.store_cuts => {
                self.trace(|| format!("FAULT b{slot} cut off from the store for {duration} us"));
                self.brokers[slot].store_cut_until = until;
            }
            5 | 6 if faults.client_cuts => {
                self.trace(|| format!("FAULT c{client} cut off from b{slot} for {duration} us"));
                self.cuts.insert((client, slot), until);
            }
            7 if faults.broker_kills && self.brokers[slot].machine.is_some() => {
                self.trace(|| format!("FAULT b{slot} killed for {duration} us"));
                self.check.tally.kills += 1;
                self.broker_stops(slot);
                self.at(until, Event::BrokerStarts { slot });
            }
            8 if faults.client_pauses => {
                self.trace(|| format!("FAULT c{client} paused for {duration} us"));
                self.clients[client].paused_until = until;
            }
            9 if faults.client_kills => {
                self.trace(|| format!("FAULT c{client} killed for {duration} us"));
                self.client_stops(client);
                self.at(until, Event::ClientStarts { client });
            }
            10 if faults.drains && self.brokers[slot].machine.is_some() => self.drain(slot),
            11 if faults.outages => {
                self.trace(|| format!("FAULT store away for {duration} us"));
                self.store_away_until = until;
            }
            _ => {}
        }
        let pause = self.rng.u64(20 * MS..500 * MS);
        self.after(pause, Event::Fault);
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

    fn drain(&mut self, slot: usize) {
        self.trace(|| format!("FAULT b{slot} drains"));
        let incarnation = self.brokers[slot].incarnation;
        let request = AdminRequest::Drain { timeout: std::time::Duration::from_secs(2) };
        let input = Box::new(Input::Admin { from: NOBODY, request });
        self.after(0, Event::BrokerInput { slot, incarnation, input });
    }

    /// Everything is well from now on.
    pub(crate) fn heal(&mut self) {
        self.trace(|| "HEAL".into());
        self.healed = true;
        self.store_away_until = 0;
        self.cuts.clear();
        for slot in 0..self.brokers.len() {
            // A clock that stood still cannot be given the time back.
            self.brokers[slot].paused_until = self.now.max(self.brokers[slot].suspended_until);
            self.brokers[slot].store_cut_until = 0;
            self.after(MS, Event::BrokerStarts { slot });
        }
        for client in 0..self.clients.len() {
            self.clients[client].paused_until = self.now;
        }
    }
}
