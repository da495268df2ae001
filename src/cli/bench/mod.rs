//! `sixpin bench`: how fast locks are, and how much memory they cost.
//!
//! The figures are of pairs: a lock that is granted, and its unlock. Each is compared with the *floor*: the same number
//! of messages of the same size over the same kind of gRPC stream to a service that only answers. Rounds of floor and
//! lock alternate, so that whatever else the machine does meets both. What is left between the two is what locks cost.
//!
//! The load is made without the client library, from messages that are sent as soon as an answer allows, so that the
//! broker and not its client is measured; `--client` goes through the library instead.
//!
//! # Layout, in reading order
//!
//! * `plan`: what is measured, from the arguments;
//! * `stream`: the load on session streams; `unary`, `library`: the same over single calls and the client library;
//! * `memory`: what idle sessions and held locks cost;
//! * `target`: the broker, or the floor; `spawn`: child processes;
//! * `tally`: what one round found; `report`: how it is told;
//! * [`floor`]: the service that only answers.

use std::process::ExitCode;
use std::time::Duration;

use super::connect::{Endpoints, Space};
use super::exit;
use super::failure::{Failure, note};
use super::output::{self, Format};

mod plan;
mod stream;
mod unary;
mod library;
mod memory;
mod target;
mod spawn;
mod tally;
mod report;
pub mod floor;

use plan::{Plan, Workload};
use report::Report;
use spawn::Spawned;
use tally::Tally;
use target::Target;

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
    /// Sessions of closed and unary, each with one request at a time; idle sessions of memory.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    sessions: u32,
    /// Requests in flight per session of pipelined.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=256))]
    pipeline: u32,
    /// Sessions of pipelined.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    streams: u32,
    /// Sessions of contended, which hand one resource around.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    contend: u32,
    /// Locks that memory holds.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    locks: u32,
    /// Connections that sessions share.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How long one round takes.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2s")]
    time: Duration,
    /// How many rounds, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    #[command(flatten)]
    endpoints: Endpoints,
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
        None => args.endpoints.brokers().channel().await?.0,
    };
    let floor = if args.floor { Some(Spawned::floor().await?) } else { None };
    let broker = Target::broker(address.clone(), args);
    let floor = floor.as_ref().map(|floor| (Target::floor(floor.address().clone(), args), floor));
    let mut report = Report::new(args, &address);
    for plan in Plan::all(args) {
        note(format_args!("measuring {}", plan.describe()));
        if plan.workload == Workload::Memory {
            report.memory = Some(memory::measure(&plan, &broker, args, spawned.as_ref()).await?);
            continue;
        }
        let floor = floor.as_ref().map(|(target, _)| target).filter(|_| plan.has_floor());
        let (mut locks, mut floors) = (Vec::new(), Vec::new());
        for round in 0..=args.rounds {
            let floor_tally = match floor {
                Some(floor) => Some(plan.round(floor, args.time).await?),
                None => None,
            };
            let tally = plan.round(&broker, args.time).await?;
            // The first round warms up: connections, allocators, caches.
            if round > 0 {
                locks.push(tally);
                floors.extend(floor_tally);
            }
        }
        report.add(&plan, locks, floors);
    }
    match args.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&report.render()),
    }
}
