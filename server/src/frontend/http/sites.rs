//! Pages of other sites: a browser sends what they say together with whatever lets it in, be that a cookie, a certificate, or that it
//! is on this host. They may ask for nothing.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request;
use sixpin_core::access::NOBODY;
use tonic::transport::server::TcpConnectInfo;

use super::problem::Problem;
use crate::config::HttpConfig;
use crate::config::check::host_name;
use crate::frontend::api::Caller;
use crate::frontend::api::errors::invalid;
use crate::frontend::listener::Encrypted;

/// Where a browser says for whom it asks (W3C Fetch Metadata).
pub(super) const FETCH_SITE: &str = "sec-fetch-site";

/// Which pages are the broker's own, or as good, and by which names it is called.
pub(super) struct Sites(HttpConfig);

impl Sites {
    /// These are configured, beside its own.
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self(config.clone())
    }

    /// A page of another site may not ask in the name of who looks at it. Browsers say for which page they ask.
    pub(super) fn own_page(&self, parts: &request::Parts) -> Result<(), Problem> {
        let said = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let origin = said(ORIGIN.as_str());
        if origin.is_some_and(|origin| self.0.origins.iter().any(|known| known == origin)) {
            return Ok(());
        }
        if said(FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Problem::OtherSite);
        }
        let Some(origin) = origin else { return Ok(()) };
        let scheme = if is_encrypted(parts) { "https" } else { "http" };
        let own = authority(parts).map(|own| format!("{scheme}://{own}"));
        if own.as_deref() == Some(origin) { Ok(()) } else { Err(Problem::OtherSite) }
    }

    /// On the loopback interface, whoever is known by no credential must call the broker by an address, `localhost`, its host's name or
    /// one that is configured. Another name may be that of a site whose page a browser of this host shows, and which had it lead here in
    /// the meantime (DNS rebinding). With TLS the certificate has the name; elsewhere a listener is not open to everybody unless somebody
    /// wants it so.
    pub(super) fn own_name(&self, parts: &request::Parts, from: &Caller) -> Result<(), Problem> {
        // A header alone says nothing: a page can send one, and where everybody may ask nobody looks at it.
        if is_encrypted(parts) || !is_on_loopback(parts) || from.who.name() != NOBODY {
            return Ok(());
        }
        let Some(authority) = authority(parts) else { return Ok(()) };
        let host = authority.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned());
        let host = host.map_err(|_| invalid("`Host` is no name with a port"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_own = bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || host == host_name()
            || self.0.hosts.iter().any(|known| host.eq_ignore_ascii_case(known));
        if is_own { Ok(()) } else { Err(Problem::OtherName(host)) }
    }
}

pub(super) fn is_encrypted(parts: &request::Parts) -> bool {
    parts.extensions.get::<Encrypted>().is_some_and(|encrypted| encrypted.0)
}

fn is_on_loopback(parts: &request::Parts) -> bool {
    let local = parts.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::local_addr);
    local.is_some_and(|local| local.ip().to_canonical().is_loopback())
}

/// As what the broker is addressed.
fn authority(parts: &request::Parts) -> Option<&str> {
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    target.or_else(|| parts.headers.get(HOST).and_then(|host| host.to_str().ok()))
}
