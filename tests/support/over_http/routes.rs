//! Which call has which route, as the description of the door names it.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value as Field};
use serde_json::{Map, Value};

use super::json;

/// The header of a session's token.
pub const TOKEN: http::HeaderName = http::HeaderName::from_static("sixpin-token");

/// Longest path, query and token: a broker takes heads of 16 KiB.
const HEAD_BYTES_MAX: usize = 15_000;

/// What the door says of itself.
static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../server/openapi.json")).unwrap());

/// Calls: their method and path, the field of the call that has what is asked, and the field that has what is answered. None:
/// all of it.
type Row = (&'static str, Method, &'static str, Option<&'static str>, Option<&'static str>);

#[rustfmt::skip]
static CALLS: &[Row] = &[
    ("LockService/OpenSession", Method::POST, "/v1/sessions", Some("open"), Some("opened")),
    ("LockService/KeepAlive", Method::POST, "/v1/sessions/{session}:keepAlive", None, Some("keptAlive")),
    ("LockService/ResumeSession", Method::POST, "/v1/sessions/{session}:resume", Some("resume"), Some("resumed")),
    ("LockService/CloseSession", Method::POST, "/v1/sessions/{session}:close", None, None),
    ("LockService/UnlockAll", Method::POST, "/v1/sessions/{session}:unlockAll", Some("unlockAll"), Some("unlockedAll")),
    ("LockService/Lock", Method::POST, "/v1/sessions/{session}/claims", Some("lock"), Some("completion")),
    ("LockService/Convert", Method::POST, "/v1/sessions/{session}/claims/{claim}:convert", Some("convert"), Some("completion")),
    ("LockService/Cancel", Method::POST, "/v1/sessions/{session}/claims/{claim}:cancel", Some("cancel"), Some("cancelled")),
    ("LockService/Unlock", Method::DELETE, "/v1/sessions/{session}/claims/{claim}", Some("unlock"), Some("completion")),
    ("InspectService/GetResource", Method::GET, "/v1/resources/{name}", None, Some("state")),
    ("InspectService/WatchResource", Method::GET, "/v1/resources/{name}:watch", None, Some("state")),
    ("InspectService/ListResources", Method::GET, "/v1/resources", None, None),
    ("InspectService/ListClaims", Method::GET, "/v1/claims", None, None),
    ("InspectService/ListSessions", Method::GET, "/v1/sessions", None, None),
    ("InspectService/ListBrokers", Method::GET, "/v1/brokers", None, None),
    ("InspectService/GetStatus", Method::GET, "/v1/status", None, Some("status")),
    ("InspectService/ListWaits", Method::GET, "/v1/waits", None, None),
    ("InspectService/ListContended", Method::GET, "/v1/contended", None, None),
    ("AdminService/ForceUnlock", Method::POST, "/v1/resources/{name}:forceUnlock", None, None),
    ("AdminService/NotifyHolder", Method::POST, "/v1/resources/{name}:notifyHolder", None, None),
    ("AdminService/PurgeOrphans", Method::POST, "/v1/resources/{name}:purgeOrphans", None, None),
    ("AdminService/RemoveDamaged", Method::POST, "/v1/resources/{name}:removeDamaged", None, None),
    ("AdminService/ExpireSession", Method::POST, "/v1/sessions/{session}:expire", None, None),
    ("AdminService/DrainBroker", Method::POST, "/v1/broker:drain", None, None),
];

/// A call that has a route.
#[derive(Clone)]
pub struct Call {
    row: &'static Row,
    method: MethodDescriptor,
}

/// A call as a request of HTTP.
pub struct Asked {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub token: Option<String>,
    pub body: Option<Map<String, Value>>,
}

impl Call {
    /// By its path of gRPC.
    pub fn of(path: &str) -> Option<Self> {
        let row = CALLS.iter().find(|(call, ..)| path.strip_prefix("/sixpin.v1.") == Some(call))?;
        let (service, name) = row.0.split_once('/').unwrap();
        Some(Self { row, method: json::method(service, name) })
    }

    pub fn is_watch(&self) -> bool {
        self.row.2.ends_with(":watch")
    }

    /// What is asked; none if these bytes are no message of the call, or if no request can say it: a call without what it asks for,
    /// which is an empty body; a session without a name, and a resource without one where there is no form with the name in
    /// the body; a head that is too long.
    pub fn request(&self, message: Bytes) -> Option<Asked> {
        let (_, method, path, asks, _) = self.row;
        let message = DynamicMessage::decode(self.method.input(), message).ok()?;
        let mut fields = json::write(&message);
        if let Some(asks) = asks {
            let Some(Value::Object(asked)) = fields.remove(*asks) else { return None };
            fields.extend(asked);
        }
        let token = text(fields.remove("token"));
        let (mut method, mut path) = (method.clone(), (*path).to_owned());
        let name = fields.get("resource").and_then(|resource| resource.get("name")).cloned();
        if path.contains("{name}") {
            if let Some(name) = text(name) {
                path = path.replace("{name}", &encoded(&name));
                let resource = fields.remove("resource");
                fields.extend(
                    resource.and_then(|resource| Some(("lockspace".into(), resource.get("lockspace")?.clone()))),
                );
            } else {
                (method, path) = match self.row.2 {
                    "/v1/resources/{name}" => (Method::POST, "/v1/resources:get".into()),
                    path if method == Method::POST => (method, path.replace("/{name}", "")),
                    _ => return None,
                };
            }
        }
        if path.contains("{claim}") {
            let claim = text(fields.remove("claim")).unwrap_or_else(|| "0".into());
            path = path.replace("{claim}", &claim);
        }
        if path.contains("{session}") {
            let session = match &token {
                Some(token) => token.split('~').nth(2).unwrap_or("unnamed").to_owned(),
                None => text(fields.remove("session"))?,
            };
            if session.is_empty() {
                return None;
            }
            path = path.replace("{session}", &encoded(&session));
        }
        if token.as_ref().is_some_and(|token| token.bytes().any(|byte| !(b' '..=b'~').contains(&byte))) {
            return None;
        }
        let template = self.template(&method);
        let known = &DESCRIPTION["paths"][&template][method.as_str().to_lowercase()];
        assert!(known.is_object(), "the description has no {method} {template}");
        let has_body = method == Method::POST;
        let query = if has_body { String::new() } else { query(std::mem::take(&mut fields)) };
        let target = path + &query;
        let head = target.len() + token.as_ref().map_or(0, String::len);
        (head < HEAD_BYTES_MAX).then(|| Asked { method, target, token, body: has_body.then_some(fields) })
    }

    fn template(&self, method: &Method) -> String {
        if method == self.row.1 { self.row.2.to_owned() } else { "/v1/resources:get".to_owned() }
    }

    /// What is answered.
    pub fn answer(&self, fields: Map<String, Value>) -> DynamicMessage {
        let output = self.method.output();
        let Some(field) = self.row.4 else { return json::read(&output, &fields) };
        let field = output.get_field_by_json_name(field).unwrap();
        let said = json::read(field.kind().as_message().unwrap(), &fields);
        let mut answer = DynamicMessage::new(output);
        answer.set_field(&field, Field::Message(said));
        answer
    }
}

fn text(value: Option<Value>) -> Option<String> {
    value.and_then(|value| value.as_str().map(str::to_owned))
}

/// Fields as a query.
fn query(fields: Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            pairs.push(format!("{name}={}", encoded(&text)));
        }
    }
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
