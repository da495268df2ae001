//! `sixpin unlock`: takes a lock away from its holder.

use serde::Serialize;
use sixpin_client::{Administration, Error};
use sixpin_core::name::{ResourceName, SessionId};
use sixpin_proto::v1;

use super::connect::{AdminEndpoints, ClientArgs};
use super::exit;
use super::failure::{Failure, note, warn};
use super::output::{self, Format};
use super::vouchers::Vouchers;
use super::{show, view};

/// What `sixpin unlock` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    /// The session that loses the lock. It may be left out where only one has it.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Only this claim of the session.
    #[arg(long, value_name = "NUMBER", requires = "session", value_parser = clap::value_parser!(u64).range(1..))]
    claim: Option<u64>,
    /// Yes, take it away. The holder is told; the lock is free when it has confirmed, or when its TTL has passed.
    #[arg(long)]
    force: bool,
    /// Free it at once. The holder may still believe that it has the lock: only fences protect what it guards.
    #[arg(long, requires = "force")]
    now: bool,
    /// Do not wait until the lock is free.
    #[arg(long, requires = "force")]
    no_wait: bool,
    #[command(flatten)]
    admin: AdminEndpoints,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    resource: String,
    session: String,
    claims: Vec<u64>,
    free: bool,
    free_in_ms: u64,
}

/// Takes a lock away, or says what is missing to do so.
pub async fn run(args: Args) -> Result<(), Failure> {
    match &args.session {
        Some(session) if args.force => take_away(&args, session).await,
        Some(session) => Err(explain(&args, session).await),
        None => {
            let claims = claims(&args).await?;
            match only_holder(&claims) {
                Some(session) if args.force => take_away(&args, &session).await,
                _ => Err(list(&args, &claims).await),
            }
        }
    }
}

/// What stands on the resource.
async fn claims(args: &Args) -> Result<Vec<v1::ClaimInfo>, Failure> {
    let state = show::state(&args.client.inspection()?, &args.client.common.space, &args.resource).await?;
    if state.damage.is_empty() {
        return Ok(state.claims);
    }
    let name = view::argument(args.resource.as_str());
    Err(Failure::new(exit::FAILURE, format_args!("nobody can say who has `{}`: {}", args.resource, state.damage))
        .hint(format_args!("remove the damaged record with `sixpin purge --damaged {name}`")))
}

/// The session that has the lock, if it is just one that is alive.
fn only_holder(claims: &[v1::ClaimInfo]) -> Option<SessionId> {
    let mut holders = claims.iter().filter(|claim| holds(claim));
    let first = holders.next().filter(|first| !first.orphan)?;
    holders.all(|other| other.session == first.session).then(|| first.session.parse().ok())?
}

fn holds(claim: &v1::ClaimInfo) -> bool {
    claim.granted() != v1::Mode::Unspecified
}

async fn take_away(args: &Args, session: &SessionId) -> Result<(), Failure> {
    let resource = args.client.common.space.resource(&args.resource);
    let request = v1::ForceUnlockRequest {
        resource: Some(resource),
        session: session.to_string(),
        claim: args.claim.unwrap_or_default(),
        now: args.now,
        no_wait: args.no_wait,
    };
    let administration = args.admin.administration(&args.client.common.credentials)?;
    // Any broker can free a lock at once, but only the broker of the session can tell the holder. If it is out of reach,
    // the lock is freed all the same: that is what `--now` is for.
    let told = if args.now { tell_first(&administration, &request).await } else { Vec::new() };
    if !args.now && !args.no_wait {
        note(format_args!(
            "waiting until the holder has confirmed, or its TTL of {} has passed",
            humantime::format_duration(session.ttl())
        ));
    }
    let reply = match administration.force_unlock(request).await {
        // Told before, the holder let go of it by itself, or has ended its session with it.
        Err(Error::NotFound(_)) if !told.is_empty() => v1::ForceUnlockResponse { free: true, ..Default::default() },
        answer => answer.map_err(Failure::administering)?,
    };
    let report = Report {
        resource: args.resource.to_string(),
        session: session.to_string(),
        claims: if reply.claims.is_empty() { told } else { reply.claims },
        free: reply.free,
        free_in_ms: reply.free_in_ms,
    };
    match args.client.common.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&render(&report)),
    }
}

/// Lets the broker of the session tell the holder; says which claims it is about to lose.
async fn tell_first(administration: &Administration, request: &v1::ForceUnlockRequest) -> Vec<u64> {
    let request = v1::ForceUnlockRequest { now: false, no_wait: true, ..request.clone() };
    let told = administration.force_unlock(request).await;
    told.map(|reply| reply.claims).unwrap_or_default()
}

fn render(report: &Report) -> String {
    let Report { resource, session, claims, free, free_in_ms } = report;
    let taken = view::count(claims.len() as u64, "claim");
    let left = if *free {
        "the next in line may have it".to_owned()
    } else {
        format!("free in at most {}", view::span(*free_in_ms))
    };
    format!("took {taken} on {resource} from session {session}: {left}\n")
}

/// Why nothing was done without `--force`.
async fn explain(args: &Args, session: &SessionId) -> Failure {
    let claims = match claims(args).await {
        Ok(claims) => claims,
        Err(failure) => return failure,
    };
    let id = session.to_string();
    let Some(claim) = claims.iter().find(|claim| claim.session == id) else {
        return Failure::new(exit::FAILURE, format_args!("session {id} has no claim on `{}`", args.resource))
            .hint("see who has with `sixpin show`");
    };
    Failure::usage(format_args!(
        "this would take `{}` away from {}, which has it in {}",
        args.resource,
        view::who(claim),
        view::claim_mode(claim)
    ))
    .hint("if that is meant, repeat it with `--force`: the holder is told, and gives up within its TTL")
}

/// The holders, and how one of them loses the lock.
async fn list(args: &Args, claims: &[v1::ClaimInfo]) -> Failure {
    let holders: Vec<&v1::ClaimInfo> = claims.iter().filter(|claim| holds(claim)).collect();
    let Some(first) = holders.first() else {
        return Failure::new(exit::FAILURE, format_args!("nobody holds `{}`", args.resource));
    };
    let name = view::argument(args.resource.as_str());
    let inspection = match args.client.inspection() {
        Ok(inspection) => inspection,
        Err(failure) => return failure,
    };
    let vouchers = Vouchers::of(&inspection, claims).await;
    warn(format_args!("`{}` is held by\n{}", args.resource, show::claims_table(&holders, &vouchers).trim_end()));
    if let Some(orphan) = holders.iter().find(|claim| claim.orphan) {
        return Failure::usage("it is held by an orphan, whose session ended, so nothing was done")
            .hint(format_args!("remove it with `sixpin purge --session {} {name}`", orphan.session));
    }
    if only_holder(claims).is_some() {
        return Failure::usage("nothing was done without `--force`")
            .hint(format_args!("if that is meant, take it away with `sixpin unlock --force {name}`"));
    }
    Failure::usage("several hold it and none is named, so nothing was done").hint(format_args!(
        "name the one that is to lose it: `sixpin unlock --force --session {} {name}`",
        first.session
    ))
}
