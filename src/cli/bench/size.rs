//! What a pair costs while more and more locks are held.

use serde::Serialize;

use super::memory::hold;
use super::plan::{Plan, Workload};
use super::report::median;
use super::tally::Tally;
use super::target::Target;
use super::{Args, slices};
use crate::cli::failure::Failure;

/// The first step, and how much more each step holds than the one before.
const FIRST: usize = 1;
const GROWTH: usize = 10;

/// The sessions that hold locks send nothing after that, and live for a minute.
const LONGEST: u32 = 40;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    pub(super) steps: Vec<Step>,
}

/// Pairs while so many locks were held.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) held: usize,
    /// Median of the slices.
    pub(super) pairs_per_second: f64,
    /// As a part of those of the first step.
    pub(super) of_first: f64,
}

/// Holds more and more locks, and measures `closed` after each step.
pub(super) async fn measure(plan: &Plan, target: &Target, args: &Args) -> Result<Size, Failure> {
    let steps = args.locks.ilog10() + 2;
    if args.seconds * steps > LONGEST {
        let text = format_args!(
            "{steps} steps of {} s take longer than locks are held: at most {LONGEST} s in all",
            args.seconds
        );
        return Err(Failure::usage(text));
    }
    let plan = Plan { workload: Workload::Closed, ..*plan };
    let mut resources = target.resources("size", 1, args.locks as usize, false).remove(0);
    let (mut steps, mut held, mut next): (Vec<Step>, usize, usize) = (Vec::new(), 0, FIRST);
    while !resources.is_empty() {
        let more = (next - held).min(resources.len());
        hold(target, &resources.split_off(resources.len() - more)).await?;
        held += more;
        next = held.saturating_mul(GROWTH);
        let (tallies, _) = slices(args, (plan, target), None).await?;
        let rates: Vec<f64> = tallies.iter().map(Tally::pairs_per_second).collect();
        let pairs_per_second = median(&rates);
        let first = steps.first().map_or(pairs_per_second, |first| first.pairs_per_second);
        steps.push(Step { held, pairs_per_second, of_first: pairs_per_second / first });
    }
    Ok(Size { steps })
}
