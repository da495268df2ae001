//! `sixpin top`: the longest waits and what most wait for, again and again.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use sixpin_proto::v1;

use super::chains::{self, Gathered, Which};
use super::connect::ClientArgs;
use super::failure::Failure;
use super::ls::{self, Summary};
use super::output::{self, Format};
use super::screen::Screen;
use super::vouchers;
use super::waits::{self, Scope, WaitView};

/// Rest between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// What `sixpin top` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The beginning of the resources' names; one that begins with a dash comes last, after `--`.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// How many waits to show, and how many resources.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Say it once, as without a terminal or as JSON.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    client: ClientArgs,
}

/// What one look shows.
struct Look {
    brokers: usize,
    waits: Gathered<v1::WaitInfo>,
    contended: Gathered<v1::ResourceSummary>,
    inside: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Listing {
    waits: Vec<WaitView>,
    contended: Vec<Summary>,
    /// Brokers that are alive and did not answer.
    unanswered: Vec<String>,
    /// Brokers inside programs, which nobody else can ask.
    inside: Vec<String>,
}

/// Shows it until a person leaves, or once.
pub async fn run(args: Args) -> Result<(), Failure> {
    // Without a broker there is nothing to begin with. One that goes later may come back.
    let look = look(&args).await?;
    match args.client.common.output {
        Format::Json => {
            output::json(&Listing {
                waits: look.waits.found.iter().map(WaitView::from).collect(),
                contended: look.contended.found.iter().cloned().map(ls::summary).collect(),
                unanswered: look.waits.unanswered.clone(),
                inside: look.inside.clone(),
            })?;
            waits::complete(look.waits, &look.inside)
        }
        Format::Text if args.once || !Screen::is_there() => {
            output::text(&render(&look, &args))?;
            waits::complete(look.waits, &look.inside)
        }
        Format::Text => follow(&args, render(&look, &args)).await,
    }
}

async fn follow(args: &Args, mut text: String) -> Result<(), Failure> {
    let mut screen = Screen::open()?;
    loop {
        screen.show(&text)?;
        tokio::select! {
            () = screen.left() => return Ok(()),
            next = next(args) => text = next,
        }
    }
}

/// What is to be shown after a while.
async fn next(args: &Args) -> String {
    tokio::time::sleep(EVERY).await;
    let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    match look(args).await {
        Ok(look) => render(&look, args),
        Err(failure) => format!("{time}, q leaves\n\n{}", failure.text()),
    }
}

async fn look(args: &Args) -> Result<Look, Failure> {
    let neighbours = vouchers::neighbours(&args.client.inspection()?).await?;
    let brokers = neighbours.asked(args.scope.broker.as_deref())?;
    let which = Which {
        lockspace: args.scope.lockspace(&args.client),
        prefix: args.prefix.clone(),
        min: Duration::ZERO,
        limit: args.limit,
    };
    let (waits, contended) =
        tokio::join!(chains::waits(&neighbours, &brokers, &which), chains::contended(&neighbours, &brokers, &which));
    let inside = if args.scope.broker.is_some() { Vec::new() } else { waits::inside(&neighbours) };
    Ok(Look { brokers: brokers.len(), waits, contended, inside })
}

fn render(look: &Look, args: &Args) -> String {
    let lockspaces = args.scope.all_lockspaces;
    let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    let mut out = format!("{time}, {}", super::view::count(look.brokers as u64, "broker"));
    // Writing to a string does not fail.
    if !look.waits.unanswered.is_empty() {
        let _ = write!(out, ", no answer from {}", look.waits.unanswered.join(", "));
    }
    if !look.inside.is_empty() {
        let _ = write!(out, ", not asked because inside programs: {}", look.inside.join(", "));
    }
    out.push_str(if args.once || !Screen::is_there() { "\n" } else { ", q leaves\n" });
    out.push_str("\nLongest waits\n");
    match look.waits.found.as_slice() {
        [] => out.push_str("nobody waits\n"),
        waits => out.push_str(&waits::table(waits, lockspaces).render()),
    }
    if !look.contended.found.is_empty() {
        let contended: Vec<Summary> = look.contended.found.iter().cloned().map(ls::summary).collect();
        out.push_str("\nMost waited for\n");
        out.push_str(&ls::table(&contended, lockspaces).render());
    }
    out
}
