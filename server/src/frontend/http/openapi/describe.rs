//! Makes the description.

use std::collections::BTreeSet;
use std::path::Path;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::super::json::{is_time, is_wide, short};
use super::super::routes::{ROUTES, Route};
use super::DESCRIPTION;

const PROBLEMS: [(u16, &str); 11] = [
    (400, "The request makes no sense as it is; nothing changed"),
    (401, "Nobody is known who asks"),
    (403, "Who asks may not do this, or the token is wrong"),
    (404, "There is nothing of this name"),
    (405, "The path has other methods only"),
    (
        409,
        "An ordinary no: it would wait, it was not free in time, the claim has something pending, or the session has a stream",
    ),
    (410, "The session or lease is over"),
    (413, "The body is too long"),
    (421, "The session is at another broker: `address` says at which"),
    (429, "A limit, which the text names"),
    (503, "Not now; `mayHaveHappened` says whether to repeat it with the same numbers"),
];

/// Paths to which a body without fields, or none, says enough.
const EMPTY_IS_FINE: [&str; 7] = [
    "/v1/sessions",
    "/v1/sessions/{session}:keepAlive",
    "/v1/sessions/{session}:close",
    "/v1/sessions/{session}:unlockAll",
    "/v1/sessions/{session}/claims/{claim}:cancel",
    "/v1/sessions/{session}:expire",
    "/v1/broker:drain",
];

/// What a session's listener is told after the first event: its name, its message, and when.
const SESSION_EVENTS: [(&str, &str, &str); 6] = [
    ("granted", "Completion", "something that waited was granted"),
    ("ended", "Completion", "something that waited ended otherwise"),
    ("blocking", "Blocking", "a claim is in somebody's way"),
    ("lost", "Lost", "claims are lost"),
    ("move", "Move", "the broker is going: move the session"),
    ("error", "Problem", "the last one: why nothing more comes"),
];

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    In,
    Out,
}

struct Describer {
    pool: DescriptorPool,
    /// Messages that are needed.
    needed: BTreeSet<(Way, String)>,
}

/// The descriptors with the comments of the proto files.
fn pool() -> DescriptorPool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut compiler = protox::Compiler::new([&root]).unwrap();
    compiler.include_source_info(true).include_imports(true);
    for file in ["lock", "lease", "inspect", "admin"] {
        compiler.open_file(format!("sixpin/v1/{file}.proto")).unwrap();
    }
    DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set()).unwrap()
}

impl Describer {
    fn message(&self, name: &str) -> MessageDescriptor {
        let found = self.pool.get_message_by_name(&format!("sixpin.v1.{name}"));
        found.unwrap_or_else(|| panic!("there is no message `{name}`"))
    }

    fn reference(&mut self, way: Way, name: &str) -> Value {
        self.needed.insert((way, name.to_owned()));
        json!({ "$ref": format!("#/components/schemas/{}", key(way, name)) })
    }

    fn operation(&mut self, route: &Route) -> Value {
        let mut parameters = Vec::new();
        let path: Vec<&str> =
            route.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(it, _)| it).collect();
        for name in &path {
            parameters.push(
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }),
            );
        }
        if path.iter().any(|name| matches!(*name, "session" | "lease")) && !route.is_on(true) {
            let schema = json!({ "type": "string" });
            parameters.push(json!({ "name": "Sixpin-Token", "in": "header", "required": true, "schema": schema,
                "description": "The token of the session or lease, as its first answer says it." }));
        }
        if ["/v1/leases", "/v1/sessions"].contains(&route.path) && route.method == http::Method::POST {
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
            parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "schema": schema,
                "description": "A repeat with the same key is answered as the first one was." }));
        }
        let mut operation = json!({
            "operationId": operation_id(route),
            "tags": [tag(route)],
            "summary": route.summary,
        });
        if !route.asks.is_empty() {
            let message = self.message(route.asks);
            let by_path = |field: &FieldDescriptor| {
                path.contains(&field.json_name()) || path.contains(&"name") && field.name() == "resource"
            };
            let fields: Vec<FieldDescriptor> =
                message.fields().filter(|field| !by_path(field) && field.name() != "token").collect();
            if route.method == http::Method::POST && !fields.is_empty() {
                let schema = if fields.len() == message.fields().len() {
                    self.reference(Way::In, route.asks)
                } else {
                    let mut schema = self.fields(Way::In, &fields);
                    if path.contains(&"name") {
                        schema["properties"]["lockspace"] = lockspace();
                    }
                    schema
                };
                operation["requestBody"] = json!({ "required": !EMPTY_IS_FINE.contains(&route.path), "content": { "application/json": { "schema": schema } } });
            } else {
                for field in fields {
                    let mut parameter =
                        json!({ "name": field.json_name(), "in": "query", "schema": self.of_kind(Way::In, &field) });
                    if field.is_list() {
                        parameter["schema"] = json!({ "type": "array", "items": parameter["schema"] });
                    }
                    parameter["description"] = comment(&field).into();
                    parameters.push(parameter);
                }
                if path.contains(&"name") {
                    parameters.push(json!({ "name": "lockspace", "in": "query", "schema": lockspace() }));
                }
            }
        }
        if route.path.ends_with(":watch") {
            for (name, description) in [
                (
                    "version",
                    "The version that was seen last: then there is one answer, once another one is there or the wait is over.",
                ),
                ("wait", "How long to wait for another version, with a unit; at most 55s."),
            ] {
                parameters.push(
                    json!({ "name": name, "in": "query", "schema": { "type": "string" }, "description": description }),
                );
            }
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation["responses"] = self.responses(route);
        // A WebSocket may say first who asks.
        if route.for_everybody && route.path != "/v1/stream" {
            operation["security"] = json!([]);
        }
        operation
    }

    fn responses(&mut self, route: &Route) -> Value {
        let content = if route.answers.is_empty() {
            let (kind, is) = match route.path {
                "/openapi.json" => ("application/json", "object"),
                "/metrics" => ("application/openmetrics-text", "string"),
                _ => ("text/plain", "string"),
            };
            json!({ kind: { "schema": { "type": is } } })
        } else {
            let schema = self.reference(Way::Out, route.answers);
            let stream = json!({ "schema": { "type": "string" } });
            match route.path {
                path if path.ends_with(":watch") => {
                    json!({ "application/json": { "schema": schema }, "text/event-stream": stream })
                }
                path if path.ends_with("/events") => json!({ "text/event-stream": stream }),
                _ => json!({ "application/json": { "schema": schema } }),
            }
        };
        let mut responses = Map::new();
        if route.path == "/v1/stream" {
            responses.insert("101".into(), json!({ "description": "From here on this is a WebSocket" }));
        } else {
            let done = if route.path.ends_with("/events") { self.session_events(route) } else { "Done".to_owned() };
            responses.insert("200".into(), json!({ "description": done, "content": content }));
        }
        if [":convert", "/claims"].iter().any(|end| route.path.ends_with(end)) && route.method == http::Method::POST {
            let schema = self.reference(Way::Out, "Queued");
            let content = json!({ "application/json": { "schema": schema } });
            responses.insert(
                "202".into(),
                json!({ "description": "It waits; the same request goes on waiting", "content": content }),
            );
        }
        if route.path == "/readyz" {
            let content = json!({ "text/plain": { "schema": { "type": "string" } } });
            responses.insert(
                "503".into(),
                json!({ "description": "Which stores are not served, and why", "content": content }),
            );
        }
        for (status, _) in PROBLEMS {
            let reference = json!({ "$ref": format!("#/components/responses/{status}") });
            responses.entry(status.to_string()).or_insert(reference);
        }
        responses.into()
    }

    /// Says what each event is; the messages are needed for it.
    fn session_events(&mut self, route: &Route) -> String {
        for (_, message, _) in SESSION_EVENTS.iter().filter(|(_, message, _)| *message != "Problem") {
            self.reference(Way::Out, message);
        }
        let events = SESSION_EVENTS.map(|(name, message, when)| format!("`{name}` (`{message}`): {when}"));
        let (first, then) = (route.answers, events.join("; "));
        format!("Events, each with a message as its data. `listening` (`{first}`) comes first; {then}")
    }

    fn fields(&mut self, way: Way, fields: &[FieldDescriptor]) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in fields {
            let mut schema = self.of_kind(way, field);
            if field.is_list() {
                schema = json!({ "type": "array", "items": schema });
            }
            schema["description"] = comment(field).into();
            properties.insert(field.json_name().into(), schema);
            let unspecified = matches!(field.kind(), Kind::Enum(_)) && !field.is_list();
            if way == Way::Out && !field.supports_presence() && !unspecified {
                required.push(Value::from(field.json_name()));
            }
            if way == Way::In
                && let Some(short) = field.json_name().strip_suffix("Ms")
            {
                let description = format!("The same with a unit, as \"30s\", in place of `{}`.", field.json_name());
                properties.insert(short.into(), json!({ "type": "string", "description": description }));
            }
            if way == Way::Out && matches!(field.kind(), Kind::Bytes) {
                properties.insert(
                    "text".into(),
                    json!({ "type": "string", "description": "The same as text, if it is some." }),
                );
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        if way == Way::In {
            schema["additionalProperties"] = false.into();
        } else if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    fn of_kind(&mut self, way: Way, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            _ if is_wide(field) && way == Way::In => {
                json!({ "anyOf": [{ "type": "string", "pattern": "^[0-9]+$" }, { "type": "integer", "minimum": 0 }] })
            }
            _ if is_wide(field) => json!({ "type": "string", "pattern": "^[0-9]+$" }),
            _ if is_time(field) => json!({ "type": "integer", "minimum": 0 }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes if way == Way::Out => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Bytes => {
                let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"], "additionalProperties": false });
                json!({ "anyOf": [{ "type": "string", "contentEncoding": "base64" }, text] })
            }
            Kind::Enum(kind) => json!({ "type": "string", "enum": names(&kind) }),
            Kind::Message(message) => self.reference(way, message.name()),
            other => panic!("no message has a field of kind {other:?}"),
        }
    }

    fn schemas(&mut self) -> Map<String, Value> {
        let mut schemas = Map::new();
        while let Some((way, name)) =
            self.needed.iter().find(|(way, name)| !schemas.contains_key(&key(*way, name))).cloned()
        {
            let message = self.message(&name);
            let fields: Vec<FieldDescriptor> = message.fields().collect();
            let mut schema = self.fields(way, &fields);
            schema["description"] = comment_at(message.parent_file(), message.path()).into();
            schemas.insert(key(way, &name), schema);
        }
        schemas.insert("Problem".into(), problem());
        schemas
    }
}

fn key(way: Way, name: &str) -> String {
    if way == Way::In { format!("asked.{name}") } else { name.to_owned() }
}

fn lockspace() -> Value {
    json!({ "type": "string", "description": "The lockspace that the resource is in; absent: \"default\"." })
}

fn names(kind: &EnumDescriptor) -> Vec<String> {
    kind.values().filter(|value| value.number() != 0).map(|value| short(kind, value.name()).to_owned()).collect()
}

fn comment(field: &FieldDescriptor) -> String {
    comment_at(field.parent_message().parent_file(), field.path())
}

fn comment_at(file: prost_reflect::FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.clone().unwrap_or_default();
    let location = info.location.into_iter().find(|location| location.path == path);
    let comment = location.and_then(|location| location.leading_comments).unwrap_or_default();
    comment.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn tag(route: &Route) -> &'static str {
    match route.path {
        path if path.starts_with("/v1/leases") => "leases",
        _ if !route.is_on(false) => "administration",
        "/v1/sessions" if route.method == http::Method::GET => "inspection",
        path if path.starts_with("/v1/sessions") => "sessions",
        path if path.starts_with("/v1/") => "inspection",
        _ => "process",
    }
}

/// Its method and the words of its path.
fn operation_id(route: &Route) -> String {
    let words =
        route.path.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty() && *word != "v1");
    let mut id = route.method.as_str().to_lowercase();
    for word in words {
        let (first, rest) = word.split_at(1);
        id.extend([&first.to_uppercase(), rest]);
    }
    id
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["title", "status", "detail", "reason", "mayHaveHappened"],
        "properties": {
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "For people: what happened, to what, and what to do next." },
            "reason": { "type": "string", "description": "For programs: a `Reason`, or the `Status` of a completion." },
            "code": { "type": "string", "description": "The code of gRPC." },
            "mayHaveHappened": { "type": "boolean", "description": "Repeat it with the same numbers to find out." },
            "address": { "type": "string", "description": "The broker to go to." },
            "retryAfterMs": { "type": "integer", "minimum": 0 },
            "completion": { "$ref": "#/components/schemas/Completion" },
        },
    })
}

fn description() -> Value {
    let mut describer = Describer { pool: pool(), needed: BTreeSet::new() };
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        let operation = describer.operation(route);
        assert!(
            path.get(route.method.as_str().to_lowercase()).is_none(),
            "{} {} stands twice",
            route.method,
            route.path
        );
        path[route.method.as_str().to_lowercase()] = operation;
    }
    describer.reference(Way::Out, "Completion");
    let responses: Map<String, Value> = PROBLEMS
        .iter()
        .map(|(status, text)| {
            let content =
                json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
            (status.to_string(), json!({ "description": text, "content": content }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sixpin",
            "version": "v1",
            "description": "Locks over HTTP. Calls of the tag `administration` are on the admin listener, all others where clients connect.",
        },
        "security": [{ "bearer": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "responses": responses,
            "schemas": describer.schemas(),
        },
    })
}

#[test]
fn the_description_is_that_of_this_door() {
    let made = serde_json::to_string_pretty(&description()).unwrap() + "\n";
    if std::env::var_os("UPDATE_API").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json"), &made).unwrap();
        return;
    }
    assert!(
        made == DESCRIPTION,
        "openapi.json is not of this door: run UPDATE_API=1 cargo test -p sixpin-server openapi"
    );
}
