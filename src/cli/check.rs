//! `sixpin serve --check`: whether the configuration is good, and what a broker would do with it.

use sixpin_core::backend::OpenError;
use sixpin_server::backends;
use sixpin_server::config::check::Key;
use sixpin_server::config::sources::Sources;
use sixpin_server::config::{Config, ConfigError, DEFAULT_BACKEND};

use super::output::Table;
use crate::log;

/// Checks everything that can be checked without starting, and says what a start would do.
pub fn check(sources: &Sources) -> Result<String, ConfigError> {
    let config = sources.config()?;
    log::filter(&config.log).map_err(|error| sources.wrong(&Key::of(&["log", "level"]), error))?;
    for (name, backend) in &config.backends {
        backends::check(backend).map_err(|error| wrong_store(sources, name, &error))?;
    }
    Ok(plan(&config))
}

/// A store's URL is wrong, or a setting beside it: the URL's place leads to both.
fn wrong_store(sources: &Sources, name: &str, error: &OpenError) -> ConfigError {
    let text = format!("backend `{name}`: {error}");
    let short = Key::of(&["backend"]);
    if name == DEFAULT_BACKEND && sources.is_set(&short) {
        return sources.wrong(&short, text);
    }
    sources.wrong(&Key::of(&["backends", name, "url"]), text)
}

fn plan(config: &Config) -> String {
    let mut table = Table::new(&["SETTING", "WHAT THE BROKER WOULD DO"]);
    table.row(["name".into(), format!("call itself {}", config.name)]);
    table.row(["listen".into(), format!("listen on {} for clients", config.listen)]);
    if let Some(address) = &config.advertise {
        table.row(["advertise".into(), format!("send clients of other brokers to {address}")]);
    }
    let admin = match config.admin_listen {
        Some(address) => format!("listen on {address} for administrators"),
        None => "have no listener for administrators".into(),
    };
    table.row(["admin_listen".into(), admin]);
    for (name, backend) in &config.backends {
        let what = format!("keep {} in {}", kept_in(config, name), backends::redacted(&backend.url));
        table.row([format!("backends.{name}"), what]);
    }
    table.row(["require".into(), format!("refuse a store that is less than {}", backends::class(config.require))]);
    format!("the configuration is good; nothing was started, and no store was asked\n\n{}", table.render())
}

/// Which locks a backend has.
fn kept_in(config: &Config, backend: &str) -> String {
    let named = config.lockspaces.iter().filter(|(_, settings)| settings.backend == backend);
    let named: Vec<&str> = named.map(|(lockspace, _)| lockspace.as_str()).collect();
    match (backend == DEFAULT_BACKEND, named.is_empty()) {
        (true, _) => "all locks that have no other place".into(),
        (false, true) => "nothing".into(),
        (false, false) => format!("the locks of {}", named.join(", ")),
    }
}
