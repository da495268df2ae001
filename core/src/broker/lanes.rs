//! Lanes: what the outcomes of a batch mean for the lane that it went through.
//!
//! Several batches of a lane may be in flight, each with keys of its own, so their order means nothing. After an unknown
//! outcome the lane is in doubt: where the store counts generations, nothing is sent until the generation has moved, because a
//! late copy of the batch could strike until then; where it does not, the lane rests, and versions alone protect. After
//! "unavailable" nothing happened, and the lane rests before the next try, longer each time.
//!
//! Moving the generation does not wait for the other batches in flight, which were sent under the one before. Once it has
//! moved, none of them can be written any more if it was not yet. Whichever of them is then answered as unknown brings no new
//! doubt, and one that the store refuses as stale was not written. Until it is answered its records stay in flight, and nobody
//! else sends a write of them.
//!
//! Invariants: a lane that is in doubt or rests goes on by itself: a request to move the generation is under way, or a timer is
//! set. Doubt ends only when the generation has moved: a lane in doubt does not rest instead.

use std::time::Duration;

use super::Broker;
use super::api::{Effect, Ending, LogLevel};
use super::shard::LaneState;
use super::timers::Timer;
use crate::backend::{Generation, Guard, StoreError, WriteOutcome};
use crate::planted::Bug;

/// Pauses after the store was unavailable: from here, doubling, to the maximum.
pub(super) const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Broker {
    /// What the outcomes of a batch that was sent under this generation mean for the lane itself.
    pub(super) fn settle_lane(&mut self, at: usize, sent: Generation, outcomes: &[WriteOutcome]) {
        let Some(failure) = Failure::of(outcomes) else {
            self.shards[at].failures = 0;
            return;
        };
        let counts_generations =
            self.config.profile.contract.checks_generation() && !self.planted.has(Bug::RepeatWithoutGuard);
        let shard = &mut self.shards[at];
        let fenced = counts_generations && sent < shard.generation;
        if fenced && failure == Failure::Stale {
            return;
        }
        // Of batches that were in flight together and all went wrong, the first one says how the store is.
        let first = matches!(shard.state, LaneState::Open);
        shard.failures += u32::from(first);
        let is_doubt = !matches!(failure, Failure::Unavailable(_));
        if is_doubt && counts_generations && !fenced {
            shard.generation = Generation(shard.generation.0 + 1);
            shard.state = LaneState::Doubtful { asked: false };
        } else if first && !fenced {
            let until = self.now.mono + pause_after(shard.failures);
            shard.state = LaneState::Resting(until);
            self.timers.set(until, Timer::Lane(at as u16));
        }
        self.counters.unknowns += u64::from(is_doubt);
        let step = if is_doubt { "outcome of a batch unknown" } else { "store unavailable" };
        let level = if first { LogLevel::Warn } else { LogLevel::Debug };
        self.log(level, step, format!("lane {at}"), failure.text().into());
        self.ask_generation(at);
    }

    /// Moves the generation of a lane in doubt.
    pub(super) fn ask_generation(&mut self, at: usize) {
        let broker = self.config.incarnation;
        let shard = &mut self.shards[at];
        if let LaneState::Doubtful { asked } = &mut shard.state
            && !*asked
        {
            *asked = true;
            let guard = Guard { broker, lane: shard.lane, generation: shard.generation };
            self.out.push(Effect::Advance { guard });
        }
    }

    /// The generation moved, or not yet.
    pub(super) fn advanced(&mut self, guard: Guard, result: Result<(), StoreError>) {
        let at = usize::from(guard.lane.0);
        let now = self.now.mono;
        let Some(shard) = self.shards.get_mut(at) else { return };
        if !matches!(shard.state, LaneState::Doubtful { asked: true }) || shard.generation != guard.generation {
            return;
        }
        match result {
            Ok(()) => {
                shard.state = LaneState::Open;
                shard.make_all_ready();
            }
            Err(StoreError::Evicted) => self.end(Ending::Evicted),
            Err(StoreError::Amnesia(text)) => self.store_forgot(text),
            Err(_) => {
                shard.failures += 1;
                shard.state = LaneState::Doubtful { asked: false };
                let pause = pause_after(shard.failures);
                self.timers.set(now + pause, Timer::Lane(at as u16));
            }
        }
    }

    /// A lane's pause is over.
    pub(super) fn wake_lane(&mut self, at: usize) {
        let now = self.now.mono;
        match self.shards.get(at).map(|shard| &shard.state) {
            Some(LaneState::Doubtful { asked: false }) => self.ask_generation(at),
            Some(LaneState::Resting(until)) if *until <= now => self.shards[at].state = LaneState::Open,
            Some(LaneState::Resting(until)) => self.timers.set(*until, Timer::Lane(at as u16)),
            _ => {}
        }
    }
}

/// What went wrong with a batch, by gravity.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure<'a> {
    /// It was not written.
    Unavailable(&'a str),
    /// It was not written: the generation has moved on.
    Stale,
    /// It may have been written.
    Unknown(&'a str),
}

impl<'a> Failure<'a> {
    /// The gravest of a batch, if one of its writes failed.
    fn of(outcomes: &'a [WriteOutcome]) -> Option<Self> {
        let failure = |outcome: &'a WriteOutcome| match outcome {
            WriteOutcome::Unavailable(text) => Some(Self::Unavailable(text)),
            WriteOutcome::Stale => Some(Self::Stale),
            WriteOutcome::Unknown(text) => Some(Self::Unknown(text)),
            _ => None,
        };
        outcomes.iter().filter_map(failure).max()
    }

    fn text(&self) -> &'a str {
        match self {
            Self::Unknown(text) | Self::Unavailable(text) => text,
            Self::Stale => "the store has a newer generation",
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    (PAUSE_FIRST * 2_u32.pow(failures.min(6).saturating_sub(1))).min(PAUSE_MAX)
}
