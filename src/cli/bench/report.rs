//! How findings are told.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Args;
use super::memory::Memory;
use super::plan::Plan;
use super::size::Size;
use super::tally::{Spread, Tally, count};
use crate::cli::connect::Address;
use crate::cli::output::Table;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    broker: String,
    spawned: bool,
    processors: usize,
    seconds: u32,
    slice_seconds: f64,
    workloads: Vec<Finding>,
    pub(super) memory: Option<Memory>,
    pub(super) size: Option<Size>,
}

/// What one workload gave.
#[derive(Debug, Serialize)]
struct Finding {
    workload: &'static str,
    client_library: bool,
    sessions: usize,
    in_flight: usize,
    /// Median of the slices.
    pairs_per_second: f64,
    slices: Vec<f64>,
    lock: Option<Spread>,
    unlock: Option<Spread>,
    handover: Option<Spread>,
    /// What processors spent on the broker for a pair; absent unless it was spawned for the measurement.
    server_us_per_pair: Option<f64>,
    floor: Option<Floor>,
}

/// What the same messages gave without locks, or what few sessions gave.
#[derive(Debug, Serialize)]
struct Floor {
    sessions: usize,
    pairs_per_second: f64,
    slices: Vec<f64>,
    lock: Option<Spread>,
    /// Pairs as a part of those of the floor: 1 would be locks that cost nothing. Median of the slices.
    ratio: f64,
    /// Half of the slices lie between these two.
    ratio_quartiles: [f64; 2],
    ratios: Vec<f64>,
}

impl Report {
    pub(super) fn new(args: &Args, broker: &Address) -> Self {
        Self {
            broker: broker.to_string(),
            spawned: args.spawn,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            seconds: args.seconds,
            slice_seconds: args.slice.as_secs_f64(),
            workloads: Vec::new(),
            memory: None,
            size: None,
        }
    }

    /// Adds the slices of one workload. Those of the floor stand beside those of the broker.
    pub(super) fn add(&mut self, plan: &Plan, locks: Vec<Tally>, floors: Vec<Tally>) {
        let rates = |tallies: &[Tally]| tallies.iter().map(Tally::pairs_per_second).collect::<Vec<f64>>();
        let (slices, floor_slices) = (rates(&locks), rates(&floors));
        let floor_sessions = plan.beside().unwrap_or(*plan).sessions;
        let floor = (!floors.is_empty()).then(|| {
            let ratios: Vec<f64> = slices.iter().zip(&floor_slices).map(|(lock, floor)| lock / floor).collect();
            Floor {
                sessions: floor_sessions,
                pairs_per_second: median(&floor_slices),
                lock: Spread::of(floors.iter().flat_map(|tally| &tally.locks)),
                ratio: median(&ratios),
                ratio_quartiles: [quantile(&ratios, 0.25), quantile(&ratios, 0.75)],
                slices: floor_slices,
                ratios,
            }
        });
        self.workloads.push(Finding {
            workload: plan.name(),
            client_library: plan.library,
            sessions: plan.sessions,
            in_flight: plan.in_flight,
            pairs_per_second: median(&slices),
            slices,
            lock: Spread::of(locks.iter().flat_map(|tally| &tally.locks)),
            unlock: Spread::of(locks.iter().flat_map(|tally| &tally.unlocks)),
            handover: Spread::of(locks.iter().flat_map(|tally| &tally.handovers)),
            server_us_per_pair: server_us_per_pair(&locks),
            floor,
        });
    }

    /// The report as text.
    pub(super) fn render(&self) -> String {
        let whose = if self.spawned { "a broker of its own on the memory store" } else { "the broker" };
        let mut out = format!(
            "{whose} at {}, {} processors, {} s per workload in slices of {} s\n",
            self.broker, self.processors, self.seconds, self.slice_seconds
        );
        // Writing to a string does not fail.
        if !self.workloads.is_empty() {
            let _ = write!(out, "\n{}", self.table());
            let _ = write!(out, "\n{EXPLAINED}");
        }
        if let Some(memory) = &self.memory {
            let _ = writeln!(
                out,
                "\nmemory: {} KiB empty, {:.0} bytes per idle session ({}), {:.0} bytes per lock just taken, {:.0} held for a while ({})",
                memory.empty_kib,
                memory.bytes_per_session,
                memory.sessions,
                memory.bytes_per_lock,
                memory.bytes_per_lock_at_rest,
                memory.locks
            );
        }
        if let Some(size) = &self.size {
            out.push('\n');
            for step in &size.steps {
                let pairs = thousands(step.pairs_per_second);
                let (held, part) = (thousands(count(step.held)), step.of_first * 100.0);
                let _ = writeln!(out, "{held} held: {pairs} pairs/s, {part:.0} % of the first");
            }
        }
        out
    }

    fn table(&self) -> String {
        let mut table = Table::new(&[
            "WORKLOAD",
            ">SESSIONS",
            ">IN FLIGHT",
            ">PAIRS/S",
            ">LOCK P50",
            ">P99",
            ">P99.9",
            ">UNLOCK P50",
            ">P99",
            ">HANDOVER P50",
            ">P99",
            ">SERVER/PAIR",
            ">FLOOR PAIRS/S",
            ">LOCK P50",
            ">P99",
            ">OF FLOOR",
        ]);
        for finding in &self.workloads {
            let time = |spread: &Option<Spread>, pick: fn(&Spread) -> f64| {
                spread.as_ref().map(|spread| microseconds(pick(spread))).unwrap_or_default()
            };
            let floor = finding.floor.as_ref();
            table.row([
                if finding.client_library {
                    format!("{} (library)", finding.workload)
                } else {
                    finding.workload.into()
                },
                finding.sessions.to_string(),
                finding.in_flight.to_string(),
                thousands(finding.pairs_per_second),
                time(&finding.lock, |spread| spread.p50),
                time(&finding.lock, |spread| spread.p99),
                time(&finding.lock, |spread| spread.p999),
                time(&finding.unlock, |spread| spread.p50),
                time(&finding.unlock, |spread| spread.p99),
                time(&finding.handover, |spread| spread.p50),
                time(&finding.handover, |spread| spread.p99),
                finding.server_us_per_pair.map(|time| format!("{time:.1}us")).unwrap_or_default(),
                floor.map(|floor| thousands(floor.pairs_per_second)).unwrap_or_default(),
                floor.map(|floor| time(&floor.lock, |spread| spread.p50)).unwrap_or_default(),
                floor.map(|floor| time(&floor.lock, |spread| spread.p99)).unwrap_or_default(),
                floor.map(Floor::told).unwrap_or_default(),
            ]);
        }
        table.render()
    }
}

impl Floor {
    /// `35 % (31-38)`: the median and the quartiles.
    fn told(&self) -> String {
        let [low, high] = self.ratio_quartiles;
        format!("{:.0} % ({:.0}-{:.0})", self.ratio * 100.0, low * 100.0, high * 100.0)
    }
}

/// What the columns say.
const EXPLAINED: &str = "pairs: locks granted and released again
floor: the same messages to a service that only answers; of contended: the same with 10 sessions; of programs and
websocket: the same over gRPC; of http: the same as unary calls of gRPC
server/pair: what processors spent on the broker for a pair, the system's work among it
of floor: median of the slices, each compared with the one beside it (half of them lie within the parentheses)
";

fn server_us_per_pair(tallies: &[Tally]) -> Option<f64> {
    let pairs: usize = tallies.iter().map(|tally| tally.unlocks.len()).sum();
    let spent: Option<Duration> = tallies.iter().map(|tally| tally.server).sum();
    spent.filter(|_| pairs > 0).map(|spent| spent.as_secs_f64() * 1e6 / count(pairs))
}

pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which so large a part of the values lies.
#[expect(clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (count(values.len()) * part) as usize;
    values.get(place).copied().unwrap_or_default()
}

/// `950us`, `1.23ms`, `2.1s`.
fn microseconds(time: f64) -> String {
    match time {
        ..1_000.0 => format!("{time:.0}us"),
        1_000.0..1_000_000.0 => format!("{:.2}ms", time / 1e3),
        _ => format!("{:.1}s", time / 1e6),
    }
}

/// A number with a comma between thousands.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.4, 999.0, 1_000.0, 1_234_567.0].map(thousands).join(" "), "0 999 1,000 1,234,567");
        assert_eq!([0.4, 950.0, 1_234.0, 2_100_000.0].map(microseconds).join(" "), "0us 950us 1.23ms 2.1s");
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((quantile(&[4.0, 3.0, 1.0, 2.0], 0.25) - 2.0).abs() < f64::EPSILON);
    }
}
