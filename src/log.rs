//! Log lines, on standard error: as text for people or as JSON for programs.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::file::LogFormat;
use crate::config::{ConfigError, LogConfig};

/// What a library logs of its own on the level of information repeats what the stores' own crates say, without saying
/// of what. Directives that name it come later and win.
const QUIETER: &str = "async_nats=warn";

/// Starts writing log lines. Once per process.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::builder().parse(format!("{QUIETER},{}", config.level)).map_err(|error| {
        ConfigError(format!("`log.level` is `{}`: {error}; write error, warn, info, debug or trace", config.level))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
    started.map_err(|error| ConfigError(format!("the log cannot be started: {error}")))
}
