//! `sixpin sessions`: the sessions of all brokers on the store.

use serde::Serialize;
use sixpin_proto::v1;
use sixpin_proto::v1::inspect_service_client::InspectServiceClient;

use super::brokers;
use super::connect::{Address, Brokers, ClientArgs};
use super::exit;
use super::failure::{Failure, note, warn};
use super::output::{self, Format, Table};
use super::view;

/// Entries of one page, which is the most that a broker gives at once.
const PAGE: u32 = 1_000;

/// What `sixpin sessions` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask only this broker: its name, incarnation or address.
    #[arg(long, value_name = "BROKER")]
    broker: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    sessions: Vec<Entry>,
    /// Brokers that are alive but could not be asked.
    unanswered: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    session: String,
    broker: String,
    label: String,
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
    let mut listing = Listing { sessions: Vec::new(), unanswered: Vec::new() };
    let mut trouble = None;
    for broker in asked(&args).await? {
        match sessions(&broker).await {
            Ok(sessions) => listing.sessions.extend(sessions),
            Err(failure) => {
                listing.unanswered.push(broker.name);
                trouble = Some(failure);
            }
        }
    }
    match args.client.common.output {
        Format::Json => output::json(&listing)?,
        Format::Text if listing.sessions.is_empty() => note("there are no sessions"),
        Format::Text => output::text(&render(&listing))?,
    }
    match trouble {
        None => Ok(()),
        Some(failure) => {
            warn(format_args!("the list is not complete: no answer from {}", listing.unanswered.join(", ")));
            Err(failure)
        }
    }
}

/// The brokers to ask. One process on several stores is one broker per store, but answers for all of them at once.
async fn asked(args: &Args) -> Result<Vec<v1::BrokerEntry>, Failure> {
    let entries = brokers::entries(&args.client.brokers()).await?;
    let mut asked: Vec<v1::BrokerEntry> = Vec::new();
    for entry in entries {
        let wanted = match &args.broker {
            Some(broker) => [&entry.name, &entry.incarnation, &entry.address].contains(&broker),
            None => entry.state == "alive",
        };
        if wanted && !asked.iter().any(|other| other.address == entry.address) {
            asked.push(entry);
        }
    }
    match &args.broker {
        Some(broker) if asked.is_empty() => {
            Err(Failure::new(exit::FAILURE, format_args!("there is no broker `{broker}`"))
                .hint("see their names with `sixpin brokers`"))
        }
        _ => Ok(asked),
    }
}

/// All sessions that one broker vouches for.
async fn sessions(broker: &v1::BrokerEntry) -> Result<Vec<Entry>, Failure> {
    let address: Address = broker.address.parse().map_err(|_| {
        Failure::new(exit::UNREACHABLE, format_args!("broker {} told no address of its own", broker.name))
            .hint("start it with an address that others can reach")
    })?;
    let brokers = Brokers::among(vec![address]);
    let mut sessions = Vec::new();
    let mut request = v1::ListSessionsRequest { limit: PAGE, after: String::new() };
    loop {
        let page = brokers
            .ask(async |channel| InspectServiceClient::new(channel).list_sessions(request.clone()).await)
            .await?
            .into_inner();
        sessions.extend(page.sessions.into_iter().map(|session| shown(&broker.name, session)));
        request.after = page.next;
        if request.after.is_empty() {
            return Ok(sessions);
        }
    }
}

fn shown(broker: &str, session: v1::SessionInfo) -> Entry {
    Entry {
        session: session.session,
        broker: broker.to_owned(),
        label: session.label,
        state: session.state,
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
    let mut table =
        Table::new(&["SESSION", "BROKER", "LABEL", ">TTL", ">SILENT", ">HELD", ">WAITING", ">MOVES", "STATE", "NOTES"]);
    for session in &listing.sessions {
        let bound = session.connection_bound.then_some("connection-bound");
        let away = (!session.connected).then_some("not connected");
        table.row([
            session.session.clone(),
            session.broker.clone(),
            session.label.clone(),
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
