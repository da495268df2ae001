//! Locks of sixpin beside the locks that its stores offer by themselves, on one server, in one run.
//!
//! ```text
//! cargo run --release -p sixpin-benches -- redis
//! ```
//!
//! A *way* is one way to take and release a lock: the store's own, sixpin's broker as a library, and sixpin through its
//! client, over frames and over gRPC.
//! With `--contenders 2,64,1000` one lock is handed over among so many; clients of Redis and NATS poll for it, etcd has a queue.
//! With `--brokers 1,2,4` the load is spread over so many brokers on the store.
//! All ways keep so many pairs of lock and unlock in flight, on resources that nobody else wants, against one server
//! that is started for it. They take turns in short slices, so that whatever else the machine does meets all of them,
//! and each round gives one ratio to the store's own way. Client, broker and store share the machine.
//!
//! With `--json FILE` the figures are written down; `plots` draws them:
//!
//! ```text
//! cargo run --release -p sixpin-benches --bin plots -- docs/pictures redis.json etcd.json nats.json
//! ```
//!
//! # Layout
//!
//! * [`ways`]: the ways;
//! * [`load`]: pairs in flight, and how long each took;
//! * [`handover`]: one lock that many want, and how long it takes to go to the next;
//! * [`report`]: medians, ratios and the table.

// A program of measurements talks, and a measurement that fails is over.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, clippy::cast_precision_loss)]

mod handover;
mod load;
mod report;
mod ways;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use sixpin_benches::figures::Figures;
use sixpin_testkit::stores;

use load::Tally;
use report::Report;
use ways::client::Broker;
use ways::{Name, Queue, Ways, Work, etcd, nats, redis};

/// Pairs in flight over several brokers.
const SPREAD: usize = 64;

/// The stores that have locks of their own.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Store {
    /// `SET NX PX`, and a script that compares and deletes.
    Redis,
    /// The Lock service of etcd.
    Etcd,
    /// A key of a JetStream bucket, created and deleted.
    Nats,
}

/// Measures sixpin beside the locks that a store offers by itself.
#[derive(Debug, Parser)]
struct Args {
    /// Which store. Its server is started for the measurement.
    store: Store,
    /// Pairs in flight, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512", value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: Vec<u16>,
    /// How many want one lock, one measurement of its hand-over each.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(2..=4096))]
    contenders: Vec<u16>,
    /// Brokers on the store, one measurement of all of them together each, with 64 pairs in flight.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=16))]
    brokers: Vec<u16>,
    /// How long each way works before the next one has its turn.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1s")]
    slice: Duration,
    /// How many turns each way has, after one to warm up.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Write the figures into this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// An argument more for the server, and again, such as `--server=--appendfsync --server=everysec`.
    #[arg(long, allow_hyphen_values = true)]
    server: Vec<String>,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let plan = match args.store {
        Store::Redis => stores::redis(),
        Store::Etcd => stores::etcd(),
        Store::Nats => stores::nats(),
    };
    let server =
        plan.arguments(&args.server).start().await.unwrap_or_else(|error| panic!("the server did not start: {error}"));
    let address = server.address();
    match args.store {
        Store::Redis => Box::pin(measure(&args, format!("redis://{address}/0"), redis::Own::open(address).await)).await,
        Store::Etcd => Box::pin(measure(&args, format!("etcd://{address}"), etcd::Own::open(address).await)).await,
        Store::Nats => Box::pin(measure(&args, format!("nats://{address}"), nats::Own::open(address).await)).await,
    }
}

async fn measure(args: &Args, url: String, own: impl Work + Queue) {
    let mut figures = Figures {
        store: url.split(':').next().unwrap_or_default().to_owned(),
        slice_seconds: args.slice.as_secs_f64(),
        rounds: args.rounds,
        pairs: Vec::new(),
        hand_overs: Vec::new(),
        brokers: Vec::new(),
    };
    let ways = Ways::open(url.clone(), own).await;
    let turns = format!("{} turns of {}", args.rounds, humantime::format_duration(args.slice));
    for &in_flight in &args.in_flight {
        let report = rounds(args, async || ways.turn(in_flight.into(), args.slice).await).await;
        println!("\n{in_flight} in flight, {turns}\n");
        print!("{}", report.pairs());
        figures.pairs.push(report.rates(in_flight));
    }
    for &contenders in &args.contenders {
        let report = rounds(args, async || ways.hand_over(contenders.into(), args.slice).await).await;
        println!("\n{contenders} want one lock, {turns}\n");
        print!("{}", report.hand_overs());
        figures.hand_overs.push(report.times(contenders));
    }
    let mut more = Vec::new();
    for &brokers in &args.brokers {
        while more.len() + 1 < brokers.into() {
            more.push(Broker::start(&url, more.len() + 1).await);
        }
        let report =
            rounds(args, async || ways.spread(&more[..usize::from(brokers) - 1], SPREAD, args.slice).await).await;
        println!("\n{brokers} brokers, {SPREAD} in flight over all of them, {turns}\n");
        print!("{}", report.pairs());
        figures.brokers.push(report.rates(brokers));
    }
    for broker in more {
        broker.stop().await;
    }
    ways.close().await;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures).unwrap()).unwrap();
    }
}

/// What comes of so many rounds, after one to warm up.
async fn rounds(args: &Args, turn: impl AsyncFn() -> Vec<(Name, Tally)>) -> Report {
    let mut report = Report::default();
    turn().await;
    for _ in 0..args.rounds {
        report.add(turn().await);
    }
    report
}
