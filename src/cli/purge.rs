//! `sixpin purge`: removes orphans, the claims that outlived their sessions.

use serde::Serialize;
use sixpin_core::name::{Label, ResourceName, SessionId};
use sixpin_proto::v1;
use sixpin_proto::v1::admin_service_client::AdminServiceClient;

use super::connect::AdminArgs;
use super::failure::Failure;
use super::output::{self, Format};
use super::view;

/// What `sixpin purge` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource; one that begins with a dash comes last, after `--`.
    #[arg(value_parser = ResourceName::new)]
    resource: ResourceName,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Which orphans.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Those of this owner.
    #[arg(long, value_name = "OWNER", value_parser = Label::new)]
    owner: Option<Label>,
    /// Those of this former session.
    #[arg(long, value_name = "SESSION")]
    session: Option<SessionId>,
    /// All of the resource.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    resource: String,
    purged: u32,
}

/// Removes orphans.
pub async fn run(args: Args) -> Result<(), Failure> {
    let resource = args.admin.common.space.resource(&args.resource);
    let request = v1::PurgeOrphansRequest {
        resource: Some(resource),
        owner: args.which.owner.as_ref().map(|owner| owner.as_str().to_owned()).unwrap_or_default(),
        session: args.which.session.map(|session| session.to_string()).unwrap_or_default(),
        all: args.which.all,
    };
    let reply = args
        .admin
        .admin
        .brokers()
        .ask(async |channel| AdminServiceClient::new(channel).purge_orphans(request.clone()).await)
        .await?;
    let report = Report { resource: args.resource.to_string(), purged: reply.into_inner().purged };
    match args.admin.common.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&render(&report)),
    }
}

fn render(Report { resource, purged }: &Report) -> String {
    format!("removed {} from {resource}\n", view::count((*purged).into(), "orphan"))
}
