//! Runs schedules: `simulate 0..2000`, or one seed with its trace: `simulate --trace 42`.

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use sixpin_simulation::run;

/// Simulates brokers, clients and a store under faults, and checks that what locks promise holds
#[derive(Parser)]
struct Args {
    /// Seeds to run, `from..to`
    #[arg(default_value = "0..2000", value_parser = parse_range)]
    seeds: Range<u64>,
    /// Print the trace of one seed instead
    #[arg(long, value_name = "SEED")]
    trace: Option<u64>,
    /// Only the last lines of the trace; 0 for all
    #[arg(long, default_value_t = 0)]
    last: usize,
    /// Stop after this many violations
    #[arg(long, default_value_t = 10)]
    failures: usize,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range looks like 0..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    let result = match args.trace {
        Some(seed) => trace(&mut out, seed, args.last),
        None => simulate(&mut out, args.seeds, args.failures),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn trace(out: &mut impl std::io::Write, seed: u64, last: usize) -> std::io::Result<bool> {
    let (world, result) = run::one(seed, true);
    let lines = world.lines();
    let skip = if last == 0 { 0 } else { lines.len().saturating_sub(last) };
    for line in &lines[skip..] {
        writeln!(out, "{line}")?;
    }
    match &result {
        Ok(()) => writeln!(out, "seed {seed}: {} events, no violation", world.events)?,
        Err(violation) => writeln!(out, "seed {seed}: {} events, violation {violation}", world.events)?,
    }
    Ok(result.is_ok())
}

fn simulate(out: &mut impl std::io::Write, seeds: Range<u64>, failures_max: usize) -> std::io::Result<bool> {
    let report = run::many(seeds, failures_max);
    for failure in &report.failures {
        writeln!(out, "seed {} {}", failure.seed, failure.violation)?;
        writeln!(out, "    replay: make simulate-one SEED={}", failure.seed)?;
    }
    writeln!(out, "{:?}, shortest schedule {} events", report.tally, report.shortest)?;
    let violations = report.failures.len();
    writeln!(out, "{} schedules, {} events, {violations} violations", report.schedules, report.events)?;
    Ok(violations == 0)
}
