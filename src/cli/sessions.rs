//! `sixpin sessions`: the sessions of all brokers on the store.

use serde::Serialize;
use sixpin_proto::v1;

use super::connect::ClientArgs;
use super::failure::{Failure, note, warn};
use super::output::{self, Format, Table};
use super::view;
use super::vouchers;

/// What `sixpin sessions` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask only this broker: its name, incarnation or address.
    #[arg(long, value_name = "BROKER")]
    broker: Option<String>,
    /// Show only those that wait for something.
    #[arg(long)]
    waiting: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    sessions: Vec<Entry>,
    /// Brokers that are alive and did not answer.
    unanswered: Vec<String>,
    /// Brokers inside programs, which nobody else can ask.
    inside: Vec<Inside>,
}

#[derive(Debug, Serialize)]
struct Inside {
    broker: String,
    program: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    session: String,
    broker: String,
    label: String,
    client_address: String,
    program: String,
    principal: String,
    age_ms: u64,
    state: String,
    ttl_ms: u32,
    silence_ms: u64,
    held: u32,
    waiting: u32,
    connection_bound: bool,
    connected: bool,
    move_number: u32,
}

/// Lists sessions.
pub async fn run(args: Args) -> Result<(), Failure> {
    let neighbours = vouchers::neighbours(&args.client.inspection()?).await?;
    let mut listing = Listing { sessions: Vec::new(), unanswered: Vec::new(), inside: Vec::new() };
    let mut trouble = None;
    for answer in neighbours.sessions(neighbours.asked(args.broker.as_deref())?, None).await {
        let broker = answer.broker.name;
        match answer.sessions {
            Ok(sessions) => listing.sessions.extend(sessions.into_iter().map(|session| shown(&broker, session))),
            Err(failure) => {
                listing.unanswered.push(broker);
                trouble = Some(failure);
            }
        }
    }
    if args.broker.is_none() {
        listing.inside = neighbours
            .inside()
            .iter()
            .map(|entry| Inside { broker: entry.name.clone(), program: entry.program.clone() })
            .collect();
    }
    if args.waiting {
        listing.sessions.retain(|session| session.waiting > 0);
    }
    match args.client.common.output {
        Format::Json => output::json(&listing)?,
        Format::Text if listing.sessions.is_empty() => note("there are no such sessions"),
        Format::Text => output::text(&render(&listing))?,
    }
    if !listing.inside.is_empty() {
        let inside: Vec<String> =
            listing.inside.iter().map(|inside| format!("{} ({})", inside.broker, inside.program)).collect();
        let inside = inside.join(", ");
        warn(format_args!("sessions of programs that have their broker inside are not shown: {inside}"));
    }
    match trouble {
        None => Ok(()),
        Some(failure) => {
            warn(format_args!("the list is not complete: no answer from {}", listing.unanswered.join(", ")));
            Err(failure)
        }
    }
}

fn shown(broker: &str, session: v1::SessionInfo) -> Entry {
    Entry {
        state: view::state(session.state().as_str_name(), "SESSION_STATE_"),
        session: session.session,
        broker: broker.to_owned(),
        label: session.label,
        client_address: session.client_address,
        principal: session.principal,
        program: session.program,
        age_ms: session.age_ms,
        ttl_ms: session.ttl_ms,
        silence_ms: session.silence_ms,
        held: session.held,
        waiting: session.waiting,
        connection_bound: session.connection_bound,
        connected: session.connected,
        move_number: session.move_number,
    }
}

fn render(listing: &Listing) -> String {
    let mut table = Table::new(&[
        "SESSION", "BROKER", "LABEL", "CLIENT", ">AGE", ">TTL", ">SILENT", ">HELD", ">WAITING", ">MOVES", "STATE",
        "NOTES",
    ]);
    for session in &listing.sessions {
        let bound = session.connection_bound.then_some("connection-bound");
        let away = (!session.connected).then_some("not connected");
        table.row([
            session.session.clone(),
            session.broker.clone(),
            session.label.clone(),
            session.client_address.clone(),
            view::age(session.age_ms),
            view::span(session.ttl_ms.into()),
            view::age(session.silence_ms),
            session.held.to_string(),
            session.waiting.to_string(),
            if session.move_number == 0 { String::new() } else { session.move_number.to_string() },
            session.state.clone(),
            bound.into_iter().chain(away).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}
