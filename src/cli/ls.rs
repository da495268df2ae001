//! `sixpin ls`: the resources on which somebody has a claim.

use serde::Serialize;
use sixpin_proto::v1;

use super::connect::ClientArgs;
use super::failure::{Failure, note, warn};
use super::output::{self, Format, Table};
use super::view;

/// Entries of one page, which is the most that a broker gives at once.
const PAGE: u32 = 1_000;

/// What `sixpin ls` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The beginning of the names; one that begins with a dash comes last, after `--`.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// How many to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Go on where the page before ended, as it told.
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    /// Show all of them.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Show only those for which somebody waits. All are looked through.
    #[arg(long, conflicts_with_all = ["limit", "after"])]
    waiting: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    resources: Vec<Summary>,
    /// Where the next page begins; absent at the end.
    next: Option<String>,
}

/// A resource in one line.
#[derive(Debug, Serialize)]
pub struct Summary {
    lockspace: String,
    name: String,
    #[serde(serialize_with = "view::as_text")]
    version: u64,
    modes: Vec<&'static str>,
    granted: u32,
    converting: u32,
    waiting: u32,
    /// Since the oldest grant; 0 if there is none.
    held_ms: u64,
    /// Since the first that waits or converts came; 0 if nobody does.
    waiting_ms: u64,
    /// Why the stored record cannot be understood; absent if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// Lists resources.
pub async fn run(args: Args) -> Result<(), Failure> {
    let inspection = args.client.inspection()?;
    let all = args.all || args.waiting;
    let mut request = v1::ListResourcesRequest {
        lockspace: args.client.common.space.lockspace.to_string(),
        prefix: args.prefix,
        limit: if all { PAGE } else { args.limit },
        after: args.after.unwrap_or_default(),
    };
    let mut resources = Vec::new();
    loop {
        let page = inspection.list_resources(request.clone()).await.map_err(Failure::inspecting)?;
        resources.extend(page.resources.into_iter().map(summary));
        request.after = page.next;
        if !all || request.after.is_empty() {
            break;
        }
    }
    if args.waiting {
        resources.retain(|resource: &Summary| resource.waiting + resource.converting > 0);
    }
    // Pages come in the order of the store, which is not that of the names everywhere.
    resources.sort_by(|one, other| one.name.cmp(&other.name));
    let next = Some(request.after).filter(|next| !next.is_empty());
    show(&Listing { resources, next }, args.client.common.output)
}

fn show(listing: &Listing, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(listing);
    }
    if listing.resources.is_empty() {
        note("nobody has a claim on any such resource");
        return Ok(());
    }
    output::text(&table(&listing.resources, false).render())?;
    if let Some(damaged) = listing.resources.iter().find(|resource| resource.damage.is_some()) {
        let name = view::argument(&damaged.name);
        warn(format_args!("nothing is granted where a record is damaged: see `sixpin show {name}`"));
    }
    if let Some(next) = &listing.next {
        warn(format_args!("there are more: go on with `--after '{next}'`, or see all with `--all`"));
    }
    Ok(())
}

/// Resources as a table, with their lockspaces where these may differ.
pub fn table(resources: &[Summary], lockspaces: bool) -> Table {
    let titles = &["LOCKSPACE", "RESOURCE", "HELD", ">AGE", ">HOLDERS", ">CONVERTING", ">WAITING", ">LONGEST WAIT"];
    let mut table = Table::new(titles);
    let age = |count: u32, age_ms: u64| if count == 0 { String::new() } else { view::age(age_ms) };
    for resource in resources {
        table.row([
            if lockspaces { resource.lockspace.clone() } else { String::new() },
            resource.name.clone(),
            if resource.damage.is_some() { "damaged".to_owned() } else { resource.modes.join(" ") },
            age(resource.granted, resource.held_ms),
            resource.granted.to_string(),
            resource.converting.to_string(),
            resource.waiting.to_string(),
            age(resource.converting + resource.waiting, resource.waiting_ms),
        ]);
    }
    table
}

/// A resource in one line, from what a broker says.
pub fn summary(summary: v1::ResourceSummary) -> Summary {
    let modes = summary.modes().filter_map(view::mode).collect();
    let v1::ResourceSummary { resource, version, granted, converting, waiting, held_ms, waiting_ms, damage, .. } =
        summary;
    let v1::Resource { lockspace, name } = resource.unwrap_or_default();
    let damage = Some(damage).filter(|damage| !damage.is_empty());
    Summary { lockspace, name, version, modes, granted, converting, waiting, held_ms, waiting_ms, damage }
}
