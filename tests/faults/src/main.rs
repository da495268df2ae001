//! Broker, store and client of the fault tests in one program, and the commands that torture them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use sixpin_faults::faults::{self, Fault};
use sixpin_faults::run::{Running, Shape};
use sixpin_faults::store::server;
use sixpin_faults::store::words::Kind;
use sixpin_faults::world::{Plan, StoreKind};
use sixpin_faults::{open, process};

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
    /// How long.
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
    /// TTL of sessions.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5s")]
    ttl: Duration,
    /// What goes wrong meanwhile, in turn.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Where the randomness of the load begins.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Torture(torture) => block_on(run_torture(torture)),
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
    let plan =
        Plan { program: program(), store: args.store, brokers: args.brokers, broker_ttl: Duration::from_secs(1) };
    let shape = Shape {
        plan,
        sessions: args.sessions,
        processes: args.processes,
        workers: 1,
        resources: args.resources,
        ttl: args.ttl,
        seed: args.seed,
    };
    let mut running = Running::start(shape).await;
    let end = tokio::time::Instant::now() + args.time;
    let mut number = 0;
    while tokio::time::Instant::now() < end {
        if let Some(fault) = args.faults.get(number % args.faults.len().max(1)) {
            faults::strike(&mut running, *fault, number).await;
        }
        number += 1;
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + Duration::from_secs(1))).await;
    }
    let report = running.finish().await;
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
