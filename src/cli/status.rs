//! `sixpin status`: how one broker is.

use std::fmt::Write as _;

use serde::Serialize;
use sixpin_proto::v1;

use super::connect::ClientArgs;
use super::failure::Failure;
use super::output::{self, Format, Table};
use super::view;

/// What `sixpin status` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Status {
    name: String,
    incarnation: String,
    program: String,
    uptime_ms: u64,
    backends: Vec<Backend>,
}

#[derive(Debug, Serialize)]
struct Backend {
    name: String,
    durability: String,
    state: String,
    lockspaces: Vec<String>,
    sessions: u64,
    claims: u64,
    waiting: u64,
    commits: u64,
    writes: u64,
    conflicts: u64,
    unknowns: u64,
}

/// Shows the first broker that answers.
pub async fn run(args: Args) -> Result<(), Failure> {
    let reply = args.client.inspection()?.get_status().await.map_err(Failure::inspecting)?;
    let status = Status::from(reply);
    match args.client.common.output {
        Format::Json => output::json(&status),
        Format::Text => output::text(&render(&status)),
    }
}

fn render(status: &Status) -> String {
    let mut out = format!(
        "{}, {}, up for {}, incarnation {}\n\n",
        status.name,
        status.program,
        view::age(status.uptime_ms),
        status.incarnation
    );
    let mut table = Table::new(&[
        "BACKEND",
        "STATE",
        "DURABILITY",
        ">SESSIONS",
        ">CLAIMS",
        ">WAITING",
        ">COMMITS",
        ">WRITES",
        ">CONFLICTS",
        ">UNKNOWN",
    ]);
    for backend in &status.backends {
        table.row([
            backend.name.clone(),
            backend.state.clone(),
            backend.durability.clone(),
            backend.sessions.to_string(),
            backend.claims.to_string(),
            backend.waiting.to_string(),
            backend.commits.to_string(),
            backend.writes.to_string(),
            backend.conflicts.to_string(),
            backend.unknowns.to_string(),
        ]);
    }
    out.push_str(&table.render());
    for backend in status.backends.iter().filter(|backend| !backend.lockspaces.is_empty()) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "\nlockspaces on {}: {}", backend.name, backend.lockspaces.join(", "));
    }
    out
}

impl From<v1::BrokerStatus> for Status {
    fn from(status: v1::BrokerStatus) -> Self {
        Self {
            name: status.name,
            incarnation: status.incarnation,
            program: status.program,
            uptime_ms: status.uptime_ms,
            backends: status.backends.into_iter().map(Backend::from).collect(),
        }
    }
}

impl From<v1::BackendStatus> for Backend {
    fn from(backend: v1::BackendStatus) -> Self {
        Self {
            durability: view::state(backend.durability().as_str_name(), "DURABILITY_"),
            state: view::state(backend.state().as_str_name(), "BACKEND_STATE_"),
            name: backend.name,
            lockspaces: backend.lockspaces,
            sessions: backend.sessions,
            claims: backend.claims,
            waiting: backend.waiting,
            commits: backend.commits,
            writes: backend.writes,
            conflicts: backend.conflicts,
            unknowns: backend.unknowns,
        }
    }
}
