//! `sixpin purge`: removes orphans, the claims that outlived their sessions, and records that are damaged.

use std::io::{BufRead as _, IsTerminal as _};

use serde::Serialize;
use sixpin_core::name::{Label, ResourceName, SessionId};
use sixpin_proto::v1;
use sixpin_proto::v1::purge_orphans_request::Which as Orphans;

use super::connect::{AdminEndpoints, ClientArgs};
use super::exit;
use super::failure::{Failure, warn};
use super::output::{self, Format};
use super::{show, view};

/// What `sixpin purge` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    #[command(flatten)]
    which: Which,
    /// Do not ask before a damaged record is removed.
    #[arg(long, requires = "damaged")]
    yes: bool,
    /// Nobody holds the resource: it is free as soon as the damaged record is removed.
    #[arg(long, requires = "damaged")]
    now: bool,
    #[command(flatten)]
    admin: AdminEndpoints,
    #[command(flatten)]
    client: ClientArgs,
}

/// What is removed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The orphans of this owner.
    #[arg(long, value_name = "OWNER", value_parser = Label::new)]
    owner: Option<Label>,
    /// The orphans of this former session.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// All orphans of the resource.
    #[arg(long)]
    all: bool,
    /// The record itself, if it is damaged. Who held the resource may go on believing so for a while, and until that is over
    /// nothing is granted.
    #[arg(long)]
    damaged: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    resource: String,
    purged: u32,
}

#[derive(Debug, Serialize)]
struct Removed {
    resource: String,
    #[serde(serialize_with = "view::as_text")]
    version: u64,
    free_in_ms: u64,
}

/// Removes orphans, or a damaged record.
pub async fn run(args: Args) -> Result<(), Failure> {
    if args.which.damaged { remove_damaged(&args).await } else { purge_orphans(&args).await }
}

async fn purge_orphans(args: &Args) -> Result<(), Failure> {
    let request = v1::PurgeOrphansRequest {
        resource: Some(args.client.common.space.resource(&args.resource)),
        which: which(&args.which),
    };
    let reply = args
        .admin
        .administration(&args.client.common.credentials)?
        .purge_orphans(request)
        .await
        .map_err(Failure::administering)?;
    let report = Report { resource: args.resource.to_string(), purged: reply.purged };
    match args.client.common.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&render(&report)),
    }
}

fn which(which: &Which) -> Option<Orphans> {
    match (&which.owner, which.session) {
        (Some(owner), _) => Some(Orphans::Owner(owner.as_str().to_owned())),
        (None, Some(session)) => Some(Orphans::Session(session.to_string())),
        (None, None) => which.all.then_some(Orphans::All(true)),
    }
}

fn render(Report { resource, purged }: &Report) -> String {
    format!("removed {} from {resource}\n", view::count((*purged).into(), "orphan"))
}

/// Removes the record if it is damaged, and only as it was shown.
async fn remove_damaged(args: &Args) -> Result<(), Failure> {
    let state = show::state(&args.client.inspection()?, &args.client.common.space, &args.resource).await?;
    if state.damage.is_empty() {
        return Err(Failure::new(exit::FAILURE, format_args!("the record of `{}` is not damaged", args.resource))
            .hint("see who has it with `sixpin show`"));
    }
    if !args.yes {
        confirm(args, &state)?;
    }
    let request = v1::RemoveDamagedRequest {
        resource: Some(args.client.common.space.resource(&args.resource)),
        version: state.version,
        now: args.now,
    };
    let reply = args
        .admin
        .administration(&args.client.common.credentials)?
        .remove_damaged(request)
        .await
        .map_err(Failure::administering)?;
    let free_in_ms = reply.free_in_ms;
    let removed = Removed { resource: args.resource.to_string(), version: state.version, free_in_ms };
    match args.client.common.output {
        Format::Json => output::json(&removed),
        Format::Text => output::text(&render_removed(&removed)),
    }
}

/// Asks whoever sits at a terminal. Anybody else has to say so beforehand.
fn confirm(args: &Args, state: &v1::ResourceState) -> Result<(), Failure> {
    let (resource, version, damage) = (&args.resource, state.version, &state.damage);
    let lost = if args.now {
        "whoever holds it loses the lock while it may be granted to somebody else"
    } else {
        "whoever holds it loses the lock, and nothing is granted before that is known to all"
    };
    warn(format_args!("the record of `{resource}` at version {version} is damaged: {damage}"));
    warn(format_args!("if it is removed, {lost}"));
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage("nothing was removed without `--yes`").hint("if that is meant, repeat it with `--yes`")
        );
    }
    warn("remove it? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(exit::FAILURE, "nothing was removed"))
}

fn render_removed(Removed { resource, version, free_in_ms }: &Removed) -> String {
    let free = match free_in_ms {
        0 => "the resource is free".to_owned(),
        free_in_ms => format!("nothing is granted for {}", view::span(*free_in_ms)),
    };
    format!("removed the damaged record of {resource} at version {version}: {free}\n")
}
