//! Log lines, on standard error: as text for people or as JSON for programs.
//!
//! Invariants: writing a line never waits and never fails, whoever reads standard error, stopped to read it or went away
//! (a broker that waits for the reader of its log stops answering keepalives, and its sessions die); what was left out
//! is counted and said; nothing here takes memory without a limit.
//!
//! # Layout, in reading order
//!
//! * [`lines`]: the queue between those who log and standard error;
//! * [`folding`]: a line that is repeated is written a few times, then counted;
//! * [`panics`]: a panic is logged, and ends the process.

pub mod lines;
pub mod folding;
pub mod panics;

use std::io;
use std::time::Duration;

use sixpin_server::config::file::LogFormat;
use sixpin_server::config::{ConfigError, LogConfig};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use folding::Folding;
use lines::Lines;

/// What a library logs of its own on the level of information repeats what the stores' own crates say, without saying
/// of what. The audit is written whatever the level of the rest. Directives that name them come later and win.
const QUIETER: &str = "async_nats=warn,audit=info";
/// What was left out is said this often.
const REPORT: Duration = Duration::from_secs(10);
/// The end of the process waits no longer than this for lines that nobody takes.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Which lines are written.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, ConfigError> {
    if let Some(word) = config.level.split(',').map(str::trim).find(|word| !is_directive(word)) {
        return Err(ConfigError(format!(
            "`log.level` has `{}`: write error, warn, info, debug, trace or off; a part of the program has its level after it, as \
             in `info,sixpin=debug`",
            word.escape_debug()
        )));
    }
    EnvFilter::builder().parse(format!("{QUIETER},{}", config.level)).map_err(|error| {
        ConfigError(format!("`log.level` is `{}`: {error}; write error, warn, info, debug or trace", config.level))
    })
}

/// Whether this is a level, or a part of the program with its own: a word alone would be taken for a part, and say nothing else.
fn is_directive(word: &str) -> bool {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    word.contains(['=', '[']) || levels.contains(&word.to_lowercase().as_str())
}

/// The log of this process.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Lines,
    folding: Folding,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Starts writing log lines to standard error. Once per process.
    pub fn start(config: &LogConfig) -> Result<Self, ConfigError> {
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let cannot = |error: &dyn std::error::Error| ConfigError(format!("the log cannot be started: {error}"));
        let lines = Lines::start(io::stderr()).map_err(|error| cannot(&error))?;
        let folding = Folding::default();
        // The library's own message about a line that it could not write would go to standard error by a macro that
        // panics where nobody reads it.
        let written = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(lines.clone());
        let written = match config.format {
            LogFormat::Text => written.with_target(false).with_ansi(false).boxed(),
            LogFormat::Json => written.json().flatten_event(true).with_target(false).boxed(),
        };
        let started = tracing_subscriber::registry().with(filter).with(written.with_filter(folding.clone())).try_init();
        started.map_err(|error| cannot(&error))?;
        let log = Self { lines, folding, filter: handle };
        log.report_regularly().map_err(|error| cannot(&error))?;
        Ok(log)
    }

    /// From now on these lines are written.
    pub fn set_filter(&self, filter: EnvFilter) {
        // It fails only where there is no log any more.
        let _ = self.filter.reload(filter);
    }

    /// Says what was left out, and gives what was said until now a moment to be written. Call it before the process ends.
    pub fn finish(&self) {
        self.report();
        self.lines.flush(FLUSH_PATIENCE);
    }

    /// A thread of its own says what was left out: the tasks that log may be what is stuck.
    fn report_regularly(&self) -> io::Result<()> {
        let log = self.clone();
        let work = move || {
            loop {
                std::thread::sleep(REPORT);
                log.report();
            }
        };
        std::thread::Builder::new().name("log-report".into()).spawn(work).map(drop)
    }

    fn report(&self) {
        self.folding.report();
        self.lines.report();
    }
}
