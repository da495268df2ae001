//! `sixpin notify`: asks holders to let go of a lock.

use std::collections::BTreeSet;

use serde::Serialize;
use sixpin_core::name::{ResourceName, SessionId};
use sixpin_proto::v1;

use super::connect::{AdminEndpoints, ClientArgs};
use super::exit;
use super::failure::{Failure, warn};
use super::output::{self, Format};
use super::show;

const TAKE_IT: &str =
    "nobody was told; `sixpin unlock --force` takes the lock away, and its holder is told of that and has its time";
const NAME_THE_HOLDER: &str =
    "who holds it is looked up, for which `inspect` is needed as well: without that, name the holder with `--session`";

/// What `sixpin notify` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    /// Only this session. Absent: all that hold the resource.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// Only this claim of the session.
    #[arg(long, value_name = "NUMBER", requires = "session", value_parser = clap::value_parser!(u64).range(1..))]
    claim: Option<u64>,
    #[command(flatten)]
    admin: AdminEndpoints,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    resource: String,
    holders: Vec<Holder>,
}

#[derive(Debug, Serialize)]
struct Holder {
    session: String,
    told: Vec<u64>,
    deaf: Vec<u64>,
}

/// Asks holders to let go, and says who was told. Nothing is taken from them.
pub async fn run(args: Args) -> Result<(), Failure> {
    let sessions = match &args.session {
        Some(session) => BTreeSet::from([session.to_string()]),
        None => holders(&args).await?,
    };
    let mut holders = Vec::new();
    for session in &sessions {
        match notify(&args, session).await {
            Ok(holder) => holders.push(holder),
            Err(failure) if sessions.len() == 1 => return Err(failure),
            Err(failure) => warn(format_args!("session {session} was not told: {}", failure.text())),
        }
    }
    let report = Report { resource: args.resource.to_string(), holders };
    match args.client.common.output {
        Format::Json => output::json(&report)?,
        Format::Text => output::text(&render(&report))?,
    }
    let somebody = report.holders.iter().any(|holder| !holder.told.is_empty());
    if somebody { Ok(()) } else { Err(Failure::told(exit::FAILURE).hint(TAKE_IT)) }
}

/// The living sessions that hold the resource.
async fn holders(args: &Args) -> Result<BTreeSet<String>, Failure> {
    let state = show::state(&args.client.inspection()?, &args.client.common.space, &args.resource).await;
    let state = state.map_err(|failure| failure.hint_if(exit::LOGIN, NAME_THE_HOLDER))?;
    let holds = |claim: &v1::ClaimInfo| !claim.orphan && claim.granted() != v1::Mode::Unspecified;
    let holders: BTreeSet<String> = state.claims.into_iter().filter(holds).map(|claim| claim.session).collect();
    if holders.is_empty() {
        return Err(Failure::new(exit::FAILURE, format_args!("nobody who could be told holds `{}`", args.resource)));
    }
    Ok(holders)
}

async fn notify(args: &Args, session: &str) -> Result<Holder, Failure> {
    let request = v1::NotifyHolderRequest {
        resource: Some(args.client.common.space.resource(&args.resource)),
        session: session.to_owned(),
        claim: args.claim.unwrap_or_default(),
    };
    let administration = args.admin.administration(&args.client.common.credentials)?;
    let reply = administration.notify_holder(request).await.map_err(Failure::administering)?;
    Ok(Holder { session: session.to_owned(), told: reply.told, deaf: reply.deaf })
}

fn render(Report { resource, holders }: &Report) -> String {
    let line = |Holder { session, told, deaf }: &Holder| {
        let told =
            told.iter().map(|claim| format!("told claim {claim} of session {session} that {resource} is wanted\n"));
        let deaf = deaf.iter().map(|claim| {
            format!("claim {claim} of session {session} on {resource}: its client does not listen for that\n")
        });
        told.chain(deaf).collect::<String>()
    };
    holders.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_and_who_does_not_listen_is_said_of_each_claim() {
        let holder = |session: &str, told: &[u64], deaf: &[u64]| Holder {
            session: session.into(),
            told: told.into(),
            deaf: deaf.into(),
        };
        let report = Report { resource: "r".into(), holders: vec![holder("a", &[3], &[4]), holder("b", &[], &[1])] };
        assert_eq!(
            render(&report),
            "told claim 3 of session a that r is wanted\n\
             claim 4 of session a on r: its client does not listen for that\n\
             claim 1 of session b on r: its client does not listen for that\n"
        );
    }
}
