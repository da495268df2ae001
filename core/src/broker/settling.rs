//! Whether somebody may still believe in a lock that the store does not know of.
//!
//! A store may have lost its memory before this broker came to it, or its last writes while it was here. Nothing is
//! granted before the store is *settled*. Invariants:
//!
//! * A broker that starts takes a history of the store for settled when another broker says so, or when it has waited for
//!   the longest that anybody can believe in a lock: a broker vouches for its TTL after its last beat, and its clients
//!   believe for theirs. What others say of another history, or a record that stands there, says nothing.
//! * When another history answers, a broker that had settled the one before waits for all brokers that it knew, until each
//!   has said that nothing of its own is missing, or nobody can believe any more what that one vouched for. What it had
//!   only read may be lost as well: it is forgotten and read again.
//! * A broker on a store that can lose its last writes grants nothing before those that are there know of it: otherwise
//!   nobody would wait for it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::api::{Effect, LogLevel};
use super::timers::Timer;
use super::{Broker, Phase};
use crate::format::Formats;
use crate::limits::with_tolerance;
use crate::name::Incarnation;
use crate::planted::Bug;
use crate::standing::{History, Standing};

/// Brokers named in a beat at most. Whoever is not named waits until it is.
const KNOWN_MAX: usize = 1_000;

/// See the module. Times are monotonic.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// The history that answers.
    history: History,
    /// The history that was settled last.
    settled: Option<History>,
    /// The history in which this broker's own writes were looked for.
    checked: Option<History>,
    /// The history that the backend was told to take commits in.
    trusted: Option<History>,
    /// When the broker came to this history.
    since: Duration,
    /// How long nothing is granted after a start on a new store, if that was said.
    grace: Option<Duration>,
    /// Nobody else is believed before.
    hold_back_until: Duration,
    /// Longest TTL of a session that came from elsewhere.
    ttl_taken: Duration,
    /// When the timer is set.
    looks_at: Duration,
    /// Others were read in this history.
    looked: bool,
    /// Others were read once.
    begun: bool,
    /// Those that were here before know of this broker.
    introduced: bool,
    /// Who may miss something in this history, and until when that matters.
    awaited: BTreeMap<Incarnation, Duration>,
}

impl Settling {
    pub(super) fn at(history: History) -> Self {
        Self { history, trusted: Some(history), ..Self::default() }
    }

    /// A beat was acknowledged that said so.
    pub(super) fn told(&mut self, checked: Option<History>) {
        self.checked = checked;
    }

    /// A session with this TTL came from elsewhere.
    pub(super) fn vouches_for(&mut self, ttl: Duration) {
        self.ttl_taken = self.ttl_taken.max(ttl);
    }

    /// May anything be granted now?
    pub(super) fn may_grant(&self) -> bool {
        self.is_settled() && self.introduced
    }

    /// May the store lose what it acknowledged while its root record stays?
    pub(super) fn loses_writes(&self) -> bool {
        self.history != History::LASTING
    }

    /// May anything at all be written in this history?
    pub(super) fn trusts_store(&self) -> bool {
        self.trusted == Some(self.history)
    }

    /// The longest TTL that a session of this broker may have, where those that were opened here have at most this one.
    pub(super) fn longest_ttl(&self, opened: Duration) -> Duration {
        opened.max(self.ttl_taken)
    }

    /// What the next beat says. `idle`: no write is on its way.
    pub(super) fn standing(
        &self,
        opened: Duration,
        idle: bool,
        formats: Formats,
        known: impl Iterator<Item = Incarnation>,
    ) -> Standing {
        Standing {
            formats,
            session_ttl_max: self.longest_ttl(opened),
            checked: Some(self.history).filter(|_| idle || self.is_checked()),
            settled: self.settled.filter(|_| self.is_settled()),
            known: known.take(KNOWN_MAX).collect(),
        }
    }

    fn is_checked(&self) -> bool {
        self.checked == Some(self.history)
    }

    fn is_settled(&self) -> bool {
        self.settled == Some(self.history)
    }
}

impl Broker {
    /// The broker is registered: it begins to count.
    pub(super) fn begin_settling(&mut self) {
        let now = self.now.mono;
        self.settling.since = now;
        self.settling.hold_back_until = now + self.config.hold_back;
        if !self.config.profile.contract.is_shared() {
            // What a process before this one kept is gone with it, and nobody else can say anything of it.
            self.settling.grace = Some(self.config.first_start_grace.unwrap_or_default());
            self.settling.looked = true;
        }
        self.look_whether_settled();
    }

    /// When nobody believes any more in a lock of another time, whatever anybody says.
    fn disbelief(&self) -> Duration {
        let wait = self.settling.grace.unwrap_or_else(|| self.longest_belief());
        (self.settling.since + wait).max(self.settling.hold_back_until)
    }

    /// The registrations of all others were read.
    pub(super) fn others_read(&mut self) {
        self.settling.looked = true;
        if !std::mem::replace(&mut self.settling.begun, true) {
            let is_new = self.liveness.others.values().all(|known| known.pulse.standing.settled.is_none());
            self.settling.grace = self.config.first_start_grace.filter(|_| is_new);
            let wait = self.disbelief().saturating_sub(self.now.mono);
            if !wait.is_zero() && !self.settled_elsewhere() {
                // What this broker itself saw the store forget no word of the operator can undo.
                let may_be_new = is_new && self.config.hold_back.is_zero();
                let hint = if may_be_new { " (`serve --new-store` where nothing was locked before)" } else { "" };
                let text = format!("nobody knows what it forgot: nothing is granted for {} ms{hint}", wait.as_millis());
                self.log(LogLevel::Warn, "store not settled", self.config.incarnation.to_string(), text);
            }
        }
        self.await_those_known();
        self.look_whether_settled();
    }

    fn settled_elsewhere(&self) -> bool {
        let history = self.settling.history;
        let others = || self.liveness.others.values().map(|known| &known.pulse.standing);
        if self.planted.has(Bug::OldStoreTakenForSettled) && others().count() > 0 {
            return true;
        }
        self.now.mono >= self.settling.hold_back_until && others().any(|standing| standing.settled == Some(history))
    }

    /// Looks whether the store is settled, and goes on if it is.
    pub(super) fn look_whether_settled(&mut self) {
        if matches!(self.phase, Phase::Starting | Phase::Over) {
            return;
        }
        let now = self.now.mono;
        let ready = self.settling.may_grant();
        self.trust_when_checked();
        if !self.settling.is_settled() && self.nobody_believes() {
            self.settling.settled = Some(self.settling.history);
            self.settling.awaited.clear();
            self.beat_soon();
            // Something may have been written there by somebody who did not know of the loss.
            self.sweeps.want();
            self.log(LogLevel::Info, "store settled", self.config.incarnation.to_string(), String::new());
        }
        self.settling.introduced |= self.is_known_to_others();
        if !self.settling.may_grant() {
            self.wait_on(now);
        } else if !ready {
            for shard in &mut self.shards {
                shard.make_all_ready();
            }
        }
    }

    /// What waits, waits on, up to its own limits; and time alone may change something.
    fn wait_on(&mut self, now: Duration) {
        for at in 0..self.shards.len() {
            let waited_on = self.shards[at].entries.ids_of(|entry| !entry.pending.is_empty());
            for id in waited_on.collect::<Vec<_>>() {
                self.refuse_tries(at, &id);
            }
        }
        if self.settling.looks_at <= now {
            let awaited = self.settling.awaited.values().copied();
            let times = awaited.chain([self.disbelief(), self.settling.hold_back_until, now + super::HOUSEKEEPING]);
            let next = times.filter(|time| *time > now).min().unwrap_or(now + super::HOUSEKEEPING);
            self.settling.looks_at = next;
            self.timers.set(next, Timer::Settling);
        }
    }

    fn trust_when_checked(&mut self) {
        let history = self.settling.history;
        if self.settling.is_checked() && self.settling.trusted != Some(history) {
            self.settling.trusted = Some(history);
            self.out.push(Effect::Trust(history));
        }
    }

    fn nobody_believes(&self) -> bool {
        let (now, settling) = (self.now.mono, &self.settling);
        if self.planted.has(Bug::EmptyStartGrants) && settling.settled.is_none() {
            return true;
        }
        if !settling.is_checked() || !settling.looked {
            return false;
        }
        // Only who was here before knows whom to wait for.
        now >= self.disbelief()
            || self.settled_elsewhere()
            || (settling.settled.is_some() && now >= settling.hold_back_until && self.nobody_is_awaited())
    }

    fn nobody_is_awaited(&self) -> bool {
        let (now, history) = (self.now.mono, self.settling.history);
        let is_sure = |broker: &Incarnation| {
            let standing = self.liveness.others.get(broker).map(|known| &known.pulse.standing);
            standing.is_some_and(|standing| standing.checked == Some(history))
        };
        let awaited = |(broker, until): (&Incarnation, &Duration)| now < *until && !is_sure(broker);
        !self.settling.awaited.iter().any(awaited) || self.planted.has(Bug::HistoryNotAskedAbout)
    }

    /// Where nothing that was acknowledged is lost nobody needs to be known. A broker at the same address cannot be alive
    /// any more; those inside programs have none.
    fn is_known_to_others(&self) -> bool {
        if !self.settling.loses_writes() || !self.config.profile.contract.is_shared() {
            return true;
        }
        let (own, address) = (self.config.incarnation, &self.config.info.address);
        let at_the_same = |other: &str| !address.is_empty() && other == address;
        self.settling.looked
            && self.liveness.others.values().all(|known| {
                known.gone_since.is_some()
                    || known.pulse.version.is_absent()
                    || at_the_same(&known.pulse.info.address)
                    || known.pulse.standing.known.contains(&own)
            })
    }

    /// Another history answers.
    pub(super) fn history(&mut self, history: History) {
        if self.settling.history == history {
            return;
        }
        let now = self.now.mono;
        self.settling.history = history;
        // Whoever said that nothing was locked there knew nothing of this.
        self.config.first_start_grace = None;
        if self.phase == Phase::Starting {
            // Nothing was acknowledged yet.
            self.settling.trusted = Some(history);
            self.out.push(Effect::Trust(history));
            return;
        }
        let text = "another process or another history answers: nothing is granted until no broker misses anything";
        self.log(LogLevel::Warn, "history of the store changed", self.config.incarnation.to_string(), text.into());
        for (broker, known) in &self.liveness.others {
            let belief = with_tolerance(known.pulse.standing.session_ttl_max);
            let until = match known.gone_since {
                Some(gone) => gone + belief,
                None => now + with_tolerance(known.pulse.broker_ttl) + belief,
            };
            if until > now {
                let awaited = self.settling.awaited.entry(*broker).or_default();
                *awaited = until.max(*awaited);
            }
        }
        (self.settling.since, self.settling.grace) = (now, None);
        self.settling.looked = !self.config.profile.contract.is_shared();
        self.forget_what_was_read();
        self.beat_soon();
        self.ask_for_pulses();
        self.look_whether_settled();
    }

    /// A broker may be known to others that this one has not met.
    fn await_those_known(&mut self) {
        if self.settling.is_settled() || self.settling.settled.is_none() {
            return;
        }
        let until = self.disbelief();
        let own = self.config.incarnation;
        let known = self.liveness.others.values().flat_map(|known| known.pulse.standing.known.iter().copied());
        for broker in known.filter(|broker| *broker != own).collect::<Vec<_>>() {
            self.settling.awaited.entry(broker).or_insert(until);
        }
    }

    /// Whoever comes waits until it is known.
    pub(super) fn greet_newcomers(&mut self) {
        if self.settling.loses_writes() {
            self.beat_soon();
        }
    }

    /// Says at once what others wait for, if it can be said.
    pub(super) fn say_what_is_checked(&mut self) {
        if !self.settling.is_checked() && self.standing().checked.is_some() {
            self.beat_soon();
        }
    }
}
