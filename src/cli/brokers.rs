//! `sixpin brokers`: the brokers on the store, as one of them sees them.

use serde::Serialize;
use sixpin_proto::v1;

use super::connect::ClientArgs;
use super::failure::Failure;
use super::output::{self, Format, Table};
use super::{view, vouchers};

/// What `sixpin brokers` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    brokers: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    incarnation: String,
    state: String,
    address: String,
    admin_address: String,
    backend: String,
    program: String,
    silence_ms: u64,
    broker_ttl_ms: u32,
    round_trip_us: u64,
    sessions_to_bury: u32,
    asked: bool,
    format_read: u32,
    format_written: u32,
}

/// Lists brokers.
pub async fn run(args: Args) -> Result<(), Failure> {
    let brokers = vouchers::neighbours(&args.client.inspection()?).await?.entries;
    let listing = Listing { brokers: brokers.into_iter().map(Entry::from).collect() };
    match args.client.common.output {
        Format::Json => output::json(&listing),
        Format::Text => output::text(&render(&listing)),
    }
}

fn render(listing: &Listing) -> String {
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "ADDRESS",
        "ADMIN",
        "BACKEND",
        ">SILENT",
        ">ROUND TRIP",
        "INCARNATION",
        "PROGRAM",
        "NOTES",
    ]);
    for broker in &listing.brokers {
        let asked = broker.asked.then(|| "asked".to_owned());
        let burying = (broker.sessions_to_bury > 0)
            .then(|| format!("{} to bury", view::count(broker.sessions_to_bury.into(), "session")));
        let held_back = (broker.format_written < broker.format_read)
            .then(|| format!("writes format {} for others", broker.format_written));
        table.row([
            broker.name.clone(),
            broker.state.clone(),
            broker.address.clone(),
            broker.admin_address.clone(),
            broker.backend.clone(),
            view::age(broker.silence_ms),
            microseconds(broker.round_trip_us),
            broker.incarnation.clone(),
            broker.program.clone(),
            asked.into_iter().chain(burying).chain(held_back).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}

/// `350us`, `1.2ms`; nothing if it was never measured.
fn microseconds(time: u64) -> String {
    match time {
        0 => String::new(),
        1..1_000 => format!("{time}us"),
        _ => format!("{}.{}ms", time / 1_000, time % 1_000 / 100),
    }
}

impl From<v1::BrokerEntry> for Entry {
    fn from(entry: v1::BrokerEntry) -> Self {
        Self {
            state: view::state(entry.state().as_str_name(), "BROKER_STATE_"),
            name: entry.name,
            incarnation: entry.incarnation,
            address: entry.address,
            admin_address: entry.admin_address,
            backend: entry.backend,
            program: entry.program,
            silence_ms: entry.silence_ms,
            broker_ttl_ms: entry.broker_ttl_ms,
            round_trip_us: entry.round_trip_us,
            sessions_to_bury: entry.burying,
            asked: entry.own,
            format_read: entry.format_read,
            format_written: entry.format_written,
        }
    }
}
