//! Which stored format this broker writes. See [`crate::format`].
//!
//! Invariants: nothing later than the oldest format is written before a beat that announced it was acknowledged, and the
//! registrations that were read after that acknowledgement all say that their brokers read it; what is written never falls back,
//! so that whoever cannot read it hears so.

use super::Broker;
use super::api::LogLevel;
use crate::format::{Formats, OLDEST};
use crate::planted::Bug;

/// Registrations that were asked for after an acknowledgement have come with the second answer at the latest: the first
/// may have been on its way.
const ANSWERS: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Writing {
    /// The highest that this broker reads, and ever writes.
    reads: u8,
    /// What is written now.
    pub(super) now: u8,
    /// What the next beat announces.
    wanted: u8,
    /// What the last acknowledged beat announced.
    announced: u8,
    /// Answers since that acknowledgement.
    answers: u8,
}

impl Writing {
    pub(super) fn up_to(reads: u8) -> Self {
        Self { reads, now: OLDEST, wanted: OLDEST, announced: OLDEST, answers: 0 }
    }

    /// What the next beat says.
    pub(super) fn said(&self) -> Formats {
        Formats { reads: self.reads, writes: self.wanted.max(self.now) }
    }

    /// What the broker does now.
    pub(super) fn done(&self) -> Formats {
        Formats { reads: self.reads, writes: self.now }
    }

    /// Nobody else writes there.
    pub(super) fn write_newest(&mut self) {
        (self.now, self.wanted) = (self.reads, self.reads);
    }

    /// A beat was acknowledged that said so. Registrations are read all the time: what follows waits for that.
    pub(super) fn told(&mut self, said: Formats) {
        if said.writes != self.announced {
            (self.announced, self.answers) = (said.writes, 0);
        }
    }

    /// The registrations were read: all that are there read this format. What follows is announced by the next beat.
    fn read_by_all(&mut self, format: u8) {
        self.answers = self.answers.saturating_add(1);
        if self.announced > self.now && self.announced <= format && self.answers >= ANSWERS {
            self.now = self.announced;
        }
        self.wanted = format;
    }
}

impl Broker {
    /// The registrations of others were read.
    pub(super) fn consider_formats(&mut self) {
        let own = self.config.format_max;
        let others = || self.liveness.others.values().filter(|known| !known.pulse.version.is_absent());
        let newest = others().map(|known| known.pulse.standing.formats.writes).max().unwrap_or(OLDEST);
        if newest > own {
            self.outdated(newest);
            return;
        }
        let there = others().filter(|known| known.gone_since.is_none());
        let mut all = there.map(|known| known.pulse.standing.formats.reads).fold(own, u8::min);
        if self.planted.has(Bug::NewFormatAtOnce) {
            (all, self.writing.now) = (own, own);
        }
        let before = self.writing.now;
        self.writing.read_by_all(all.max(OLDEST));
        if self.writing.now > before {
            let text = format!("{}, from now on: every broker reads it", self.writing.now);
            self.log(LogLevel::Info, "stored format", self.config.incarnation.to_string(), text);
        }
    }
}
