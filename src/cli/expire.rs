//! `sixpin expire`: ends a session, with everything it holds.

use serde::Serialize;
use sixpin_core::name::SessionId;
use sixpin_proto::v1;

use super::connect::AdminArgs;
use super::failure::{Failure, note};
use super::output::{self, Format};
use super::view;

/// What `sixpin expire` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session.
    session: SessionId,
    /// Free what it holds at once. Its client may still believe that it has the locks: only fences protect them.
    #[arg(long)]
    now: bool,
    /// Do not wait until everything is free.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    session: String,
    free: bool,
    free_in_ms: u64,
}

/// Ends a session.
pub async fn run(args: Args) -> Result<(), Failure> {
    let request = v1::ExpireSessionRequest {
        session: args.session.to_string(),
        now: args.now,
        no_wait: args.no_wait,
        lockspace: args.admin.common.space.lockspace.to_string(),
    };
    if !args.now && !args.no_wait {
        note(format_args!(
            "waiting until its client has confirmed, or its TTL of {} has passed",
            humantime::format_duration(args.session.ttl())
        ));
    }
    let reply = args
        .admin
        .admin
        .administration(&args.admin.common.credentials)?
        .expire_session(request)
        .await
        .map_err(Failure::administering)?;
    let report = Report { session: args.session.to_string(), free: reply.free, free_in_ms: reply.free_in_ms };
    match args.admin.common.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&render(&report)),
    }
}

fn render(Report { session, free, free_in_ms }: &Report) -> String {
    if *free {
        format!("session {session} has ended, and what it held is free\n")
    } else {
        format!("session {session} is ending: what it held is free in at most {}\n", view::span(*free_in_ms))
    }
}
