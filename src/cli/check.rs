//! `sixpin serve --check`: whether the configuration is good, and what a broker would do with it.

use sixpin_core::backend::OpenError;
use sixpin_server::backends;
use sixpin_server::config::check::Key;
use sixpin_server::config::sources::Sources;
use sixpin_server::config::{Config, ConfigError, DEFAULT_BACKEND};
use sixpin_server::tls::{self, ClientAuth, TlsConfig};

use super::output::Table;
use crate::log;

/// Checks everything that can be checked without starting, and says what a start would do.
pub fn check(sources: &Sources) -> Result<String, ConfigError> {
    let config = sources.config()?;
    log::filter(&config.log).map_err(|error| sources.wrong(&Key::of(&["log", "level"]), error))?;
    for (name, backend) in &config.backends {
        backends::check(backend).map_err(|error| wrong_store(sources, name, &error))?;
    }
    for (section, tls) in [("tls", &config.tls), ("admin_tls", &config.admin_tls)] {
        // What administrators have from clients is said of the clients' section.
        if let Some(tls) = tls.as_ref().filter(|_| sources.is_set(&Key::of(&[section]))) {
            tls::check(tls).map_err(|bad| sources.wrong(&Key::of(&[section, bad.setting]), bad))?;
        }
    }
    if let Some(jwt) = config.access.as_ref().and_then(|policy| policy.jwt.as_ref()) {
        jwt.check().map_err(|bad| sources.wrong(&Key::of(&["access", "jwt", "jwks"]), bad))?;
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
    for (setting, tls) in [("tls", &config.tls), ("admin_tls", &config.admin_tls)] {
        let what = match tls {
            None => "speak without TLS".to_owned(),
            Some(tls) => format!("speak TLS with {}; client certificates: {}", tls.certificate.display(), asked(tls)),
        };
        table.row([setting.into(), what]);
    }
    table.row(["access".into(), access(config)]);
    for (name, backend) in &config.backends {
        let what = format!("keep {} in {}", kept_in(config, name), backends::redacted(&backend.url));
        table.row([format!("backends.{name}"), what]);
    }
    table.row(["require".into(), format!("refuse a store that is less than {}", backends::class(config.require))]);
    format!("the configuration is good; nothing was started, and no store was asked\n\n{}", table.render())
}

fn asked(tls: &TlsConfig) -> &'static str {
    match tls.client_auth {
        ClientAuth::None => "none",
        ClientAuth::Optional => "if they have one",
        ClientAuth::Required => "required",
    }
}

fn access(config: &Config) -> String {
    let Some(policy) = &config.access else { return "let everybody do everything".into() };
    let (roles, tokens, certificates) = (policy.roles.len(), policy.tokens.len(), policy.certificates.len());
    let anonymous =
        if policy.anonymous.is_empty() { "nobody else" } else { "everybody else in the roles of `anonymous`" };
    format!("let in {tokens} tokens and {certificates} names of certificates, with {roles} roles, and {anonymous}")
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
