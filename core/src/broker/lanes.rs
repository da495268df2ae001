//! Lanes: what the outcomes of a batch mean for the lane that it went through.
//!
//! A lane has at most one batch in flight. After an unknown outcome it is in doubt: where the store counts generations, nothing
//! is sent until the generation has moved, because a late copy of the batch could strike until then; where it does not, the
//! lane rests, and versions alone protect. After "unavailable" nothing happened, and the lane rests before the next try, longer
//! each time.
//!
//! Invariant: a lane that is in doubt or rests goes on by itself: a request to move the generation is under way, or a timer is
//! set.

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
    /// What the outcomes mean for the lane itself.
    pub(super) fn settle_lane(&mut self, at: usize, outcomes: &[WriteOutcome]) {
        let now = self.now.mono;
        let unknown = outcomes.iter().find_map(|outcome| match outcome {
            WriteOutcome::Unknown(text) => Some(text.as_str()),
            WriteOutcome::Stale => Some("the store has a newer generation"),
            _ => None,
        });
        let unavailable = outcomes.iter().find_map(|outcome| match outcome {
            WriteOutcome::Unavailable(text) => Some(text.as_str()),
            _ => None,
        });
        let shard = &mut self.shards[at];
        let Some(text) = unknown.or(unavailable) else {
            shard.failures = 0;
            return;
        };
        shard.failures += 1;
        let counts_generations =
            self.config.profile.contract.checks_generation() && !self.planted.has(Bug::RepeatWithoutGuard);
        if unknown.is_some() && counts_generations {
            shard.generation = Generation(shard.generation.0 + 1);
            shard.state = LaneState::Doubtful { asked: false };
        } else {
            let until = now + pause_after(shard.failures);
            shard.state = LaneState::Resting(until);
            self.timers.set(until, Timer::Lane(at as u16));
        }
        self.counters.unknowns += u64::from(unknown.is_some());
        let step = if unknown.is_some() { "outcome of a batch unknown" } else { "store unavailable" };
        self.log(LogLevel::Warn, step, format!("lane {at}"), text.into());
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
                shard.state = LaneState::Idle;
                for id in shard.entries.ids() {
                    self.shards[at].make_ready(&id);
                }
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
            Some(LaneState::Resting(until)) if *until <= now => self.shards[at].state = LaneState::Idle,
            Some(LaneState::Resting(until)) => self.timers.set(*until, Timer::Lane(at as u16)),
            _ => {}
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    (PAUSE_FIRST * 2_u32.pow(failures.min(6).saturating_sub(1))).min(PAUSE_MAX)
}
