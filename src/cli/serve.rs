//! `sixpin serve`: runs a broker until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use sixpin_core::backend::OpenError;
use sixpin_server::backends::{self, Opener};
use sixpin_server::config::sources::Sources;
use sixpin_server::config::{self, Config, ConfigError};
use sixpin_server::error::StartError;
use sixpin_server::server::Server;

use super::exit;
use super::failure::Failure;
use super::reload::Reload;
use super::stop::Stop;
use super::{check, output};
use crate::log::{Log, panics};

/// What `sixpin serve` takes. Flags override environment variables, which override the file.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Configuration file: TOML, or YAML or JSON if its name ends so.
    #[arg(long, value_name = "FILE", env = "SIXPIN_SERVE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The store: memory:, redis://host:port/db, etcd://host:port,host:port or nats://host:port.
    #[arg(long, value_name = "URL")]
    pub backend: Option<String>,
    /// Where clients connect.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where administrators connect, or `off`.
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// Where clients of other brokers reach this one.
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The broker's name, for people.
    #[arg(long)]
    pub name: Option<String>,
    /// The store is new: nothing was locked there before, so nothing need be waited for.
    #[arg(long)]
    pub new_store: bool,
    /// How durable the store must be: volatile, crash-safe, power-safe or failover-safe.
    #[arg(long, value_name = "DURABILITY")]
    pub require: Option<String>,
    /// How log lines look: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Which log lines are written: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Write the addresses to this file, one a line, once the broker listens.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Check file, environment and flags, say what the broker would do, and end. Stores are not reached.
    #[arg(long)]
    pub check: bool,
}

impl Args {
    /// The configuration that file, environment and flags make together.
    pub fn load(&self, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        self.read(environment)?.config()
    }

    /// File, environment and flags, each understood by itself.
    fn read(&self, environment: impl IntoIterator<Item = (String, String)>) -> Result<Sources, ConfigError> {
        if self.backend.as_deref().is_some_and(backends::has_secret) {
            let text = "`--backend` holds a password, which everybody on this host can read: \
                        put the URL into the configuration file or into SIXPIN_SERVE_BACKEND";
            return Err(ConfigError(text.into()));
        }
        // The file is named by a variable of its own, which is no setting.
        let environment = environment.into_iter().filter(|(name, _)| name != "SIXPIN_SERVE_CONFIG");
        Sources::read(self.config.as_deref(), environment, self.table())
    }

    /// The flags as settings.
    fn table(&self) -> toml::Table {
        let settings = [
            ("backend", self.backend.clone()),
            ("listen", self.listen.map(|address| address.to_string())),
            ("admin_listen", self.admin_listen.clone()),
            ("advertise", self.advertise.clone()),
            ("name", self.name.clone()),
            ("require", self.require.clone()),
            ("first_start_grace", self.new_store.then(|| "0s".to_owned())),
            ("log.format", self.log_format.clone()),
            ("log.level", self.log_level.clone()),
        ];
        let mut table = toml::Table::new();
        for (key, value) in settings {
            if let Some(value) = value {
                let path: Vec<String> = key.split('.').map(ToString::to_string).collect();
                config::settings::overlay(&mut table, config::settings::nest(&path, toml::Value::String(value)));
            }
        }
        table
    }
}

/// Runs a broker.
pub fn run(args: &Args) -> ExitCode {
    run_with(args, backends::opener())
}

/// As [`run`], with stores opened by `opener`.
pub fn run_with(args: &Args, opener: Opener) -> ExitCode {
    let environment = config::settings::variables(std::env::vars_os());
    let sources = match environment.and_then(|environment| args.read(environment)) {
        Ok(sources) => sources,
        Err(error) => return refuse(&error, exit::CONFIG),
    };
    if args.check {
        return match check::check(&sources) {
            Ok(text) => output::text(&text).map_or_else(Failure::report, |()| ExitCode::SUCCESS),
            Err(error) => refuse(&error, exit::CONFIG),
        };
    }
    let config = match sources.config() {
        Ok(config) => config,
        Err(error) => return refuse(&error, exit::CONFIG),
    };
    let log = match Log::start(&config.log) {
        Ok(log) => log,
        Err(error) => return refuse(&error, exit::CONFIG),
    };
    panics::end_the_process(&log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error, 1),
    };
    let status = runtime.block_on(serve(args, config, opener, &log));
    // Whatever still runs has been told to stop, and may not hold up the end.
    runtime.shutdown_background();
    log.finish();
    status
}

async fn serve(args: &Args, config: Config, opener: Opener, log: &Log) -> ExitCode {
    // Signals are caught from the first moment on, so that a stop during the start is not lost.
    let (mut stop, mut reload) = match Stop::listen().and_then(|stop| Ok((stop, Reload::listen()?))) {
        Ok(listening) => listening,
        Err(error) => return refuse(&error, 1),
    };
    let server = tokio::select! {
        started = Server::start_with(config, opener) => match started {
            Ok(server) => server,
            Err(error) => return not_started(&error),
        },
        () = stop.told() => return ExitCode::SUCCESS,
    };
    if let Some(path) = &args.ready_file
        && let Err(error) = server.write_ready_file(path)
    {
        return not_started(&error);
    }
    tokio::select! {
        () = stop.told() => {
            tokio::select! {
                () = server.drain() => {}
                () = stop.told_again() => {
                    tracing::warn!("told to stop a second time: stopping without having drained");
                    return ExitCode::FAILURE;
                }
            }
        }
        () = server.drained() => {}
        () = reload.follow(&server, args, log) => {}
    }
    server.stop().await;
    ExitCode::SUCCESS
}

/// Says why, on standard error whatever the log looks like, and with which status.
fn refuse(error: &dyn std::error::Error, status: u8) -> ExitCode {
    Failure::new(status, error).report()
}

/// Why the broker did not start, and what the user can do where that is not plain from the error.
fn not_started(error: &StartError) -> ExitCode {
    let status = match error {
        StartError::Open(_, OpenError::BadUrl(_)) | StartError::Tls(_) | StartError::Audit(_) => exit::CONFIG,
        StartError::Open(_, OpenError::Unreachable(_)) => exit::UNREACHABLE,
        StartError::Open(_, OpenError::Login(_)) => exit::LOGIN,
        StartError::Open(_, OpenError::Unsafe(_)) => exit::UNSAFE,
        _ => exit::FAILURE,
    };
    let failure = Failure::new(status, error);
    match error {
        StartError::Listen(_, cause) if cause.kind() == io::ErrorKind::AddrInUse => failure.hint(
            "a broker may run there already: ask it with `sixpin status`, or name other addresses with `--listen` and \
             `--admin-listen`",
        ),
        _ => failure,
    }
    .report()
}
