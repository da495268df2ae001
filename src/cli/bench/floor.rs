//! The floor: a process that serves the service that only answers, on the same kind of listener as a broker.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sixpin_server::frontend::listener::{self, gate::ConnectionLimits, gate::Gate, share::Lane};
use sixpin_server::frontend::{client, grpc};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::exit;
use crate::cli::failure::Failure;

/// Its subcommand, which nobody types.
pub(super) const NAME: &str = "bench-floor";

/// What the floor takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write the address.
    #[arg(long)]
    ready_file: PathBuf,
}

/// Serves until it is killed.
pub fn run(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::new(exit::FAILURE, format_args!("the floor can not be served: {error}")).report(),
    }
}

async fn serve(args: &Args) -> std::io::Result<()> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let unfinished = args.ready_file.with_extension("unfinished");
    std::fs::write(&unfinished, format!("{}\n", socket.local_addr()?))?;
    std::fs::rename(&unfinished, &args.ready_file)?;
    let all = 10_000;
    let idle = Duration::from_secs(3600);
    let limits =
        ConnectionLimits { total: all, per_address: all, per_trusted: all, trusted: client::this_host(), idle };
    let gate = Gate::new(limits, Lane::start()?, Arc::default());
    let stop = watch::Sender::new(false);
    listener::serve(socket, None, grpc::for_benchmarks(), gate, stop.subscribe()).await;
    Ok(())
}
