//! Whether this broker may vouch and write now, and what it says of itself.
//!
//! Invariants (rule 4 of the liveness rules): a broker vouches only while the first copy of its last acknowledged beat was sent
//! less than its TTL ago, on a clock that goes on during suspend; it writes only in a history that it has looked at.

use std::time::Duration;

use super::api::RequestError;
use super::phases::Phase;
use super::{Broker, CONTROL_GENERATION};
use crate::backend::{Guard, Lane};
use crate::limits::with_tolerance;
use crate::name::SessionId;
use crate::planted::Bug;
use crate::standing::Standing;

impl Broker {
    /// May this broker vouch (rule 4)?
    pub(super) fn is_valid(&self) -> bool {
        let acknowledged = self.liveness.acknowledged;
        acknowledged.is_some_and(|sent| self.beat_clock().saturating_sub(sent) < self.config.broker_ttl)
            || self.planted.has(Bug::SilentBrokerVouches)
    }

    /// The clock on which a beat ages: one that goes on during suspend.
    pub(super) fn beat_clock(&self) -> Duration {
        if self.planted.has(Bug::BeatAgedWithoutSuspend) { self.now.mono } else { self.now.boot }
    }

    /// Was this broker cut off itself, so that what it counted of others means nothing (rule 3)?
    pub(super) fn was_cut_off(&self) -> bool {
        let acknowledged = self.liveness.acknowledged;
        acknowledged.is_none_or(|sent| self.beat_clock().saturating_sub(sent) > self.config.broker_ttl / 2)
            && !self.planted.has(Bug::ObserverGoesOnCounting)
    }

    /// May anything be written now?
    pub(super) fn may_send(&self) -> bool {
        if matches!(self.phase, Phase::Starting | Phase::Over) || !self.settling.trusts_store() {
            return false;
        }
        self.config.profile.contract.checks_registration() || self.is_valid()
    }

    /// A broker may only vouch while its own life is proven.
    pub(super) fn check_may_vouch(&self) -> Result<(), RequestError> {
        match self.phase {
            Phase::Draining { .. } | Phase::Leaving => Err(self.draining()),
            Phase::Starting | Phase::Over => {
                Err(RequestError::Unavailable("the broker is not ready: try again".into()))
            }
            Phase::Serving if self.is_valid() => Ok(()),
            Phase::Serving => Err(RequestError::Unavailable(
                "the broker cannot reach its store and vouches for nobody: try another".into(),
            )),
        }
    }

    /// The same for what is here already: a drain goes on answering for that until the broker leaves, so that nobody is lost on the way.
    pub(super) fn check_still_vouches(&self) -> Result<(), RequestError> {
        if self.is_valid() && !matches!(self.phase, Phase::Leaving | Phase::Over) {
            return Ok(());
        }
        self.check_may_vouch().and(Err(self.draining()))
    }

    pub(super) fn draining(&self) -> RequestError {
        RequestError::Draining {
            address: self.liveness.addresses(self.now.mono).into_iter().next().unwrap_or_default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// For how long somebody may believe in a lock: its broker vouches as long as its last beat counts, and the client
    /// believes what it heard last.
    pub(super) fn longest_belief(&self) -> Duration {
        let others = || self.liveness.others.values().map(|known| &known.pulse);
        if self.planted.has(Bug::GraceOfOwnSessions) {
            return with_tolerance(self.sessions.keys().map(SessionId::ttl).max().unwrap_or_default());
        }
        let own = self.settling.longest_ttl(self.config.session_ttl_max);
        let ttl = others().map(|pulse| pulse.standing.session_ttl_max).fold(own, Duration::max);
        let broker_ttl = others().map(|pulse| pulse.broker_ttl).fold(self.config.broker_ttl, Duration::max);
        with_tolerance(broker_ttl) + with_tolerance(ttl)
    }

    pub(super) fn control_guard(&self) -> Guard {
        Guard { broker: self.config.incarnation, lane: Lane(self.config.lanes), generation: CONTROL_GENERATION }
    }

    /// What the next beat says.
    pub(super) fn standing(&self) -> Standing {
        // A write on its way may still be acknowledged as one of the history before.
        let idle = self.shards.iter().all(|shard| shard.flights.is_empty());
        let known = self.liveness.others.iter().filter(|(_, known)| known.gone_since.is_none());
        self.settling.standing(self.config.session_ttl_max, idle, self.writing.said(), known.map(|(broker, _)| *broker))
    }
}
