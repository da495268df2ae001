//! `sixpin waits`: the longest waits of all brokers, and who is at the root of each.

use std::time::Duration;

use serde::Serialize;
use sixpin_proto::v1;

use super::chains::{self, Gathered, Which};
use super::connect::ClientArgs;
use super::failure::{Failure, note, warn};
use super::output::{self, Format, Table};
use super::view::{self, ClaimView};
use super::vouchers::{self, Neighbours};

/// What `sixpin waits` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The beginning of the resources' names; one that begins with a dash comes last, after `--`.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Show only waits of at least this long, such as `10s`.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    min: Duration,
    /// How many to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    client: ClientArgs,
}

/// Whom to ask, and where waits are.
#[derive(Debug, Clone, clap::Args)]
pub struct Scope {
    /// Ask only this broker, which knows the waits of its own sessions: its name, incarnation or address.
    #[arg(long, value_name = "BROKER")]
    pub broker: Option<String>,
    /// Look in all lockspaces, and not only in that of `--lockspace`.
    #[arg(long)]
    pub all_lockspaces: bool,
}

impl Scope {
    /// The lockspace to look in; empty: all.
    pub fn lockspace(&self, client: &ClientArgs) -> String {
        if self.all_lockspaces { String::new() } else { client.common.space.lockspace.to_string() }
    }
}

#[derive(Debug, Serialize)]
struct Listing {
    waits: Vec<WaitView>,
    /// Brokers that are alive and did not answer.
    unanswered: Vec<String>,
    /// Brokers inside programs, which nobody else can ask.
    inside: Vec<String>,
}

/// A wait, for programs.
#[derive(Debug, Serialize)]
pub struct WaitView {
    #[serde(flatten)]
    claim: Link,
    /// Who is in its way, one behind the other.
    chain: Vec<Link>,
    /// How the chain ends.
    end: String,
    /// The holder for whom all of the chain waits; absent where it is not known, or there is none.
    root: Option<Link>,
}

#[derive(Debug, Serialize)]
struct Link {
    lockspace: String,
    #[serde(flatten)]
    claim: ClaimView,
}

/// Lists waits.
pub async fn run(args: Args) -> Result<(), Failure> {
    let neighbours = vouchers::neighbours(&args.client.inspection()?).await?;
    let brokers = neighbours.asked(args.scope.broker.as_deref())?;
    let which =
        Which { lockspace: args.scope.lockspace(&args.client), prefix: args.prefix, min: args.min, limit: args.limit };
    let gathered = chains::waits(&neighbours, &brokers, &which).await;
    let inside = if args.scope.broker.is_some() { Vec::new() } else { inside(&neighbours) };
    match args.client.common.output {
        Format::Json => output::json(&Listing {
            waits: gathered.found.iter().map(WaitView::from).collect(),
            unanswered: gathered.unanswered.clone(),
            inside: inside.clone(),
        })?,
        Format::Text if gathered.found.is_empty() => note("nobody waits so long for any such resource"),
        Format::Text => output::text(&table(&gathered.found, args.scope.all_lockspaces).render())?,
    }
    complete(gathered, &inside)
}

/// The brokers inside programs.
pub fn inside(neighbours: &Neighbours) -> Vec<String> {
    neighbours.inside().iter().map(|broker| broker.name.clone()).collect()
}

/// Says what is missing; a failure if that is what a broker could have said.
pub fn complete<T>(gathered: Gathered<T>, inside: &[String]) -> Result<(), Failure> {
    if !inside.is_empty() {
        let inside = inside.join(", ");
        warn(format_args!("waits of programs that have their broker inside are not shown: {inside}"));
    }
    if gathered.left_out > 0 {
        warn(format_args!("there are more: {} shorter waits are left out", gathered.left_out));
    }
    let Some(failure) = gathered.trouble else { return Ok(()) };
    warn(format_args!("this is not complete: no answer from {}", gathered.unanswered.join(", ")));
    Err(failure)
}

/// Waits as a table, with their lockspaces where these may differ.
pub fn table(waits: &[v1::WaitInfo], lockspaces: bool) -> Table {
    let mut table = Table::new(&[">WAITS", "LOCKSPACE", "RESOURCE", "MODE", "WHO", ">CHAIN", "ROOT", "NOTES"]);
    for wait in waits {
        let claim = wait.claim.clone().unwrap_or_default();
        let v1::Resource { lockspace, name } = claim.resource.clone().unwrap_or_default();
        table.row([
            view::age(claim.age_ms),
            if lockspaces { lockspace } else { String::new() },
            name,
            view::claim_mode(&claim),
            view::who(&claim),
            wait.chain.len().to_string(),
            wait.chain.last().map(holding).unwrap_or_default(),
            ending(wait),
        ]);
    }
    table
}

/// `EX on r by bob`.
fn holding(claim: &v1::ClaimInfo) -> String {
    let resource = claim.resource.as_ref().map(|resource| resource.name.as_str()).unwrap_or_default();
    format!("{} on {resource} by {}", view::claim_mode(claim), view::who(claim))
}

/// What is to be said of the end of a chain that does not end with a holder.
fn ending(wait: &v1::WaitInfo) -> String {
    match wait.end() {
        v1::ChainEnd::Holder => String::new(),
        v1::ChainEnd::Cycle => "each of the chain waits for the next, and the last for one before".into(),
        v1::ChainEnd::Elsewhere => "it may wait itself: its broker did not say".into(),
        v1::ChainEnd::Long => "the chain goes on".into(),
        v1::ChainEnd::Unspecified => "how the chain ends is not known".into(),
    }
}

impl From<&v1::WaitInfo> for WaitView {
    fn from(wait: &v1::WaitInfo) -> Self {
        let ends = wait.end() == v1::ChainEnd::Holder;
        Self {
            claim: Link::from(&wait.claim.clone().unwrap_or_default()),
            chain: wait.chain.iter().map(Link::from).collect(),
            end: view::state(wait.end().as_str_name(), "CHAIN_END_"),
            root: wait.chain.last().filter(|_| ends).map(Link::from),
        }
    }
}

impl From<&v1::ClaimInfo> for Link {
    fn from(claim: &v1::ClaimInfo) -> Self {
        let lockspace = claim.resource.as_ref().map(|resource| resource.lockspace.clone()).unwrap_or_default();
        Self { lockspace, claim: ClaimView::from(claim.clone()) }
    }
}
