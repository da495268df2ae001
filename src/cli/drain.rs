//! `sixpin drain`: tells a broker to hand its sessions over and leave.

use std::time::Duration;

use serde::Serialize;
use sixpin_proto::v1;

use super::connect::AdminArgs;
use super::failure::{Failure, note};
use super::output::{self, Format};
use super::view;

/// What `sixpin drain` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long holders may take where their locks can not move; absent: what the broker is configured for.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    address: String,
    sessions: u32,
}

/// Drains exactly the broker that is named: moving on to the next one would drain the wrong one.
pub async fn run(args: Args) -> Result<(), Failure> {
    let address = args.admin.admin.only()?;
    let timeout = args.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    note(format_args!("draining the broker at {address}"));
    let request = v1::DrainBrokerRequest { timeout_ms: timeout };
    let reply = args
        .admin
        .admin
        .administration(&args.admin.common.credentials)?
        .drain_broker(request)
        .await
        .map_err(Failure::administering)?;
    let report = Report { address: address.to_string(), sessions: reply.sessions };
    match args.admin.common.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&render(&report)),
    }
}

fn render(Report { address, sessions }: &Report) -> String {
    format!("the broker at {address} has let go of {} and leaves\n", view::count((*sessions).into(), "session"))
}
