//! Which brokers live: own beats, and what is seen of others.
//!
//! Invariants (rules 2 to 4 of the liveness rules): nobody's clock is compared with anybody else's; a broker vouches only
//! while the first copy of its last acknowledged beat was sent less than its TTL ago, on a clock that goes on during
//! suspend; an observer that was itself cut off starts every count again; a broker is evicted only by a compare-and-swap
//! on exactly the version whose silence was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::{Effect, Ending, LogLevel};
use super::timers::Timer;
use super::{Broker, Phase};
use crate::backend::{Beat, BrokerInfo, Pulse, Slot, StoreError, WriteOutcome};
use crate::limits::with_tolerance;
use crate::name::{Incarnation, Version};
use crate::planted::Bug;
use crate::standing::Standing;

/// A beat that failed is repeated after this.
const RETRY: Duration = Duration::from_millis(100);

/// A beat on its way.
#[derive(Debug, Clone)]
struct Sent {
    number: u64,
    /// What it says of the store's memory. A repeat says the same.
    standing: Standing,
    /// When its first copy was sent, on the clock that goes on during suspend.
    first_copy: Duration,
    /// When the newest copy was sent, monotonic.
    newest_copy: Duration,
    /// No answer yet to the newest copy.
    under_way: bool,
}

/// What was seen of another broker.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) pulse: Pulse,
    /// When this beat was first seen, monotonic; or when counting began again.
    pub(super) since: Duration,
    /// When it was first seen `gone`, monotonic.
    pub(super) gone_since: Option<Duration>,
    evicting: bool,
}

impl Observed {
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= with_tolerance(self.pulse.broker_ttl)
    }
}

/// Own registration, and the others.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// The version of the own registration.
    registration: Version,
    number: u64,
    sent: Option<Sent>,
    next_beat: Duration,
    /// When the timer comes that counts; others were replaced by it.
    looks_at: Duration,
    /// When the first copy of the last acknowledged beat was sent, on the clock that goes on during suspend.
    pub(super) acknowledged: Option<Duration>,
    /// The newest round trip to the store.
    round_trip: Duration,
    pulses_asked: bool,
    pub(super) others: BTreeMap<Incarnation, Observed>,
}

impl Liveness {
    fn alive(&self, now: Duration) -> impl Iterator<Item = &Observed> {
        self.others.values().filter(move |known| known.gone_since.is_none() && !known.is_silent(now))
    }

    pub(super) fn others_alive(&self, now: Duration) -> bool {
        self.alive(now).next().is_some()
    }

    /// Where clients may go instead.
    pub(super) fn addresses(&self, now: Duration) -> Vec<String> {
        let addresses = self.alive(now).map(|known| known.pulse.info.address.clone());
        addresses.filter(|address| !address.is_empty()).collect()
    }

    /// Where a broker is reached, as far as this one knows.
    pub(super) fn address_of(&self, broker: Incarnation) -> String {
        self.others.get(&broker).map(|known| known.pulse.info.address.clone()).unwrap_or_default()
    }

    /// The longest round trip to the store, of this broker and of all others.
    pub(super) fn longest_round_trip(&self) -> Duration {
        let others = self.others.values().map(|known| known.pulse.round_trip);
        others.chain([self.round_trip]).max().unwrap_or_default()
    }

    /// A claim names a broker whose registration nobody has: it is evicted at its absence, so that it stays absent. It is
    /// counted like any other silence, because a read that missed it may have been old.
    pub(super) fn count_unseen(&mut self, broker: Incarnation, broker_ttl: Duration, now: Duration) {
        let pulse = Pulse {
            broker,
            version: Version::ABSENT,
            gone: false,
            beat: 0,
            broker_ttl,
            round_trip: Duration::ZERO,
            standing: Standing::default(),
            info: BrokerInfo::default(),
        };
        self.others.entry(broker).or_insert(Observed { pulse, since: now, gone_since: None, evicting: false });
    }
}

impl Broker {
    /// The silence of others counts from now.
    fn count_others_again(&mut self) {
        let now = self.now.mono;
        for known in self.liveness.others.values_mut().filter(|known| known.gone_since.is_none()) {
            known.since = now;
        }
    }

    fn beat_interval(&self) -> Duration {
        self.config.broker_ttl / 3
    }

    /// Beats, looks at the others, and sets the next time to do so.
    pub(super) fn liveness_timer(&mut self) {
        if matches!(self.phase, Phase::Leaving | Phase::Over) || self.now.mono < self.liveness.looks_at {
            return;
        }
        if self.registration_is_old() {
            return self.register_anew();
        }
        self.beat();
        if self.config.profile.contract.is_shared() && self.phase != Phase::Starting {
            self.observe();
            self.ask_for_pulses();
        }
        let pause = self.beat_interval() / 4;
        self.look_in(pause.max(RETRY / 2));
    }

    /// Sets the one timer of liveness, unless it comes before that anyway.
    fn look_in(&mut self, pause: Duration) {
        let (now, at) = (self.now.mono, self.now.mono + pause);
        if self.liveness.looks_at <= now || at < self.liveness.looks_at {
            self.liveness.looks_at = at;
            self.timers.set(at, Timer::Liveness);
        }
    }

    pub(super) fn ask_for_pulses(&mut self) {
        if self.config.profile.contract.is_shared() && !std::mem::replace(&mut self.liveness.pulses_asked, true) {
            self.out.push(Effect::Pulses);
        }
    }

    /// Others wait for what the next beat says.
    pub(super) fn beat_soon(&mut self) {
        if matches!(self.phase, Phase::Serving | Phase::Draining { .. }) {
            self.liveness.next_beat = self.now.mono;
            self.beat();
        }
    }

    /// What was read of others may be lost in another history: it is read again.
    pub(super) fn forget_what_was_read(&mut self) {
        let own_ttl = self.config.broker_ttl;
        for known in self.liveness.others.values_mut() {
            // One that was gone before it registered said nothing of its TTL, and may have registered there after all.
            let broker_ttl = if known.pulse.broker_ttl.is_zero() { own_ttl } else { known.pulse.broker_ttl };
            let pulse = Pulse { version: Version::ABSENT, gone: false, broker_ttl, ..known.pulse.clone() };
            *known = Observed { pulse, since: self.now.mono, gone_since: None, evicting: false };
        }
        for shard in &mut self.shards {
            shard.forget_versions();
        }
        self.strangers.forget_what_was_read();
        self.sweeps.begin_again();
    }

    /// Was this broker's registration in doubt for so long that others may have seen it, declared it dead and forgotten
    /// it? Another copy would then bring back a broker whose end they remember, so it must not be taken for one.
    fn registration_is_old(&self) -> bool {
        let first = self
            .liveness
            .sent
            .as_ref()
            .filter(|_| self.phase == Phase::Starting && self.config.profile.contract.is_shared());
        first.is_some_and(|sent| self.beat_clock().saturating_sub(sent.first_copy) >= self.config.broker_ttl)
    }

    fn register_anew(&mut self) {
        let text = "its registration was in doubt for too long: starting under another name";
        self.log(LogLevel::Warn, "broker not registered", self.config.incarnation.to_string(), text.into());
        self.end(Ending::Evicted);
    }

    fn beat(&mut self) {
        let (now, beat_clock) = (self.now, self.beat_clock());
        let sent = match &self.liveness.sent {
            Some(sent) if sent.under_way => return,
            // The same beat again: only its first copy counts.
            Some(sent) if sent.newest_copy + RETRY > now.mono => return,
            Some(sent) => Sent { newest_copy: now.mono, under_way: true, ..sent.clone() },
            None if now.mono < self.liveness.next_beat => return,
            None => Sent {
                number: self.liveness.number,
                standing: self.standing(),
                first_copy: beat_clock,
                newest_copy: now.mono,
                under_way: true,
            },
        };
        self.liveness.sent = Some(sent.clone());
        self.liveness.next_beat = now.mono + self.beat_interval();
        self.out.push(Effect::Beat(Box::new(Beat {
            broker: self.config.incarnation,
            expected: self.liveness.registration,
            number: sent.number,
            broker_ttl: self.config.broker_ttl,
            round_trip: self.liveness.round_trip,
            standing: sent.standing,
            info: self.config.info.clone(),
        })));
    }

    /// The answer to a beat. True if the store took it.
    pub(super) fn beaten(&mut self, number: u64, result: Result<Version, StoreError>) -> bool {
        let now = self.now;
        let Some(sent) = self.liveness.sent.clone().filter(|sent| sent.number == number) else { return false };
        match result {
            Ok(_) if self.registration_is_old() => self.register_anew(),
            Ok(version) => {
                // Time may have passed since the last look, and after this answer nobody would see that it was cut off.
                if self.was_cut_off() {
                    self.count_others_again();
                }
                let liveness = &mut self.liveness;
                liveness.sent = None;
                liveness.number += 1;
                liveness.registration = version;
                liveness.acknowledged = Some(sent.first_copy);
                liveness.round_trip = now.mono.saturating_sub(sent.newest_copy);
                self.settling.told(sent.standing.checked);
                self.writing.told(sent.standing.formats);
                return true;
            }
            Err(StoreError::Evicted) => self.end(Ending::Evicted),
            Err(StoreError::Amnesia(text)) => self.store_forgot(text),
            Err(error) => {
                self.liveness.sent = Some(Sent { under_way: false, ..sent });
                self.look_in(RETRY);
                self.log(LogLevel::Warn, "beat failed", self.config.incarnation.to_string(), error.to_string());
            }
        }
        false
    }

    /// What the store shows of others. A read may be old: only what is newer than known counts. How many were not known
    /// before; absent if nothing was read.
    pub(super) fn pulses(&mut self, result: Result<Vec<Pulse>, StoreError>) -> Option<usize> {
        self.liveness.pulses_asked = false;
        let pulses = match result {
            Ok(pulses) => pulses,
            Err(error) => {
                self.pulses_missed(error);
                return None;
            }
        };
        let own = self.config.incarnation;
        let before = self.liveness.others.len();
        for pulse in pulses.into_iter().filter(|pulse| pulse.broker != own) {
            self.pulse(pulse);
        }
        Some(self.liveness.others.len() - before)
    }

    fn pulses_missed(&mut self, error: StoreError) {
        match error {
            StoreError::Evicted => self.end(Ending::Evicted),
            StoreError::Amnesia(text) => self.store_forgot(text),
            _ => {}
        }
    }

    fn pulse(&mut self, pulse: Pulse) {
        let now = self.now.mono;
        let gone = pulse.gone;
        let broker = pulse.broker;
        match self.liveness.others.get_mut(&broker) {
            Some(known) if pulse.version <= known.pulse.version => {}
            Some(known) => {
                known.pulse = Pulse { info: if gone { known.pulse.info.clone() } else { pulse.info.clone() }, ..pulse };
                known.since = now;
            }
            None => {
                let observed = Observed { pulse, since: now, gone_since: None, evicting: false };
                self.liveness.others.insert(broker, observed);
            }
        }
        if gone {
            self.note_gone(broker);
        }
    }

    fn note_gone(&mut self, broker: Incarnation) {
        let now = self.now.mono;
        let Some(known) = self.liveness.others.get_mut(&broker) else { return };
        known.evicting = false;
        if known.gone_since.is_none() {
            known.gone_since = Some(now);
            known.pulse.gone = true;
            self.sweeps.want();
            // The marks of its sessions are read at once: a session's time counts from when its mark was seen too.
            self.timers.set(now, Timer::Strangers);
            self.log(LogLevel::Info, "broker gone", broker.to_string(), String::new());
        }
    }

    /// Evicts brokers that were silent for their TTL (rule 2), unless this one was cut off itself (rule 3).
    fn observe(&mut self) {
        let now = self.now.mono;
        if self.was_cut_off() {
            return self.count_others_again();
        }
        let silent: Vec<(Incarnation, Version)> = self
            .liveness
            .others
            .iter_mut()
            .filter(|(_, known)| known.gone_since.is_none() && !known.evicting && known.is_silent(now))
            .map(|(broker, known)| {
                known.evicting = true;
                (*broker, known.pulse.version)
            })
            .collect();
        for (target, seen) in silent {
            self.log(LogLevel::Warn, "broker silent", target.to_string(), "evicting it".into());
            if self.planted.has(Bug::EvictionByRead) {
                self.note_gone(target);
                continue;
            }
            self.out.push(Effect::Evict { guard: self.control_guard(), target, seen });
        }
    }

    pub(super) fn evict_done(&mut self, target: Incarnation, outcome: &WriteOutcome) {
        match outcome {
            WriteOutcome::Committed(version) => {
                if let Some(known) = self.liveness.others.get_mut(&target) {
                    known.pulse.version = known.pulse.version.max(*version);
                }
                self.note_gone(target);
            }
            WriteOutcome::Evicted => self.end(Ending::Evicted),
            _ => {
                // It beat after all, or the outcome is open: the next pulses say it. An absent registration that turned
                // up is counted from when it is seen.
                let Some(known) = self.liveness.others.get_mut(&target) else { return };
                known.evicting = false;
                if known.pulse.version.is_absent() {
                    self.liveness.others.remove(&target);
                } else if let WriteOutcome::Conflict(Slot { version, bytes: None }) = outcome {
                    // It was forgotten, and known again from an old read: counted like one that was never seen.
                    (known.pulse.version, known.since) = (*version, self.now.mono);
                }
            }
        }
    }

    pub(super) fn clear_done(&mut self, target: Incarnation, outcome: &WriteOutcome) {
        match outcome {
            WriteOutcome::Committed(_) | WriteOutcome::Conflict(_) => {
                self.liveness.others.remove(&target);
                self.sweeps.registration_cleared(target);
                // A late copy of a write of its last moments may have come after the sweep that found nothing.
                self.sweeps.want();
                self.log(LogLevel::Info, "registration cleared", target.to_string(), String::new());
            }
            WriteOutcome::Evicted => self.end(Ending::Evicted),
            _ => self.sweeps.registration_kept(target),
        }
    }
}
