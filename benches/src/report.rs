//! Medians, ratios and the table.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;

use crate::load::Tally;
use crate::ways::Name;

/// What all ways did, turn by turn.
#[derive(Debug, Default)]
pub(crate) struct Report {
    ways: BTreeMap<Name, Way>,
}

#[derive(Debug, Default)]
struct Way {
    rates: Vec<f64>,
    /// Rate of the turn, over the rate of the store's own way in the same round.
    ratios: Vec<f64>,
    times: Option<Histogram<u32>>,
}

impl Report {
    /// One round.
    pub(crate) fn add(&mut self, tallies: Vec<(Name, Tally)>) {
        let own = tallies.iter().find(|(name, _)| *name == Name::Own).map_or(f64::NAN, |(_, tally)| tally.rate());
        for (name, tally) in tallies {
            let way = self.ways.entry(name).or_default();
            way.rates.push(tally.rate());
            way.ratios.push(tally.rate() / own);
            match &mut way.times {
                Some(times) => *times += tally.times,
                none => *none = Some(tally.times),
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| way | pairs/s | × own | quartiles | p50 | p99 |\n|---|---|---|---|---|---|")?;
        for (name, way) in &self.ways {
            let [low, middle, high] = quartiles(&way.ratios);
            let [_, rate, _] = quartiles(&way.rates);
            let time = |quantile| way.times.as_ref().map_or(0, |times| times.value_at_quantile(quantile));
            writeln!(
                f,
                "| {name} | {rate:.0} | {middle:.2} | {low:.2} to {high:.2} | {} µs | {} µs |",
                time(0.5),
                time(0.99)
            )?;
        }
        Ok(())
    }
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| sorted.get((sorted.len().saturating_sub(1) * quarter + 2) / 4).copied().unwrap_or(f64::NAN))
}
