//! A request for the page, taken apart: who asks, and for what.

use std::sync::Arc;

use axum::extract::Request;
use http::header::ORIGIN;
use http::{Method, request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use sixpin_core::access::{Place, Verb};
use sixpin_core::name::{ResourceId, SessionId};
use sixpin_proto::v1;

use super::super::asked::{caller, query, whole};
use super::super::problem::Problem;
use super::super::sites::{FETCH_SITE, Sites, is_encrypted};
use super::super::{Administrators, Door};
use crate::access::signed::Ticket;
use crate::frontend::api::errors::invalid;
use crate::frontend::api::names::Names;
use crate::frontend::api::{Caller, Checked, checks};
use crate::frontend::listener::{Visiting, cookie};

/// Bytes of a form. The longest one has a name twice, once of them as it is written out.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// Fields of a form or an address.
const FIELDS_MAX: usize = 32;

/// A request. Cheap enough to clone for each look.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) door: Arc<Door>,
    pub(super) from: Caller,
    /// The connection; absent only if the listener did not say it.
    pub(super) visiting: Option<Visiting>,
    /// It came through TLS.
    pub(super) encrypted: bool,
    /// What the browser shows that may have been given here to whoever signed in.
    pub(super) tickets: Vec<Ticket>,
    /// That of these by which it is known who asks; absent if that is known otherwise.
    pub(super) ticket: Option<Ticket>,
    fields: Map<String, Value>,
}

impl Visit {
    pub(super) async fn new(door: Arc<Door>, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let from = caller(&parts);
        door.sites.own_name(&parts, &from)?;
        let mut fields = few(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::POST {
            own_form(&door.sites, &parts)?;
            let body = whole(body, FORM_BYTES_MAX).await?;
            let body = std::str::from_utf8(&body).map_err(|_| invalid("the form is no UTF-8"))?;
            fields = few(body)?;
        } else if !is_link(&parts) {
            door.sites.own_page(&parts)?;
        }
        let tickets = cookie::tickets(&parts.headers, door.api.access().signed()).collect();
        Ok(Self {
            door,
            from,
            visiting: parts.extensions.get().cloned(),
            encrypted: is_encrypted(&parts),
            tickets,
            ticket: parts.extensions.get().cloned(),
            fields,
        })
    }

    /// What a field says; empty if it is not there.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// What a field says, of which nothing is kept here, and neither of the others.
    pub(super) fn take(&mut self, name: &str) -> String {
        match std::mem::take(&mut self.fields).remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        }
    }

    /// What a field says that is a number; 0 if it is not there.
    pub(super) fn number(&self, name: &str) -> Checked<u64> {
        match self.field(name) {
            "" => Ok(0),
            text => text.parse().map_err(|_| invalid(format!("`{name}` must be a number"))),
        }
    }

    /// The resource that `name` and `lockspace` name.
    pub(super) fn resource(&self) -> Checked<ResourceId> {
        Names::default().resource(self.field("lockspace"), self.field("name"))
    }

    /// The session that this field names.
    pub(super) fn session(&self, field: &str) -> Checked<SessionId> {
        checks::session_id(field, self.field(field))
    }

    /// Whether who asks may see what belongs to no resource.
    pub(super) fn sees_all(&self) -> bool {
        self.from.may(Verb::Inspect, Place::Everywhere)
    }

    pub(super) fn administrators(&self) -> Result<&Administrators, Problem> {
        self.door.administrators.as_ref().ok_or(Problem::NoRoute)
    }
}

/// The fields of an address or a form. Few, because each takes much more than its bytes, and anybody may send them.
fn few(text: &str) -> Checked<Map<String, Value>> {
    if text.split('&').count() > FIELDS_MAX {
        return Err(invalid(format!("there are at most {FIELDS_MAX} fields")));
    }
    query(text)
}

/// A form says by itself from which page it comes, in every browser. What does not say so is refused: it can only be something else.
fn own_form(sites: &Sites, parts: &request::Parts) -> Result<(), Problem> {
    if [FETCH_SITE, ORIGIN.as_str()].into_iter().any(|name| parts.headers.contains_key(name)) {
        sites.own_page(parts)
    } else {
        Err(Problem::OtherSite)
    }
}

/// Somebody follows a link on another site, to look: whoever put it there sees nothing of the answer.
fn is_link(parts: &request::Parts) -> bool {
    let says = |name: &str, value: &str| parts.headers.get(name).is_some_and(|said| said == value);
    let elsewhere = says(FETCH_SITE, "cross-site") || says(FETCH_SITE, "same-site");
    elsewhere && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// The address of a view, with those of these fields that say something.
pub(super) fn url(path: &'static str, fields: &[(&'static str, &str)]) -> String {
    let mut url = path.to_owned();
    for (number, (name, value)) in fields.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        url.push(if number == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    url
}

/// The address of a resource's view.
pub(super) fn url_of(resource: &v1::Resource) -> String {
    url("/resource", &[("lockspace", &resource.lockspace), ("name", &resource.name)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_any_name() {
        let fields = [("lockspace", ""), ("name", "../a b&c=d#?é\"<")];
        assert_eq!(url("/resource", &fields), "/resource?name=%2E%2E%2Fa%20b%26c%3Dd%23%3F%C3%A9%22%3C");
        assert_eq!(url("/resources", &[("prefix", "")]), "/resources");
        assert_eq!(query("name=%2E%2E%2Fa%20b%26c%3Dd%23%3F%C3%A9%22%3C").unwrap()["name"], fields[1].1);
    }
}
