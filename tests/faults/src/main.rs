//! Broker, store and client of the fault tests in one program, and the commands that torture them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sixpin_faults::faults::{self, Fault};
use sixpin_faults::run::{Running, Shape};
use sixpin_faults::sessions::{self, Crowd};
use sixpin_faults::store::server;
use sixpin_faults::store::wire::Kind;
use sixpin_faults::world::{Plan, StoreKind};
use sixpin_faults::{open, process, times};

/// Real processes under faults.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run brokers under load and faults, and check what the clients saw.
    Torture(Torture),
    /// Measure how long it takes until a dead client's lock is free, and until a client whose broker died works on.
    Times(Times),
    /// Keep very many sessions alive at one broker on the networked store.
    Sessions(Sessions),
    /// A broker, which knows the networked store as well.
    #[command(hide = true)]
    Broker(sixpin::cli::serve::Args),
    /// The networked store.
    #[command(hide = true)]
    Store {
        /// Where brokers connect.
        #[arg(long)]
        listen: SocketAddr,
        /// Where the journal is.
        #[arg(long)]
        folder: PathBuf,
        /// Plays JetStream.
        #[arg(long)]
        marking: bool,
    },
    /// A client.
    #[command(hide = true)]
    Client(process::Args),
}

/// What `torture` takes.
#[derive(Debug, clap::Args)]
struct Torture {
    /// The store.
    #[arg(long, value_enum, default_value = "net")]
    store: StoreKind,
    /// How long load and faults go on.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
    time: Duration,
    /// Brokers.
    #[arg(long, default_value_t = 3)]
    brokers: usize,
    /// Sessions.
    #[arg(long, default_value_t = 32)]
    sessions: usize,
    /// Sessions in processes of their own; faults of clients need one.
    #[arg(long, default_value_t = 0)]
    processes: usize,
    /// Resources.
    #[arg(long, default_value_t = 8)]
    resources: usize,
    /// TTL of sessions: 5s, or 10s on a store of several members.
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// `broker_ttl`: 1s, or 5s on a store of several members.
    #[arg(long, value_parser = humantime::parse_duration)]
    broker_ttl: Option<Duration>,
    /// What goes wrong meanwhile, in turn. On a store of several members, if nothing is named: its members are killed,
    /// frozen and cut off, one at a time, and now and then most of them.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where the randomness of the load begins.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What `times` takes.
#[derive(Debug, clap::Args)]
struct Times {
    /// The store.
    #[arg(long, value_enum, default_value = "net")]
    store: StoreKind,
    /// TTL of sessions.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    ttl: Duration,
    /// `broker_ttl`.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5s")]
    broker_ttl: Duration,
    /// How often.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// What `sessions` takes.
#[derive(Debug, clap::Args)]
struct Sessions {
    /// Sessions at the broker.
    #[arg(long = "sessions", default_value_t = 100_000)]
    count: usize,
    /// Over how many connections.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Their TTL.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s")]
    ttl: Duration,
    /// How long they live.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "3m")]
    time: Duration,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Torture(torture) => block_on(run_torture(torture)),
        Command::Times(times) => block_on(run_times(times)),
        Command::Sessions(args) => block_on(run_sessions(args)),
        Command::Broker(args) => sixpin::cli::serve::run_with(&args, open::opener()),
        Command::Store { listen, folder, marking } => block_on(async move {
            match server::serve(listen, &folder, Kind { marking }).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&format!("the store ends: {error}")),
            }
        }),
        Command::Client(args) => block_on(async {
            process::run(args).await;
            ExitCode::SUCCESS
        }),
    }
}

fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let status = runtime.block_on(work);
            // A thread that waits for standard input is not waited for.
            runtime.shutdown_background();
            status
        }
        Err(error) => fail(&format!("no runtime: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "a program speaks to people")]
fn fail(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// This program, for the processes that it starts. It is told once and stays.
fn program() -> &'static str {
    let path = std::env::current_exe().expect("this program is somewhere");
    Box::leak(path.display().to_string().into_boxed_str())
}

#[expect(clippy::print_stdout, reason = "a program speaks to people")]
async fn run_torture(args: Torture) -> ExitCode {
    let several = args.store.has_members();
    let broker_ttl = args.broker_ttl.unwrap_or(Duration::from_secs(if several { 5 } else { 1 }));
    let plan = Plan { program: program(), store: args.store, brokers: args.brokers, broker_ttl };
    let faults = if args.faults.is_empty() && several { members_in_turn() } else { args.faults };
    let shape = Shape {
        plan,
        sessions: args.sessions,
        processes: args.processes,
        workers: 1,
        resources: args.resources,
        ttl: args.ttl.unwrap_or(Duration::from_secs(if several { 10 } else { 5 })),
        seed: args.seed,
    };
    let mut running = Running::start(shape).await;
    let end = tokio::time::Instant::now() + args.time;
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        if let Some(fault) = faults.get(number % faults.len().max(1)) {
            faults::strike(&mut running, *fault, number).await;
        }
        number += 1;
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + Duration::from_secs(1))).await;
    }
    let report = running.finish().await;
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each fault of a member, and then one of most of them.
fn members_in_turn() -> Vec<Fault> {
    let rounds = Fault::OF_A_MAJORITY.into_iter();
    rounds.flat_map(|most| Fault::OF_A_MEMBER.into_iter().chain([most])).collect()
}

#[expect(clippy::print_stdout, reason = "a program speaks to people")]
async fn run_times(args: Times) -> ExitCode {
    let plan = Plan { program: program(), store: args.store, brokers: 3, broker_ttl: args.broker_ttl };
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    for round in 1..=args.rounds {
        // Each waits most of the time, so they do not disturb each other.
        let (alone, together, moved) = tokio::join!(
            times::freed(&plan, args.ttl, false),
            times::freed(&plan, args.ttl, true),
            times::moved(&plan, args.ttl),
        );
        for (who, freed) in [("client died", alone), ("client and broker died", together)] {
            let (keepalive, death) = (seconds(freed.since_keepalive), seconds(freed.since_death));
            println!("{round}: {who}: lock free {death} after the death, {keepalive} after the last keepalive");
        }
        let again = seconds(moved.works_again);
        println!(
            "{round}: broker died: client works on after {again}, lock kept: {}, place kept: {}",
            moved.kept_lock, moved.kept_place
        );
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a program speaks to people")]
#[expect(clippy::cast_precision_loss, reason = "for people")]
async fn run_sessions(args: Sessions) -> ExitCode {
    let broker_ttl = Duration::from_secs(5);
    let plan = Plan { program: program(), store: StoreKind::Net, brokers: 1, broker_ttl };
    let Sessions { count: sessions, connections, ttl, time } = args;
    let found = sessions::live(&plan, &Crowd { sessions, connections, ttl, time }).await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{sessions} sessions with a TTL of {ttl:?} over {connections} connections for {time:?}\n\
         opened in {:.1} s; alive in the end: {}; lost: {}\n\
         {} keepalives, the slowest acknowledged after {:?}\n\
         store writes per second: {:.2}\n\
         broker: {:.0} MiB empty, {:.0} MiB with all sessions, {:.1} KiB per session",
        found.opening.as_secs_f64(),
        found.alive,
        found.lost,
        found.keepalives,
        found.slowest,
        found.store_writes_per_second,
        mib(found.empty_bytes),
        mib(found.full_bytes),
        found.full_bytes.saturating_sub(found.empty_bytes) as f64 / 1024.0 / sessions as f64,
    );
    if found.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
