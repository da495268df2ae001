//! Spans as messages of OTLP. Names are those of the semantic conventions where they have one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use sixpin_core::broker::api::Ended;

use super::Door;
use super::commit::Commit;
use super::span::{Record, Verb};

/// The trace is kept (W3C Trace Context, level 1).
const SAMPLED: u32 = 1;

/// Who exports: this run of the broker.
pub(super) fn resource(broker: &str) -> Resource {
    let instance = format!("{:032x}", rand::random::<u128>());
    Resource {
        attributes: vec![
            text("service.name", "sixpin"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
            text("sixpin.broker", broker),
        ],
        ..Resource::default()
    }
}

/// A batch.
pub(super) fn request(resource: &Resource, batch: Vec<Record>) -> ExportTraceServiceRequest {
    let spans = batch.into_iter().flat_map(spans).collect();
    let version = env!("CARGO_PKG_VERSION").into();
    let scope = InstrumentationScope { name: "sixpin".into(), version, ..InstrumentationScope::default() };
    let spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let resource_spans =
        ResourceSpans { resource: Some(resource.clone()), scope_spans: vec![spans], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

/// The span of a request, and those of the commits that its answers come of.
fn spans(mut record: Record) -> Vec<Span> {
    let commits = std::mem::take(&mut record.commits);
    let commits = commits.iter().map(|(number, commit)| Span {
        span_id: number.max(&1).to_be_bytes().to_vec(),
        parent_span_id: record.context.span.to_be_bytes().to_vec(),
        name: "store commit".into(),
        kind: span::SpanKind::Client.into(),
        attributes: commit_attributes(commit),
        ..timed(&record, commit.sent, commit.took)
    });
    let commits: Vec<Span> = commits.collect();
    let request = Span {
        span_id: record.context.span.to_be_bytes().to_vec(),
        parent_span_id: record.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: verb(record.verb).into(),
        kind: span::SpanKind::Server.into(),
        attributes: attributes(&record),
        status: fails(record.ended).then(|| Status { code: status::StatusCode::Error.into(), ..Status::default() }),
        ..timed(&record, record.begun, record.took)
    };
    std::iter::once(request).chain(commits).collect()
}

fn timed(record: &Record, begun: SystemTime, took: Duration) -> Span {
    let begun = begun.duration_since(UNIX_EPOCH).unwrap_or_default();
    Span {
        trace_id: record.context.trace.to_be_bytes().to_vec(),
        flags: SAMPLED,
        start_time_unix_nano: nanoseconds(begun),
        end_time_unix_nano: nanoseconds(begun + took),
        ..Span::default()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    let mut all = vec![text("sixpin.door", door(record.door)), text("sixpin.outcome", outcome(record))];
    if record.door == Door::Grpc {
        all.push(text("rpc.system.name", "grpc"));
    }
    if let Some(resource) = &record.resource {
        all.push(text("sixpin.lockspace", resource.lockspace.as_str()));
        all.push(text("sixpin.resource", resource.name.as_str()));
    }
    all.extend(record.mode.map(|mode| text("sixpin.mode", mode.to_string())));
    all.extend(record.session.map(|session| text("sixpin.session", session.to_string())));
    all.push(number("sixpin.claim", record.claim.0));
    if let Some((position, ticket)) = record.queued {
        all.push(number("sixpin.queue.position", position.into()));
        // They pass 2^53, which is more than many programs that show numbers can tell apart.
        all.push(text("sixpin.ticket", ticket.0.to_string()));
    }
    all.extend(record.fence.map(|fence| text("sixpin.fence", fence.0.to_string())));
    if record.verb != Verb::Unlock {
        all.push(number("sixpin.wait_ms", u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX)));
    }
    if record.resumed {
        all.push(truth("sixpin.resumed"));
    }
    if let Some(ended) = record.ended.filter(|ended| is_error(*ended)) {
        all.push(text("error.type", ended.to_string()));
    }
    all
}

fn commit_attributes(commit: &Commit) -> Vec<KeyValue> {
    vec![
        text("db.system.name", commit.store),
        text("db.operation.name", "commit"),
        number("db.operation.batch.size", commit.writes as u64),
        text("sixpin.backend", commit.backend.as_ref()),
        number("sixpin.commit.conflicts", commit.conflicts as u64),
    ]
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Lock => "lock",
        Verb::Convert => "convert",
        Verb::Unlock => "unlock",
    }
}

fn door(door: Door) -> &'static str {
    match door {
        Door::Grpc => "grpc",
        Door::Frames => "frames",
        Door::Http => "http",
        Door::WebSocket => "websocket",
    }
}

/// How it ended. Whoever asked may have gone before, or may still wait elsewhere.
fn outcome(record: &Record) -> String {
    match (record.ended, record.queued) {
        (Some(ended), _) => ended.to_string(),
        (None, Some(_)) => "queued".into(),
        (None, None) => "unanswered".into(),
    }
}

/// What is no answer about a lock.
fn is_error(ended: Ended) -> bool {
    matches!(ended, Ended::Denied | Ended::Limit | Ended::Invalid) || fails(Some(ended))
}

/// What is not the fault of whoever asked.
fn fails(ended: Option<Ended>) -> bool {
    matches!(ended, Some(Ended::Lost | Ended::Unavailable | Ended::Unknown))
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn truth(key: &str) -> KeyValue {
    attribute(key, any_value::Value::BoolValue(true))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
