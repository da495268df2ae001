//! Medians, ratios and the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use sixpin_benches::figures::{self, Point};

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
    /// The median time of the turn, over that of the store's own way in the same round.
    medians: Vec<f64>,
    times: Option<Histogram<u32>>,
}

impl Report {
    /// One round.
    pub(crate) fn add(&mut self, tallies: Vec<(Name, Tally)>) {
        let own = tallies.iter().find(|(name, _)| *name == Name::Own);
        let (rate, median) = own.map_or((f64::NAN, f64::NAN), |(_, tally)| (tally.rate(), median(tally)));
        for (name, tally) in tallies {
            let way = self.ways.entry(name).or_default();
            way.rates.push(tally.rate());
            way.ratios.push(tally.rate() / rate);
            way.medians.push(self::median(&tally) / median);
            match &mut way.times {
                Some(times) => *times += tally.times,
                none => *none = Some(tally.times),
            }
        }
    }

    /// What all ways did under this load: their rates beside that of the store's own way.
    pub(crate) fn rates(&self, load: u16) -> Point {
        self.point(load, |way| &way.ratios)
    }

    /// The same, with the median times beside those of the store's own way.
    pub(crate) fn times(&self, load: u16) -> Point {
        self.point(load, |way| &way.medians)
    }

    fn point(&self, load: u16, of_own: impl Fn(&Way) -> &[f64]) -> Point {
        let told = |(name, way): (&Name, &Way)| figures::Way {
            way: name.to_string(),
            per_second: quartiles(&way.rates),
            of_own: quartiles(of_own(way)),
            p50_us: way.time(0.5),
            p99_us: way.time(0.99),
        };
        Point { load, ways: self.ways.iter().map(told).collect() }
    }

    /// How many pairs each way did.
    pub(crate) fn pairs(&self) -> String {
        let mut table = "| way | pairs/s | × own | quartiles | p50 | p99 |\n|---|---|---|---|---|---|\n".to_owned();
        for (name, way) in &self.ways {
            let [low, middle, high] = quartiles(&way.ratios);
            let [_, rate, _] = quartiles(&way.rates);
            let (p50, p99) = (way.time(0.5), way.time(0.99));
            let _ =
                writeln!(table, "| {name} | {rate:.0} | {middle:.2} | {low:.2} to {high:.2} | {p50} µs | {p99} µs |");
        }
        table
    }

    /// How long it took each way to hand a lock over.
    pub(crate) fn hand_overs(&self) -> String {
        let mut table =
            "| way | p50 | p99 | p50, × own | quartiles | hand-overs/s |\n|---|---|---|---|---|---|\n".to_owned();
        for (name, way) in &self.ways {
            let [low, middle, high] = quartiles(&way.medians);
            let [_, rate, _] = quartiles(&way.rates);
            let (p50, p99) = (way.time(0.5), way.time(0.99));
            let _ =
                writeln!(table, "| {name} | {p50} µs | {p99} µs | {middle:.3} | {low:.3} to {high:.3} | {rate:.0} |");
        }
        table
    }
}

impl Way {
    /// In microseconds, over all turns.
    fn time(&self, quantile: f64) -> u64 {
        self.times.as_ref().map_or(0, |times| times.value_at_quantile(quantile))
    }
}

/// In microseconds.
fn median(tally: &Tally) -> f64 {
    tally.times.value_at_quantile(0.5) as f64
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let value = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    [1, 2, 3].map(|quarter| {
        // Between the two values that are nearest.
        let (below, part) = (last * quarter / 4, (last * quarter % 4) as f64 / 4.0);
        let low = value(below);
        if part > 0.0 { low + (value(below + 1) - low) * part } else { low }
    })
}
