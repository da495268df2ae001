//! When a broker reads its configuration again: on SIGHUP, and when a file of it has changed.
//!
//! SIGHUP is also the end of a terminal. A broker that is run there goes on, and has lost nothing by reading its files.

use std::io::Result;
use std::time::Duration;

use sixpin_server::reload::Watched;
use sixpin_server::server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::serve;
use crate::log::Log;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Catches SIGHUP, from the first moment on so that it never ends the process.
pub(super) struct Reload {
    hang_up: Signal,
}

impl Reload {
    /// Catches it from now on.
    pub(super) fn listen() -> Result<Self> {
        Ok(Self { hang_up: signal(SignalKind::hangup())? })
    }

    /// Reads everything again whenever it should. Never ends.
    pub(super) async fn follow(&mut self, server: &Server, args: &serve::Args, log: &Log) {
        let mut watched = Watched::new(args.config.iter().cloned().chain(server.files().await));
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => {
                    watched.changed();
                }
                _ = look.tick() => {
                    if !watched.changed() {
                        continue;
                    }
                }
            }
            if let Err(error) = again(server, args, log).await {
                server.reload_failed();
                tracing::error!(%error, "not all of the configuration was read again: what is wrong stays as it was");
            }
            // It may name other files now.
            watched.also(server.files().await);
        }
    }
}

async fn again(server: &Server, args: &serve::Args, log: &Log) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let config = args.load(sixpin_server::config::settings::variables(std::env::vars_os())?)?;
    log.set_filter(crate::log::filter(&config.log)?);
    Ok(server.reload(config).await?)
}
