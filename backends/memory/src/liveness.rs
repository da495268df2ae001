//! Registrations, lanes and generations: who may write.

use std::collections::BTreeMap;
use std::time::Duration;

use sixpin_core::backend::{Beat, BrokerInfo, Generation, Guard, Lane, Pulse, Slot, StoreError, WriteOutcome};
use sixpin_core::name::{Incarnation, Version};
use sixpin_core::standing::Standing;

use crate::store::Store;

/// A broker's registration. Once `gone`, it stays so until it is forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    version: Version,
    gone: bool,
    beat: u64,
    broker_ttl: Duration,
    round_trip: Duration,
    standing: Standing,
    info: BrokerInfo,
    // Lanes that never moved are at their first generation and have no entry.
    lanes: BTreeMap<Lane, Generation>,
}

impl Registration {
    fn gone(version: Version) -> Self {
        Self {
            version,
            gone: true,
            beat: 0,
            broker_ttl: Duration::ZERO,
            round_trip: Duration::ZERO,
            standing: Standing::default(),
            info: BrokerInfo::default(),
            lanes: BTreeMap::new(),
        }
    }

    fn bury(&mut self, version: Version) {
        self.version = version;
        self.gone = true;
    }
}

impl Store {
    /// Moves a lane to a generation; a smaller one changes nothing.
    pub fn advance(&mut self, guard: Guard) -> Result<(), StoreError> {
        if !self.checks_generation() {
            return Ok(());
        }
        let registration = self.living(guard.broker).ok_or(StoreError::Evicted)?;
        let generation = registration.lanes.entry(guard.lane).or_insert(guard.generation);
        *generation = guard.generation.max(*generation);
        Ok(())
    }

    /// Registers or renews; answers the registration's version.
    pub fn beat(&mut self, now_10us: u64, beat: Beat) -> Result<Version, StoreError> {
        let registers = beat.number == 0 && beat.expected.is_absent();
        let lanes = match self.registrations.get_mut(&beat.broker) {
            None if registers => BTreeMap::new(),
            None => return Err(StoreError::Evicted),
            Some(stored) if stored.gone => return Err(StoreError::Evicted),
            // A repeat: the first copy arrived, its answer did not.
            Some(stored) if stored.beat == beat.number => return Ok(stored.version),
            Some(_) if registers => return Err(StoreError::Evicted),
            Some(stored) if stored.version < beat.expected => {
                return Err(StoreError::Amnesia("the registration's version fell".into()));
            }
            Some(stored) if stored.version != beat.expected => {
                return Err(StoreError::Unavailable("a later beat is stored".into()));
            }
            Some(stored) => std::mem::take(&mut stored.lanes),
        };
        let version = self.version_after(beat.expected, now_10us);
        let registration = Registration {
            version,
            gone: false,
            beat: beat.number,
            broker_ttl: beat.broker_ttl,
            round_trip: beat.round_trip,
            standing: beat.standing,
            info: beat.info,
            lanes,
        };
        self.registrations.insert(beat.broker, registration);
        Ok(version)
    }

    /// A clean goodbye: the registration is `gone`, whatever its version was.
    pub fn leave(&mut self, now_10us: u64, broker: Incarnation) {
        let Some(seen) = self.living(broker).map(|registration| registration.version) else { return };
        let version = self.version_after(seen, now_10us);
        if let Some(registration) = self.living(broker) {
            registration.bury(version);
        }
    }

    /// Turns a registration that still has the version `seen` into `gone`; one that is absent gets one that is gone, so
    /// that it can never register.
    pub fn evict(&mut self, now_10us: u64, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        if let Err(refusal) = self.admit(guard) {
            return refusal;
        }
        let version = self.version_after(seen, now_10us);
        match self.registrations.get_mut(&target) {
            None if seen.is_absent() => {
                self.registrations.insert(target, Registration::gone(version));
            }
            None => return conflict(Version::ABSENT),
            Some(stored) if stored.version != seen => return conflict(stored.version),
            Some(stored) if stored.gone => return WriteOutcome::Committed(stored.version),
            Some(stored) => stored.bury(version),
        }
        WriteOutcome::Committed(version)
    }

    /// Deletes a registration that is `gone`, at exactly the version `seen`, with its lanes.
    pub fn clear(&mut self, guard: Guard, target: Incarnation, seen: Version) -> WriteOutcome {
        if let Err(refusal) = self.admit(guard) {
            return refusal;
        }
        match self.registrations.get(&target) {
            Some(stored) if stored.gone && stored.version == seen => {
                self.registrations.remove(&target);
                self.dropped(seen);
                WriteOutcome::Committed(Version::ABSENT)
            }
            stored => conflict(stored.map_or(Version::ABSENT, |stored| stored.version)),
        }
    }

    /// All registrations, by incarnation.
    pub fn pulses(&self) -> Vec<Pulse> {
        let pulse = |(&broker, stored): (&Incarnation, &Registration)| Pulse {
            broker,
            version: stored.version,
            gone: stored.gone,
            beat: stored.beat,
            broker_ttl: stored.broker_ttl,
            round_trip: stored.round_trip,
            standing: stored.standing.clone(),
            info: stored.info.clone(),
        };
        self.registrations.iter().map(pulse).collect()
    }

    /// Whether the sender may write at all: it is registered, and its lane has not moved on.
    pub(crate) fn admit(&self, guard: Guard) -> Result<(), WriteOutcome> {
        if !self.checks_registration() && !self.checks_generation() {
            return Ok(());
        }
        let registration = self.registrations.get(&guard.broker);
        let living = registration.filter(|stored| !stored.gone);
        if self.checks_registration() && living.is_none() {
            return Err(WriteOutcome::Evicted);
        }
        let keeps_generations = self.contract().keeps_generations();
        let generations = if keeps_generations { registration } else { living };
        let moved_on = match generations {
            Some(stored) => stored.lanes.get(&guard.lane).is_some_and(|&generation| guard.generation < generation),
            None => keeps_generations,
        };
        if self.checks_generation() && moved_on {
            return Err(WriteOutcome::Stale);
        }
        Ok(())
    }

    fn living(&mut self, broker: Incarnation) -> Option<&mut Registration> {
        self.registrations.get_mut(&broker).filter(|stored| !stored.gone)
    }
}

/// A registration is no record: the conflict tells its version only.
fn conflict(version: Version) -> WriteOutcome {
    WriteOutcome::Conflict(Slot { version, bytes: None })
}
