//! One seed, many seeds.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::check::Tally;
use crate::plan::Plan;
use crate::world::World;

/// A schedule in which something did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The schedule's seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: String,
}

/// What many schedules did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Schedules that ran.
    pub schedules: u64,
    /// Events in them.
    pub events: u64,
    /// What happened in them.
    pub tally: Tally,
    /// Those in which something did not hold, by seed.
    pub failures: Vec<Failure>,
    /// The shortest schedule, in events.
    pub shortest: u64,
}

/// Runs one seed; with its trace if asked.
pub fn one(seed: u64, traced: bool) -> (World, Result<(), String>) {
    let mut world = World::new(Plan::of(seed), traced);
    let result = world.run();
    (world, result)
}

/// Runs a range of seeds on all cores. Stops early after `failures_max` failures.
pub fn many(seeds: Range<u64>, failures_max: usize) -> Report {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Report { shortest: u64::MAX, ..Report::default() });
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (world, result) = one(seed, false);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.schedules += 1;
                    total.events += world.events;
                    total.shortest = total.shortest.min(world.events);
                    total.tally.add(world.tally());
                    if let Err(violation) = result {
                        total.failures.push(Failure { seed, violation });
                        stop.fetch_or(total.failures.len() >= failures_max, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut report = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report
}
