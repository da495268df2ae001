//! `sixpin show`: the three queues of one resource.

use std::fmt::Write as _;

use sixpin_client::{Inspection, Mode};
use sixpin_core::name::ResourceName;
use sixpin_proto::v1;

use super::connect::{ClientArgs, Space};
use super::exit;
use super::failure::Failure;
use super::output::{self, Format, Table};
use super::view::{self, ResourceView};
use super::vouchers::{Voucher, Vouchers};

/// What `sixpin show` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    /// Answer with the exit status: 0 if it is free, 1 if somebody holds it or waits for it, 2 or more if that could not be
    /// found out. NL, which excludes nobody, does not count.
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Shows a resource.
pub async fn run(args: Args) -> Result<(), Failure> {
    let exit_code = args.exit_code;
    let shown = show(args).await;
    if !exit_code {
        return shown.map(|_| ());
    }
    match shown.map_err(Failure::unsure)? {
        Use::Free => Ok(()),
        Use::Taken => Err(Failure::told(exit::TAKEN)),
        Use::Unknown => Err(Failure::told(exit::UNSURE)),
    }
}

/// Whether anybody is in the way of a new claim.
enum Use {
    Free,
    Taken,
    /// The record is damaged.
    Unknown,
}

async fn show(args: Args) -> Result<Use, Failure> {
    let inspection = args.client.inspection()?;
    let state = state(&inspection, &args.client.common.space, &args.resource).await?;
    let vouchers = Vouchers::of(&inspection, &state.claims).await;
    let claims = state.claims.iter().flat_map(|claim| [claim.granted(), claim.requested()]);
    let taken = claims.into_iter().any(|mode| !matches!(mode, v1::Mode::Unspecified | v1::Mode::Nl));
    let damaged = !state.damage.is_empty();
    match args.client.common.output {
        Format::Json => output::json(&ResourceView::with(state, &vouchers))?,
        Format::Text => output::text(&render(&state, &vouchers))?,
    }
    Ok(match (damaged, taken) {
        (true, _) => Use::Unknown,
        (false, true) => Use::Taken,
        (false, false) => Use::Free,
    })
}

/// The state of a resource, as the first broker that answers sees it.
pub async fn state(
    inspection: &Inspection,
    space: &Space,
    resource: &ResourceName,
) -> Result<v1::ResourceState, Failure> {
    let request = v1::GetResourceRequest { resource: Some(space.resource(resource)) };
    inspection.get_resource(request).await.map_err(Failure::inspecting)
}

/// The resource as a text of several lines.
fn render(state: &v1::ResourceState, vouchers: &Vouchers) -> String {
    let resource = state.resource.clone().unwrap_or_default();
    if !state.damage.is_empty() {
        let v1::Resource { name, lockspace } = resource;
        let (version, damage, argument) = (state.version, &state.damage, view::argument(&name));
        return format!(
            "{name} in lockspace {lockspace}, version {version}, is damaged: {damage}\n\
             nobody can say who has it, and nothing is granted; `sixpin purge --damaged {argument}` removes it\n"
        );
    }
    if state.claims.is_empty() && state.left_out == 0 {
        return format!("{} in lockspace {} is free: nobody has a claim on it\n", resource.name, resource.lockspace);
    }
    let mut out = format!("{} in lockspace {}, version {}\n", resource.name, resource.lockspace, state.version);
    if let Some(value) = &state.value {
        out.push_str(&value_block(value));
    }
    for (queue, title) in
        [(v1::Queue::Granted, "Granted"), (v1::Queue::Converting, "Converting"), (v1::Queue::Waiting, "Waiting")]
    {
        let claims: Vec<&v1::ClaimInfo> = state.claims.iter().filter(|claim| claim.queue() == queue).collect();
        if !claims.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(out, "\n{title}\n{}", claims_table(&claims, vouchers));
            for (waiter, holder) in claims.iter().filter_map(|claim| Some((claim, holder_of_its_own(state, claim)?))) {
                let (session, wanted, held) = (&waiter.session, view::claim_mode(waiter), view::claim_mode(holder));
                let (number, other) = (waiter.claim, holder.claim);
                let _ = writeln!(
                    out,
                    "  session {session} waits for itself: claim {number} wants {wanted}, and its claim {other} has {held}"
                );
            }
        }
    }
    if state.left_out > 0 {
        let _ = writeln!(out, "\nand {} more", view::count(state.left_out.into(), "claim"));
    }
    out
}

/// What keeps a claim waiting although its own session holds it: nothing is granted before that session lets go of it.
fn holder_of_its_own<'a>(state: &'a v1::ResourceState, waiter: &v1::ClaimInfo) -> Option<&'a v1::ClaimInfo> {
    if waiter.queue() == v1::Queue::Granted {
        return None;
    }
    let wanted = Mode::from_proto(waiter.requested)?;
    let excludes = |held: i32| Mode::from_proto(held).is_some_and(|held| !held.compatible(wanted));
    let own = |claim: &&v1::ClaimInfo| claim.session == waiter.session && claim.claim != waiter.claim;
    state.claims.iter().filter(own).find(|claim| excludes(claim.granted))
}

/// Claims of one resource as a table, in the order given.
pub fn claims_table(claims: &[&v1::ClaimInfo], vouchers: &Vouchers) -> String {
    let titles =
        &["MODE", ">AGE", "LABEL", "OWNER", "CLIENT", "BROKER", "SESSION", ">CLAIM", "FENCE", "TICKET", "NOTES"];
    let mut table = Table::new(titles).indented(2);
    for claim in claims {
        let voucher = vouchers.get(&claim.session);
        let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        table.row([
            view::claim_mode(claim),
            view::age(claim.age_ms),
            claim.label.clone(),
            claim.owner.clone(),
            voucher.map(|voucher| voucher.session.client_address.clone()).unwrap_or_default(),
            voucher.map(Voucher::shown).unwrap_or_default(),
            claim.session.clone(),
            claim.claim.to_string(),
            number(claim.fence),
            if claim.queue() == v1::Queue::Granted { String::new() } else { number(claim.ticket) },
            notes(claim),
        ]);
    }
    table.render()
}

fn notes(claim: &v1::ClaimInfo) -> String {
    let told = view::mode(claim.told()).map(|mode| format!("told it blocks {mode}"));
    [
        claim.orphan.then(|| "orphan".to_owned()),
        (claim.persistent && !claim.orphan).then(|| "persistent".to_owned()),
        claim.demoted.then(|| "demoted".to_owned()),
        told,
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

fn value_block(value: &v1::Value) -> String {
    let bytes = value.bytes.clone().unwrap_or_default();
    let validity = if value.invalid { "invalid: a writer died, these are the last known bytes" } else { "valid" };
    let shown = match view::printable(&bytes) {
        Some(text) if text.is_empty() => "all zeroes".to_owned(),
        Some(text) => format!("`{text}`"),
        None => view::hex(&bytes),
    };
    format!("value block: {shown}, {} bytes, {}, {validity}\n", bytes.len(), view::count(value.seq, "write"))
}
