//! A request, taken apart: who asks, what its path, its query, its token and its body say.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, request};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use sixpin_core::limits::MESSAGE_BYTES_MAX;
use sixpin_proto::prost::{Message, Name};
use tonic::transport::server::TcpConnectInfo;

use super::problem::Problem;
use super::routes::Route;
use super::{Door, json, path};
use crate::access::Who;
use crate::frontend::api::errors::invalid;
use crate::frontend::api::{Caller, Checked, checks};
use crate::traces::{Door as Way, Origin, TRACEPARENT};

/// The token of a session or a lease.
const TOKEN: &str = "sixpin-token";

/// A request.
pub(super) struct Asked {
    pub(super) door: Arc<Door>,
    pub(super) from: Caller,
    pub(super) parts: request::Parts,
    /// What the path names.
    named: Vec<(String, String)>,
    /// What the body or the query says.
    fields: Map<String, Value>,
}

impl Asked {
    /// Takes a request of a route apart.
    pub(super) async fn new(door: Arc<Door>, route: &Route, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let named = || parts.headers.get_all(TRACEPARENT).iter().map(http::HeaderValue::as_bytes);
        let from = caller(&parts).by(&door.api, Way::Http, named);
        door.sites.own_page(&parts)?;
        door.sites.own_name(&parts, &from)?;
        let named = path::named(route.path, parts.uri.path())?;
        let mut fields = query(parts.uri.query().unwrap_or_default())?;
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let body = whole(body, MESSAGE_BYTES_MAX).await?;
            for (name, value) in object(&parts.headers, &body)? {
                if fields.insert(name.clone(), value).is_some() {
                    return Err(invalid(format!("`{name}` stands in the query and in the body")).into());
                }
            }
        }
        Ok(Self { door, from, parts, named, fields })
    }

    /// What the path names so.
    pub(super) fn named(&self, field: &str) -> &str {
        self.named.iter().find(|(name, _)| name == field).map_or("", |(_, value)| value)
    }

    /// The token, by its header or its field.
    fn token(&mut self) -> Checked<String> {
        let field = self.fields.remove("token");
        let header = self.parts.headers.get(TOKEN).map(|header| header.to_str().unwrap_or_default().to_owned());
        match (header, field) {
            (Some(_), Some(_)) => Err(invalid("the token stands in the header `Sixpin-Token` and in the body")),
            (Some(token), None) | (None, Some(Value::String(token))) => Ok(token),
            (None, None) => Err(invalid("the token is missing: send it in the header `Sixpin-Token`")),
            (None, Some(_)) => Err(invalid("`token` must be a text")),
        }
    }

    /// The token of the session, or lease, that the path names so.
    pub(super) fn token_of(&mut self, field: &str) -> Checked<String> {
        let token = self.token()?;
        let named = self.named(field);
        let of = checks::token(&token)?.session.to_string();
        if of == named {
            Ok(token)
        } else {
            Err(invalid(format!("the token is not one of {field} `{named}`, which the path names, but of `{of}`")))
        }
    }

    /// Puts what the path names among the fields.
    pub(super) fn with_named(mut self, field: &str) -> Checked<Self> {
        let value = self.named(field).to_owned();
        match self.fields.insert(field.to_owned(), value.into()) {
            None => Ok(self),
            Some(_) => Err(invalid(format!("`{field}` stands in the path and in the body"))),
        }
    }

    /// Puts the resource that the path names, and the lockspace beside it, into the field `resource`.
    pub(super) fn with_resource(mut self) -> Checked<Self> {
        if self.named.iter().any(|(field, _)| field == "name") {
            let mut resource = Map::new();
            resource.insert("name".into(), self.named("name").into());
            resource.extend(self.fields.remove("lockspace").map(|lockspace| ("lockspace".to_owned(), lockspace)));
            if self.fields.insert("resource".into(), resource.into()).is_some() {
                return Err(invalid("`resource` stands in the path and in the body"));
            }
        }
        Ok(self)
    }

    /// The message that its fields make.
    pub(super) fn message<M: Message + Name + Default>(&self) -> Checked<M> {
        json::read(&self.fields)
    }

    /// A field that its message does not have.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field)
    }

    /// All that it says, for who compares requests.
    pub(super) fn said(&self) -> String {
        Value::from(self.fields.clone()).to_string()
    }
}

/// A body of at most so many bytes, in one piece: of many small ones each would be kept with what it came in.
pub(super) async fn whole(body: Body, bytes_max: usize) -> Result<BytesMut, Problem> {
    let (mut body, mut whole) = (Limited::new(body, bytes_max), BytesMut::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| Problem::unread(&*error, bytes_max))?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}

/// Who asks, as the listener says it of every request.
pub(super) fn caller(parts: &request::Parts) -> Caller {
    let said = &parts.extensions;
    Caller {
        address: said.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr),
        client: said.get().copied().unwrap_or_default(),
        // The listener says it of everybody; of whom it did not could do nothing.
        who: said.get().cloned().unwrap_or_else(Who::nobody),
        origin: Origin::of(Way::Http),
    }
}

/// The fields of a query, each a text, or a list of them where it stands there more than once.
pub(super) fn query(query: &str) -> Checked<Map<String, Value>> {
    let mut fields = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if name == "token" {
            return Err(invalid(
                "a token is never part of a URL, which others write down: send the header `Sixpin-Token`",
            ));
        }
        let more = match fields.remove(&name) {
            None => Value::String(value),
            Some(Value::Array(mut values)) => {
                values.push(value.into());
                values.into()
            }
            Some(first) => vec![first, value.into()].into(),
        };
        fields.insert(name, more);
    }
    Ok(fields)
}

fn decoded(text: &str) -> Checked<String> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| invalid("the query is no UTF-8 once it is decoded"))
}

/// The fields of a body; none if it is empty. A form is nothing that a page of another site could send as JSON.
fn object(headers: &HeaderMap, body: &[u8]) -> Checked<Map<String, Value>> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(invalid("the body must be JSON: send `Content-Type: application/json`"));
    }
    json::parse(body)
}
