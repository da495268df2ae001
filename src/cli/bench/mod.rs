//! `sixpin bench`: how fast locks are, and how much memory they cost.
//!
//! The figures are of pairs: a lock that is granted, and its unlock. Each is compared with the *floor*: the same number
//! of messages of the same size over the same kind of gRPC stream to a service that only answers. What is left between the
//! two is what locks cost. For one contended resource there is nothing that only answers; there the few are the floor of
//! the many.
//!
//! Short slices of floor and lock alternate, so that whatever else the machine does meets both. Each slice is compared
//! with the slice beside it; what is told is the median of these ratios, and how far they are spread.
//!
//! Programs with a connection each have another way, frames (`docs/api.md`); `programs` compares it with gRPC.
//!
//! The load is made without the client library, from messages that are sent as soon as an answer allows, so that the
//! broker and not its client is measured; `--client` goes through the library instead.
//!
//! # Layout, in reading order
//!
//! * `plan`: what is measured, from the arguments;
//! * `stream`: the load on session streams, `websocket` one way to carry them; `unary`, `http`, `library`: the same over single
//!   calls, JSON and the client library;
//! * `mixed`: a load that looks like real life; `memory`: what idle sessions and held locks cost;
//! * `size`: what a pair costs while many locks are held;
//! * `process`: the memory of the broker, and the time that processors spend on it;
//! * `target`: the broker, or the floor; `spawn`: child processes;
//! * `tally`: what one slice found; `report`: how it is told;
//! * [`floor`]: the service that only answers.

use std::process::ExitCode;
use std::time::Duration;

use super::connect::{Endpoints, Space};
use super::credentials::CredentialArgs;
use super::exit;
use super::failure::{Failure, note};
use super::output::{self, Format};

mod plan;
mod stream;
mod websocket;
mod unary;
mod http;
mod library;
mod memory;
mod mixed;
mod process;
mod target;
mod spawn;
mod tally;
mod report;
mod size;
pub mod floor;

use plan::{Plan, Workload};
use report::Report;
use spawn::Spawned;
use tally::Tally;
use target::Target;

/// Shorter slices would measure their beginning.
const SLICE_MIN: Duration = Duration::from_millis(20);

/// What `sixpin bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure; absent: closed, pipelined, contended and unary.
    #[arg(value_enum, value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Start a broker on the memory store for it, as a process of its own.
    #[arg(long, conflicts_with = "addresses")]
    spawn: bool,
    /// Compare with the floor: the same messages to a service that only answers.
    #[arg(long)]
    floor: bool,
    /// Go through the client library.
    #[arg(long)]
    client: bool,
    /// Sessions of closed, programs, unary, http, websocket and mixed, each with one request at a time; idle sessions of memory.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: u32,
    /// Requests in flight per session of pipelined.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=256))]
    pipeline: u32,
    /// Sessions of pipelined.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    streams: u32,
    /// Sessions of contended, which hand one resource around. With `--floor` compared with 10 that do.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    contend: u32,
    /// Locks that memory and size hold.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    locks: u32,
    /// Connections that sessions share; more if there are more than 100 sessions on each.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Seconds that count per workload, those of the floor included.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How long one slice counts.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "250ms")]
    slice: Duration,
    #[command(flatten)]
    endpoints: Endpoints,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    space: Space,
    /// Text for people or JSON for programs.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

/// Measures.
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let measured = match runtime {
        Ok(runtime) => runtime.block_on(measure(args)),
        Err(error) => Err(Failure::new(exit::FAILURE, format_args!("the runtime can not be started: {error}"))),
    };
    measured.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

async fn measure(args: &Args) -> Result<(), Failure> {
    let spawned = if args.spawn { Some(Spawned::broker().await?) } else { None };
    let address = match &spawned {
        Some(spawned) => spawned.address().clone(),
        None => args.endpoints.first_that_answers(&args.credentials).await?,
    };
    let floor = if args.floor { Some(Spawned::floor().await?) } else { None };
    let broker = match &spawned {
        Some(spawned) => Target::spawned(address.clone(), args, spawned.pid()),
        None => Target::named(address.clone(), args),
    };
    let floor = floor.as_ref().map(|floor| (Target::floor(floor.address().clone(), args), floor));
    let mut report = Report::new(args, &address);
    let plans = Plan::all(args);
    if broker.is_guarded() && !plans.iter().all(|plan| plan.library) {
        return Err(Failure::usage("this load is made without TLS and without a token")
            .hint("measure through the client library with `--client`, or a broker without either"));
    }
    for plan in plans {
        note(format_args!("measuring {}", plan.describe()));
        if plan.workload == Workload::Memory {
            report.memory = Some(memory::measure(&plan, &broker, args, spawned.as_ref()).await?);
            continue;
        }
        if plan.workload == Workload::Size {
            report.size = Some(size::measure(&plan, &broker, args).await?);
            continue;
        }
        let floor = match &floor {
            _ if plan.workload == Workload::Mixed => None,
            Some((target, _)) => Some(plan.beside().map_or((plan, target), |beside| (beside, &broker))),
            None => None,
        };
        let (locks, floors) = slices(args, (plan, &broker), floor).await?;
        report.add(&plan, locks, floors);
    }
    match args.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&report.render()),
    }
}

/// Measures the load, and its floor if there is one, in slices that alternate.
async fn slices(
    args: &Args,
    (plan, broker): (Plan, &Target),
    floor: Option<(Plan, &Target)>,
) -> Result<(Vec<Tally>, Vec<Tally>), Failure> {
    let slice = args.slice.max(SLICE_MIN);
    let both = if floor.is_some() { slice * 2 } else { slice };
    let count = Duration::from_secs(args.seconds.into()).as_nanos().div_ceil(both.as_nanos());
    let (mut locks, mut floors) = (Vec::new(), Vec::new());
    // The first slices warm up: allocators, caches.
    for number in 0..=count {
        let below = match floor {
            Some((plan, target)) => Some(plan.slice(target, slice).await?),
            None => None,
        };
        let tally = plan.slice(broker, slice).await?;
        if number > 0 {
            locks.push(tally);
            floors.extend(below);
        }
    }
    Ok((locks, floors))
}
