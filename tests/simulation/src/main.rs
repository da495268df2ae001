//! Runs schedules: a range of seeds, one seed with its trace, or the hunt for planted bugs.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{io, thread};

use clap::Parser;
use sixpin_simulation::ledger::{Entry, Ledger};
use sixpin_simulation::plan::{Changes, Fault};
use sixpin_simulation::planted::Planted;
use sixpin_simulation::run::{self, Case, Report, SHORT};
use sixpin_simulation::shrink;

// Schedules make and drop many small things, on two threads at least.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a line says how far a run is.
const PROGRESS: Duration = Duration::from_secs(10);
/// Lines of the trace shown of a failure.
const EXCERPT: usize = 120;

/// Simulates brokers, clients and a store under faults, and checks that what locks promise holds
#[derive(Parser)]
struct Args {
    /// Seeds to run, `from..to`
    #[arg(default_value = "0..2000", value_parser = parse_range)]
    seeds: Range<u64>,
    /// Print the whole trace of one seed instead
    #[arg(long, value_name = "SEED")]
    trace: Option<u64>,
    /// Look for planted bugs instead: for each, the first of the seeds that finds it
    #[arg(long)]
    hunt: bool,
    /// Leave out this rule
    #[arg(long, value_name = "BUG", value_parser = parse_planted)]
    planted: Option<Planted>,
    /// Note ranges that were run in this file, and skip those that it has
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Threads; all cores unless given
    #[arg(long)]
    threads: Option<usize>,
    /// Stop after this many violations
    #[arg(long, default_value_t = 10)]
    failures: usize,
    /// Without these faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = parse_fault)]
    without: Vec<Fault>,
    /// Only schedules with one of these faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = parse_fault)]
    only: Vec<Fault>,
    /// With so many clients
    #[arg(long)]
    clients: Option<usize>,
    /// With so many callers
    #[arg(long)]
    callers: Option<usize>,
    /// With so many brokers
    #[arg(long)]
    brokers: Option<usize>,
    /// With so many resources
    #[arg(long)]
    resources: Option<usize>,
    /// With faults only until then
    #[arg(long)]
    heal_ms: Option<u64>,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range looks like 0..2000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    Ok(number(from)?..number(to)?)
}

fn parse_planted(text: &str) -> Result<Planted, String> {
    Planted::named(text).ok_or_else(|| {
        let known: Vec<String> = Planted::all().map(|planted| planted.to_string()).collect();
        format!("no such bug; there are {}", known.join(", "))
    })
}

fn parse_fault(text: &str) -> Result<Fault, String> {
    Fault::named(text).ok_or_else(|| format!("no such fault: `{text}`"))
}

impl Args {
    fn case(&self, seed: u64, planted: Option<Planted>) -> Case {
        let usual = planted.map_or_else(|| Case::of(seed), |planted| Case::planted(seed, planted));
        let changes = Changes {
            without: [usual.changes.without.as_slice(), &self.without].concat(),
            clients: self.clients,
            callers: self.callers.or(usual.changes.callers),
            brokers: self.brokers,
            resources: self.resources,
            heal_ms: self.heal_ms,
        };
        Case { changes, ..usual }
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let result = match (args.trace, &args.ledger) {
        (Some(seed), _) => trace(&mut out, &args.case(seed, args.planted)),
        (None, _) if args.hunt => hunt(&mut out, &args),
        (None, Some(path)) => simulate_on(&mut out, &args, path),
        (None, None) => simulate(&mut out, &args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn trace(out: &mut impl Write, case: &Case) -> io::Result<bool> {
    let (world, result) = run::one(case, true);
    writeln!(out, "{:?}", case.plan())?;
    for line in world.lines() {
        writeln!(out, "{line}")?;
    }
    match &result {
        Ok(()) => writeln!(out, "seed {}: {} events, no violation", case.seed, world.events)?,
        Err(violation) => writeln!(out, "seed {}: {} events, violation {violation}", case.seed, world.events)?,
    }
    Ok(result.is_ok())
}

/// Tells on standard error how far a run is, now and then.
fn progress(name: String) -> impl Fn(&Report) + Sync {
    let began = Instant::now();
    let told = Mutex::new(began);
    move |report| {
        let Ok(mut told) = told.lock() else { return };
        if told.elapsed() >= PROGRESS {
            *told = Instant::now();
            let rate = u128::from(report.schedules) * 1_000 / began.elapsed().as_millis().max(1);
            let Report { schedules, events, failures, .. } = report;
            let _ = writeln!(
                io::stderr(),
                "{name}: {schedules} schedules, {events} events, {} violations, {rate} schedules/s",
                failures.len()
            );
        }
    }
}

fn run_seeds(out: &mut impl Write, args: &Args, seeds: Range<u64>) -> io::Result<Report> {
    let name = format!("{}..{}", seeds.start, seeds.end);
    let like = args.case(0, args.planted);
    let report = run::many_like(&like, &args.only, seeds, args.threads(), args.failures, progress(name));
    for failure in &report.failures {
        writeln!(out, "seed {}: {}", failure.seed, failure.violation)?;
        explain(out, &Case { seed: failure.seed, ..like.clone() })?;
    }
    Ok(report)
}

/// Shows a smaller schedule that violates something, what of its trace has to do with it, and how to run it again.
fn explain(out: &mut impl Write, case: &Case) -> io::Result<()> {
    let small = shrink::shrink(case);
    let (world, result) = run::one(&small, true);
    let violation = result.err().unwrap_or_default();
    writeln!(out, "    smaller: {:?}", small.plan())?;
    for line in shrink::excerpt(world.lines(), &violation, EXCERPT) {
        writeln!(out, "    {line}")?;
    }
    writeln!(out, "    {} events: {violation}", world.events)?;
    let planted = case.planted.map(|planted| format!(" --planted {planted}")).unwrap_or_default();
    writeln!(out, "    replay: make simulate-one SEED={} ARGS='{}{planted}'", case.seed, small.changes)?;
    writeln!(out, "    as found: make simulate-one SEED={} ARGS='{}{planted}'", case.seed, case.changes)
}

fn simulate(out: &mut impl Write, args: &Args) -> io::Result<bool> {
    let report = run_seeds(out, args, args.seeds.clone())?;
    writeln!(out, "{:?}; {} schedules shorter than {SHORT} events", report.tally, report.short)?;
    let violations = report.failures.len();
    writeln!(out, "{} schedules, {} events, {violations} violations", report.schedules, report.events)?;
    Ok(violations == 0)
}

fn simulate_on(out: &mut impl Write, args: &Args, path: &Path) -> io::Result<bool> {
    let mut ledger = Ledger::open(path)?;
    for part in ledger.missing(args.seeds.clone()) {
        let report = run_seeds(out, args, part.clone())?;
        let Report { schedules, events, .. } = report;
        ledger.note(&part, Entry { schedules, events, violations: report.failures.len() as u64 })?;
        let sum = ledger.sum();
        writeln!(
            out,
            "{}..{}: {schedules} schedules, {events} events, {} violations; in all {} schedules, {} events",
            part.start,
            part.end,
            report.failures.len(),
            sum.schedules,
            sum.events
        )?;
    }
    let Entry { schedules, events, violations } = ledger.sum();
    writeln!(out, "{schedules} schedules, {events} events, {violations} violations")?;
    Ok(violations == 0)
}

/// For each planted bug, the first seed that finds it. Its schedule without the bug holds.
fn hunt(out: &mut impl Write, args: &Args) -> io::Result<bool> {
    let mut all = true;
    for planted in Planted::all().filter(|planted| args.planted.is_none_or(|one| one == *planted)) {
        let told = progress(planted.to_string());
        let like = args.case(0, Some(planted));
        let report = run::many_like(&like, &args.only, args.seeds.clone(), args.threads(), 1, told);
        let Some(found) = report.failures.first() else {
            writeln!(out, "{planted}: not found in {} schedules", report.schedules)?;
            all = false;
            continue;
        };
        let schedules = found.seed - args.seeds.start + 1;
        writeln!(out, "{planted}: seed {}, {schedules} schedules: {}", found.seed, found.violation)?;
        if let Err(violation) = run::one(&Case { seed: found.seed, ..like.without_bug() }, false).1 {
            writeln!(out, "    and without it: {violation}")?;
            all = false;
        }
        out.flush()?;
    }
    Ok(all)
}
