//! The doors of a broker as it uses them: TLS, which pages may ask over HTTP, and that no door is open by mistake.

use super::check::{Checked, Key, wrong};
use super::{Config, HttpConfig, file};
use crate::tls::{ClientAuth, TlsConfig};

/// An origin is compared as it is written, so it must be written as browsers write it.
pub(super) fn http(given: file::Http) -> Checked<HttpConfig> {
    for origin in &given.origins {
        let uri: Option<http::Uri> = origin.parse().ok();
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str).filter(|scheme| matches!(*scheme, "http" | "https"));
        let authority =
            uri.as_ref().and_then(http::Uri::authority).filter(|authority| !authority.as_str().contains('@'));
        let written = scheme.zip(authority).map(|(scheme, authority)| format!("{scheme}://{authority}"));
        if written.as_ref() != Some(origin) || origin.chars().any(|character| character.is_ascii_uppercase()) {
            let text = "an origin is a scheme, a host and no path, in small letters: `https://ops.example.org`";
            return wrong(Key::of(&["http", "origins"]), format!("`http.origins` has `{origin}`: {text}"));
        }
    }
    for host in &given.hosts {
        if host.parse::<http::uri::Authority>().is_ok_and(|authority| authority.as_str() == authority.host()) {
            continue;
        }
        let text = "a host is a name without port";
        return wrong(Key::of(&["http", "hosts"]), format!("`http.hosts` has `{host}`: {text}"));
    }
    Ok(HttpConfig { origins: given.origins, hosts: given.hosts })
}

/// Refuses a listener that is open to other hosts, unless that is wanted.
pub(super) fn protected(config: Config) -> Checked<Config> {
    match config.open_to_others().into_iter().next() {
        Some(exposed) if !config.insecure => {
            let text =
                format!("{exposed}: configure it (docs/security.md), listen on 127.0.0.1, or set `insecure = true`");
            wrong(Key::of(&[exposed.setting]), text)
        }
        _ => Ok(config),
    }
}

/// TLS as a section says it, if there is one.
pub(super) fn tls(section: &str, given: Option<file::Tls>) -> Checked<Option<TlsConfig>> {
    let Some(given) = given else { return Ok(None) };
    let key = |field: &str| Key::of(&[section, field]);
    let Some(certificate) = given.certificate else {
        return wrong(Key::of(&[section]), format!("`{section}` has no `certificate`: name the PEM file that has it"));
    };
    let Some(private) = given.key else {
        return wrong(Key::of(&[section]), format!("`{section}` has no `key`: name the PEM file that has it"));
    };
    let client_auth = match (given.client_auth, &given.client_ca) {
        (Some(file::ClientAuth::Required) | None, Some(_)) => ClientAuth::Required,
        (Some(file::ClientAuth::Optional), Some(_)) => ClientAuth::Optional,
        (Some(file::ClientAuth::None) | None, _) => ClientAuth::None,
        (Some(_), None) => {
            let text = format!(
                "`{section}.client_auth` asks for certificates: name the file of their authorities in `client_ca`"
            );
            return wrong(key("client_auth"), text);
        }
    };
    Ok(Some(TlsConfig { certificate, key: private, client_ca: given.client_ca, client_auth }))
}
