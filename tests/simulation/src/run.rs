//! One schedule, many schedules, and the hunt for planted bugs.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::check::Tally;
use crate::plan::{Changes, Fault, Plan};
use crate::planted::Planted;
use crate::world::World;

/// What to run: a seed, perhaps made smaller, perhaps with a rule left out.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// What is taken away from its plan.
    pub changes: Changes,
    /// The rule that is left out.
    pub planted: Option<Planted>,
}

impl Case {
    /// A seed as it is.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// A seed in the schedule that a planted bug is looked for in, with that bug.
    pub fn planted(seed: u64, planted: Planted) -> Self {
        let callers = (!planted.is_about_callers()).then_some(0);
        let about = [
            (Fault::ChangedLimits, planted.is_about_limits()),
            (Fault::PlacesLeft, planted.is_about_places()),
            (Fault::Listeners, planted.is_about_listeners()),
        ];
        let without = about.into_iter().filter(|(_, about)| !about).map(|(fault, _)| fault).collect();
        Self { seed, changes: Changes { without, callers, ..Changes::default() }, planted: Some(planted) }
    }

    /// The same schedule with all rules.
    #[must_use]
    pub fn without_bug(&self) -> Self {
        Self { planted: None, ..self.clone() }
    }

    /// Its plan.
    pub fn plan(&self) -> Plan {
        Plan::of(self.seed).changed(&self.changes)
    }
}

/// A schedule in which something did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The schedule's seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: String,
}

/// A schedule with fewer events than this says little.
pub const SHORT: u64 = 500;

/// What many schedules did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Schedules that ran.
    pub schedules: u64,
    /// Events in them.
    pub events: u64,
    /// Those with less than [`SHORT`] events, which happens where clients end early.
    pub short: u64,
    /// What happened in them.
    pub tally: Tally,
    /// Those in which something did not hold, by seed.
    pub failures: Vec<Failure>,
}

/// Runs one schedule; with its trace if asked.
pub fn one(case: &Case, traced: bool) -> (World, Result<(), String>) {
    let mut world = World::new(case.plan(), case.planted, traced);
    let result = world.run();
    (world, result)
}

/// Runs a range of seeds on some threads. Stops early after `failures_max` failures; every schedule before the last
/// failure has run then. `progress` is told now and then what was done so far.
pub fn many(seeds: Range<u64>, threads: usize, failures_max: usize, progress: impl Fn(&Report) + Sync) -> Report {
    many_like(&Case::default(), &[], seeds, threads, failures_max, progress)
}

/// The same with what a case changes and leaves out, only with those seeds whose schedules have one of these faults.
pub fn many_like(
    like: &Case,
    only: &[Fault],
    seeds: Range<u64>,
    threads: usize,
    failures_max: usize,
    progress: impl Fn(&Report) + Sync,
) -> Report {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let case = Case { seed, ..like.clone() };
                    if !only.is_empty() && !case.plan().faults.each().any(|(fault, _)| only.contains(&fault)) {
                        continue;
                    }
                    let (world, result) = one(&case, false);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.schedules += 1;
                    total.events += world.events;
                    total.short += u64::from(world.events < SHORT);
                    total.tally.add(world.tally());
                    if let Err(violation) = result {
                        total.failures.push(Failure { seed, violation });
                        stop.fetch_or(total.failures.len() >= failures_max, Ordering::Relaxed);
                    }
                    if total.schedules.is_multiple_of(64) {
                        progress(&total);
                    }
                }
            });
        }
    });
    let mut report = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report
}
